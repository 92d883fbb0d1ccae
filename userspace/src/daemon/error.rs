//! Why a NIC could not be attached to.

use crate::nic::NicError;
use crate::steer::SteerError;
use crate::store::StoreError;
use crate::xsk::OpenError;
use std::io;
use std::net::IpAddr;
use thiserror::Error;

/// Each variant's text says what to do next.
#[derive(Debug, Error)]
pub enum StartError {
    /// The NIC is missing or unreadable.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// The store could not be built.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The XDP program could not be loaded or attached.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// A queue could not be opened.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// No mode of the ladder works; the text has each rung's reason.
    #[error("no XDP mode works on {interface}:{tried}")]
    NoMode {
        /// The NIC.
        interface: String,
        /// One line for each mode.
        tried: String,
    },
    /// A queue of the configuration that the NIC lacks.
    #[error(
        "{interface} has no queue {queue}: it has {count} (0 to {})\n  help: correct [interface] queues, or add queues with `ethtool -L {interface} rx {} tx {}`",
        .count - 1, .queue + 1, .queue + 1
    )]
    NoSuchQueue {
        /// The NIC.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// Queues that there are.
        count: u32,
    },
    /// `address = "interface"` on a NIC without addresses.
    #[error(
        "{interface} has no address to listen on\n  help: `ip address add … dev {interface}`, or name an address in [[listen]]"
    )]
    NoAddress {
        /// The NIC.
        interface: String,
    },
    /// Two listeners came out the same once "interface" was known.
    #[error(
        "{address} port {port} is listened on twice: by name and by `address = \"interface\"`\n  help: remove one of the two [[listen]]"
    )]
    Overlap {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// Workers that do not end when told to.
    #[error("{0} of the workers hang: their connections are lost")]
    Hangs(usize),
    /// A thread could not be started.
    #[error("cannot start a worker: {0}")]
    Thread(io::Error),
}

impl StartError {
    /// True when the command line or the configuration is to blame (exit code 2), not the machine (1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Nic(NicError::Missing { .. })
            | Self::NoSuchQueue { .. }
            | Self::Queue(OpenError::NoSuchQueue { .. })
            | Self::Overlap { .. }
            | Self::NoAddress { .. }
            | Self::Store(_) => true,
            Self::Nic(NicError::Unreadable { .. })
            | Self::Steer(_)
            | Self::Queue(_)
            | Self::NoMode { .. }
            | Self::Hangs(_)
            | Self::Thread(_) => false,
        }
    }
}
