//! What must be known of a NIC before attaching to it.

use crate::sys;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nametoindex};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use thiserror::Error;

/// A NIC of this network namespace.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: usize,
    /// Receive queues in use.
    pub queues: u32,
    /// It is administratively up.
    pub up: bool,
    /// Its addresses, link-local ones included.
    pub addresses: BTreeSet<IpAddr>,
}

/// Why a NIC cannot be used.
#[derive(Debug, Error)]
pub enum NicError {
    /// There is none of that name here.
    #[error(
        "there is no network interface {name}{}",
        if .others.is_empty() { String::new() } else { format!("\n  help: this network namespace has {}", .others.join(", ")) }
    )]
    Missing {
        /// The name asked for.
        name: String,
        /// Those that exist.
        others: Vec<String>,
    },
    /// The kernel did not say.
    #[error("cannot read the {what} of {name}: {source}")]
    Unreadable {
        /// The NIC.
        name: String,
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Nic {
    /// Reads the facts of `name`.
    ///
    /// # Errors
    /// See [`NicError`].
    pub fn read(name: &str) -> Result<Self, NicError> {
        let missing = || NicError::Missing {
            name: name.to_owned(),
            others: names(),
        };
        let index = if_nametoindex(name).map_err(|_| missing())?;
        // `name` may be an alternative one.
        let first = if_indextoname(index).map_err(|_| missing())?;
        let name = &*first.to_string_lossy();
        let unreadable = |what, source| NicError::Unreadable {
            name: name.to_owned(),
            what,
            source,
        };
        let mtu = sys::mtu(name).map_err(|e| unreadable("MTU", e))?;
        let up = sys::is_up(name).map_err(|e| unreadable("flags", e))?;
        let queues = match sys::channels(name) {
            // Zero channels is how some drivers say that they have just one.
            Ok((queues, _)) => queues.max(1),
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                log::debug!("{name} does not tell its channels: taken to have one queue");
                1
            }
            Err(e) => return Err(unreadable("channels", e)),
        };
        let addresses = getifaddrs()
            .map_err(|e| unreadable("addresses", e.into()))?
            // An address with a label, `eth0:1`, is listed under that.
            .filter(|a| a.interface_name.split(':').next() == Some(name))
            .filter_map(|a| {
                let address = a.address?;
                let v4 = address.as_sockaddr_in().map(|s| IpAddr::V4(s.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|s| IpAddr::V6(s.ip())))
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            index,
            mtu,
            queues,
            up,
            addresses,
        })
    }
}

fn names() -> Vec<String> {
    let all: BTreeSet<String> = getifaddrs()
        .map(|all| all.map(|a| a.interface_name).collect())
        .unwrap_or_default();
    all.into_iter().collect()
}
