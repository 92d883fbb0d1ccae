//! The same request again, as [`super::super::turns`] finds it: what [`Service::repeat`] does, without a callback of TCP's.

use super::{HttpConn, Phase, Service};
use crate::store::RouteId;
use crate::worker::generations::Piece;
use sidestep_config::Fallback;
use tcp_lite::Answer;
use tcp_lite::wire::Sum;

/// What a head gets that was answered before.
pub(in crate::worker) struct Known {
    pub answer: Answer<Piece>,
    /// Of the head's bytes.
    pub head_sum: Sum,
    /// In [`super::super::repeat::Repeats`].
    place: usize,
    status: u16,
    route: RouteId,
}

impl Service {
    /// Was the last request alone in its segment, and its head known? Says so once, with what is behind its listener.
    #[inline(always)]
    pub(in crate::worker) fn take_lone(&mut self) -> Option<Fallback> {
        self.lone.take()
    }

    /// What `head`, all that came, gets if it was answered before and that is still right.
    #[inline(always)]
    pub(in crate::worker) fn again(&mut self, fallback: Fallback, head: &[u8]) -> Option<Known> {
        let (answer, head_sum, place) = self.repeats.find_whole(head, fallback)?;
        if answer.closes {
            return None;
        }
        if answer.learned {
            let snapshot = self.generations.snapshot();
            if !snapshot.is_still_fresh(answer.piece.id(), self.now) {
                return None;
            }
        }
        Some(Known {
            answer: Answer {
                piece: answer.piece,
                len: answer.len,
                deadline: self.idle_until,
            },
            head_sum,
            place,
            status: answer.status,
            route: answer.route,
        })
    }

    /// May the connection have one more answer that is not its last? Then it has it.
    #[inline(always)]
    pub(in crate::worker) fn admits(&self, conn: &mut HttpConn) -> bool {
        let may = conn.phase == Phase::Idle && conn.requests < self.most_requests.saturating_sub(1);
        conn.requests += u32::from(may);
        may
    }

    /// Writes the answer.
    #[inline(always)]
    pub(in crate::worker) fn write_again(&mut self, known: &Known, buf: &mut [u8]) -> Sum {
        let generations = &self.generations;
        let fill = |buf: &mut [u8]| generations.fill(&known.answer.piece, 0, buf);
        self.repeats.write(known.place, buf, fill)
    }

    /// It is on its way, and `released` has arrived.
    #[inline(always)]
    pub(in crate::worker) fn answered_again(&mut self, known: &Known, released: Option<Piece>) {
        if let Some(piece) = released {
            self.generations.release(piece);
        }
        self.generations.sent();
        self.counters.turns += 1;
        self.count_repetitions((known.status, known.route), 1);
    }
}
