//! Fragments of our connections, of others, and of nobody.

use super::{PING, assert_all_frames_home, config, open, ping_answer};
use sidestep_tests::mem::{MemHost, frame};
use sidestep_tests::raw::{Received, Segment, ethernet, flag};
use std::net::IpAddr;
use std::time::Duration;

#[test]
fn fragments_of_ours_are_put_together_and_others_go_to_the_kernel() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let whole = conn.data(PING.as_bytes());
    let mut segment = Segment::new(
        (IpAddr::from([192, 0, 2, 2]), 4000),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    let parsed = Received::parse(&whole).expect("our own frame");
    (segment.seq, segment.ack, segment.flags) = (parsed.seq, parsed.ack, parsed.flags);
    segment.payload = parsed.payload;
    let mut parts = fragment_frames(&segment, 1);
    parts.reverse();
    let (last, first) = parts.split_last().expect("several fragments");
    assert_eq!(host.exchange(first), Vec::<Vec<u8>>::new());
    let sent = host.exchange(std::slice::from_ref(last));
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answer, ping_answer());

    // A whole datagram of a connection that is not ours, then one that stays incomplete.
    segment.sport = 4001;
    let strange = fragment_frames(&segment, 2);
    assert_eq!(host.exchange(&strange), Vec::<Vec<u8>>::new());
    assert_eq!(host.take_injected(), strange);
    let partial = &fragment_frames(&segment, 3)[..2];
    host.exchange(partial);
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
    host.advance(Duration::from_secs(1));
    host.exchange(&[]);
    assert_eq!(host.take_injected(), partial);
    assert_all_frames_home(&mut host);
}

/// The kernel knows nothing of our connections: it would answer what it puts together with a reset.
#[test]
fn fragments_of_ours_never_reach_the_kernel() {
    let mut host = MemHost::new(&config("kernel"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let mut segment = parsed(&conn.data(PING.as_bytes()));
    let parts = fragment_frames(&segment, 1);
    let (last, others) = parts.split_last().expect("several fragments");
    // The network delivers one twice.
    host.exchange(others);
    host.exchange(&others[..1]);
    let sent = host.exchange(std::slice::from_ref(last));
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answer, ping_answer());

    // One that overlaps, and a datagram that is never whole.
    segment = parsed(&conn.data(PING.as_bytes()));
    host.exchange(&fragment_frames(&segment, 2)[..1]);
    segment.payload[3] = b'X';
    host.exchange(&fragment_frames(&segment, 2));
    host.exchange(&fragment_frames(&segment, 3)[..2]);
    host.advance(Duration::from_secs(2));
    host.exchange(&[]);
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
    assert!(host.counter("frame_drops", "fragment") > 0);
    assert_all_frames_home(&mut host);
}

#[test]
fn a_fragmented_syn_for_a_connection_in_time_wait_is_the_kernels_once_we_drain() {
    let mut host = MemHost::new(&config("kernel"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let request = "GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    assert!(!conn.request(&mut host, request.as_bytes()).is_empty());
    let mut segment = parsed(&conn.data(b""));
    segment.flags = flag::ACK | flag::FIN;
    host.exchange(&[frame(&segment)]);
    assert_eq!(host.counter("connections", "time_wait"), 1);
    host.drain();
    segment.flags = flag::SYN;
    segment.seq = segment.seq.wrapping_add(100_000);
    segment.payload = vec![0; 32];
    let parts = fragment_frames(&segment, 1);
    host.exchange(&parts);
    assert_eq!(host.take_injected(), parts);
}

/// The segment in a frame of a client's on port 4000.
pub(super) fn parsed(frame: &[u8]) -> Segment {
    let from = Received::parse(frame).expect("our own frame");
    let mut segment = Segment::new(
        (IpAddr::from([192, 0, 2, 2]), 4000),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    (segment.seq, segment.ack, segment.flags) = (from.seq, from.ack, from.flags);
    segment.payload = from.payload;
    segment
}

pub(super) fn fragment_frames(segment: &Segment, id: u16) -> Vec<Vec<u8>> {
    let packets = segment.fragments(24, id);
    packets
        .iter()
        .map(|p| ethernet([2; 6], [4; 6], &[], p))
        .collect()
}

#[test]
fn a_flood_of_fragments_stays_within_the_budget() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut segment = Segment::new(
        (IpAddr::from([192, 0, 2, 9]), 1),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    segment.payload = vec![0; 1400];
    let mut injected = 0;
    for id in 0..2000 {
        let packets = segment.fragments(1200, id);
        host.exchange(&[ethernet([2; 6], [4; 6], &[], &packets[0])]);
        injected += host.take_injected().len();
    }
    let kept = 2000 - injected;
    assert!(
        (100..400).contains(&kept),
        "{kept} fragments of 1.2 KiB kept"
    );
    host.advance(Duration::from_secs(2));
    host.exchange(&[]);
    assert_eq!(host.take_injected().len(), kept);
}

/// Each of the smallest fragments is one more datagram to look after.
#[test]
fn a_flood_of_tiny_fragments_keeps_few_datagrams() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut segment = Segment::new(
        (IpAddr::from([192, 0, 2, 9]), 1),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    segment.payload = vec![0; 40];
    for id in 0..10_000 {
        let packets = segment.fragments(8, id);
        host.exchange(&[ethernet([2; 6], [4; 6], &[], &packets[1])]);
    }
    let kept = 10_000 - host.take_injected().len();
    assert!(kept < 1000, "{kept} fragments kept");
    // The oldest went, so that an honest datagram still becomes whole.
    let mut conn = open(&mut host, 4000);
    let segment = parsed(&conn.data(PING.as_bytes()));
    let sent = host.exchange(&fragment_frames(&segment, 10_001));
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answer, ping_answer());
}
