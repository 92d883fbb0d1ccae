use super::{Pieces, SendQueue};
use crate::Full;
use crate::testing::{Lines, byte_at};
use crate::wire::Sum;

/// Numbers that are the same each time.
struct Dice(u32);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % end
    }
}

/// Pushes, fills and acknowledges at random, beside all the bytes that are queued as they are.
#[test]
fn runs_are_like_the_same_pieces_one_by_one() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut app = Lines::default();
        let mut pieces = Pieces::new(64);
        let mut queue = SendQueue::EMPTY;
        let mut bytes: Vec<u8> = Vec::new();
        // Unacknowledged bytes of each piece.
        let mut each: Vec<u32> = Vec::new();
        for _ in 0..200 {
            match dice.below(3) {
                0 => {
                    let len = 1 + dice.below(if seed % 2 == 0 { 9 } else { 300 });
                    let times = 1 + dice.below(40) as u16;
                    let room = 100 - each.len();
                    match queue.push(&mut pieces, len, len, times, 100) {
                        Ok(taken) => {
                            assert_eq!(usize::from(taken), room.min(usize::from(times)));
                            app.held += 1;
                            for _ in 0..taken {
                                bytes.extend((0..len).map(|at| byte_at(len, at)));
                                each.push(len);
                            }
                        }
                        Err(Full) => assert!(room == 0 || pieces.room() == 0),
                    }
                }
                1 if !bytes.is_empty() => {
                    let at = dice.below(bytes.len() as u32) as usize;
                    let len = 1 + dice.below((bytes.len() - at).min(1460) as u32) as usize;
                    let mut buf = vec![0; len];
                    let sum = queue.fill(&pieces, at as u32, &mut buf, &mut app);
                    assert_eq!(buf, bytes[at..at + len], "seed {seed}: {len} at {at}");
                    assert_eq!(sum, Sum::of(&buf), "seed {seed}: {len} at {at}");
                }
                _ => {
                    let n = dice.below(bytes.len() as u32 + 1);
                    queue.acked(&mut pieces, n, &mut app);
                    bytes.drain(..n as usize);
                    let mut left = n;
                    while let Some(first) = each.first_mut() {
                        if left < *first {
                            *first -= left;
                            break;
                        }
                        left -= *first;
                        each.remove(0);
                    }
                }
            }
            assert_eq!(queue.bytes() as usize, bytes.len(), "seed {seed}");
            assert_eq!(usize::from(queue.len()), each.len(), "seed {seed}");
        }
        queue.clear(&mut pieces, &mut app);
        assert_eq!((app.held, pieces.room()), (0, 64), "seed {seed}");
    }
}

#[test]
fn one_piece_fits_where_a_run_of_it_would_be_over_4_gib() {
    let mut pieces = Pieces::new(4);
    let mut queue = SendQueue::EMPTY;
    let len = 3 << 30;
    assert_eq!(queue.push(&mut pieces, 0u32, len, 2, 8), Ok(1));
    assert_eq!(queue.push(&mut pieces, 0u32, len, 2, 8), Err(Full));
    assert_eq!((queue.bytes(), queue.len()), (len, 1));
}
