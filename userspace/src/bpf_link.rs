//! `BPF_LINK_CREATE`, without the fallback to netlink that libraries have: a program attached by netlink would outlive
//! the process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The members of `union bpf_attr` that `BPF_LINK_CREATE` reads for programs on a NIC (linux/bpf.h).
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

/// A program's place on a NIC, as long as this value or its process lives.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    /// Attaches `program` to the NIC with index `ifindex` of the calling thread's network namespace.
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    ) -> io::Result<Self> {
        let attr = LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: ifindex,
            attach_type,
            flags,
        };
        // SAFETY: `LinkCreate` is what this command reads.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &attr) }?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

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
                "a BPF program stays until the last descriptor of its link is closed: {error}"
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
