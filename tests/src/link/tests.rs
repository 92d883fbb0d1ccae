use super::*;
use std::time::Instant;

fn numbered(n: u32) -> Vec<u8> {
    let mut frame = vec![0; 100];
    frame[..4].copy_from_slice(&n.to_be_bytes());
    frame
}

/// Offers `count` frames one microsecond apart and returns what comes out, with the times since the start.
fn through(shape: Shape, seed: u64, count: u32) -> (Vec<(Duration, Vec<u8>)>, Tally) {
    let start = now();
    let mut pipe = Pipe::new(shape, seed);
    for n in 0..count {
        pipe.offer(start + Duration::from_micros(n.into()), &numbered(n));
    }
    let mut out = Vec::new();
    while let Some(due) = pipe.next_due() {
        let frame = pipe.ready(due).expect("what is due is ready").to_vec();
        pipe.sent();
        out.push((due - start, frame));
    }
    (out, pipe.tally())
}

fn order(out: &[(Duration, Vec<u8>)]) -> Vec<u32> {
    out.iter()
        .map(|(_, frame)| u32::from_be_bytes(frame[..4].try_into().expect("4 bytes")))
        .collect()
}

#[test]
fn a_default_shape_changes_nothing() {
    let (out, tally) = through(Shape::default(), 1, 1000);
    assert_eq!(order(&out), (0..1000).collect::<Vec<_>>());
    assert!(
        out.iter()
            .enumerate()
            .all(|(n, (at, frame))| *at == Duration::from_micros(n as u64)
                && *frame == numbered(n as u32))
    );
    assert_eq!(
        (tally.offered, tally.delivered, tally.lost),
        (1000, 1000, 0)
    );
}

#[test]
fn the_seed_decides_everything() {
    let shape = Shape {
        loss: 0.1,
        burst: Some(Burst {
            enter: 0.01,
            leave: 0.3,
        }),
        duplicate: 0.05,
        reorder: 0.1,
        jitter: Duration::from_millis(1),
        bit_errors: 1e-4,
        ..Shape::default()
    };
    assert_eq!(
        through(shape.clone(), 7, 2000),
        through(shape.clone(), 7, 2000)
    );
    assert_ne!(through(shape.clone(), 7, 2000).0, through(shape, 8, 2000).0);
}

#[test]
fn shares_are_as_asked() {
    let near = |count: u64, of: u64, share: f64| {
        let got = count as f64 / of as f64;
        assert!(
            (got - share).abs() < share * 0.15,
            "{got} is not about {share}"
        );
    };
    let n = 50_000;
    near(through(Shape::lossy(0.05), 3, n).1.lost, n.into(), 0.05);
    let duplicating = Shape {
        duplicate: 0.02,
        ..Shape::default()
    };
    near(through(duplicating, 3, n).1.duplicated, n.into(), 0.02);
    let reordering = Shape {
        reorder: 0.1,
        ..Shape::default()
    };
    near(through(reordering, 3, n).1.reordered, n.into(), 0.1);
    // 688 bits behind the Ethernet header.
    let flipping = Shape {
        bit_errors: 1e-4,
        ..Shape::default()
    };
    near(
        through(flipping, 3, n).1.corrupted,
        n.into(),
        1.0 - (1.0f64 - 1e-4).powi(688),
    );
    // Share of the bad state: enter / (enter + leave).
    let bursty = Shape {
        burst: Some(Burst {
            enter: 0.01,
            leave: 0.25,
        }),
        ..Shape::default()
    };
    near(through(bursty, 3, n).1.lost, n.into(), 0.01 / 0.26);
}

#[test]
fn held_back_frames_are_overtaken_and_jitter_is_not_reordering() {
    let shape = Shape {
        reorder: 0.1,
        ..Shape::default()
    };
    let (out, _) = through(shape, 5, 5000);
    assert!(!order(&out).is_sorted());
    let shape = Shape {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        ..Shape::default()
    };
    let (out, _) = through(shape, 5, 5000);
    assert!(order(&out).is_sorted());
    assert!(out.iter().all(|(at, _)| *at >= Duration::from_millis(10)));
}

#[test]
fn a_rate_spaces_frames_and_its_queue_overflows() {
    let shape = Shape {
        rate: Some(8_000_000),
        queue: 10 * 124,
        ..Shape::default()
    };
    let (out, tally) = through(shape, 1, 1000);
    // 124 bytes at 1 byte/µs; all 1,000 frames are offered within 1,000 µs.
    assert!(
        out.windows(2)
            .all(|pair| pair[1].0 - pair[0].0 >= Duration::from_nanos(123_999))
    );
    assert!((17..=20).contains(&out.len()), "{} frames", out.len());
    assert_eq!(tally.overflowed + tally.delivered, 1000);
}

#[test]
fn what_a_full_device_refused_stays_first() {
    let start: Instant = now();
    let mut pipe = Pipe::new(Shape::default(), 1);
    for n in 0..3 {
        pipe.offer(start, &numbered(n));
    }
    assert_eq!(pipe.ready(start), Some(&numbered(0)[..]));
    assert_eq!(pipe.ready(start), Some(&numbered(0)[..]));
    pipe.sent();
    assert_eq!(pipe.ready(start), Some(&numbered(1)[..]));
    assert_eq!(pipe.tally().delivered, 1);
}

#[test]
fn impossible_shapes_are_refused() {
    assert!(Shape::lossy(1.5).check().is_err());
    assert!(Shape::lossy(f64::NAN).check().is_err());
    assert!(
        Shape {
            rate: Some(0),
            ..Shape::default()
        }
        .check()
        .is_err()
    );
    assert!(Shape::lossy(1.0).check().is_ok());
}

#[test]
fn a_damaged_frame_has_one_wrong_bit_behind_its_ethernet_header() {
    let shape = Shape {
        bit_errors: 0.01,
        ..Shape::default()
    };
    let (out, tally) = through(shape, 9, 1000);
    let mut damaged = 0;
    for (n, (_, frame)) in (0..).zip(&out) {
        let sent = numbered(n);
        assert_eq!(frame[..14], sent[..14]);
        let flipped: u32 = frame
            .iter()
            .zip(&sent)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert!(flipped <= 1);
        damaged += u64::from(flipped);
    }
    assert!(
        damaged > 900 && damaged == tally.corrupted,
        "{damaged}: {tally:?}"
    );
}
