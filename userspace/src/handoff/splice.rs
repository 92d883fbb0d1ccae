//! A thread that looks after pairs of sockets, and ends them in order when the daemon ends.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::pair::{Pair, Turn};
use crate::reason::ProxyEnd;

/// Bytes read at once, and the most that one direction of a pair holds back for a slow reader. Smaller means more
/// system calls per byte, larger means more memory for slow readers; where all is taken at once nothing is held.
const BUFFER: usize = 16 << 10;

/// The number of the event that says that pairs have come, or an order.
const NEWS: u64 = u64::MAX;

/// How often the time is looked at while something waits for it.
const TICK: Duration = Duration::from_millis(50);

/// During a drain, a connection that has carried nothing for so many ticks, half a second, is idle, and closed. Earlier,
/// and the end meets the next request of a busy client, which then has no answer; a client that makes it within this
/// time is told with its answer. Later, and whoever ends the daemon waits for nothing.
const QUIET_TICKS: u32 = 10;

/// How long the client's end is waited for once all is said. A round trip is enough for the client to have read it; much
/// longer, and those that do not care hold on to memory, and to a daemon that ends.
const LINGER: Duration = Duration::from_secs(1);

/// How often whoever ends the daemon looks whether the last connection has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What the thread is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
enum Order {
    Run,
    /// End connections in order where they are idle, or their next answer is given.
    Drain,
    /// The same, at once where they are idle.
    Close,
    /// End.
    Stop,
}

impl Order {
    fn decode(order: u8) -> Self {
        match order {
            0 => Self::Run,
            1 => Self::Drain,
            2 => Self::Close,
            _ => Self::Stop,
        }
    }
}

/// What the threads tell, from anywhere.
#[derive(Debug, Default)]
pub struct Books {
    open: AtomicU64,
    ends: [AtomicU64; ProxyEnd::ALL.len()],
}

impl Books {
    /// Pairs that have not ended.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many have ended in which way, by label.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |end: ProxyEnd| self.ends[end as usize].load(Ordering::Relaxed);
        ProxyEnd::ALL
            .into_iter()
            .map(move |end| (end.label(), count(end)))
    }

    /// Waits until there is no pair, at most until `deadline`.
    pub(super) fn await_end(&self, deadline: Instant) {
        while self.open() > 0 && now() < deadline {
            thread::park_timeout(LOOK);
        }
    }

    fn ended(&self, end: ProxyEnd) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.ends[end as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread. Dropping it ends it: what is idle is closed in order, the rest is reset.
#[derive(Debug)]
pub(super) struct Splicer {
    entrance: Entrance,
    order: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

/// Takes pairs, on any thread: the client's socket and the one to the server.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    pairs: Sender<[TcpStream; 2]>,
    news: Arc<EventFd>,
    books: Arc<Books>,
}

impl Entrance {
    /// Connects two non-blocking sockets until both directions have ended. Where the thread has ended both are closed.
    pub(super) fn join(&self, pair: [TcpStream; 2]) {
        self.books.open.fetch_add(1, Ordering::Relaxed);
        match self.pairs.send(pair) {
            Ok(()) => wake(&self.news),
            Err(_) => self.books.ended(ProxyEnd::Cut),
        }
    }
}

fn wake(news: &EventFd) {
    // It fails when the thread has been told often enough and has not come round yet.
    let _ = news.write(1);
}

impl Splicer {
    /// Starts the thread, which counts in `books`.
    ///
    /// # Errors
    /// No descriptors or no thread to be had.
    pub(super) fn start(books: Arc<Books>) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let news = Arc::new(EventFd::from_flags(flags)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*news, EpollEvent::new(EpollFlags::EPOLLIN, NEWS))?;
        let (pairs, arriving) = unbounded();
        let order = Arc::new(AtomicU8::new(Order::Run as u8));
        let mut table = Table {
            epoll,
            news: news.clone(),
            order: order.clone(),
            arriving,
            pairs: HashMap::new(),
            busy: VecDeque::new(),
            lingering: VecDeque::new(),
            next: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            books: books.clone(),
        };
        let thread = thread::Builder::new().name("proxy".into()).spawn(move || {
            if let Err(error) = table.run() {
                log::error!("the proxy has ended: {error}");
            }
        })?;
        Ok(Self {
            entrance: Entrance { pairs, news, books },
            order,
            thread: Some(thread),
        })
    }

    /// The way in.
    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Ends connections in order, as they come to a place for it, those that are brought later as well.
    pub(super) fn drain(&self) {
        self.tell(Order::Drain);
    }

    /// The same, and idle connections at once.
    pub(super) fn close(&self) {
        self.tell(Order::Close);
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        wake(&self.entrance.news);
    }
}

impl Drop for Splicer {
    fn drop(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Table {
    epoll: Epoll,
    news: Arc<EventFd>,
    order: Arc<AtomicU8>,
    arriving: Receiver<[TcpStream; 2]>,
    pairs: HashMap<u64, Entry>,
    /// Pairs that had more to do than one turn takes: no event will come for them.
    busy: VecDeque<u64>,
    /// Those of which only the client's end is waited for, and until when, the first first.
    lingering: VecDeque<(Instant, u64)>,
    next: u64,
    /// What is being carried.
    buffer: Box<[u8]>,
    books: Arc<Books>,
}

struct Entry {
    pair: Pair,
    /// It is in `busy`.
    busy: bool,
    /// Ticks of a drain in which nothing was carried.
    quiet: u32,
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks after sockets, not packets"
)]
fn now() -> Instant {
    Instant::now()
}

impl Table {
    fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut tick = now();
        loop {
            let order = self.order();
            if order == Order::Stop {
                return Ok(());
            }
            let timed = order >= Order::Drain || !self.lingering.is_empty();
            let timeout = match (self.busy.is_empty(), timed) {
                (false, _) => EpollTimeout::ZERO,
                (true, true) => TICK.as_millis().try_into().unwrap_or(EpollTimeout::ZERO),
                (true, false) => EpollTimeout::NONE,
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                match event.data() {
                    NEWS => self.take_news(),
                    id => self.turn(id),
                }
            }
            for _ in 0..self.busy.len() {
                let Some(id) = self.busy.pop_front() else {
                    break;
                };
                if let Some(entry) = self.pairs.get_mut(&id) {
                    entry.busy = false;
                }
                self.turn(id);
            }
            if timed && now().duration_since(tick) >= TICK {
                tick = now();
                self.tick(tick);
            }
        }
    }

    fn order(&self) -> Order {
        Order::decode(self.order.load(Ordering::Acquire))
    }

    fn take_news(&mut self) {
        // Nothing to read: another event's turn has taken it.
        let _ = self.news.read();
        while let Ok([client, server]) = self.arriving.try_recv() {
            self.add(Pair::new(client, server));
        }
    }

    fn add(&mut self, pair: Pair) {
        let id = self.next;
        self.next += 1;
        // One event for each change: every turn goes on until nothing is left to do.
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let watch = |socket: &TcpStream| self.epoll.add(socket, EpollEvent::new(flags, id));
        if let Err(error) = pair.sockets().into_iter().try_for_each(watch) {
            log::warn!("a connection is reset that the proxy cannot watch: {error}");
            self.books.ended(ProxyEnd::Unwatched);
            return;
        }
        let entry = Entry {
            pair,
            busy: false,
            quiet: 0,
        };
        self.pairs.insert(id, entry);
        self.turn(id);
    }

    fn turn(&mut self, id: u64) {
        let last = self.order() >= Order::Drain;
        let Some(entry) = self.pairs.get_mut(&id) else {
            return;
        };
        match entry.pair.turn(&mut self.buffer, last) {
            Turn::Waits => {}
            Turn::Busy if entry.busy => {}
            Turn::Busy => {
                entry.busy = true;
                self.busy.push_back(id);
            }
            Turn::Lingers => {
                self.lingering.push_back((now() + LINGER, id));
                // Its end may have come before.
                self.turn(id);
            }
            Turn::Ended(end) => self.remove(id, end),
        }
    }

    fn remove(&mut self, id: u64, end: ProxyEnd) {
        if self.pairs.remove(&id).is_some() {
            self.books.ended(end);
        }
    }

    fn tick(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.lingering.front()
            && until <= now
        {
            self.lingering.pop_front();
            if let Some(end) = self.pairs.get(&id).and_then(|entry| entry.pair.give_up()) {
                self.remove(id, end);
            }
        }
        let order = self.order();
        if order < Order::Drain {
            return;
        }
        let mut idle = Vec::new();
        for (&id, entry) in &mut self.pairs {
            match entry.pair.has_moved() {
                true => entry.quiet = 0,
                false => entry.quiet += 1,
            }
            let due = entry.quiet >= QUIET_TICKS || order >= Order::Close;
            if due && entry.pair.is_idle() {
                entry.pair.end(ProxyEnd::Drained);
                idle.push(id);
            }
        }
        for id in idle {
            self.lingering.push_back((now + LINGER, id));
            self.turn(id);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for (_, entry) in self.pairs.drain() {
            let end = entry.pair.give_up().unwrap_or(ProxyEnd::Cut);
            self.books.ended(end);
        }
        while let Ok([client, server]) = self.arriving.try_recv() {
            drop(Pair::new(client, server));
            self.books.ended(ProxyEnd::Cut);
        }
    }
}

#[cfg(test)]
mod tests;
