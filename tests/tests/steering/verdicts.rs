//! The program in the kernel decides like the same code on the host, with the kernel's real sockets behind rule 4.

use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;

use aya::programs::{TestRun, TestRunOptions};
use sidestep::steer::{Addr, FlowKey, FlowTable, Steering, Verdict};
use xdp_prog::decide;

use crate::frames::{self, KERNELS, OURS, OURS6, PEER, PEER6, REGISTERED, WEB, World};
use crate::net::{NIC, Pair, enter, run, xsk_nowhere};

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// The shortest frame that `BPF_PROG_TEST_RUN` takes (ETH_HLEN).
const SHORTEST: usize = 14;

/// The program, loaded in the world of the frames but for the kernel's sockets.
fn load() -> Steering {
    let mut steering = Steering::load(1, 1).unwrap_or_else(|error| panic!("{error}"));
    steering.set_station(frames::HOST).expect("a station");
    let mut flows = steering.flows(0).expect("the flows");
    for (ours, peer) in [
        (OURS.into(), PEER.into()),
        (IpAddr::from(OURS6), IpAddr::from(PEER6)),
    ] {
        steering.add_service(ours, WEB).expect("a service");
        let flow = FlowKey::new(Addr::from(ours), WEB, Addr::from(peer), REGISTERED);
        flows.insert(&flow);
        assert!(flows.has(&flow));
    }
    steering
}

/// Runs the program on `frame`: its verdict by the counters, and what it answers the driver.
fn in_kernel(steering: &Steering, frame: &[u8]) -> (Verdict, u32) {
    let before = steering.counters().expect("counters");
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    let ran = steering
        .program()
        .expect("a program")
        .test_run(options)
        .expect("run");
    let after = steering.counters().expect("counters");
    let mut counted = Verdict::ALL
        .iter()
        .filter(|verdict| after[**verdict as usize] != before[**verdict as usize]);
    let verdict = *counted.next().expect("one counter goes up");
    assert!(counted.next().is_none(), "one counter only");
    assert_eq!(after[verdict as usize], before[verdict as usize] + 1);
    (verdict, ran.return_value)
}

/// Compares host and kernel on every frame of the table, whole and cut, and on damaged ones.
fn compare(steering: &Steering, open: bool) {
    let host = |frame: &[u8]| decide(frame, &World { open });
    let same = |frame: &[u8], expected: Verdict, what: &str| {
        let action = if expected.to_worker() {
            XDP_REDIRECT
        } else {
            XDP_PASS
        };
        assert_eq!(
            in_kernel(steering, frame),
            (expected, action),
            "{what}: {frame:02x?}"
        );
    };
    for (name, frame, verdict) in frames::table() {
        if open {
            same(&frame, verdict, name);
        }
        for cut in SHORTEST..=frame.len() {
            same(&frame[..cut], host(&frame[..cut]), name);
        }
    }
    for frame in frames::damaged(20_000).filter(|frame| frame.len() >= SHORTEST) {
        same(&frame, host(&frame), "damaged");
    }
}

#[test]
fn the_kernel_decides_like_the_host() {
    let pair = Pair::new("");
    enter(&pair.server);
    let listeners = [IpAddr::from(OURS), IpAddr::from(OURS6)]
        .map(|ours| TcpListener::bind((ours, WEB)).expect("bound"));

    // The connections that the kernel owns in the frames' world.
    let clients = thread::scope(|scope| {
        let connect = scope.spawn(|| {
            enter(&pair.client);
            fs::write(
                "/proc/sys/net/ipv4/ip_local_port_range",
                format!("{KERNELS} {KERNELS}"),
            )
            .expect("one port");
            [IpAddr::from(OURS), IpAddr::from(OURS6)]
                .map(|ours| TcpStream::connect((ours, WEB)).expect("connected"))
        });
        connect.join().expect("the client")
    });
    let accepted = listeners
        .each_ref()
        .map(|listener| listener.accept().expect("accepted"));
    let peers = accepted.each_ref().map(|(_, peer)| *peer);
    assert_eq!(
        peers,
        [
            (IpAddr::from(PEER), KERNELS).into(),
            (IpAddr::from(PEER6), KERNELS).into()
        ]
    );

    let mut steering = load();
    let nowhere = xsk_nowhere();
    steering.set_socket(0, &nowhere).expect("a socket");
    compare(&steering, false);
    steering.open_gate(true).expect("open");
    compare(&steering, true);

    // The same connections in TIME-WAIT, which the side has that closes first.
    drop(accepted);
    drop(clients);
    let waiting = || run("ss -tanH state time-wait").lines().count() == 2;
    assert!((0..1000).any(|_| waiting()), "{}", run("ss -tan"));
    compare(&steering, true);

    steering.open_gate(false).expect("closed");
    compare(&steering, false);
    assert!(
        run(&format!("ip -d link show dev {NIC}"))
            .find("prog/xdp")
            .is_none(),
        "never attached"
    );
}

#[test]
fn without_a_socket_every_frame_is_the_kernels() {
    let pair = Pair::new("");
    enter(&pair.server);
    let mut steering = load();
    steering.open_gate(true).expect("open");
    let mut ours = 0;
    for (name, frame, _) in frames::table() {
        let (verdict, action) = in_kernel(&steering, &frame);
        assert_eq!(action, XDP_PASS, "{name}");
        ours += u32::from(verdict == Verdict::PassNoSocket);
    }
    assert!(ours > 10, "{ours}");

    // The entry of a socket goes with the socket.
    let (_, frame, verdict) = frames::table().swap_remove(0);
    let nowhere = xsk_nowhere();
    steering.set_socket(0, &nowhere).expect("a socket");
    assert_eq!(in_kernel(&steering, &frame), (verdict, XDP_REDIRECT));
    assert!(
        steering.set_socket(1, &nowhere).is_err(),
        "there is one queue"
    );
}

#[test]
fn a_forgotten_flow_is_judged_like_any_other() {
    let pair = Pair::new("");
    enter(&pair.server);
    let mut steering = load();
    let nowhere = xsk_nowhere();
    steering.set_socket(0, &nowhere).expect("a socket");
    let frame = frames::v4(REGISTERED, frames::ACK);
    assert_eq!(in_kernel(&steering, &frame).0, Verdict::XskFlow);
    let flow = FlowKey::new(Addr::v4(OURS), WEB, Addr::v4(PEER), REGISTERED);
    let mut flows = steering.flows(0).expect("the flows");
    flows.remove(&flow);
    assert!(!flows.has(&flow));
    assert_eq!(in_kernel(&steering, &frame).0, Verdict::XskOther);
}

#[test]
fn handles_can_move_to_the_workers_threads() {
    fn is_send<T: Send>() {}
    is_send::<FlowTable>();
    is_send::<Steering>();
    is_send::<sidestep::inject::Injector>();
}
