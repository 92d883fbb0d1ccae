//! What can happen to a NIC while it is served.

use super::{By, CONFIG, PONG, ask, client};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;
use std::net::{IpAddr, SocketAddr};

#[test]
fn a_nic_that_goes_ends_the_daemon_with_a_clear_error() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, CONFIG);
    net.server.must(&["ip", "link", "del", net.server.device]);
    let ended = daemon.gone();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let text = format!("{} is gone", net.server.device);
    assert!(ended.stderr.contains(&text), "{}", ended.stderr);
}

#[test]
fn connections_outlive_a_nic_that_was_down() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, PONG);
    let daemon = Daemon::start(&net.server, CONFIG);
    let to = net.server.at(80);
    let mut ours = client(&net, to).expect("connects");
    let mut kernels = client(&net, to).expect("connects");
    assert_eq!(ask(&mut ours, "/ping").expect("answered"), By::Sidestep);
    assert_eq!(ask(&mut kernels, "/other").expect("answered"), By::Kernel);
    let link = |state| {
        let argv = ["ip", "link", "set", net.server.device, state];
        net.server.must(&argv)
    };
    link("down");
    assert_eq!(daemon.degraded(), ["nic_down"]);
    // Long enough for each worker to have asked after it.
    let rounds = || daemon.status()["workers"][0]["rounds"].as_u64();
    let before = rounds().expect("a number");
    wait_for(PATIENCE, "the worker goes on", || {
        (rounds() > Some(before + 1)).then_some(())
    });
    link("up");
    assert_eq!(daemon.degraded(), [""; 0]);
    assert_eq!(ask(&mut ours, "/ping").expect("answered"), By::Sidestep);
    assert_eq!(ask(&mut kernels, "/ping").expect("answered"), By::Kernel);
    let mut new = client(&net, to).expect("connects");
    assert_eq!(ask(&mut new, "/ping").expect("answered"), By::Sidestep);
}

#[test]
fn an_interfaces_addresses_are_those_that_it_has_at_any_time() {
    for fallback in ["kernel", "none"] {
        let net = Net::new();
        let _server = Server::http(&net.server, 80, PONG);
        let listen = format!("port = 80\nfallback = \"{fallback}\"");
        let daemon = Daemon::start(&net.server, &CONFIG.replace("port = 80", &listen));
        for (address, of) in [
            ("10.77.0.9", "10.77.0.9/24"),
            ("fd00:77::9", "fd00:77::9/64"),
        ] {
            let ip: IpAddr = address.parse().expect("an address");
            let to = SocketAddr::new(ip, 80);
            let change = |verb: &str| {
                let argv = ["ip", "address", verb, of, "dev", net.server.device];
                let nodad: &[&str] = if verb == "add" && ip.is_ipv6() {
                    &["nodad"]
                } else {
                    &[]
                };
                net.server.must(&[&argv, nodad].concat());
            };
            let served = |wanted: bool| {
                wait_for(PATIENCE, "the address is followed", || {
                    let status = daemon.status();
                    let listening = status["listening"].as_array().expect("a list").iter();
                    let there = listening
                        .filter_map(|at| at.as_str())
                        .any(|at| at == to.to_string());
                    (there == wanted).then_some(())
                });
            };
            change("add");
            served(true);
            let mut client = client(&net, to).expect("connects");
            assert_eq!(ask(&mut client, "/ping").expect("answered"), By::Sidestep);
            match fallback {
                "none" => assert_eq!(client.get("/other").expect("answered").status, 404),
                _ => assert_eq!(ask(&mut client, "/other").expect("answered"), By::Kernel),
            }
            drop(client);
            change("del");
            served(false);
            let mut old = self::client(&net, net.server.at(80)).expect("connects");
            assert_eq!(ask(&mut old, "/ping").expect("answered"), By::Sidestep);
        }
    }
}
