//! Two workers, and flows that change their queue.

use super::fragments::{fragment_frames, parsed};
use super::{PING, assert_all_frames_home, at, config, open, ping_answer};
use sidestep_tests::mem::{MemConn, MemHost};
use std::time::Duration;

#[test]
fn a_flow_that_changes_its_queue_is_answered_by_its_worker() {
    let mut ring = MemHost::ring(&config("kernel"), 64, 64, 2);
    let [here, there] = &mut ring[..] else {
        panic!("two workers")
    };
    let mut conn = open(here, 4000);
    // A whole segment, then one in fragments, then fragments that overlap.
    assert_eq!(
        there.exchange(&[conn.data(PING.as_bytes())]),
        Vec::<Vec<u8>>::new()
    );
    let sent = here.exchange(&[]);
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answer, ping_answer());

    let mut segment = parsed(&conn.data(PING.as_bytes()));
    there.exchange(&fragment_frames(&segment, 1));
    let sent = here.exchange(&[]);
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answer, ping_answer());

    segment = parsed(&conn.data(PING.as_bytes()));
    there.exchange(&fragment_frames(&segment, 2)[..1]);
    segment.payload[3] = b'X';
    there.exchange(&fragment_frames(&segment, 2));
    for _ in 0..3 {
        for host in [&mut *here, &mut *there] {
            host.exchange(&[]);
            assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
            host.advance(Duration::from_secs(2));
        }
    }
    assert_eq!(here.connections(), 1);
    assert_all_frames_home(here);
    assert_all_frames_home(there);
}

#[test]
fn a_connection_half_open_on_another_queue_lives() {
    let mut ring = MemHost::ring(&config("kernel"), 64, 64, 2);
    let [here, there] = &mut ring[..] else {
        panic!("two workers")
    };
    let (from, to) = (at("192.0.2.2:4000"), at("192.0.2.1:80"));
    // The client sent its SYN twice, by both queues, and takes the first answer. The number that the other
    // worker chose is of another moment.
    there.advance(Duration::from_secs(1));
    let syn = MemConn::syn(from, to);
    assert_eq!(there.exchange(&[syn]).len(), 1, "the other SYN-ACK");
    let mut conn = MemConn::open(here, from, to);
    // Then all that it sends comes by the other queue.
    for _ in 0..3 {
        let stray = there.exchange(&[conn.data(PING.as_bytes())]);
        assert_eq!(stray, Vec::<Vec<u8>>::new());
        let sent = here.exchange(&[]);
        let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
        assert_eq!(answer, ping_answer());
    }
    assert_eq!(here.connections(), 1);
    assert_all_frames_home(here);
    assert_all_frames_home(there);
}
