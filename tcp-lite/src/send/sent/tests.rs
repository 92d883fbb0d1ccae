//! Ranges that are cut, joined and told of.

use super::{Fate, Sent, SeqNum, Sheet, is_after};

const BASE: SeqNum = SeqNum(u32::MAX - 1500);

fn sheet(count: u32) -> Sheet {
    let mut sheet = Sheet::default();
    for n in 0..count {
        sheet.send(BASE + n * 1000, BASE + (n + 1) * 1000, n);
    }
    sheet
}

fn ranges(sheet: &Sheet) -> Vec<(u32, u32, Fate, bool)> {
    let at = |seq: SeqNum| seq.since(BASE);
    let row = |s: &Sent| (at(s.seq), at(s.end), s.fate, s.again);
    let sums = sheet.list.iter().fold([0; 4], |mut sums, s| {
        sums[s.fate as usize] += s.len();
        sums[3] += u32::from(s.fate == Fate::Sacked);
        sums
    });
    assert_eq!(
        sums,
        [
            sheet.flying,
            sheet.lost,
            sheet.sacked,
            sheet.sacked_segments
        ]
    );
    sheet.list.iter().map(row).collect()
}

#[test]
fn blocks_and_acks_are_told_once() {
    let mut sheet = sheet(5);
    let mut told = Vec::new();
    let mut tell = |s: &Sent| told.push(s.seq.since(BASE));
    // Half a segment is not held.
    sheet.sack(BASE + 1000, BASE + 3500, &mut tell);
    sheet.sack(BASE + 1000, BASE + 4000, &mut tell);
    assert_eq!(sheet.ack(BASE + 500, &mut tell), 500);
    assert_eq!(sheet.ack(BASE + 1000, &mut tell), 500);
    assert_eq!(sheet.ack(BASE + 5000, &mut tell), 1000);
    assert_eq!(told, [1000, 2000, 3000, 500, 4000]);
    assert_eq!(ranges(&sheet), []);
}

#[test]
fn repetitions_cut_and_join() {
    use Fate::{Flying, Lost, Sacked};
    let mut sheet = sheet(3);
    sheet.judge(|_| Some(true));
    assert_eq!(sheet.lost_until(BASE, 1500), BASE + 2000);
    sheet.send(BASE, BASE + 600, 9);
    sheet.send(BASE + 600, BASE + 1200, 9);
    assert_eq!(
        ranges(&sheet),
        [
            (0, 600, Flying, true),
            (600, 1200, Flying, true),
            (1200, 2000, Lost, false),
            (2000, 3000, Lost, false)
        ]
    );
    assert_eq!(sheet.next_lost().map(|s| s.seq.since(BASE)), Some(1200));
    sheet.sack(BASE + 2000, BASE + 3000, |_| {});
    assert_eq!(sheet.lost_until(BASE + 1200, 9999), BASE + 2000);
    // From the middle of a segment to past the last.
    sheet.send(BASE + 1500, BASE + 3300, 10);
    assert_eq!(
        ranges(&sheet)[2..],
        [(1200, 1500, Lost, false), (1500, 3300, Flying, true)]
    );
    // A part in the middle of one that the peer holds.
    sheet.sack(BASE + 1500, BASE + 3300, |_| {});
    sheet.send(BASE + 2000, BASE + 2100, 11);
    assert_eq!(
        ranges(&sheet)[3..],
        [
            (1500, 2000, Sacked, true),
            (2000, 2100, Flying, true),
            (2100, 3300, Sacked, true)
        ]
    );
    sheet.ack(BASE + 2500, |_| {});
    assert_eq!(ranges(&sheet), [(2500, 3300, Sacked, true)]);
}

/// Times order as the sending did, also within one microsecond.
#[test]
fn repetitions_are_younger_than_what_was_sent_before() {
    let mut sheet = sheet(3);
    let mut order = Vec::new();
    for (seq, now) in [(0, 9), (3000, 9), (1000, 9), (2000, 9), (0, 9), (4000, 12)] {
        sheet.send(BASE + seq, BASE + seq + 1000, now);
        order.push(sheet.newest);
    }
    let later = |pair: &[(u32, SeqNum)]| {
        is_after(pair[1].0, pair[0].0) || pair[1].0 == pair[0].0 && pair[0].1.lt(pair[1].1)
    };
    assert!(order.windows(2).all(later), "{order:?}");
    // The clock is behind what was given out.
    assert_eq!(sheet.list[0].age(9), 0);
}

#[test]
fn sent_after_survives_the_wrap() {
    assert!(is_after(5, u32::MAX - 5) && !is_after(u32::MAX - 5, 5) && !is_after(7, 7));
    let mut sent = sheet(1).list[0];
    sent.at = 3;
    assert!(sent.is_behind(u32::MAX, sent.end) && sent.is_behind(3, sent.seq));
    assert!(!sent.is_behind(3, sent.end) && !sent.is_behind(4, sent.seq));
}
