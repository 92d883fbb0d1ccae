//! One thread that carries bytes between pairs of sockets, both ways, with half-close and back pressure.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};

/// Bytes read at once, and the most that one direction of one pair holds back for a slow reader. Smaller means more
/// system calls per byte, larger means more memory for slow readers; where all is taken at once nothing is held.
const BUFFER: usize = 16 << 10;

/// Buffers of one direction carried in a row, so that a large transfer lets others have their turn.
const ROUNDS: usize = 16;

/// The number of the event that says that pairs have come, or the end.
const NEWS: u64 = u64::MAX;

/// The thread. Dropping it ends it and resets all pairs.
#[derive(Debug)]
pub(super) struct Splicer {
    entrance: Entrance,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Takes pairs, on any thread.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    pairs: Sender<[TcpStream; 2]>,
    news: Arc<EventFd>,
}

impl Entrance {
    /// Connects two non-blocking sockets, which may be still connecting, until both directions have ended. Where the
    /// thread has ended both are closed.
    pub(super) fn join(&self, pair: [TcpStream; 2]) {
        if self.pairs.send(pair).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        // It fails when the thread has been told often enough and has not come round yet.
        let _ = self.news.write(1);
    }
}

impl Splicer {
    /// Starts the thread.
    ///
    /// # Errors
    /// No descriptors or no thread to be had.
    pub(super) fn start() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let news = Arc::new(EventFd::from_flags(flags)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*news, EpollEvent::new(EpollFlags::EPOLLIN, NEWS))?;
        let (pairs, arriving) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let mut table = Table {
            epoll,
            news: news.clone(),
            stop: stop.clone(),
            arriving,
            pairs: HashMap::new(),
            busy: VecDeque::new(),
            next: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        };
        let thread = thread::Builder::new().name("proxy".into()).spawn(move || {
            if let Err(error) = table.run() {
                log::error!("the proxy has ended: {error}");
            }
        })?;
        Ok(Self {
            entrance: Entrance { pairs, news },
            stop,
            thread: Some(thread),
        })
    }

    /// The way in.
    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }
}

impl Drop for Splicer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.entrance.wake();
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
    stop: Arc<AtomicBool>,
    arriving: Receiver<[TcpStream; 2]>,
    pairs: HashMap<u64, Pair>,
    /// Pairs that had more to do than one turn takes: no event will come for them.
    busy: VecDeque<u64>,
    next: u64,
    /// What is being carried.
    buffer: Box<[u8]>,
}

impl Table {
    fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        while !self.stop.load(Ordering::Acquire) {
            let timeout = match self.busy.is_empty() {
                true => EpollTimeout::NONE,
                false => EpollTimeout::ZERO,
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
                if let Some(id) = self.busy.pop_front() {
                    self.turn(id);
                }
            }
        }
        Ok(())
    }

    fn take_news(&mut self) {
        // Nothing to read: another event's turn has taken it.
        let _ = self.news.read();
        while let Ok(sockets) = self.arriving.try_recv() {
            let id = self.next;
            self.next += 1;
            // One event for each change: every turn goes on until nothing is left to do.
            let flags = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            let watch = |socket: &TcpStream| self.epoll.add(socket, EpollEvent::new(flags, id));
            if let Err(error) = sockets.iter().try_for_each(watch) {
                log::warn!("a connection is reset that the proxy cannot watch: {error}");
                reset(&sockets);
                continue;
            }
            self.pairs.insert(id, Pair::new(sockets));
            self.turn(id);
        }
    }

    fn turn(&mut self, id: u64) {
        let Some(pair) = self.pairs.get_mut(&id) else {
            return;
        };
        match pair.turn(&mut self.buffer) {
            Ok(Turn::Waits) => {}
            Ok(Turn::Busy) if self.busy.contains(&id) => {}
            Ok(Turn::Busy) => self.busy.push_back(id),
            Ok(Turn::Ended) => {
                self.pairs.remove(&id);
            }
            Err(error) => {
                log::debug!("proxied connection: {error}");
                reset(&pair.sockets);
                self.pairs.remove(&id);
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.pairs.values().for_each(|pair| reset(&pair.sockets));
    }
}

/// Lets both peers know, when the sockets are closed next, that it was not a proper end.
fn reset(sockets: &[TcpStream; 2]) {
    let now = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    for socket in sockets {
        if let Err(error) = setsockopt(&socket.as_fd(), sockopt::Linger, &now) {
            log::debug!("SO_LINGER: {error}");
        }
    }
}

enum Turn {
    Waits,
    Busy,
    Ended,
}

struct Pair {
    sockets: [TcpStream; 2],
    /// From the first to the second, and back.
    ways: [Way; 2],
}

impl Pair {
    fn new(sockets: [TcpStream; 2]) -> Self {
        Self {
            sockets,
            ways: [Way::default(), Way::default()],
        }
    }

    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        let [a, b] = &self.sockets;
        let [there, back] = &mut self.ways;
        let busy = there.carry(a, b, buffer)? | back.carry(b, a, buffer)?;
        Ok(match (there.ended && back.ended, busy) {
            (true, _) => Turn::Ended,
            (false, true) => Turn::Busy,
            (false, false) => Turn::Waits,
        })
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, and not taken yet.
    held: Vec<u8>,
    ended: bool,
}

impl Way {
    /// Carries what there is; true if there may be more. An error is one of `source`: what it had to say was said up
    /// to there, and is cut off. A `sink` that takes no more may still have something to say.
    fn carry(
        &mut self,
        mut source: &TcpStream,
        mut sink: &TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            if self.ended {
                return Ok(false);
            }
            if self.held.is_empty() {
                let len = match source.read(buffer) {
                    Ok(0) => {
                        self.ended = true;
                        // If the sink has gone, reading from it says so.
                        let _ = sink.shutdown(Shutdown::Write);
                        return Ok(false);
                    }
                    Ok(len) => len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                match sink.write(&buffer[..len]) {
                    Ok(taken) => self.held.extend_from_slice(&buffer[taken..len]),
                    Err(error) if may_take_more(&error) => {
                        self.held.extend_from_slice(&buffer[..len]);
                    }
                    Err(_) => self.ended = true,
                }
            } else {
                match sink.write(&self.held) {
                    Ok(taken) if taken == self.held.len() => self.held = Vec::new(),
                    Ok(taken) => drop(self.held.drain(..taken)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if may_take_more(&error) => {}
                    Err(_) => self.ended = true,
                }
            }
        }
        Ok(!self.ended)
    }
}

fn may_take_more(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
