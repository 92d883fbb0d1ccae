//! Raw Ethernet frames of one device through AF_PACKET.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Frames taken by one [`PacketSocket::receive`].
///
/// Bounds the system calls per frame (1/64) and the buffer memory (64 × [`MAX_FRAME`]); a smaller batch makes the
/// link slower than wrk, a larger one adds latency without being faster.
const BATCH: usize = 64;

/// The largest frame that is received whole: the largest that an XDP-driven veth takes is 3,514 bytes + tags.
pub const MAX_FRAME: usize = 4096;

/// Bytes of frames that the kernel may hold for us in each direction: a few milliseconds of wrk at full speed.
/// Less loses frames in a way that looks like the device's fault; more only costs memory.
const BUFFER: libc::c_int = 16 << 20;

/// Room for one `tpacket_auxdata` control message.
const CONTROL: usize = 64;

/// An AF_PACKET socket that sees every frame which arrives on one device, and none that it sends.
pub struct PacketSocket {
    fd: OwnedFd,
    batch: Vec<[u8; MAX_FRAME]>,
}

impl PacketSocket {
    /// Opens `device` of the calling thread's network namespace.
    ///
    /// # Errors
    /// No such device, or no CAP_NET_RAW.
    pub fn open(device: &str) -> io::Result<Self> {
        let name = CString::new(device)?;
        // SAFETY: plain system call; the result is checked before it becomes an owned descriptor.
        let fd = unsafe {
            let fd = libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: `name` is a NUL-terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::other(format!("no device {device}")));
        }
        let raw = fd.as_raw_fd();
        set(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)?;
        set(raw, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER)?;
        set(raw, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        // The kernel takes VLAN tags out of received frames; this gives them back beside the frame.
        set(raw, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        // SAFETY: sockaddr_ll is plain data for which all zeroes is valid; the pointer and length match it.
        let bound = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index.cast_signed();
            libc::bind(
                raw,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            fd,
            batch: vec![[0; MAX_FRAME]; BATCH],
        })
    }

    /// Sends one frame, Ethernet header first. `WouldBlock`: the device holds as much as it may, nothing was sent.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and length are those of one live slice.
        let sent = unsafe {
            libc::send(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
            )
        };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // ENOBUFS: the queueing discipline is full, which passes just as a full socket buffer does.
            Some(libc::ENOBUFS) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Err(error),
        }
    }

    /// Gives every frame that waits, up to one batch of them, to `take`; returns how many there were.
    ///
    /// # Errors
    /// The device went away or down.
    pub fn receive(&mut self, mut take: impl FnMut(&mut Vec<u8>)) -> io::Result<usize> {
        let mut control = [[0u64; CONTROL / 8]; BATCH];
        // SAFETY: iovec and mmsghdr are plain data for which all zeroes is valid.
        let (mut parts, mut heads): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, buffer) in self.batch.iter_mut().enumerate() {
            parts[index].iov_base = buffer.as_mut_ptr().cast();
            parts[index].iov_len = MAX_FRAME;
            let head = &mut heads[index].msg_hdr;
            head.msg_iov = &raw mut parts[index];
            head.msg_iovlen = 1;
            head.msg_control = control[index].as_mut_ptr().cast();
            head.msg_controllen = CONTROL;
        }
        // SAFETY: every header points to one live part, buffer and control area with their true lengths, none of
        // which moves before the call returns.
        let got = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                heads.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        let got = got.cast_unsigned() as usize;
        let mut frame = Vec::with_capacity(MAX_FRAME);
        for (head, buffer) in heads.iter().zip(&self.batch).take(got) {
            frame.clear();
            frame.extend_from_slice(&buffer[..head.msg_len as usize]);
            if let Some(tag) = stripped_tag(&head.msg_hdr)
                && frame.len() >= 12
            {
                frame.splice(12..12, tag);
            }
            take(&mut frame);
        }
        Ok(got)
    }

    /// Waits until a frame can be received (`true`) or `limit` passes.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        wait_any(
            &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)],
            limit,
        )
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// poll(2) on `fds` for at most `limit`; `true` when one of them is ready. A signal counts as the limit.
pub fn wait_any(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<bool> {
    // Rounded up: a poll of 0 ms for the last 0.9 ms would spin.
    let millis = limit.as_micros().div_ceil(1000).min(60_000) as u16;
    match poll(fds, PollTimeout::from(millis)) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn stripped_tag(head: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the header was filled in by recvmmsg and its control area is live; the CMSG macros stay inside
    // msg_controllen, and the data is read unaligned only after its level, type and the area's size are known.
    let aux: libc::tpacket_auxdata = unsafe {
        let first = libc::CMSG_FIRSTHDR(head);
        if first.is_null()
            || (*first).cmsg_level != libc::SOL_PACKET
            || (*first).cmsg_type != libc::PACKET_AUXDATA
        {
            return None;
        }
        std::ptr::read_unaligned(libc::CMSG_DATA(first).cast())
    };
    if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let protocol = if aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        libc::ETH_P_8021Q as u16
    } else {
        aux.tp_vlan_tpid
    };
    let [a, b] = protocol.to_be_bytes();
    let [c, d] = aux.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// setsockopt(2) with an integer.
pub(crate) fn set(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option value is one live c_int and the length says so.
    let done = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
