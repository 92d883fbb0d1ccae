//! Listeners as servers of all kinds make them.

use crate::net::Host;
use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen, setsockopt, sockopt};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A way of listening.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Connections in the accept queue, less one.
    pub backlog: i32,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// IPV6_V6ONLY; of no meaning for IPv4.
    pub v6_only: bool,
    /// By MPTCP.
    pub mptcp: bool,
}

/// As most servers do.
pub const PLAINLY: How = How {
    backlog: 64,
    reuse_address: true,
    reuse_port: false,
    v6_only: false,
    mptcp: false,
};

/// Listens at `at` of `host` as `how` says.
///
/// # Panics
/// When the address cannot be had so.
pub fn listen_as(host: &Host, at: SocketAddr, how: How) -> TcpListener {
    host.enter(|| {
        let family = if at.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let protocol = if how.mptcp { libc::IPPROTO_MPTCP } else { 0 };
        // SAFETY: a system call on plain values.
        let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol) };
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        // SAFETY: just made, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let set = || -> nix::Result<()> {
            setsockopt(&fd, sockopt::ReuseAddr, &how.reuse_address)?;
            setsockopt(&fd, sockopt::ReusePort, &how.reuse_port)?;
            if at.is_ipv6() {
                setsockopt(&fd, sockopt::Ipv6V6Only, &how.v6_only)?;
            }
            bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
            listen(&fd, Backlog::new(how.backlog)?)
        };
        set().unwrap_or_else(|error| panic!("cannot listen on {at}: {error}"));
        fd.into()
    })
}
