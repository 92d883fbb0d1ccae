//! How a worker sleeps: until a frame, a wake-up or a deadline.

use crate::sys;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::{TimeSpec, TimeValLike};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// See the module's documentation.
#[derive(Debug)]
pub(super) enum Sleep {
    /// In poll(2); the NIC's interrupts come as they do.
    Poll,
    /// In epoll_wait(2), which polls the queue before it sleeps and keeps interrupts away while it finds something.
    Epoll(Epoll),
}

/// What has ended a sleep. Neither: a frame, or time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Woken {
    /// The waker is readable.
    pub by_waker: bool,
    /// The socket has lost its queue.
    pub gone: bool,
}

const SOCKET: u64 = 0;
const WAKER: u64 = 1;

impl Sleep {
    /// In epoll_wait(2), on `socket` and `waker`, which polls the queue for `poll` and `budget` frames at most each time.
    ///
    /// # Errors
    /// Those of epoll_ctl(2); ENOTTY before Linux 6.9, which has no busy polling of its own for each epoll.
    pub fn with_interrupts_suspended(
        socket: BorrowedFd<'_>,
        waker: BorrowedFd<'_>,
        poll: Duration,
        budget: u16,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?;
        epoll.add(waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        sys::set_busy_epoll(&epoll.0, poll, budget)?;
        Ok(Self::Epoll(epoll))
    }

    /// Sleeps for `timeout` at most; zero: only asks.
    ///
    /// # Errors
    /// Those of ppoll(2) or epoll_wait(2).
    pub fn wait(
        &self,
        socket: BorrowedFd<'_>,
        waker: BorrowedFd<'_>,
        timeout: Duration,
    ) -> io::Result<Woken> {
        let done = match self {
            Self::Poll => poll(socket, waker, timeout),
            Self::Epoll(epoll) => epoll_wait(epoll, timeout),
        };
        match done {
            // A signal, which is another thread's to handle.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Woken::default()),
            other => other,
        }
    }
}

fn poll(socket: BorrowedFd<'_>, waker: BorrowedFd<'_>, timeout: Duration) -> io::Result<Woken> {
    let mut fds = [socket, waker].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = TimeSpec::microseconds(timeout.as_micros() as i64);
    ppoll(&mut fds, Some(timeout), None)?;
    let gone = PollFlags::POLLHUP | PollFlags::POLLNVAL;
    Ok(Woken {
        by_waker: fds[1].any().unwrap_or(false),
        gone: fds[0].revents().is_some_and(|r| r.intersects(gone)),
    })
}

fn epoll_wait(epoll: &Epoll, timeout: Duration) -> io::Result<Woken> {
    let mut events = [EpollEvent::empty(); 2];
    let count = sys::epoll_wait(&epoll.0, &mut events, timeout)?;
    let mut woken = Woken::default();
    for event in &events[..count] {
        match event.data() {
            WAKER => woken.by_waker = true,
            _ => woken.gone = event.events().contains(EpollFlags::EPOLLHUP),
        }
    }
    Ok(woken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::os::fd::AsFd;

    #[test]
    fn both_ways_of_sleeping_tell_what_woke_them() {
        let fd = || EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).unwrap();
        // An eventfd in the socket's place: readable when a frame would be there.
        let (socket, waker) = (fd(), fd());
        let poll = Duration::from_micros(50);
        let epoll = Sleep::with_interrupts_suspended(socket.as_fd(), waker.as_fd(), poll, 64);
        for sleep in [Sleep::Poll, epoll.expect("Linux 6.9 or newer")] {
            let wait = |timeout| {
                let woken = sleep.wait(socket.as_fd(), waker.as_fd(), timeout);
                woken.unwrap().by_waker
            };
            assert!(!wait(Duration::ZERO));
            assert!(!wait(Duration::from_micros(300)));
            // Without a frame these would last.
            let long = Duration::from_secs(3600);
            socket.write(1).unwrap();
            assert!(!wait(long));
            waker.write(1).unwrap();
            assert!(wait(long));
            socket.read().unwrap();
            assert!(wait(long));
            waker.read().unwrap();
            assert!(!wait(Duration::ZERO));
        }
    }
}
