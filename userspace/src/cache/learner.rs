//! The thread that learns: workers' words in, fetches out, overlays to publish.

use super::asking::{Fetch, Told};
use super::book::Book;
use super::fetch::Fetcher;
use super::fetches::Fetches;
use crate::store::{Live, Purge};
use crate::worker::Clock;
use crossbeam::channel;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Words of workers that wait to be heard. Each is a request head, some hundred bytes, 60 KiB at most; a worker that
/// finds no room goes on, and the next such request is told of again. More only lets old ones wait.
const WORDS: usize = 1024;

/// How long changes are gathered until they are published together. Each publication makes every worker look, and is
/// kept until the answers made from it are acknowledged; longer, and more requests miss what is learned already.
const GATHER: Duration = Duration::from_millis(5);

/// What others want of the thread.
enum Order {
    /// Answered with how many answers are gone, once no worker uses them any more.
    Purge(Purge, channel::Sender<usize>),
    Resize,
    Stop,
}

/// Has a [`Learner`] forget things.
#[derive(Clone, Debug)]
pub struct Purger(mpsc::UnboundedSender<Order>);

impl Purger {
    /// Forgets what is meant. When this returns, no request that is sent from then on is answered with what was fetched
    /// before. Returns how many answers are gone.
    pub fn purge(&self, purge: &Purge) -> usize {
        let (tell, told) = channel::bounded(1);
        let sent = self.0.send(Order::Purge(purge.clone(), tell));
        // Without a thread there is nothing learned.
        sent.ok().and_then(|()| told.recv().ok()).unwrap_or(0)
    }

    /// The memory for what is learned has changed.
    pub fn resize(&self) {
        // Without a thread there is nothing learned.
        let _ = self.0.send(Order::Resize);
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Learner {
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Learner {
    /// Starts it for what is served from `live`.
    ///
    /// # Errors
    /// There is no thread, or nothing to wait with, to be had.
    pub fn start(live: &Arc<Live>) -> io::Result<Self> {
        let caches = live.current().get().caches().clone();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (words, heard) = mpsc::channel(WORDS);
        caches.tell_to(words);
        let state = State::new(Book::new(caches), live.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("cache".into())
            .spawn(move || {
                runtime.block_on(state.run(heard, ordered));
                // A name that is being looked up is not worth waiting for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// For having things forgotten.
    pub fn purger(&self) -> Purger {
        Purger(self.orders.clone())
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

struct State {
    book: Book,
    live: Arc<Live>,
    fetcher: Fetcher,
    fetches: Fetches,
    clock: Clock,
    /// When changes are to be published.
    due: Option<tokio::time::Instant>,
}

impl State {
    fn new(book: Book, live: Arc<Live>) -> Self {
        Self {
            book,
            live,
            fetcher: Fetcher::default(),
            fetches: Fetches::default(),
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
                Some(told) = heard.recv() => self.told(told),
                order = ordered.recv() => match order {
                    Some(Order::Purge(purge, tell)) => self.purge(&purge, &tell),
                    Some(Order::Resize) => self.book.resize(),
                    Some(Order::Stop) | None => return,
                },
                Some((id, result)) = self.fetches.next() => {
                    let next = self.book.done(self.clock.now().mono, id, result);
                    self.spawn(next);
                }
                () = publish => self.publish(),
            }
            if self.due.is_none() && self.book.take_changed() {
                self.due = Some(tokio::time::Instant::now() + GATHER);
            }
        }
    }

    fn told(&mut self, told: Told) {
        let version = self.book.caches().version();
        if told.caches.version() > version {
            // The configuration has changed: what was learned, and is being fetched, was for another one.
            self.fetches = Fetches::default();
            self.book = Book::new(told.caches.clone());
        } else if told.caches.version() < version {
            return;
        }
        let fetch = self.book.told(self.clock.now().mono, told);
        self.spawn(fetch);
    }

    fn purge(&mut self, purge: &Purge, tell: &channel::Sender<usize>) {
        let gone = self.book.purge(purge);
        self.publish();
        // Who has asked may have gone.
        let _ = tell.send(gone);
    }

    fn publish(&mut self) {
        self.due = None;
        self.book.take_changed();
        let learned = self.book.overlay().clone();
        let version = self.book.caches().version();
        self.live.publish(|snapshot| {
            // A configuration that has just come will have this make a new book.
            if snapshot.caches().version() == version {
                snapshot.set_learned(learned);
            }
        });
    }

    fn spawn(&mut self, fetches: impl IntoIterator<Item = Fetch>) {
        for fetch in fetches {
            let fetcher = self.fetcher.clone();
            self.fetches
                .spawn(fetch.id, async move { fetcher.fetch(&fetch).await });
        }
    }
}
