//! The plain course: handshake, request, answer, close.

use crate::testing::{Jar, answer, seg};

#[test]
fn handshake_request_answer_close_by_peer() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 12\n"));
    jar.expect(&[seg("PA", 1, 8).data(answer(12, 0, 12))]);
    jar.send(seg("A", 8, 13));
    jar.expect(&[]);
    assert_eq!(jar.app.held, 0);
    jar.send(seg("FA", 8, 13));
    jar.expect(&[seg("FA", 13, 9)]);
    assert_eq!(jar.log(), ["established", "eof 0"]);
    jar.send(seg("A", 9, 14));
    jar.expect(&[]);
    assert_eq!(jar.log(), ["closed Finished 1"]);
    jar.assert_gone();
    assert_eq!(jar.stack.next_deadline(), None);
}

#[test]
fn close_by_us_ends_in_time_wait() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nBYE\n"));
    jar.expect(&[seg("FPA", 1, 11).data(answer(5, 0, 5))]);
    jar.send(seg("FA", 11, 7));
    jar.expect(&[seg("A", 7, 12)]);
    assert_eq!(jar.log(), ["established", "closed Finished 1"]);
    jar.assert_gone();
    assert_eq!(jar.stack.time_wait(), 1);
    jar.pass_ms(61_000);
    assert_eq!(jar.stack.time_wait(), 0);
    jar.expect(&[]);
}

#[test]
fn pipelined_answers_share_segments() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 300\nGET 301\nGET 302\nGET 303\nGET 5"));
    let mut all = Vec::new();
    (300..304).for_each(|n| all.extend(answer(n, 0, n)));
    jar.expect(&[
        seg("A", 1, 38).data(&all[..1000]),
        seg("PA", 1001, 38).data(&all[1000..]),
    ]);
    jar.send(seg("PA", 38, 1).data("0\n"));
    jar.expect(&[seg("PA", 1207, 40).data(answer(50, 0, 50))]);
    jar.send(seg("A", 40, 1257));
    assert_eq!(jar.app.held, 0);
}
