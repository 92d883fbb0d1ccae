//! What becomes of a connection to the server, over the loopback device.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockaddrStorage, bind, connect, listen};

use super::{reached, refused};
use crate::handoff::{Standing, repair};

/// A connection to `to`, begun, from `from` if that is said.
fn begun(to: SocketAddr, from: Option<SocketAddr>) -> TcpStream {
    let fd = repair::open(&to).expect("a socket");
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).expect("bound");
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => fd.into(),
        Err(error) => panic!("{error}"),
    }
}

/// What becomes of it, once that is known.
fn outcome(stream: &TcpStream) -> Result<(), ErrorKind> {
    loop {
        match reached(stream) {
            Ok(true) => return Ok(()),
            Ok(false) => std::thread::yield_now(),
            Err(error) => return Err(error.kind()),
        }
    }
}

/// An address of the loopback device that nobody uses.
fn free(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("bound");
    listener.local_addr().expect("bound")
}

#[test]
fn a_listener_is_reached_and_nobody_is_told_apart() {
    for ip in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind((ip, 0)).expect("bound");
        let at = listener.local_addr().expect("bound");
        assert_eq!(outcome(&begun(at, None)), Ok(()));
        let nobody = outcome(&begun(free(ip), None));
        assert_eq!(nobody, Err(ErrorKind::ConnectionRefused));
    }
    let error = ErrorKind::ConnectionRefused.into();
    assert_eq!(refused(error), Standing::NoListener);
    let error = std::io::Error::from_raw_os_error(libc::EACCES);
    assert_eq!(refused(error), Standing::Refused(libc::EACCES));
}

#[test]
fn a_connection_that_reaches_itself_has_reached_nobody() {
    for ip in ["127.0.0.1", "::1"] {
        let at = free(ip);
        let nobody = outcome(&begun(at, Some(at)));
        assert_eq!(nobody, Err(ErrorKind::ConnectionRefused));
    }
}

#[test]
fn a_full_accept_queue_is_waited_for() {
    let at = free("127.0.0.1");
    let fd = repair::open(&at).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at)).expect("bound");
    // Room for one more than the backlog.
    listen(&fd, Backlog::new(0).expect("a backlog")).expect("listening");
    let listener = TcpListener::from(fd);
    let first = begun(at, None);
    assert_eq!(outcome(&first), Ok(()));
    let second = begun(at, None);
    for _ in 0..100 {
        assert!(!reached(&second).expect("nothing yet"));
        std::thread::yield_now();
    }
    listener.accept().expect("the first");
    // What is dropped is repeated only after a second: another attempt gets in at once.
    assert_eq!(outcome(&begun(at, None)), Ok(()));
}
