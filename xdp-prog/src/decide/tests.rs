//! The rules as a table of hand-made frames, and the same frames damaged in every way.

pub(crate) mod frames;

use std::vec::Vec;

use self::frames::*;
use super::{Lookup, decide};
use crate::{Addr, FlowKey, ServiceKey, Station, Verdict};

#[test]
fn every_row_meets_its_verdict() {
    for (name, frame, expected) in table() {
        assert_eq!(
            decide(frame.as_slice(), &World { open: true }),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_closed_gate_stops_new_connections_only() {
    let closed = |frame: Vec<u8>| decide(frame.as_slice(), &World { open: false });
    assert_eq!(closed(v4(NEW, SYN)), Verdict::PassGateClosed);
    assert_eq!(closed(v6(NEW, SYN_ECN)), Verdict::PassGateClosed);
    assert_eq!(closed(v4(NEW, SYN | ACK)), Verdict::XskOther);
    assert_eq!(closed(v4(NEW, ACK)), Verdict::XskOther);
    assert_eq!(closed(v4(REGISTERED, SYN)), Verdict::XskFlow);
    assert_eq!(closed(v4(KERNELS, SYN)), Verdict::PassKernelFlow);
    assert_eq!(closed(need_fragmentation(NEW, 0, 4)), Verdict::XskIcmp);
}

#[test]
fn a_frame_cut_anywhere_in_its_headers_is_the_kernels() {
    for (name, frame, expected) in table() {
        for cut in 0..frame.len() {
            let verdict = decide(&frame[..cut], &World { open: true });
            // Nothing that the headers needed may be missing, so a shorter frame that is ours at all is a fragment,
            // an ICMP message whose quote is longer than needed, or has lost only what comes behind the headers.
            assert!(
                verdict == Verdict::PassMalformed || verdict == expected,
                "{name} cut at {cut}: {verdict:?}"
            );
        }
    }
}

#[test]
fn damaged_and_random_frames_never_panic_and_never_become_ours_without_a_service() {
    struct Nothing;
    impl Lookup for Nothing {
        fn is_station(&self, _: Station) -> bool {
            true
        }
        fn is_service(&self, _: &ServiceKey) -> bool {
            false
        }
        fn is_own_flow(&self, _: &FlowKey) -> bool {
            false
        }
        fn is_kernel_flow(&self, _: &FlowKey) -> bool {
            panic!("asked about a flow to no service")
        }
        fn gate_is_open(&self) -> bool {
            true
        }
    }
    for frame in damaged(200_000) {
        decide(frame.as_slice(), &World { open: true });
        assert!(
            !decide(frame.as_slice(), &Nothing).to_worker(),
            "{frame:02x?}"
        );
    }
}

#[test]
fn labels_are_distinct_and_in_the_order_of_the_counters() {
    let labels: Vec<_> = (0..Verdict::COUNT).map(Verdict::label).collect();
    for (i, verdict) in Verdict::ALL.iter().enumerate() {
        assert_eq!(*verdict as usize, i);
        assert_eq!(
            verdict.to_worker(),
            labels[i].starts_with("xsk_"),
            "{}",
            labels[i]
        );
        assert_eq!(
            labels.iter().filter(|label| **label == labels[i]).count(),
            1
        );
    }
    assert_eq!(Verdict::label(Verdict::COUNT), "?");
}

#[test]
fn marks_tell_flows_apart_and_spread_them() {
    let mut marks = Vec::new();
    for n in 0..40_000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let port = (n % 500) as u16;
        let peers = [
            (Addr::v4(OURS), Addr::v4([10, b, c, d])),
            (Addr::v4([10, 9, 8, 7]), Addr::v4([10, b, c, d])),
            (
                Addr::v6(OURS6),
                Addr::v6([0x20, 1, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ),
            (
                Addr::v6(OURS6),
                Addr::v6([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]),
            ),
        ];
        marks.extend(peers.map(|(ours, peer)| FlowKey::new(ours, WEB, peer, port).mark()));
    }
    assert!(!marks.contains(&0));
    let mut places = std::vec![0_u32; 1 << 16];
    for mark in &marks {
        places[FlowKey::place(*mark, 1 << 16) as usize] += 1;
    }
    // 160,000 in 65,536 places: by chance, 2.4 on average and hardly one in a thousand with more than 9.
    let crowded = places.iter().filter(|count| **count > 9).count();
    assert!(crowded < 200, "{crowded} places");
    // Of one peer no two ports have the same place, and neighbours are beside each other.
    for peer in [Addr::v4(PEER), Addr::v6(PEER6)] {
        let place = |port| {
            let ours = if peer.is_v4() {
                Addr::v4(OURS)
            } else {
                Addr::v6(OURS6)
            };
            FlowKey::place(FlowKey::new(ours, WEB, peer, port).mark(), 1 << 17)
        };
        let taken: std::collections::HashSet<_> = (0..=u16::MAX).map(place).collect();
        assert_eq!(taken.len(), 1 << 16);
        let near = (1..=u16::MAX).filter(|port| place(*port).abs_diff(place(port - 1)) < 8);
        assert!(near.count() > 50_000);
    }
    let flows = marks.len();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), flows);
}

#[test]
fn keys_have_no_padding_and_the_layout_of_the_kernel() {
    assert_eq!(size_of::<FlowKey>(), size_of::<[u32; 9]>());
    assert_eq!(size_of::<ServiceKey>(), size_of::<[u32; 5]>());
    let key = FlowKey::new(Addr::v4(OURS), WEB, Addr::v4(PEER), NEW);
    let bytes: Vec<u8> = key
        .words()
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(bytes[12..16], PEER);
    assert_eq!(bytes[28..32], OURS);
    assert_eq!(bytes[32..], [0x9c, 0x40, 0, 80]);
    assert_eq!(key.service(), ServiceKey::new(Addr::v4(OURS), WEB));
    assert!(
        core::ptr::from_ref(crate::OBJECT)
            .cast::<u64>()
            .is_aligned()
    );
}
