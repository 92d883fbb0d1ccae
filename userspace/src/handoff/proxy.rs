//! The way that always works: the kernel gets a socket that belongs to the daemon, and a thread of the daemon carries the
//! bytes between it and the user's server. The server sees a client on its own host, and the connection ends with the
//! daemon.
//!
//! For kernels without `bpf_sk_assign_tcp_reqsk`, with SYN cookies off, listeners of MPTCP, and whoever asks for it.

use std::collections::HashSet;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{SockaddrStorage, connect, setsockopt, sockopt};
use tcp_lite::{Endpoint, Flow};

use super::diag::{Diag, Match};
use super::splice::{Entrance, Splicer};
use super::{Handoff, Standing, Ticket, repair};

/// Silence after which a client is asked whether it is there, seconds; nine questions of the kernel's without an answer,
/// eleven minutes by default, end its connection. Less wakes sleeping clients; more holds on to the dead for longer.
const KEEP_IDLE: u32 = 60;

/// The proxy's thread. Dropping it resets all its connections.
#[derive(Debug)]
pub struct Proxy {
    splicer: Splicer,
    nic_ifindex: u32,
}

impl Proxy {
    /// Starts the thread, for connections that come through the NIC with index `nic_ifindex`.
    ///
    /// # Errors
    /// No descriptors or no thread to be had.
    pub fn start(nic_ifindex: u32) -> io::Result<Self> {
        // Two descriptors a connection: the soft limit, 1,024 by default, is for programs that use select(2).
        if let Err(error) = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        {
            log::debug!("RLIMIT_NOFILE: {error}");
        }
        Ok(Self {
            splicer: Splicer::start()?,
            nic_ifindex,
        })
    }

    /// A handle for a worker, which makes its sockets in the network namespace of the thread that uses it.
    ///
    /// # Errors
    /// The kernel cannot be asked about its sockets.
    pub fn handle(&self) -> io::Result<ProxyHandoff> {
        Ok(ProxyHandoff {
            entrance: self.splicer.entrance(),
            diag: Diag::open(self.nic_ifindex)?,
            nic_ifindex: self.nic_ifindex,
            taken: HashSet::new(),
        })
    }
}

/// One worker's access to a [`Proxy`].
#[derive(Debug)]
pub struct ProxyHandoff {
    entrance: Entrance,
    diag: Diag,
    nic_ifindex: u32,
    taken: HashSet<Flow>,
}

impl Handoff for ProxyHandoff {
    /// Makes the kernel's socket at once; the segment that is injected next is the first it gets.
    fn offer(&mut self, ticket: &Ticket) -> io::Result<()> {
        if self.taken.contains(&ticket.flow) {
            return Ok(());
        }
        let server = self.connect(&ticket.flow.local)?;
        let client = repair::adopt(ticket, self.nic_ifindex)?;
        for side in [&client, &server] {
            // What comes was put together by the one who sent it.
            setsockopt(side, sockopt::TcpNoDelay, &true)?;
        }
        // A client that has vanished would keep two sockets for ever once the server has closed.
        setsockopt(&client, sockopt::KeepAlive, &true)?;
        setsockopt(&client, sockopt::TcpKeepIdle, &KEEP_IDLE)?;
        self.entrance.join([client, server]);
        self.taken.insert(ticket.flow);
        Ok(())
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        if self.taken.contains(flow) {
            Standing::Taken
        } else {
            Standing::Pending
        }
    }

    fn forget(&mut self, flow: &Flow) {
        self.taken.remove(flow);
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
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd.into()),
            Err(error) => Err(error.into()),
        }
    }
}
