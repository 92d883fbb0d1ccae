//! Namespaces, veth pairs and raw sockets.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a command and panics with what it said if it fails.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let out = Command::new(words.next().expect("a command"))
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{line}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Two network namespaces, gone with the value.
pub struct Pair {
    pub server: String,
    pub client: String,
}

/// The server's NIC and the client's, inside their namespaces.
pub const NIC: &str = "nic";

impl Pair {
    /// `nic` in one namespace is connected to `nic` in the other: 10.77.9.1 and fd77::1 for the server, 10.77.9.2 and
    /// fd77::2 for the client. `options` go to the client's end when it is made.
    pub fn new(options: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ss-b-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let pair = Self {
            server: format!("{name}-s"),
            client: format!("{name}-c"),
        };
        let Self { server, client } = &pair;
        run(&format!("ip netns add {server}"));
        run(&format!("ip netns add {client}"));
        run(&format!(
            "ip -n {server} link add {NIC} type veth peer name {NIC} netns {client} {options}"
        ));
        for (namespace, host) in [(server, 1), (client, 2)] {
            run(&format!(
                "ip -n {namespace} address add 10.77.9.{host}/24 dev {NIC}"
            ));
            run(&format!(
                "ip -n {namespace} address add fd77::{host}/64 dev {NIC} nodad"
            ));
            run(&format!("ip -n {namespace} link set dev lo up"));
            run(&format!("ip -n {namespace} link set dev {NIC} up"));
            // Frames as they would be on a wire, checksums included.
            run(&format!(
                "ip netns exec {namespace} ethtool -K {NIC} tx off tso off gso off"
            ));
        }
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            let done = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
            if !done.is_ok_and(|status| status.success()) {
                eprintln!("namespace {namespace} is left");
            }
        }
    }
}

/// Moves the calling thread to a namespace; sockets and devices made from then on are there.
pub fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("a namespace");
    // SAFETY: a system call on a descriptor that is open; it changes this thread only.
    let done = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "setns: {}", io::Error::last_os_error());
}

fn socket(domain: i32, protocol: u16) -> OwnedFd {
    // SAFETY: a system call on plain values.
    let fd = unsafe {
        libc::socket(
            domain,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            i32::from(protocol.to_be()),
        )
    };
    assert!(fd >= 0, "socket({domain}): {}", io::Error::last_os_error());
    // SAFETY: just made, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An AF_XDP socket that is bound to nothing: the kernel redirects frames to it and then drops them.
pub fn xsk_nowhere() -> OwnedFd {
    socket(libc::AF_XDP, 0)
}

/// A socket that reads every frame sent and received in this namespace, one per read. A read that has waited for
/// 100 ms gives up with `WouldBlock`.
pub fn sniffer() -> File {
    let socket = socket(libc::AF_PACKET, libc::ETH_P_ALL as u16);
    let patience = libc::timeval {
        tv_sec: 0,
        tv_usec: 100_000,
    };
    // SAFETY: `patience` outlives the call and the size is its own.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of_val(&patience) as u32,
        )
    };
    assert_eq!(done, 0, "SO_RCVTIMEO: {}", io::Error::last_os_error());
    File::from(socket)
}
