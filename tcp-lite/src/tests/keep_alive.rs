//! Keep-alive probes (RFC 9293 section 3.8.4).

use core::time::Duration;

use crate::testing::{Jar, answer, seg};

/// A connection that asks after 100 s, three times, 10 s apart.
fn kept() -> Jar {
    Jar::established(|config| {
        config.keep_alive = Some(Duration::from_secs(100));
        config.keep_alive_interval = Duration::from_secs(10);
        config.keep_alive_probes = 3;
    })
}

#[test]
fn off_by_default() {
    let mut jar = Jar::established(|_| {});
    jar.pass(Duration::from_secs(30 * 24 * 3600));
    jar.expect(&[]);
    assert_eq!((jar.stack.len(), jar.stack.next_deadline()), (1, None));
}

#[test]
fn silent_peer_is_asked_and_given_up() {
    let mut jar = kept();
    jar.pass_ms(99_990);
    jar.expect(&[]);
    jar.pass_ms(20);
    for _ in 0..3 {
        jar.expect(&[seg("A", 0, 1)]);
        jar.pass_ms(9_970);
        jar.expect(&[]);
        jar.pass_ms(30);
    }
    let mut reset = seg("RA", 1, 1);
    reset.win = 0;
    jar.expect(&[reset]);
    assert_eq!(jar.log(), ["established", "closed KeepAlive 0"]);
    jar.assert_gone();
    assert_eq!(jar.stack.counters().keep_alives, 3);
}

/// One answer is enough, and a lost one does no harm.
#[test]
fn a_peer_that_answers_lives() {
    let mut jar = kept();
    for round in 0..5 {
        jar.pass_ms(100_010);
        jar.expect(&[seg("A", 0, 1)]);
        if round % 2 == 1 {
            jar.pass_ms(10_000);
            jar.expect(&[seg("A", 0, 1)]);
        }
        jar.send(seg("A", 1, 1));
        jar.expect(&[]);
    }
    assert_eq!(jar.stack.len(), 1);
    // Whatever it sends is a sign of life.
    jar.pass_ms(90_000);
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    jar.send(seg("A", 7, 4));
    jar.pass_ms(90_000);
    jar.expect(&[]);
    jar.pass_ms(10_010);
    jar.expect(&[seg("A", 3, 7)]);
}

/// What is outstanding asks by itself.
#[test]
fn no_probe_while_data_is_outstanding() {
    let mut jar = Jar::established(|config| config.keep_alive = Some(Duration::from_secs(5)));
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    let _ = jar.sent();
    jar.pass_ms(50_000);
    assert!(jar.sent().iter().all(|s| s.data.len() == 3));
    jar.pass_ms(20_000);
    assert_eq!(jar.log(), ["established", "closed UserTimeout 1"]);
    assert_eq!(jar.stack.counters().keep_alives, 0);
}

/// A forged or stale segment is no sign of life.
#[test]
fn only_acceptable_segments_count() {
    let mut jar = kept();
    jar.pass_ms(99_000);
    let _ = jar.hand(seg("A", 90_000, 1));
    let _ = jar.hand(seg("S", 5, 0));
    jar.flush();
    let _ = jar.sent();
    jar.pass_ms(1_010);
    jar.expect(&[seg("A", 0, 1)]);
}

/// The peer's own probes, without data or with a byte, are answered.
#[test]
fn probes_of_the_peer_are_answered() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    let _ = jar.sent();
    jar.send(seg("A", 7, 4));
    for probe in [seg("A", 6, 4), seg("A", 6, 4).data("\n")] {
        jar.drops(probe, crate::DropReason::OutOfWindow);
        jar.expect(&[seg("A", 4, 7)]);
    }
}
