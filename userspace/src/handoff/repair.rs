//! A kernel socket made from numbers (`TCP_REPAIR`): as if the kernel had served the connection from the start.
//!
//! Made for moving containers (net/ipv4/tcp.c, `do_tcp_setsockopt`), and in every kernel with CONFIG_CHECKPOINT_RESTORE.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use tcp_lite::Endpoint;

use super::Ticket;
use crate::sys::set_option;

// <linux/tcp.h>; libc lacks most.
const TCP_REPAIR: libc::c_int = 19;
const TCP_REPAIR_QUEUE: libc::c_int = 20;
const TCP_QUEUE_SEQ: libc::c_int = 21;
const TCP_REPAIR_OPTIONS: libc::c_int = 22;
const TCP_TIMESTAMP: libc::c_int = 24;
const TCP_REPAIR_WINDOW: libc::c_int = 29;
const RECV_QUEUE: libc::c_int = 1;
const SEND_QUEUE: libc::c_int = 2;
const REPAIR_ON: libc::c_int = 1;
/// Off, without probing the peer's window: the client's next segment tells it.
const REPAIR_OFF_NO_WINDOW_PROBE: libc::c_int = -1;

/// What the client may send before it hears from the kernel: as much as userspace advertises at most. More would tell
/// the kernel of a promise that nobody made; less would make it drop what the client was allowed to send.
const RECEIVE_WINDOW: u32 = 65_535;

/// An address of `endpoint` for the kernel; a link-local one needs the NIC.
pub(super) fn address(endpoint: &Endpoint, nic_ifindex: u32) -> SocketAddr {
    match IpAddr::from(endpoint.addr) {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, endpoint.port, 0, nic_ifindex).into()
        }
        ip => (ip, endpoint.port).into(),
    }
}

/// A socket for a new connection to or from `address`, non-blocking.
pub(super) fn open(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

/// Can this kernel do it, and may we?
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN, and on a kernel without CONFIG_CHECKPOINT_RESTORE.
pub(super) fn check() -> io::Result<()> {
    let fd = open(&SocketAddr::from(([127, 0, 0, 1], 0)))?;
    set_option(fd.as_fd(), libc::IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
}

/// Makes the kernel's socket for a connection that userspace has served. What the client sends from now on is its.
///
/// # Errors
/// Those of the system calls: `EPERM` without CAP_NET_ADMIN, `EADDRNOTAVAIL` if the address is not this host's.
pub(super) fn adopt(ticket: &Ticket, nic_ifindex: u32) -> io::Result<TcpStream> {
    let local = address(&ticket.flow.local, nic_ifindex);
    let remote = address(&ticket.flow.remote, nic_ifindex);
    let fd = open(&local)?;
    let set = |name, value| set_option(fd.as_fd(), libc::IPPROTO_TCP, name, value);
    set(TCP_REPAIR, REPAIR_ON)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    // Without this the kernel would send the smallest segments until it learns better.
    set(libc::TCP_MAXSEG, ticket.mss.into())?;
    for (queue, seq) in [(SEND_QUEUE, ticket.ack), (RECV_QUEUE, ticket.seq)] {
        set(TCP_REPAIR_QUEUE, queue)?;
        set(TCP_QUEUE_SEQ, seq.cast_signed())?;
    }
    // Sends nothing and is done at once, while the socket is under repair.
    connect(fd.as_raw_fd(), &SockaddrStorage::from(remote))?;
    set_words(fd.as_fd(), TCP_REPAIR_OPTIONS, &options(ticket))?;
    if let Some((_, ours)) = ticket.timestamps {
        // The lowest bit chooses the unit, 0 for milliseconds. Rounded up, as our clock may not go back.
        set(TCP_TIMESTAMP, (ours.wrapping_add(1) & !1).cast_signed())?;
    }
    let mss = u32::from(ticket.mss);
    let window = [
        // The next segment's window counts, whatever it is.
        ticket.seq.wrapping_sub(1),
        mss,
        mss,
        RECEIVE_WINDOW,
        ticket.seq,
    ];
    set_words(fd.as_fd(), TCP_REPAIR_WINDOW, &window)?;
    set(TCP_REPAIR, REPAIR_OFF_NO_WINDOW_PROBE)?;
    // Under repair the port was taken by force. Left so, the server could not bind to it again, whichever of the two
    // ways it has to share a port with connections of its former life.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    Ok(fd.into())
}

/// Pairs of `struct tcp_repair_opt`: an option's kind and its value.
fn options(ticket: &Ticket) -> Vec<u32> {
    const MSS: u32 = 2;
    const WINDOW: u32 = 3;
    const SACK_PERMITTED: u32 = 4;
    const TIMESTAMPS: u32 = 8;
    let mut words = vec![MSS, ticket.mss.into()];
    if let Some(snd) = ticket.snd_wscale {
        words.extend([WINDOW, u32::from(snd) | u32::from(ticket.rcv_wscale) << 16]);
    }
    if ticket.sack {
        words.extend([SACK_PERMITTED, 0]);
    }
    if ticket.timestamps.is_some() {
        words.extend([TIMESTAMPS, 0]);
    }
    words
}

fn set_words(fd: BorrowedFd<'_>, name: libc::c_int, words: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer is to live numbers of the length given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            name,
            words.as_ptr().cast(),
            size_of_val(words) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
