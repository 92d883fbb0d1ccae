//! The thread that learns: workers' words in, fetches out, overlays to publish.

use super::book::{Book, Fetch, FetchError, FetchId, Told};
use super::fetch::Fetcher;
use super::overlay::Overlay;
use super::shelf::Purge;
use crate::worker::Clock;
use crossbeam::channel;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Words of workers that wait to be heard. Each is a request head, some hundred bytes; a worker that finds no room
/// goes on, and the next such request is told of again. Longer only lets old ones wait.
const WORDS: usize = 4096;

/// How long changes are gathered until they are published together. Each publication makes every worker look, and is
/// kept until the answers made from it are acknowledged; longer, and more requests miss what is learned already.
const GATHER: Duration = Duration::from_millis(5);

/// Where learned answers go.
pub trait Publish: Send {
    /// From now on workers see `overlay`, without exception once this returns.
    fn publish(&mut self, overlay: &Overlay);
}

/// What others want of the thread.
enum Order {
    /// Answered with how many answers are gone, once no worker uses them any more.
    Purge(Vec<Purge>, channel::Sender<usize>),
    /// What is learned from now on is for another configuration.
    Begin(Box<Book>, Box<dyn Publish>),
    Stop,
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Learner {
    orders: mpsc::UnboundedSender<Order>,
    words: mpsc::Sender<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Learner {
    /// Starts it.
    ///
    /// # Errors
    /// There is no thread, or nothing to wait with, to be had.
    pub fn start(book: Book, publish: Box<dyn Publish>) -> io::Result<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (words, heard) = mpsc::channel(WORDS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("cache".into())
            .spawn(move || runtime.block_on(State::new(book, publish).run(heard, ordered)))?;
        Ok(Self {
            orders,
            words,
            thread: Some(thread),
        })
    }

    /// For workers to tell what they could not answer.
    pub fn words(&self) -> mpsc::Sender<Told> {
        self.words.clone()
    }

    /// Forgets what is meant by any of `purges`. When this returns, no request that is sent from then on is answered with
    /// what was fetched before. Returns how many answers are gone; `None`: the thread has failed.
    pub fn purge(&self, purges: Vec<Purge>) -> Option<usize> {
        let (tell, told) = channel::bounded(1);
        self.orders.send(Order::Purge(purges, tell)).ok()?;
        told.recv().ok()
    }

    /// Goes on with `book`. What was under way for the one before is dropped.
    pub fn begin(&self, book: Book, publish: Box<dyn Publish>) {
        // It fails only after a panic, which has been reported.
        let _ = self.orders.send(Order::Begin(Box::new(book), publish));
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Done = (FetchId, Result<super::answer::Got, FetchError>);

struct State {
    book: Book,
    publish: Box<dyn Publish>,
    fetcher: Fetcher,
    fetches: JoinSet<Done>,
    clock: Clock,
    /// When changes are to be published.
    due: Option<tokio::time::Instant>,
}

impl State {
    fn new(book: Book, publish: Box<dyn Publish>) -> Self {
        Self {
            book,
            publish,
            fetcher: Fetcher::default(),
            fetches: JoinSet::new(),
            clock: Clock::start(),
            due: None,
        }
    }

    async fn run(
        mut self,
        mut heard: mpsc::Receiver<Told>,
        mut ordered: mpsc::UnboundedReceiver<Order>,
    ) {
        loop {
            let due = self.due;
            let publish = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(told) = heard.recv() => {
                    let fetch = self.book.told(self.clock.now().mono, told);
                    self.spawn(fetch);
                }
                order = ordered.recv() => match order {
                    Some(Order::Purge(purges, tell)) => self.purge(&purges, &tell),
                    Some(Order::Begin(book, publish)) => {
                        self.fetches = JoinSet::new();
                        (self.book, self.publish) = (*book, publish);
                    }
                    Some(Order::Stop) | None => return,
                },
                Some(done) = self.fetches.join_next() => match done {
                    Ok((id, result)) => {
                        let next = self.book.done(self.clock.now().mono, id, result);
                        self.spawn(next);
                    }
                    Err(e) => log::error!("a fetch failed: {e}"),
                },
                () = publish => self.publish(),
            }
            if self.due.is_none() && self.book.take_changed() {
                self.due = Some(tokio::time::Instant::now() + GATHER);
            }
        }
    }

    fn purge(&mut self, purges: &[Purge], tell: &channel::Sender<usize>) {
        let gone = purges.iter().map(|purge| self.book.purge(purge)).sum();
        self.publish();
        // Who has asked may have gone.
        let _ = tell.send(gone);
    }

    fn publish(&mut self) {
        self.due = None;
        self.book.take_changed();
        self.publish.publish(self.book.overlay());
    }

    fn spawn(&mut self, fetches: impl IntoIterator<Item = Fetch>) {
        for fetch in fetches {
            let fetcher = self.fetcher.clone();
            self.fetches
                .spawn(async move { (fetch.id, fetcher.fetch(&fetch).await) });
        }
    }
}
