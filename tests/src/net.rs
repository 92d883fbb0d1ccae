//! Two hosts in network namespaces of their own, joined by a veth pair, by a [`Link`] or by a [`Wire`].
//!
//! ```text
//!   ss-<pid>-<n>-s            ss-<pid>-<n>-c            ss-<pid>-<n>-s      ss-<pid>-<n>-l      ss-<pid>-<n>-c
//!   ┌──────────┐              ┌──────────┐              ┌──────────┐   ┌──────────────────┐   ┌──────────┐
//!   │   ss-srv ╞══════════════╡ ss-cli   │      or      │   ss-srv ╞═══╡ ss-ls ─Link─ ss-lc╞══╡ ss-cli   │
//!   └──────────┘              └──────────┘              └──────────┘   │      or Wire     │   └──────────┘
//!                                                                      └──────────────────┘
//! ```
//! Nothing exists outside these namespaces, so that nothing of the machine can be disturbed.

mod namespace;

use crate::link::{Link, Shape};
use crate::process::{self, Finished, Process};
use crate::wire::Wire;
pub(crate) use namespace::Namespace;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Every namespace and device of the harness starts with this, followed by the owner's process id.
pub const PREFIX: &str = "ss-";
/// The server's NIC, which `sidestep` attaches to.
pub const SERVER_IF: &str = "ss-srv";
/// The client's NIC.
pub const CLIENT_IF: &str = "ss-cli";
/// The client's NIC when the server is a virtual machine: a TAP device.
pub const TAP_IF: &str = "ss-tap";
/// The server's IPv4 address.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The client kernel's IPv4 address.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The IPv4 address of raw clients; no kernel owns it.
pub const RAW_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// The server's IPv6 address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
/// The client kernel's IPv6 address.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);
/// The IPv6 address of raw clients; no kernel owns it.
pub const RAW_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 3);
/// The server NIC's Ethernet address.
pub const SERVER_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 1];
/// The client NIC's Ethernet address.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 2];
/// The Ethernet address of raw clients; the client's kernel takes no frame to it.
pub const RAW_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 3];

/// Longest that a set-up command (ip, ethtool) may take: milliseconds, but on a starved machine.
const SETUP_LIMIT: Duration = Duration::from_secs(120);

const LINK_SERVER_IF: &str = "ss-ls";
const LINK_CLIENT_IF: &str = "ss-lc";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One network at a time per test program: tests that load a host to its limit would starve each other into time-outs.
static TURN: Mutex<()> = Mutex::new(());

/// What the network shall look like.
#[derive(Clone, Debug)]
pub struct Plan {
    queues: u32,
    link: Option<(Shape, u64)>,
    wire: bool,
    beside_others: bool,
}

impl Plan {
    /// One queue per NIC, a plain veth pair.
    pub fn new() -> Self {
        Self {
            queues: 1,
            link: None,
            wire: false,
            beside_others: false,
        }
    }

    /// Gives each NIC `queues` receive and transmit queues.
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = queues;
        self
    }

    /// Puts a [`Link`] between the hosts, the same shape in both directions.
    pub fn link(mut self, shape: Shape, seed: u64) -> Self {
        self.link = Some((shape, seed));
        self
    }

    /// Puts a [`Wire`] between the hosts: they get their frames as from a NIC's driver, already in pages with room in front,
    /// and not as skbs, which a veth must copy before XDP sees them.
    ///
    /// One queue only, and no [`Link`]: what is redirected to a veth is received on a queue that the processor decides, not
    /// the flow.
    pub fn wire(mut self) -> Self {
        self.wire = true;
        self
    }

    /// Lets other networks of this program exist at the same time: for what leaves the machine mostly idle.
    pub fn beside_others(mut self) -> Self {
        self.beside_others = true;
        self
    }

    /// Builds it.
    ///
    /// # Panics
    /// Without root, or when a command of the set-up fails.
    pub fn build(self) -> Net {
        Net::build(&self)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

/// The two hosts; everything is removed on drop, after a panic too. A thread that has one must not make another.
pub struct Net {
    // Dropped in this order: the link and the wire stop before their devices go.
    link: Option<Link>,
    wire: Option<Wire>,
    /// The host that `sidestep` and the user's servers run on.
    pub server: Host,
    /// The host that clients run on.
    pub client: Host,
    middle: Option<Namespace>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Net {
    /// A plain pair with one queue.
    ///
    /// # Panics
    /// As [`Plan::build`].
    pub fn new() -> Self {
        Plan::new().build()
    }

    fn build(plan: &Plan) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces and loads BPF programs, so it needs root; run: sudo -E cargo xtask test"
        );
        // A test that panicked has cleaned up, so its turn is over like any other.
        let turn =
            (!plan.beside_others).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let stem = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let server = Namespace::new(format!("{stem}-s"));
        let client = Namespace::new(format!("{stem}-c"));
        let queues = plan.queues;
        assert!(
            !plan.wire || (queues == 1 && plan.link.is_none()),
            "a wire has one queue and no link"
        );
        let middle =
            (plan.wire || plan.link.is_some()).then(|| Namespace::new(format!("{stem}-l")));
        match &middle {
            None => veth(&server, SERVER_IF, &client, CLIENT_IF, queues),
            Some(middle) => {
                quiet(middle);
                veth(&server, SERVER_IF, middle, LINK_SERVER_IF, queues);
                veth(&client, CLIENT_IF, middle, LINK_CLIENT_IF, queues);
                for device in [LINK_SERVER_IF, LINK_CLIENT_IF] {
                    middle.ip(&["link", "set", device, "up"]);
                    // With a queueing discipline a full veth ring holds frames back instead of losing them.
                    middle.must(&[
                        "tc", "qdisc", "replace", "dev", device, "root", "pfifo", "limit", "1000",
                    ]);
                }
            }
        }
        as_on_a_wire(&server, SERVER_IF);
        as_on_a_wire(&client, CLIENT_IF);
        let server = Host::configure(server, SERVER_IF, SERVER_MAC, SERVER_V4, SERVER_V6);
        let client = Host::configure(client, CLIENT_IF, CLIENT_MAC, CLIENT_V4, CLIENT_V6);
        let wire = middle.as_ref().filter(|_| plan.wire).map(|middle| {
            let hosts = [&server, &client].map(|host| (&host.namespace, host.device));
            Wire::start(middle, [LINK_SERVER_IF, LINK_CLIENT_IF], hosts)
        });
        let mut net = Self {
            link: None,
            wire,
            server,
            client,
            middle,
            _turn: turn,
        };
        if let Some((shape, seed)) = &plan.link {
            net.relink(shape, *seed);
        }
        net
    }

    /// A new [`Link`] in the place of the one there is; what is under way is lost.
    ///
    /// # Panics
    /// When the plan had no link.
    pub fn relink(&mut self, shape: &Shape, seed: u64) {
        self.link = None;
        let middle = self.middle.as_ref().expect("a plan with a link");
        let start = || {
            Link::start(
                LINK_SERVER_IF,
                LINK_CLIENT_IF,
                shape.clone(),
                shape.clone(),
                seed,
            )
        };
        let link = middle
            .enter(start)
            .unwrap_or_else(|error| panic!("cannot start the link (seed {seed}): {error}"));
        self.link = Some(link);
    }

    /// The link between the hosts, when the plan asked for one.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// The devices of the wire between the hosts, when the plan asked for one, as [`Host::nic`] gives a host's.
    pub fn wire(&self) -> Option<[Nic<'_>; 2]> {
        let namespace = self.middle.as_ref().filter(|_| self.wire.is_some())?;
        Some([LINK_SERVER_IF, LINK_CLIENT_IF].map(|device| Nic { namespace, device }))
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

/// A device, where it is.
#[derive(Clone, Copy)]
pub struct Nic<'net> {
    namespace: &'net Namespace,
    /// Its name.
    pub device: &'static str,
}

impl Nic<'_> {
    /// Runs a short command beside it that has to succeed and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn must<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> String {
        self.namespace.must(argv)
    }
}

/// One host: a namespace with one NIC.
pub struct Host {
    namespace: Namespace,
    /// The NIC's name.
    pub device: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// A client whose NIC is a TAP device with `queues` queues, for QEMU to open. Its checksum and segmentation offloads stay
    /// on: each frame says what is left to do, and the emulated NIC does it.
    ///
    /// # Panics
    /// Without root, or when a command of the set-up fails.
    pub fn behind_tap(queues: u32) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(format!("{PREFIX}{}-{number}-t", std::process::id()));
        let mut add = vec!["tuntap", "add", "dev", TAP_IF, "mode", "tap", "vnet_hdr"];
        if queues > 1 {
            add.push("multi_queue");
        }
        namespace.ip(&add);
        Self::configure(namespace, TAP_IF, CLIENT_MAC, CLIENT_V4, CLIENT_V6)
    }

    fn configure(
        namespace: Namespace,
        device: &'static str,
        mac: [u8; 6],
        v4: Ipv4Addr,
        v6: Ipv6Addr,
    ) -> Self {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace.ip(&["link", "set", device, "address", &mac]);
        namespace.enter(|| {
            sysctl("net/ipv6/conf/default/accept_dad", "0");
            sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0");
            sysctl(&format!("net/ipv6/conf/{device}/router_solicitations"), "0");
            // A new transmit hash after a timeout would move a flow to another receive queue of the peer, which
            // no NIC does: RSS goes by the addresses and ports.
            sysctl("net/core/txrehash", "0");
        });
        namespace.ip(&["link", "set", device, "up"]);
        namespace.ip(&["addr", "add", &format!("{v4}/24"), "dev", device]);
        namespace.ip(&["addr", "add", &format!("{v6}/64"), "dev", device, "nodad"]);
        Self {
            namespace,
            device,
            v4,
            v6,
        }
    }

    /// The namespace's name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.namespace.name
    }

    /// The host's addresses with `port`: IPv4, then IPv6.
    pub fn addresses(&self, port: u16) -> [SocketAddr; 2] {
        [
            (IpAddr::V4(self.v4), port).into(),
            (IpAddr::V6(self.v6), port).into(),
        ]
    }

    /// The IPv4 address with `port`.
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.v4, port).into()
    }

    /// Its NIC.
    pub fn nic(&self) -> Nic<'_> {
        Nic {
            namespace: &self.namespace,
            device: self.device,
        }
    }

    /// A command line to run on this host.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Command {
        self.namespace.command(argv)
    }

    /// Starts a command on this host.
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Process {
        Process::spawn(self.command(argv))
    }

    /// Runs a command on this host to its end, at most for `limit`.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S], limit: Duration) -> Finished {
        process::run(self.command(argv), limit)
    }

    /// Runs a short command that has to succeed and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn must<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> String {
        self.namespace.must(argv)
    }

    /// Runs `work` on a thread inside the host's namespace. Sockets made there stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.enter(work)
    }

    /// Connects from this host with a kernel socket; reads and writes on it fail after `limit`.
    pub fn connect(&self, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&to, limit))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Listens on every address of this host, IPv6 and IPv4.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
    }

    /// The XDP program on the NIC, as `ip link` names it: its mode and id.
    pub fn xdp_program(&self) -> Option<String> {
        let text = self.must(&["ip", "-details", "link", "show", "dev", self.device]);
        let at = text.find("prog/xdp")?;
        Some(text[at..].lines().next().unwrap_or_default().to_owned())
    }

    /// TCP sockets of the host's kernel with this local port, in any state but LISTEN and TIME-WAIT, one per line.
    pub fn kernel_connections(&self, port: u16) -> String {
        self.must(&[
            "ss",
            "-Htn",
            "state",
            "connected",
            "exclude",
            "time-wait",
            &format!("sport = :{port}"),
        ])
    }
}

/// The server's addresses with `port`: IPv4, then IPv6.
pub fn server_addresses(port: u16) -> [SocketAddr; 2] {
    [(SERVER_V4, port).into(), (SERVER_V6, port).into()]
}

fn veth(a: &Namespace, a_if: &str, b: &Namespace, b_if: &str, queues: u32) {
    let n = &queues.to_string();
    a.ip(&[
        "link",
        "add",
        a_if,
        "numrxqueues",
        n,
        "numtxqueues",
        n,
        "type",
        "veth",
        "peer",
        "name",
        b_if,
        "numrxqueues",
        n,
        "numtxqueues",
        n,
        "netns",
        &b.name,
    ]);
    if queues > 1 {
        for (end, device) in [(a, a_if), (b, b_if)] {
            end.must(&["ethtool", "-L", device, "rx", n, "tx", n]);
        }
    }
}

/// Frames carry whole checksums and never exceed the MTU.
fn as_on_a_wire(host: &Namespace, device: &str) {
    host.must(&[
        "ethtool", "-K", device, "tx", "off", "gso", "off", "gro", "off",
    ]);
}

/// Keeps the kernel in the middle from sending anything of its own.
fn quiet(middle: &Namespace) {
    middle.enter(|| {
        sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    });
}

fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value)
        .unwrap_or_else(|error| panic!("cannot set {path} = {value}: {error}"));
}
