//! What the XDP program takes for each kind of frame: the program in the kernel, run again and again on one frame
//! (`BPF_PROG_TEST_RUN`), with the kernel's real sockets behind it.
//!
//! The frame lies in the cache and the branches are known, so these are the least times; and what the driver does with a
//! verdict is not in them. For the differences between the ways through the program they will do.

use aya::programs::{TestRun, TestRunOptions, Xdp};
use sidestep::steer::{Addr, FlowKey, Steering, Verdict};
use sidestep::sys;
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::net::{CLIENT_MAC, Host, Net, SERVER_MAC};
use sidestep_tests::raw::{Segment, ethernet, flag};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs of the program for each sample
    #[arg(long, default_value_t = 1_000_000)]
    repeat: u32,
    /// Samples for each frame, in turns; the least counts
    #[arg(long, default_value_t = 5)]
    samples: u32,
}

/// With a server of the kernel's behind it.
const SERVED: u16 = 80;
/// Without one.
const ALONE: u16 = 81;
/// Not steered.
const OTHER: u16 = 82;
/// A client's port whose flow a worker has registered.
const REGISTERED: u16 = 40_000;
/// One that nobody knows.
const UNKNOWN: u16 = 40_001;

struct Case {
    name: String,
    frame: Vec<u8>,
    verdict: Verdict,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let net = Net::new();
    net.server.enter(|| measure(options, &net));
    ExitCode::SUCCESS
}

fn measure(options: &Options, net: &Net) {
    let listener: TcpListener = net.server.listen(SERVED).expect("a listener");
    let connections: Vec<TcpStream> = net
        .server
        .addresses(SERVED)
        .into_iter()
        .map(|to| net.client.connect(to, PATIENCE).expect("a connection"))
        .collect();
    let kernels: Vec<SocketAddr> = connections
        .iter()
        .map(|connection| connection.local_addr().expect("an address"))
        .collect();
    let mut steering = Steering::load(1, 1).unwrap_or_else(|error| panic!("{error}"));
    steering.set_station(SERVER_MAC).expect("a station");
    steering.open_gate(true).expect("open");
    let socket = sys::xdp_socket().expect("an AF_XDP socket");
    steering.set_socket(0, &socket).expect("entered");
    let mut flows = steering.flows(0).expect("the flows");
    for (ours, peer) in pairs(&net.server, &net.client) {
        for port in [SERVED, ALONE] {
            steering.add_service(ours, port).expect("a service");
        }
        let flow = FlowKey::new(Addr::from(ours), SERVED, Addr::from(peer), REGISTERED);
        flows.insert(&flow);
    }
    let cases = cases(net, &kernels);
    let program = steering.program().expect("the program");
    for case in &cases {
        let before = steering.counters().expect("counters");
        time(program, &case.frame, 1);
        let after = steering.counters().expect("counters");
        let at = case.verdict as usize;
        assert_eq!(after[at], before[at] + 1, "{}: {after:?}", case.name);
    }
    let mut least = vec![Duration::MAX; cases.len()];
    for _ in 0..options.samples {
        for (least, case) in least.iter_mut().zip(&cases) {
            *least = time(program, &case.frame, options.repeat).min(*least);
        }
    }
    let info = program.info().expect("told by the kernel");
    println!(
        "{} instructions, of which the verifier looked at {} in all\n",
        info.size_translated().unwrap_or(0) / 8,
        info.verified_instruction_count().unwrap_or(0)
    );
    println!("| frame | verdict | ns |\n|---|---|---|");
    for (case, least) in cases.iter().zip(least) {
        let verdict = Verdict::label(case.verdict as usize);
        println!("| {} | {verdict} | {} |", case.name, least.as_nanos());
    }
    drop((listener, connections));
}

/// The addresses of both hosts, by IP version.
fn pairs(server: &Host, client: &Host) -> [(IpAddr, IpAddr); 2] {
    let [s4, s6] = server.addresses(0).map(|at| at.ip());
    let [c4, c6] = client.addresses(0).map(|at| at.ip());
    [(s4, c4), (s6, c6)]
}

fn cases(net: &Net, kernels: &[SocketAddr]) -> Vec<Case> {
    let mut cases = Vec::new();
    for ((ours, peer), kernels) in pairs(&net.server, &net.client).into_iter().zip(kernels) {
        let version = if ours.is_ipv4() { "IPv4" } else { "IPv6" };
        let rows = [
            (
                "to another port",
                UNKNOWN,
                OTHER,
                flag::ACK,
                Verdict::PassNotService,
            ),
            (
                "of the kernel's connection",
                kernels.port(),
                SERVED,
                flag::ACK,
                Verdict::PassKernelFlow,
            ),
            (
                "of a registered connection",
                REGISTERED,
                SERVED,
                flag::ACK,
                Verdict::XskFlow,
            ),
            (
                "of another of ours, with a server behind",
                UNKNOWN,
                SERVED,
                flag::ACK,
                Verdict::XskOther,
            ),
            (
                "of another of ours, with none",
                UNKNOWN,
                ALONE,
                flag::ACK,
                Verdict::XskOther,
            ),
            (
                "SYN, with a server behind",
                UNKNOWN,
                SERVED,
                flag::SYN,
                Verdict::XskOther,
            ),
        ];
        for (what, from, to, flags, verdict) in rows {
            let mut segment = Segment::new((peer, from), (ours, to));
            segment.flags = flags;
            // As long as a small request.
            segment.payload = vec![b'x'; 64];
            cases.push(Case {
                name: format!("{version}: {what}"),
                frame: ethernet(SERVER_MAC, CLIENT_MAC, &[], &segment.packet()),
                verdict,
            });
        }
    }
    let mut arp = ethernet(SERVER_MAC, CLIENT_MAC, &[], &[0; 46]);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    cases.push(Case {
        name: "ARP".to_owned(),
        frame: arp,
        verdict: Verdict::PassOther,
    });
    cases
}

/// How long one run takes, the mean of so many.
fn time(program: &Xdp, frame: &[u8], repeat: u32) -> Duration {
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat,
        ..TestRunOptions::default()
    };
    program.test_run(options).expect("run").duration
}
