//! `BPF_LINK_CREATE` for XDP, without the fallback to netlink that libraries have: a program attached by netlink would
//! outlive the process.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{SteerError, occupant};

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

/// The members of `union bpf_attr` that `BPF_LINK_CREATE` reads for XDP (linux/bpf.h).
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The same for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// A program's place on a NIC, as long as this value or its process lives.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Drop for Link {
    /// Closing the descriptor would detach too, but only when the last copy is closed: a child that was just forked
    /// and has not called exec yet has one.
    fn drop(&mut self) {
        let attr = LinkDetach {
            link_fd: self.0.as_raw_fd().cast_unsigned(),
        };
        // SAFETY: `LinkDetach` is what this command reads.
        if let Err(error) = unsafe { bpf(BPF_LINK_DETACH, &attr) } {
            log::warn!(
                "the XDP program stays until the last descriptor of its link is closed: {error}"
            );
        }
    }
}

/// The system call. The kernel takes what is missing behind `attr` as zero.
///
/// # Safety
/// `A` is laid out like the members of `union bpf_attr` that `command` reads.
unsafe fn bpf<A>(command: libc::c_long, attr: &A) -> io::Result<RawFd> {
    // SAFETY: `attr` outlives the call and the size is its own; the caller vouches for its meaning.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<A>()) };
    match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attaches `program` to the NIC `ifname`.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    ifname: &str,
    mode: AttachMode,
) -> Result<Link, SteerError> {
    let target_ifindex = index_of(ifname).ok_or_else(|| no_interface(ifname))?;
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex,
        attach_type: BPF_XDP,
        flags: match mode {
            AttachMode::Native => XDP_FLAGS_DRV_MODE,
            AttachMode::Generic => XDP_FLAGS_SKB_MODE,
        },
    };
    // SAFETY: `LinkCreate` is what this command reads.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &attr) }
        .map_err(|error| explain(error, ifname, target_ifindex, mode))?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Ok(Link(unsafe { OwnedFd::from_raw_fd(fd) }))
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
            occupant: occupant::find(ifindex),
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
