//! What is said while something is missing, and of what comes twice.

use super::receive::with_sack;
use super::{ask, full, lengths};
use crate::DropReason;
use crate::testing::{Jar, Seg, answer, seg};

/// `len` bytes of no request, at `from`.
fn part(from: u32, len: usize) -> Seg {
    seg("A", from, 1).data(vec![b'x'; len])
}

fn blocks(ack: u32, list: &[(u32, u32)]) -> Seg {
    seg("A", 1, ack).sack(list)
}

/// RFC 2018 section 4: behind the newest block those that were reported last, as many as fit.
#[test]
fn blocks_come_in_the_order_of_their_news() {
    let mut jar = with_sack(|_| {});
    for from in [11, 21, 31, 41] {
        jar.send(part(from, 5));
    }
    let _ = jar.sent();
    jar.send(part(51, 5));
    jar.expect(&[blocks(1, &[(51, 56), (41, 46), (31, 36), (21, 26)])]);
    jar.send(part(26, 2));
    jar.expect(&[blocks(1, &[(21, 28), (51, 56), (41, 46), (31, 36)])]);
    // What joins two takes the place of both.
    jar.send(part(46, 5));
    jar.expect(&[blocks(1, &[(41, 56), (21, 28), (31, 36), (11, 16)])]);
    // Beside timestamps there is room for three.
    let mut jar = Jar::new(|_| {});
    let mut syn = seg("S", 0, 0).mss(1000).ts(1, 0);
    syn.options.sack_permitted = true;
    jar.send(syn);
    let _ = jar.sent();
    jar.send(seg("A", 1, 1).ts(1, 0));
    for from in [11, 21, 31, 41] {
        jar.send(part(from, 5).ts(1, 0));
    }
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!(
        last.options.sack,
        blocks(1, &[(41, 46), (31, 36), (21, 26)]).options.sack
    );
}

/// RFC 5681 section 4.2: also the last part of a gap that is not the last gap.
#[test]
fn a_gap_filled_in_part_is_acknowledged_at_once() {
    let mut jar = with_sack(|_| {});
    jar.send(part(21, 10));
    let _ = jar.sent();
    jar.send(part(1, 5));
    jar.expect(&[blocks(6, &[(21, 31)])]);
    jar.send(part(41, 10));
    let _ = jar.sent();
    jar.send(part(6, 15));
    jar.expect(&[blocks(31, &[(41, 51)])]);
    jar.send(part(31, 10));
    jar.expect(&[blocks(51, &[])]);
    // Nothing is missing any more.
    jar.send(part(51, 10));
    jar.expect(&[]);
    // A FIN is missing its gap as well.
    jar.send(seg("FA", 71, 1));
    jar.send(part(61, 5));
    jar.expect(&[blocks(61, &[(71, 72)]), blocks(66, &[(71, 72)])]);
    // Nor is there need of SACK.
    let mut jar = Jar::established(|_| {});
    jar.send(part(21, 10));
    jar.send(part(1, 5));
    jar.expect(&[blocks(1, &[]), blocks(6, &[])]);
}

/// RFC 2883 section 4.2: the part of a segment that was here, the first if there are several, before the block around it.
#[test]
fn parts_that_come_twice_are_reported() {
    let mut jar = with_sack(|_| {});
    jar.send(part(21, 10));
    jar.send(part(41, 10));
    let _ = jar.sent();
    for (from, len, want) in [
        // Over a front, over an end, inside, over both.
        (16, 10, &[(21, 26), (16, 31), (41, 51)][..]),
        (46, 10, &[(46, 51), (41, 56), (16, 31)]),
        (43, 3, &[(43, 46), (41, 56), (16, 31)]),
        (26, 20, &[(26, 31), (16, 56)]),
        // Beside it: nothing is here.
        (56, 4, &[(16, 60)]),
    ] {
        jar.send(part(from, len));
        jar.expect(&[blocks(1, want)]);
    }
    // In order, over what is behind the gap, and from below what was acknowledged.
    jar.send(part(1, 17));
    jar.expect(&[blocks(60, &[(16, 18)])]);
    jar.send(part(50, 20));
    jar.expect(&[blocks(70, &[(50, 60)])]);
    jar.drops(part(1, 60), DropReason::OutOfWindow);
    jar.expect(&[blocks(70, &[(1, 61)])]);
}

/// The report stands alone, the answer has whole segments.
#[test]
fn a_repeated_request_is_reported_and_the_next_answered() {
    let mut jar = with_sack(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    jar.send(seg("PA", 1, 4).data("GET 3\nGET 1000\n"));
    jar.expect(&[
        seg("A", 4, 16).sack(&[(1, 7)]),
        seg("PA", 4, 16).data(answer(1000, 0, 1000)),
    ]);
    // An application that ends the connection meanwhile has the last word.
    jar.send(seg("PA", 7, 1004).data("GET 1000\nDIE\n"));
    jar.expect(&[seg("RA", 1004, 20)]);
    jar.assert_gone();
}

/// RFC 2018 section 4: on data too, and RFC 6691: it takes its room from the data.
#[test]
fn data_has_the_blocks_as_well() {
    let mut jar = with_sack(|_| {});
    jar.send(part(51, 10));
    let _ = jar.sent();
    assert_eq!(ask(&mut jar, 2000), 10);
    // 4 bytes, and 8 for the block.
    let mut sent = jar.sent();
    let cut = [(1, 988), (989, 988), (1977, 24)];
    for (sent, (seq, len)) in sent.iter().zip(cut) {
        assert_eq!((sent.seq, sent.data.len(), sent.ack), (seq, len, 10));
        assert_eq!(sent.options.sack, blocks(10, &[(51, 61)]).options.sack);
    }
    let data: Vec<u8> = sent.drain(..).flat_map(|s| s.data).collect();
    assert_eq!(data, answer(2000, 0, 2000));
    // What is sent again keeps its bounds; what has the room has the blocks.
    jar.send(seg("A", 10, 1).sack(&[(1977, 2001)]));
    jar.pass_ms(3_000);
    for sent in jar.sent() {
        let blocks = sent.options.sack.as_slice().len();
        assert!(sent.data.len() + 12 * blocks <= 1000 && sent.data.len() <= 1000);
    }
    // Whole segments once nothing is missing.
    let mut jar = with_sack(|_| {});
    jar.send(part(11, 1));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).data("GET 2000\n\n"));
    assert_eq!(lengths(&mut jar), full(1, 2));
}

/// A FIN takes a number behind the gap, on data or alone, and comes twice like any other.
#[test]
fn fin_is_reported_too() {
    let mut jar = with_sack(|_| {});
    jar.send(seg("FA", 21, 1));
    jar.expect(&[blocks(1, &[(21, 22)])]);
    jar.send(part(11, 5));
    jar.expect(&[blocks(1, &[(11, 16), (21, 22)])]);
    jar.send(seg("FA", 21, 1));
    jar.expect(&[blocks(1, &[(21, 22), (11, 16), (21, 22)])]);
    jar.send(part(16, 5));
    jar.expect(&[blocks(1, &[(11, 22)])]);
    jar.send(seg("FA", 19, 1).data("xx"));
    jar.expect(&[blocks(1, &[(19, 22), (11, 22)])]);
    jar.app.stay = true;
    jar.send(part(1, 10));
    jar.expect(&[blocks(22, &[])]);
    jar.drops(seg("FA", 21, 1), DropReason::OutOfWindow);
    jar.expect(&[blocks(22, &[(21, 22)])]);
}

/// A peer that repeats itself sends one segment per round trip: none of them waits for a delayed ACK.
#[test]
fn acks_are_quick_behind_a_repetition() {
    let mut jar = Jar::established(|_| {});
    jar.app.deaf = true;
    jar.send(part(1, 10));
    jar.expect(&[]);
    jar.drops(part(1, 10), DropReason::OutOfWindow);
    jar.expect(&[blocks(11, &[])]);
    for n in 0..16 {
        jar.send(part(11 + n, 1));
        jar.expect(&[blocks(12 + n, &[])]);
    }
    jar.send(part(27, 1));
    jar.expect(&[]);
    // The same behind a segment with old and new, until there is an answer.
    jar.app.deaf = false;
    jar.send(part(20, 10));
    jar.expect(&[blocks(30, &[])]);
    jar.send(seg("A", 30, 1).data("\nGET 3\n"));
    jar.expect(&[seg("PA", 1, 37).data(answer(3, 0, 3))]);
    jar.send(part(37, 1));
    jar.expect(&[]);
}
