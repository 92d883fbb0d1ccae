//! Attaching works in both modes, and otherwise says what is wrong and leaves the NIC as it was.

use sidestep::steer::{AttachMode, SteerError, Steering};

use crate::net::{NIC, Pair, enter, run};

const MODES: [AttachMode; 2] = [AttachMode::Native, AttachMode::Generic];

fn load() -> Steering {
    Steering::load(1, 1).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether `ip` sees an XDP program on the NIC.
fn has_program(nic: &str) -> bool {
    run(&format!("ip -d link show dev {nic}")).contains("prog/xdp")
}

#[test]
fn attaches_in_both_modes_and_detaches_when_dropped() {
    let pair = Pair::new("");
    enter(&pair.server);
    let mut steering = load();
    for mode in MODES {
        steering
            .attach(NIC, mode)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(has_program(NIC), "{mode}");
    }
    steering.detach();
    assert!(!has_program(NIC), "detached");
    steering.attach(NIC, AttachMode::Native).expect("once more");
    drop(steering);
    assert!(!has_program(NIC), "dropped");
}

#[test]
fn another_program_is_named_and_stays() {
    let pair = Pair::new("");
    enter(&pair.server);
    for theirs in MODES {
        let mut first = load();
        first.attach(NIC, theirs).expect("the first");
        for ours in MODES {
            let error = load().attach(NIC, ours).expect_err("there is one already");
            let SteerError::Busy {
                occupant: Some(occupant),
                ..
            } = &error
            else {
                panic!("{error}")
            };
            let info = first
                .program()
                .expect("a program")
                .info()
                .expect("its description");
            assert_eq!(
                (occupant.id, occupant.name.as_str(), occupant.linked),
                (info.id(), "sidestep_xdp", true)
            );
            assert!(
                error.to_string().ends_with("sidestep detach nic`"),
                "{error}"
            );
            assert!(!error.other_mode_may_work());
        }
        assert!(has_program(NIC));
    }
}

#[test]
fn a_missing_nic_is_named() {
    for name in [
        "ss-b-none",
        "",
        "a name that is much too long for a network interface",
        "nul\0",
    ] {
        let error = load()
            .attach(name, AttachMode::Native)
            .expect_err("no such NIC");
        assert!(
            matches!(&error, SteerError::NoInterface { ifname } if ifname == name),
            "{error}"
        );
        assert!(!error.other_mode_may_work());
    }
}

#[test]
fn a_mode_that_the_driver_refuses_is_told_from_what_no_mode_can_do() {
    let pair = Pair::new("numtxqueues 4");
    enter(&pair.server);

    let error = load()
        .attach("lo", AttachMode::Native)
        .expect_err("loopback has no XDP of its own");
    assert!(matches!(error, SteerError::Unsupported { .. }), "{error}");
    assert!(error.other_mode_may_work());

    run(&format!(
        "ip netns exec {} ethtool -L {NIC} tx 4",
        pair.client
    ));
    let error = load()
        .attach(NIC, AttachMode::Native)
        .expect_err("the peer sends on more queues than there are");
    assert!(matches!(error, SteerError::Refused { .. }), "{error}");
    assert!(error.other_mode_may_work());

    let pair = Pair::new("");
    enter(&pair.server);
    for namespace in [&pair.server, &pair.client] {
        run(&format!("ip -n {namespace} link set dev {NIC} mtu 9000"));
    }
    let error = load()
        .attach(NIC, AttachMode::Native)
        .expect_err("frames larger than a page");
    assert!(matches!(error, SteerError::Mtu { .. }), "{error}");
    assert!(error.other_mode_may_work());
    load()
        .attach(NIC, AttachMode::Generic)
        .expect("the other mode");
    assert!(!has_program(NIC));
}
