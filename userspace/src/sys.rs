//! Raw system calls that no library wraps: socket options, the NIC's ioctls, and memory shared with BPF programs.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use nix::sys::epoll::EpollEvent;

/// `setsockopt(2)` with an `int`.
///
/// # Errors
/// Those of the call.
pub fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer is to a live `int` of the length given.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    check(ret).map(drop)
}

/// Raises the send buffer beyond `net.core.wmem_max` (`SO_SNDBUFFORCE`, needs CAP_NET_ADMIN).
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    set_option(
        socket,
        libc::SOL_SOCKET,
        libc::SO_SNDBUFFORCE,
        bytes.try_into().unwrap_or(libc::c_int::MAX),
    )
}

/// Makes calls on an AF_XDP socket poll its queue, `budget` frames at most each time, and keeps interrupts masked while
/// they come (`SO_PREFER_BUSY_POLL`, Linux 5.11).
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn prefer_busy_poll(socket: BorrowedFd<'_>, budget: u16) -> io::Result<()> {
    let on = |name, value| set_option(socket, libc::SOL_SOCKET, name, value);
    on(libc::SO_PREFER_BUSY_POLL, 1)?;
    // Microseconds of polling; one round of it is made whatever the number, since calls on the socket never block.
    on(libc::SO_BUSY_POLL, 20)?;
    on(libc::SO_BUSY_POLL_BUDGET, budget.into())
}

/// Polls the queue of an AF_XDP socket that [`prefer_busy_poll`] was called for. What is wrong with it is for others to
/// find out: there is nothing to receive then.
pub fn poll_queue(socket: BorrowedFd<'_>) {
    let (none, flags) = (std::ptr::null_mut(), libc::MSG_DONTWAIT);
    // SAFETY: a buffer of no bytes, and no address is asked for.
    unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            none,
            0,
            flags,
            none.cast(),
            std::ptr::null_mut(),
        )
    };
}

/// Makes waits on `epoll` poll the queues of its sockets for `time` before they sleep, `budget` frames at most each time,
/// and keep interrupts away for as long as they find something (`EPIOCSPARAMS`, Linux 6.9).
///
/// # Errors
/// Those of `ioctl(2)`: ENOTTY if the kernel has none.
pub fn set_busy_epoll(epoll: &OwnedFd, time: Duration, budget: u16) -> io::Result<()> {
    /// `struct epoll_params`, <linux/eventpoll.h>.
    #[repr(C)]
    struct Params {
        busy_poll_usecs: u32,
        busy_poll_budget: u16,
        prefer_busy_poll: u8,
        pad: u8,
    }
    /// `_IOW(0x8a, 1, struct epoll_params)`
    const EPIOCSPARAMS: libc::Ioctl = 0x4008_8a01;
    let params = Params {
        busy_poll_usecs: time.as_micros().try_into().unwrap_or(u32::MAX),
        busy_poll_budget: budget,
        prefer_busy_poll: 1,
        pad: 0,
    };
    // SAFETY: the call reads one such structure, which lives.
    check(unsafe { libc::ioctl(epoll.as_raw_fd(), EPIOCSPARAMS, &raw const params) }).map(drop)
}

/// `epoll_pwait2(2)`: as many events as `events` has room for; epoll_wait(2) knows no time below a millisecond.
///
/// # Errors
/// Those of the call.
pub fn epoll_wait(
    epoll: &OwnedFd,
    events: &mut [EpollEvent],
    timeout: Duration,
) -> io::Result<usize> {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let no_mask = std::ptr::null::<libc::sigset_t>();
    // SAFETY: the kernel writes at most `events.len()` of the structures, which `EpollEvent` is transparent to; the time
    // lives, and there is no mask.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            events.len() as libc::c_int,
            &raw const timeout,
            no_mask,
            mem::size_of::<u64>(),
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// How long the calling thread wants to run at a time (`sched_runtime` of SCHED_OTHER). Its share of the core stays what
/// it is; a thread with a shorter slice is served sooner.
///
/// # Errors
/// Those of `sched_setattr(2)`. Kernels before 6.12 take it for nothing.
pub fn set_slice(slice: Duration) -> io::Result<()> {
    // SAFETY: plain data, for which zero is a value: SCHED_OTHER with nice 0.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    attributes.size = mem::size_of_val(&attributes) as u32;
    let (this, flags, size) = (0, 0_u32, attributes.size);
    // SAFETY: as much memory as given, and of this call's own structure, which the kernel fills.
    let got = unsafe {
        libc::syscall(
            libc::SYS_sched_getattr,
            this,
            &raw mut attributes,
            size,
            flags,
        )
    };
    if got == 0 && attributes.sched_policy != libc::SCHED_OTHER as u32 {
        // Somebody has chosen another way to schedule it, in which the number means something else.
        return Ok(());
    }
    attributes.sched_runtime = slice.as_nanos() as u64;
    // SAFETY: a live structure of the size that it names.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, this, &raw const attributes, flags) };
    check(set as libc::c_int).map(drop)
}

/// What a thread gets of a core beside one that has not stood back: with nice 5, a third as much. With 10, a tenth, and
/// 19, a hundredth, a reload of 10,000 files was seen to take 20 seconds and more on a machine that was busy with much
/// else; with 0, workers that share a core with it would answer half as much meanwhile.
const BESIDE: libc::c_int = 5;

/// Lets others go before the calling thread. What cannot be had is done without.
pub fn stand_back() {
    // SAFETY: no memory is involved. On Linux, 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BESIDE) };
}

/// <linux/sockios.h>; libc lacks it.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Receive channels of a NIC and their maximum (`ETHTOOL_GCHANNELS`), combined ones included.
///
/// # Errors
/// ENODEV without such a NIC, EOPNOTSUPP when the driver does not tell.
pub fn channels(interface: &str) -> io::Result<(u32, u32)> {
    /// `struct ethtool_channels`, <linux/ethtool.h>.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        cmd: u32,
        max_rx: u32,
        max_tx: u32,
        max_other: u32,
        max_combined: u32,
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    let mut channels = Channels {
        cmd: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    let mut request = request_for(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    ioctl(SIOCETHTOOL, &mut request)?;
    Ok((
        channels.rx + channels.combined,
        channels.max_rx + channels.max_combined,
    ))
}

/// The MTU of a NIC in bytes (`SIOCGIFMTU`).
///
/// # Errors
/// ENODEV without such a NIC.
pub fn mtu(interface: &str) -> io::Result<usize> {
    let mut request = request_for(interface)?;
    ioctl(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: a successful SIOCGIFMTU has filled this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| io::Error::other("negative MTU"))
}

/// Whether a NIC is administratively up (`SIOCGIFFLAGS`).
///
/// # Errors
/// ENODEV without such a NIC.
pub fn is_up(interface: &str) -> io::Result<bool> {
    let mut request = request_for(interface)?;
    ioctl(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: a successful SIOCGIFFLAGS has filled this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
}

/// The Ethernet address of a NIC (`SIOCGIFHWADDR`).
///
/// # Errors
/// ENODEV without such a NIC.
pub fn ethernet_address(interface: &str) -> io::Result<[u8; 6]> {
    let mut request = request_for(interface)?;
    ioctl(libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: a successful SIOCGIFHWADDR has filled this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    Ok(std::array::from_fn(|i| address.sa_data[i] as u8))
}

/// An AF_XDP socket that is bound to nothing, to see whether there are any.
///
/// # Errors
/// EPERM without CAP_NET_RAW, EAFNOSUPPORT when the kernel has none.
pub fn xdp_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, kind, 0) })?;
    // SAFETY: the descriptor was just opened and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request_for(interface: &str) -> io::Result<libc::ifreq> {
    let name = CString::new(interface)?;
    let name = name.as_bytes_with_nul();
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() > request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

fn ioctl(code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just opened and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the codes used here take an `ifreq`, whose pointer member, where there is
    // one, points to a live structure of the command's type.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), code, request) }).map(drop)
}

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// Makes a NIC send whole checksums in its frames instead of leaving them to hardware (`ETHTOOL_STXCSUM`).
///
/// # Errors
/// ENODEV without such a NIC, EOPNOTSUPP when its driver cannot.
pub fn disable_tx_checksum(interface: &str) -> io::Result<()> {
    /// `struct ethtool_value`, <linux/ethtool.h>.
    #[repr(C)]
    struct Value {
        cmd: u32,
        data: u32,
    }
    const ETHTOOL_STXCSUM: u32 = 0x17;
    let mut value = Value {
        cmd: ETHTOOL_STXCSUM,
        data: 0,
    };
    let mut request = request_for(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    ioctl(SIOCETHTOOL, &mut request)
}

/// The words of a BPF array (`BPF_F_MMAPABLE`), shared with the kernel.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: nothing but atomic words, which any thread may use.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `len` words of an array of words of 8 bytes. They are there for as long as this value, whether or
    /// not the map is still open.
    ///
    /// # Errors
    /// Those of mmap(2): EPERM if the map was not made for it, EINVAL if it is shorter.
    pub fn open(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let bytes = len * mem::size_of::<AtomicU64>();
        let flags = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes, of a map that the descriptor holds.
        let start = unsafe {
            let any = std::ptr::null_mut();
            libc::mmap(any, bytes, flags, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// One word.
    ///
    /// # Errors
    /// There are not so many.
    pub fn at(&self, index: usize) -> io::Result<&AtomicU64> {
        if index >= self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: within the mapping, which is aligned to a page and lives as long as `self`; all sides use whole words.
        Ok(unsafe { self.start.add(index).as_ref() })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let bytes = self.len * mem::size_of::<AtomicU64>();
        // SAFETY: this value's own mapping, of which no reference outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}
