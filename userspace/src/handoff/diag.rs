//! Questions to the kernel's socket table (`NETLINK_SOCK_DIAG`, sock_diag(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use tcp_lite::{Addr, Endpoint, Flow};

/// What the kernel's TCP would give a segment to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// To nobody: it answers with a reset.
    Nobody,
    /// To a listener: exact address, wildcard, or IPv6 wildcard for IPv4.
    Listener {
        /// It speaks MPTCP, which cannot be given a connection that began in userspace.
        mptcp: bool,
    },
    /// To a socket of the very flow, TIME-WAIT included.
    Flow,
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Diag {
    socket: OwnedFd,
    nic_ifindex: u32,
    sequence: u32,
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`, bytes.
const REQUEST: usize = 16 + 56;
/// An answer is a header, `struct inet_diag_msg` of 72 bytes and attributes of a few hundred. Shorter, and the name of
/// the listener's upper protocol may be cut off.
const ANSWER: usize = 2048;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const INET_DIAG_INFO: u8 = 2;
/// The attribute that names what runs on top of TCP, and that name's own attribute in it.
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_NAME: u16 = 1;
const TCP_LISTEN: u8 = 10;

impl Diag {
    /// Opens it for questions about segments that arrive on the NIC with index `nic_ifindex`.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open(nic_ifindex: u32) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        let mut diag = Self {
            socket,
            nic_ifindex,
            sequence: 0,
        };
        // Asked once, so that a kernel that cannot answer is known from the start.
        let nobody = Endpoint {
            addr: Addr::v4([127, 0, 0, 1]),
            port: 0,
        };
        diag.listener(&nobody)?;
        Ok(diag)
    }

    /// Who would get a segment of `flow`.
    ///
    /// # Errors
    /// The kernel did not answer the question.
    pub fn find(&mut self, flow: &Flow) -> io::Result<Match> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(flow);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answer = [0; ANSWER];
        loop {
            // The kernel has put the answer into the queue before `send` returned.
            let len = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
            // That of a question whose answer was not read goes first.
            if answer[8..12] == self.sequence.to_ne_bytes() {
                return read(&answer[..len]);
            }
        }
    }

    /// Who would get a new connection to `local`.
    ///
    /// # Errors
    /// As [`Diag::find`].
    pub fn listener(&mut self, local: &Endpoint) -> io::Result<Match> {
        // From an address and port that no connection has.
        let remote = match local.addr.is_v4() {
            true => Addr::v4([0; 4]),
            false => Addr::v6([0; 16]),
        };
        self.find(&Flow {
            local: *local,
            remote: Endpoint {
                addr: remote,
                port: 0,
            },
        })
    }

    fn request(&self, flow: &Flow) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        // struct nlmsghdr: length, type, flags, sequence, port.
        put(&(REQUEST as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&NLM_F_REQUEST.to_ne_bytes());
        put(&self.sequence.to_ne_bytes());
        put(&[0; 4]);
        // struct inet_diag_req_v2: family, protocol, extensions, padding, states (not looked at for one socket).
        let v4 = flow.is_v4();
        let family = if v4 { libc::AF_INET } else { libc::AF_INET6 };
        put(&[
            family as u8,
            libc::IPPROTO_TCP as u8,
            1 << (INET_DIAG_INFO - 1),
            0,
        ]);
        put(&u32::MAX.to_ne_bytes());
        // struct inet_diag_sockid: ports, addresses, device, cookie (none).
        put(&flow.local.port.to_be_bytes());
        put(&flow.remote.port.to_be_bytes());
        for addr in [flow.local.addr, flow.remote.addr] {
            let mut room = [0; 16];
            match IpAddr::from(addr) {
                IpAddr::V4(addr) => room[..4].copy_from_slice(&addr.octets()),
                IpAddr::V6(addr) => room.copy_from_slice(&addr.octets()),
            }
            put(&room);
        }
        put(&self.nic_ifindex.to_ne_bytes());
        put(&[0xff; 8]);
        bytes
    }
}

/// Reads an answer to a question about one socket.
fn read(message: &[u8]) -> io::Result<Match> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = u16_at(message, 4).ok_or_else(cut)?;
    if kind == NLMSG_ERROR {
        let bytes = message.get(16..20).and_then(|bytes| bytes.first_chunk());
        let error = i32::from_ne_bytes(*bytes.ok_or_else(cut)?).wrapping_neg();
        return match error {
            libc::ENOENT => Ok(Match::Nobody),
            error => Err(io::Error::from_raw_os_error(error)),
        };
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // struct inet_diag_msg: family, state.
    if *message.get(17).ok_or_else(cut)? != TCP_LISTEN {
        return Ok(Match::Flow);
    }
    let attributes = message.get(16 + 72..).ok_or_else(cut)?;
    let name = attribute(attributes, INET_DIAG_ULP_INFO)
        .and_then(|nested| attribute(nested, INET_ULP_INFO_NAME));
    Ok(Match::Listener {
        mptcp: name.is_some_and(|name| name.starts_with(b"mptcp")),
    })
}

/// The payload of the first netlink attribute of this type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// Two flags stand above the type.
    const TYPE: u16 = 0x3fff;
    loop {
        let (len, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let payload = bytes.get(4..len)?;
        if kind & TYPE == wanted {
            return Some(payload);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u16::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests;
