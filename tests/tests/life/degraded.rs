//! A daemon that works, but not as well as it could, says so.

use super::{CONFIG, PONG, ask, client};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;
use std::net::TcpListener;

fn set_mtu(net: &Net, mtu: u32) {
    for host in [&net.server, &net.client] {
        let mtu = mtu.to_string();
        host.must(&["ip", "link", "set", host.device, "mtu", &mtu]);
    }
}

#[test]
fn a_status_tells_what_is_worse_than_it_could_be() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, PONG);
    // MTU, net.ipv4.tcp_syncookies, mode, and the reasons that the status gives. 3,600 bytes are too many for native
    // XDP on a veth.
    let rows: [(u32, u8, &str, &[&str]); 5] = [
        (1500, 1, "auto", &[]),
        (3600, 1, "auto", &["lower_mode"]),
        (3600, 1, "generic", &[]),
        (1500, 0, "copy", &["no_handoff"]),
        (1500, 1, "copy", &[]),
    ];
    for row @ (mtu, syncookies, mode, reasons) in rows {
        set_mtu(&net, mtu);
        let syncookies = format!("net.ipv4.tcp_syncookies={syncookies}");
        net.server.must(&["sysctl", "-qw", &syncookies]);
        let config = format!("[interface]\nmode = \"{mode}\"\n{CONFIG}");
        let daemon = Daemon::start(&net.server, &config);
        assert_eq!(daemon.degraded(), reasons, "{row:?}:\n{}", daemon.log());
        for to in net.server.addresses(80) {
            let mut client = client(&net, to).expect("connects");
            ask(&mut client, "/ping").expect("answered");
            ask(&mut client, "/other").expect("answered");
        }
    }
    set_mtu(&net, 1500);
    let metrics = net.server.enter(|| TcpListener::bind("127.0.0.1:9469"));
    let daemon = Daemon::start(&net.server, CONFIG);
    assert_eq!(daemon.degraded(), ["no_metrics"]);
    set_mtu(&net, 1400);
    assert_eq!(daemon.degraded(), ["no_metrics", "mtu_changed"]);
    let text = daemon.control(&["status"]).stdout;
    assert!(text.contains("degraded: the MTU is 1400 bytes"), "{text}");
    drop(metrics);
}

#[test]
fn what_the_kernel_counts_on_a_socket_is_shown() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, CONFIG);
    let status = daemon.status();
    let counts = status["workers"][0]["counters"]["xsk"].as_object();
    let names: Vec<&str> = counts.expect("counts").keys().map(String::as_str).collect();
    let expected = [
        "fill_ring_empty",
        "rx_dropped",
        "rx_invalid_descs",
        "rx_ring_full",
        "tx_invalid_descs",
        "tx_ring_empty",
    ];
    assert_eq!(names, expected);
    let argv = ["curl", "-sf", "http://127.0.0.1:9469/metrics"];
    let page = net.server.must(&argv);
    let line = "sidestep_xsk{queue=\"0\",kind=\"rx_dropped\"} 0";
    assert!(page.lines().any(|l| l == line), "{page}");
}
