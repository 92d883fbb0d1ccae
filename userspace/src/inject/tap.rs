//! A TAP device that lives as long as its descriptor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The kernel puts the lowest free number in place of `%d`.
const NAME: &[u8] = b"sidestep%d";

/// The device, up and without IPv6. Nothing is ever read from it.
#[derive(Debug)]
pub(super) struct Tap {
    file: File,
    name: String,
}

/// A step that failed, and the kernel's answer.
type Failure = (&'static str, io::Error);

impl Tap {
    pub(super) fn open() -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|error| ("open /dev/net/tun", error))?;
        let mut request = request(NAME);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        ioctl(&file, libc::TUNSETIFF, &mut request).map_err(|error| ("TUNSETIFF", error))?;
        let bytes: Vec<u8> = request
            .ifr_name
            .iter()
            .map(|&c| c.cast_unsigned())
            .take_while(|&c| c != 0)
            .collect();
        let name = String::from_utf8_lossy(&bytes).into_owned();

        // So that the device has no address and announces itself to nobody. Where /proc/sys is read-only, what it
        // announces only fills the queue that we never read, and nothing else suffers.
        if let Err(error) = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
            log::debug!("{name} keeps IPv6: {error}");
        }
        up(&bytes).map_err(|error| ("bring it up", error))?;
        Ok(Self { file, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Write for Tap {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.file.write(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sets IFF_UP on the device.
fn up(name: &[u8]) -> io::Result<()> {
    // SAFETY: a system call on plain values.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut request = request(name);
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS fills this arm of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// A request about the device `name`, cut to what fits with its terminator.
fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request
}

fn ioctl(fd: &impl AsRawFd, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every number used here reads and writes one `ifreq`, which outlives the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw mut *request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
