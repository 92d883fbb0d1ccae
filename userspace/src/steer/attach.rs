//! Attaching the XDP program, and what the kernel's answers mean.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use super::{Occupant, SteerError};
use crate::bpf_link::Link;

/// Where on the receive path the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the driver, before there is an `sk_buff`.
    Native,
    /// Behind the driver, on every NIC; slower.
    Generic,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Attaches `program` to the NIC `ifname`.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    ifname: &str,
    mode: AttachMode,
) -> Result<Link, SteerError> {
    let target_ifindex = index_of(ifname).ok_or_else(|| no_interface(ifname))?;
    let flags = match mode {
        AttachMode::Native => XDP_FLAGS_DRV_MODE,
        AttachMode::Generic => XDP_FLAGS_SKB_MODE,
    };
    Link::create(program, target_ifindex, BPF_XDP, flags)
        .map_err(|error| explain(error, ifname, target_ifindex, mode))
}

fn explain(error: io::Error, ifname: &str, ifindex: u32, mode: AttachMode) -> SteerError {
    let name = || ifname.to_owned();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => SteerError::NoPermission {
            what: "attach an XDP program",
        },
        Some(libc::ENODEV) => no_interface(ifname),
        // EEXIST: there is one in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => SteerError::Busy {
            ifname: name(),
            occupant: Occupant::of(ifindex),
        },
        Some(libc::ERANGE) => SteerError::Mtu { ifname: name() },
        Some(libc::EOPNOTSUPP) => SteerError::Unsupported {
            ifname: name(),
            mode,
        },
        _ => SteerError::Refused {
            ifname: name(),
            mode,
            error,
        },
    }
}

fn no_interface(ifname: &str) -> SteerError {
    SteerError::NoInterface {
        ifname: ifname.to_owned(),
    }
}

/// The index of a NIC in the calling thread's network namespace.
fn index_of(ifname: &str) -> Option<u32> {
    let name = CString::new(ifname).ok()?;
    // SAFETY: a terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}
