//! Finds out whose XDP program sits on a NIC, for an error that says so.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use aya::programs::{loaded_links, loaded_programs};

/// The XDP program that a NIC runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occupant {
    /// The program's id, as `bpftool prog` prints it.
    pub id: u32,
    /// The program's name, up to 15 bytes.
    pub name: String,
    /// Whether a bpf_link keeps it there. Only the link's owner can remove it then.
    pub linked: bool,
    /// Processes with a descriptor of the program or its link: `name (pid)`.
    pub holders: Vec<String>,
    /// The word by which `ip link set` removes it: `xdpdrv`, `xdpgeneric` or `xdpoffload`.
    pub flag: &'static str,
}

const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_HEADER: usize = 16;
const IFINFOMSG: usize = 16;
const IFLA_XDP: u16 = 43;
/// Program ids by mode, and how `ip link` calls the mode (linux/if_link.h, `IFLA_XDP_{DRV,SKB,HW}_PROG_ID`).
const MODES: [(u16, &str); 3] = [(5, "xdpdrv"), (6, "xdpgeneric"), (7, "xdpoffload")];
/// Without these bits, `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`, the rest is the type of an attribute.
const NLA_TYPE: u16 = 0x3fff;

impl Occupant {
    /// The program on the NIC with index `ifindex`; nothing if there is none or the kernel does not tell.
    pub fn of(ifindex: u32) -> Option<Self> {
        find(ifindex)
    }
}

fn find(ifindex: u32) -> Option<Occupant> {
    let link = get_link(ifindex).ok()?;
    let xdp = attribute(link.get(NLMSG_HEADER + IFINFOMSG..)?, IFLA_XDP)?;
    let (id, flag) = MODES.iter().find_map(|(mode, flag)| {
        let id = attribute(xdp, *mode)?.first_chunk()?;
        Some((u32::from_ne_bytes(*id), *flag))
    })?;
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .map(|program| String::from_utf8_lossy(program.name()).into_owned())
        .unwrap_or_default();
    let links: Vec<u32> = loaded_links()
        .filter_map(Result::ok)
        .filter(|link| link.program_id() == id)
        .map(|link| link.id())
        .collect();
    let mut wanted = vec![format!("prog_id:\t{id}")];
    wanted.extend(links.iter().map(|link| format!("link_id:\t{link}")));
    Some(Occupant {
        id,
        name,
        linked: !links.is_empty(),
        holders: holders(&wanted),
        flag,
    })
}

/// The kernel's description of a NIC: one `RTM_NEWLINK` message, or an error message, which has no attributes.
fn get_link(ifindex: u32) -> io::Result<Vec<u8>> {
    // SAFETY: a system call on plain values.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else knows it.
    let mut socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mut request = [0; NLMSG_HEADER + IFINFOMSG];
    request[..4].copy_from_slice(&((NLMSG_HEADER + IFINFOMSG) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[NLMSG_HEADER + 4..NLMSG_HEADER + 8].copy_from_slice(&ifindex.to_ne_bytes());
    socket.write_all(&request)?;
    // A link's description is a few kilobytes; what does not fit is cut off, and the attribute then not found.
    let mut answer = vec![0; 64 << 10];
    let len = socket.read(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

/// The payload of the first attribute of type `wanted`.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [l0, l1, t0, t1] = *attributes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = attributes.get(4..len)?;
        if u16::from_ne_bytes([t0, t1]) & NLA_TYPE == wanted {
            return Some(payload);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// The processes with a descriptor whose `fdinfo` has one of the lines `wanted`.
fn holders(wanted: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let fds = fs::read_dir(process.path().join("fdinfo"))
            .into_iter()
            .flatten()
            .flatten();
        let holds = fds
            .filter_map(|fd| fs::read_to_string(fd.path()).ok())
            .any(|info| {
                info.lines()
                    .any(|line| wanted.iter().any(|wanted| wanted == line))
            });
        if holds && pid != std::process::id() {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_never_beyond_the_end() {
        // Length 5, type 1, one byte and padding; length 8, type 43 with "nested", four bytes.
        let bytes = [5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 43, 0x80, 1, 2, 3, 4].map(u8::to_le);
        assert_eq!(attribute(&bytes, 1), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 43), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&bytes, 2), None);
        for cut in 0..bytes.len() {
            assert_eq!(attribute(&bytes[..cut], 43), None);
        }
        assert_eq!(
            attribute(&[0; 8], 43),
            None,
            "a length of zero ends the walk"
        );
    }

    #[test]
    fn a_nic_without_a_program_has_no_occupant() {
        assert_eq!(find(1), None, "the loopback device");
        assert_eq!(find(0), None, "no device");
    }
}
