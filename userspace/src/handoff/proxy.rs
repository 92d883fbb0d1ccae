//! The way that always works: the kernel gets a socket that belongs to the daemon, and threads of the daemon carry the
//! bytes between it and the user's server. The server sees a client on its own host, and the connection ends with the
//! daemon. Where it is asked for, the first bytes tell the server who the client is.
//!
//! For kernels without `bpf_sk_assign_tcp_reqsk`, with SYN cookies off, listeners of MPTCP, and whoever asks for it.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, SockaddrStorage, connect, send, setsockopt, sockopt};
use sidestep_config::ProxyProtocol;
use tcp_lite::{Endpoint, Flow};

use super::diag::{Diag, Match};
use super::splice::{Books, Entrance, Splicer};
use super::{Handoff, Standing, Ticket, announce, repair};

/// Silence after which a client is asked whether it is there, seconds; nine questions of the kernel's without an answer,
/// eleven minutes by default, end its connection. Less wakes sleeping clients; more holds on to the dead for longer.
const KEEP_IDLE: u32 = 60;

/// Kernel buffers of each direction of a connection to the server, bytes; the kernel doubles it for its own overhead. A
/// loopback device is filled with less; with the megabytes that the kernel would grow them to, every slow client would
/// hold so much more of an answer than it does without a proxy.
const SERVER_BUFFER: usize = 256 << 10;

/// The proxy's threads. Dropping it ends all its connections: in order those between two exchanges, by a reset the others.
#[derive(Debug)]
pub struct Proxy {
    /// As many as workers, so that the proxy has as many cores as the fast path.
    splicers: Vec<Splicer>,
    /// Handles given out, which take the threads in turn.
    handles: AtomicUsize,
    books: Arc<Books>,
    nic_ifindex: u32,
}

impl Proxy {
    /// Starts so many threads, for connections that come through the NIC with index `nic_ifindex`.
    ///
    /// # Errors
    /// No descriptors or no thread to be had, or the kernel makes no sockets from numbers (TCP_REPAIR).
    pub fn start(nic_ifindex: u32, threads: u32) -> io::Result<Self> {
        // Two descriptors a connection: the soft limit, 1,024 by default, is for programs that use select(2).
        if let Err(error) = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        {
            log::debug!("RLIMIT_NOFILE: {error}");
        }
        // Better said at the start than with each connection.
        repair::check()?;
        let books = Arc::new(Books::default());
        let splicers = (0..threads).map(|_| Splicer::start(books.clone()));
        Ok(Self {
            splicers: splicers.collect::<io::Result<_>>()?,
            handles: AtomicUsize::new(0),
            books,
            nic_ifindex,
        })
    }

    /// What becomes of connections, for any thread.
    pub fn books(&self) -> Arc<Books> {
        self.books.clone()
    }

    /// Begins to end all connections, those of workers that still run included: each in order, between two exchanges. A
    /// client is told with its next answer that it is the last.
    pub fn drain(&self) {
        self.splicers.iter().for_each(Splicer::drain);
    }

    /// Closes those at once that are between two exchanges.
    pub fn close(&self) {
        self.splicers.iter().for_each(Splicer::close);
    }

    /// Waits until there is no connection, at most until `deadline`.
    pub fn await_end(&self, deadline: Instant) {
        self.books.await_end(deadline);
    }

    /// A handle for a worker, which makes its sockets in the network namespace of the thread that uses it, and tells the
    /// server who the client is as `protocol` says.
    ///
    /// # Errors
    /// The kernel cannot be asked about its sockets, or there is no thread.
    pub fn handle(&self, protocol: ProxyProtocol) -> io::Result<ProxyHandoff> {
        let turn = self.handles.fetch_add(1, Ordering::Relaxed);
        let splicer = self.splicers.get(turn % self.splicers.len().max(1));
        let splicer = splicer.ok_or(io::ErrorKind::NotFound)?;
        Ok(ProxyHandoff {
            entrance: splicer.entrance(),
            diag: Diag::open(self.nic_ifindex)?,
            nic_ifindex: self.nic_ifindex,
            protocol,
            under_way: HashMap::new(),
        })
    }
}

/// One worker's access to a [`Proxy`].
#[derive(Debug)]
pub struct ProxyHandoff {
    entrance: Entrance,
    diag: Diag,
    nic_ifindex: u32,
    protocol: ProxyProtocol,
    under_way: HashMap<Flow, UnderWay>,
}

/// How far an offer is.
#[derive(Debug)]
enum UnderWay {
    /// The server has not let it in yet.
    Connecting { server: TcpStream, ticket: Ticket },
    /// The pair is the thread's.
    Joined,
}

impl Handoff for ProxyHandoff {
    /// Connects to the server first: until it has let us in, the client's connection can come back and be told.
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        match self.standing(&ticket.flow) {
            // An attempt without an answer is given up: the kernel would repeat it only after a second.
            Standing::Pending | Standing::Waits => {}
            standing => return Ok(standing),
        }
        let connecting = UnderWay::Connecting {
            server: self.connect(&ticket.flow.local)?,
            ticket: *ticket,
        };
        self.under_way.insert(ticket.flow, connecting);
        // Over the loopback device it is mostly through by now.
        Ok(self.standing(&ticket.flow))
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        match self.under_way.get(flow) {
            None => Standing::Pending,
            Some(UnderWay::Joined) => Standing::Ready,
            Some(UnderWay::Connecting { server, .. }) => match reached(server) {
                Ok(false) => Standing::Waits,
                Ok(true) => self.join(flow).unwrap_or_else(refused),
                Err(error) => refused(error),
            },
        }
    }

    fn forget(&mut self, flow: &Flow) {
        self.under_way.remove(flow);
    }

    fn outlives_us(&self, _: &Endpoint) -> bool {
        false
    }

    fn listens(&mut self, local: &Endpoint) -> bool {
        match self.diag.listener(local) {
            Ok(found) => matches!(found, Match::Listener { .. }),
            Err(error) => {
                log::debug!("listeners: {error}");
                true
            }
        }
    }
}

impl ProxyHandoff {
    /// A connection from this host to the user's server, where the client wanted to go.
    fn connect(&self, to: &Endpoint) -> io::Result<TcpStream> {
        let to = repair::address(to, self.nic_ifindex);
        let fd = repair::open(&to)?;
        setsockopt(&fd, sockopt::RcvBuf, &SERVER_BUFFER)?;
        setsockopt(&fd, sockopt::SndBuf, &SERVER_BUFFER)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the client's connection out of userspace's TCP, and gives it and the server's to the thread.
    fn join(&mut self, flow: &Flow) -> io::Result<Standing> {
        let Some(UnderWay::Connecting { server, ticket }) = self.under_way.remove(flow) else {
            return Ok(Standing::Pending);
        };
        match self.protocol {
            ProxyProtocol::Off => {}
            ProxyProtocol::V2 => introduce(&server, flow)?,
        }
        let client = repair::adopt(&ticket, self.nic_ifindex)?;
        for side in [&client, &server] {
            // What comes was put together by the one who sent it.
            setsockopt(side, sockopt::TcpNoDelay, &true)?;
        }
        // A client that has vanished would keep two sockets for ever once the server has closed.
        setsockopt(&client, sockopt::KeepAlive, &true)?;
        setsockopt(&client, sockopt::TcpKeepIdle, &KEEP_IDLE)?;
        self.entrance.join([client, server]);
        self.under_way.insert(*flow, UnderWay::Joined);
        Ok(Standing::Ready)
    }
}

/// Says to the server who the client is, in one segment with the request that follows.
fn introduce(server: &TcpStream, flow: &Flow) -> io::Result<()> {
    let header = announce::header(flow);
    let flags = MsgFlags::from_bits_retain(libc::MSG_MORE) | MsgFlags::MSG_NOSIGNAL;
    // A connection that has carried nothing has room for this.
    match send(server.as_raw_fd(), &header, flags)? {
        sent if sent == header.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Whether the server has let the connection in; an error if it never will.
fn reached(server: &TcpStream) -> io::Result<bool> {
    if let Some(error) = server.take_error()? {
        return Err(error);
    }
    match (server.peer_addr(), server.local_addr()?) {
        // From a port that the kernel chooses to that very port, where nobody listens, a connection reaches itself
        // (RFC 9293, 3.5: simultaneous open): the client would be sent back what it said.
        (Ok(peer), local) if peer == local => Err(io::ErrorKind::ConnectionRefused.into()),
        (Ok(_), _) => Ok(true),
        (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        (Err(error), _) => Err(error),
    }
}

fn refused(error: io::Error) -> Standing {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Standing::NoListener,
        _ => {
            log::debug!("proxied connection: {error}");
            Standing::Refused(error.raw_os_error().unwrap_or(libc::EIO))
        }
    }
}

#[cfg(test)]
mod tests;
