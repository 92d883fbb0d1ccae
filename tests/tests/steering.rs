//! The XDP program on the kernel: it loads and attaches.

use sidestep::steer::{AttachMode, SteerError, Steering};
use std::process::Command;

fn ip(line: &str) {
    assert!(
        Command::new("ip")
            .args(line.split(' '))
            .status()
            .expect("ip")
            .success(),
        "ip {line}"
    );
}

#[test]
fn attaches_to_a_veth_in_both_modes() {
    ip("link add ss-b-v0 type veth peer name ss-b-v1");
    let mut steering = Steering::load(4, 1000).unwrap_or_else(|e| panic!("{e}"));
    steering
        .add_service("10.9.8.7".parse().expect("address"), 80)
        .expect("a service");
    steering.open_gate(true).expect("the gate");
    for mode in [AttachMode::Native, AttachMode::Generic] {
        steering
            .attach("ss-b-v0", mode)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut second = Steering::load(1, 1).expect("a second one");
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let e = second.attach("ss-b-v0", mode).unwrap_err();
            println!("{e}");
            assert!(matches!(e, SteerError::Busy { .. }));
        }
    }
    println!("{:?}", steering.counters());
    drop(steering);
    ip("link del ss-b-v0");
}
