//! `fallback_mode = "auto"`: the kernel's own way where it can be had, else the proxy, for each reason.

use super::{MISS, PORT, config, hit};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::listener::{How, PLAINLY, listen_as};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::server::Server;
use std::net::{Ipv6Addr, SocketAddr};

const AUTO: &str = "fallback_mode = \"auto\"";

/// How the server met a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Handoff,
    Proxy,
}

/// A server that says whom it sees.
fn server(host: &Host, how: How) -> Server {
    let at = (Ipv6Addr::UNSPECIFIED, PORT).into();
    Server::who(listen_as(host, at, how))
}

/// Which way the second request of a connection goes, over either IP version.
fn ways(net: &Net) -> [Way; 2] {
    net.server.addresses(PORT).map(|to| {
        let mut client = hit(net, to);
        let answer = client.get("/elsewhere").expect("answered");
        assert_eq!(answer.field("server"), Some("kernel"), "{}", answer.head);
        let seen = String::from_utf8_lossy(&answer.body);
        let seen: SocketAddr = seen.parse().expect("an address");
        let own = client.stream().local_addr().expect("an address");
        if seen == own {
            return Way::Handoff;
        }
        assert_eq!(seen.ip(), to.ip());
        Way::Proxy
    })
}

fn syncookies(host: &Host, value: &str) {
    let path = "/proc/sys/net/ipv4/tcp_syncookies";
    host.enter(|| std::fs::write(path, value))
        .expect("a sysctl");
}

/// Lets a command see a kernel without the function that makes a handoff: its own types, but for that name.
fn without_function(types: &tempfile::NamedTempFile) -> Vec<String> {
    const REAL: &str = "/sys/kernel/btf/vmlinux";
    let mut bytes = std::fs::read(REAL).expect("the kernel's types");
    let name = b"\0bpf_sk_assign_tcp_reqsk\0";
    let at = memchr::memmem::find(&bytes, name).expect("a kernel that has the function");
    bytes[at + 1] = b'x';
    std::fs::write(types.path(), bytes).expect("written");
    let script = format!(
        "mount --bind {} {REAL} && exec \"$@\"",
        types.path().display()
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn the_kernels_own_way_is_taken_where_nothing_is_in_its_way() {
    let net = Net::new();
    let _server = server(&net.server, PLAINLY);
    let _daemon = Daemon::start(&net.server, &config(AUTO));
    assert_eq!(ways(&net), [Way::Handoff; 2]);
}

#[test]
fn a_listener_of_mptcp_is_reached_by_proxy() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &config(AUTO));
    let how = How {
        mptcp: true,
        ..PLAINLY
    };
    for (how, way) in [(PLAINLY, Way::Handoff), (how, Way::Proxy)].repeat(3) {
        let _server = server(&net.server, how);
        // The listener before it is believed in for a tenth of a second: a proxy may be a detour, nothing else.
        for way_taken in ways(&net) {
            assert!(way_taken == way || way_taken == Way::Proxy);
        }
        wait_for(PATIENCE, "the listener is noticed", || {
            (ways(&net) == [way; 2]).then_some(())
        });
    }
    assert_eq!(daemon.counter("handoff", "refused"), 0);
}

#[test]
fn without_syn_cookies_the_server_is_reached_by_proxy() {
    let net = Net::new();
    let _server = server(&net.server, PLAINLY);
    syncookies(&net.server, "0");
    let daemon = Daemon::start(&net.server, &config(AUTO));
    assert_eq!(ways(&net), [Way::Proxy; 2]);
    assert!(daemon.log().contains("tcp_syncookies"), "{}", daemon.log());
    // Found on at the start, they may go and come.
    syncookies(&net.server, "1");
    let _daemon = daemon.replaced();
    assert_eq!(ways(&net), [Way::Handoff; 2]);
}

#[test]
fn where_syn_cookies_go_later_the_proxy_takes_over() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &config(AUTO));
    for (value, way) in [("1", Way::Handoff), ("0", Way::Proxy), ("2", Way::Handoff)] {
        syncookies(&net.server, value);
        // What was asked is believed for a tenth of a second, or until nobody is found.
        for to in net.server.addresses(PORT) {
            assert_eq!(
                hit(&net, to).get("/elsewhere").expect("answered").status,
                503
            );
        }
        let _server = server(&net.server, PLAINLY);
        assert_eq!(ways(&net), [way; 2]);
    }
    assert_eq!(daemon.counter("handoff", "refused"), 0);
}

#[test]
fn on_a_kernel_without_the_function_the_server_is_reached_by_proxy() {
    let net = Net::new();
    let _server = server(&net.server, PLAINLY);
    let types = tempfile::NamedTempFile::new().expect("a file");
    let wrapper = without_function(&types);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let daemon = Daemon::start_by(&wrapper, &net.server, &config(AUTO));
    assert_eq!(ways(&net), [Way::Proxy; 2]);
    let log = daemon.log();
    assert!(log.contains("bpf_sk_assign_tcp_reqsk"), "{log}");
    daemon.stop();
    // Who wants no proxy has none.
    let handoff = config("fallback_mode = \"handoff\"");
    let daemon = Daemon::start_by(&wrapper, &net.server, &handoff);
    for to in net.server.addresses(PORT) {
        let mut client = hit(&net, to);
        client.send(MISS).expect("sent");
        assert_eq!(client.answer().expect("answered").status, 503);
    }
    assert_eq!(daemon.counter("handoff", "refused"), 2);
}
