//! A NIC's interrupts: put off while a daemon runs that is told to, and as they were afterwards.

use super::{By, CONFIG, PONG, ask, client};
use sidestep::genl::{NapiSettings, napis, set_napi};
use sidestep_tests::daemon::{Daemon, sidestep};
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;

/// Hosts whose NIC has an instance of NAPI with and without a program on it: a veth with GRO.
fn net() -> Net {
    let net = Net::new();
    net.server
        .must(&["ethtool", "-K", net.server.device, "gro", "on"]);
    net
}

/// Changes the settings of the NIC's one instance if told to, and returns what they are then.
fn settings(net: &Net, to: Option<NapiSettings>) -> NapiSettings {
    let device = net.server.device;
    net.server.enter(|| {
        let index = nix::net::if_::if_nametoindex(device).expect("an index");
        let one = || {
            let all = napis(index).expect("Linux 6.13 or newer tells");
            assert_eq!(all.len(), 1, "{all:?}");
            all[0]
        };
        if let Some(to) = to {
            set_napi(one().id, to).expect("changed");
        }
        one().settings.expect("Linux 6.13 or newer has them")
    })
}

fn config(interface: &str) -> String {
    format!("[interface]\n{interface}\n{CONFIG}")
}

const DEFERRED: &str = "busy_poll = true\ninterrupts = \"deferred\"";

#[test]
fn interrupts_are_put_off_while_a_daemon_runs_and_as_before_afterwards() {
    let net = net();
    let _server = Server::http(&net.server, 80, PONG);
    let hosts = NapiSettings {
        defer_hard_irqs: 7,
        gro_flush_timeout: 12_000,
        irq_suspend_timeout: 0,
    };
    settings(&net, Some(hosts));
    for (interface, suspends) in [(DEFERRED, false), ("interrupts = \"suspended\"", true)] {
        let daemon = Daemon::start(&net.server, &config(interface));
        assert_eq!(daemon.degraded(), [""; 0]);
        let ours = settings(&net, None);
        assert_ne!(ours, hosts);
        assert!(ours.gro_flush_timeout > 0 && ours.defer_hard_irqs > 0);
        assert_eq!(ours.irq_suspend_timeout > 0, suspends);
        let mut client = client(&net, net.server.at(80)).expect("connects");
        for (path, by) in [("/ping", By::Sidestep), ("/other", By::Kernel)] {
            assert_eq!(ask(&mut client, path).expect("answered"), by);
        }
        daemon.stop();
        assert_eq!(settings(&net, None), hosts);
    }
    // Nobody asked for anything.
    let daemon = Daemon::start(&net.server, CONFIG);
    assert_eq!(settings(&net, None), hosts);
    daemon.stop();
    assert_eq!(settings(&net, None), hosts);
}

#[test]
fn what_a_killed_daemon_leaves_is_told_and_mended_by_the_next() {
    let net = net();
    let before = settings(&net, None);
    assert_eq!(before, NapiSettings::default());
    Daemon::start(&net.server, &config(DEFERRED)).kill9();
    let left = settings(&net, None);
    assert_ne!(left, before);
    let told = sidestep(&net.server, &["doctor", net.server.device]);
    let text = "a daemon that was killed has left them put off";
    assert!(told.stdout.contains(text), "{}", told.stdout);
    let daemon = Daemon::start(&net.server, &config(DEFERRED));
    assert_eq!(settings(&net, None), left);
    daemon.stop();
    assert_eq!(settings(&net, None), before);
    let told = sidestep(&net.server, &["doctor", net.server.device]);
    assert!(!told.stdout.contains(text), "{}", told.stdout);
}
