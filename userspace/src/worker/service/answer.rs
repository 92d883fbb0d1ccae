//! What a request gets: an answer that is known, one that is decided about, or a refusal.

use super::{Phase, Service};
use crate::http::Head;
use crate::reason::Fate;
use crate::route::{self, Decision, Refusal};
use crate::store::{ConnectionField, Form, Rendering, ResponseId, RouteId};
use crate::worker::repeat::{self, Answer};
use tcp_lite::{Full, Io};

/// How an answer leaves its connection.
pub(super) enum Answered {
    KeepAlive,
    Close,
    /// Not at all: the kernel's server will answer.
    Left,
}

impl Answered {
    pub(super) fn of(connection: ConnectionField) -> Self {
        match connection {
            ConnectionField::Close => Self::Close,
            ConnectionField::None | ConnectionField::KeepAlive => Self::KeepAlive,
        }
    }
}

impl Service {
    /// Queues the answers to the requests that `rest` begins with if they are, byte for byte, one that was answered
    /// before; how many bytes they take, and what becomes of the connection. `None`: it is another one, or its answer may
    /// be another one this time.
    #[inline]
    pub(super) fn repeat(
        &mut self,
        io: &mut Io<'_, Self>,
        rest: &[u8],
    ) -> Option<Result<(usize, Answered), Full>> {
        let before = io.conn().requests;
        // One less than there may be: the last answer says that it is the last.
        let most = self.limits.requests_per_connection.saturating_sub(before);
        if self.draining || most <= 1 {
            return None;
        }
        let fallback = self.usual_fallback(&io.flow().local);
        let (answer, len) = self.repeats.find(rest, fallback)?;
        let answer = *answer;
        let snapshot = self.generations.snapshot();
        if answer.learned && !snapshot.is_still_fresh(answer.piece.id(), self.now) {
            return None;
        }
        let most = match answer.closes {
            true => 1,
            false => u16::try_from(most - 1).unwrap_or(u16::MAX),
        };
        let times = repeat::times(rest, len, most);
        let times = match io.send_run(answer.piece, answer.len, times) {
            Ok(times) => times,
            Err(Full) => return Some(Err(Full)),
        };
        self.generations.sent();
        self.counters.answered(answer.status, times);
        self.counters.repeated += u64::from(times);
        self.routes.count(answer.route, Fate::Served, times);
        let conn = io.conn();
        conn.requests += u32::from(times);
        conn.scanned = 0;
        conn.phase = Phase::Idle;
        let answered = match answer.closes {
            true => Answered::Close,
            false => Answered::KeepAlive,
        };
        Some(Ok((len * usize::from(times), answered)))
    }

    /// Queues the answer to the request in `head`, which `bytes` are.
    pub(super) fn answer(
        &mut self,
        io: &mut Io<'_, Self>,
        head: &Head<'_>,
        bytes: &[u8],
    ) -> Result<Answered, Full> {
        let before = io.conn().requests;
        let last = self.draining || before + 1 >= self.limits.requests_per_connection;
        let fallback = self.usual_fallback(&io.flow().local);
        let (route, decision) =
            route::decide(self.generations.snapshot(), head, fallback, self.now);
        let connection = match decision {
            Decision::Serve {
                response,
                form,
                stale,
            } => {
                let connection = ConnectionField::of(head, last);
                let answer = self.queue(io, response, connection, form)?;
                let fate = if stale { Fate::Stale } else { Fate::Served };
                self.routes.count(route, fate, 1);
                if !stale && !last {
                    let answer = Answer { route, ..answer };
                    self.repeats.keep(bytes, fallback, answer);
                }
                connection
            }
            Decision::HandOff(reason) => {
                return self.step_aside(io, route, reason, Some(head), last);
            }
            Decision::Refuse(refusal) => self.refuse(io, route, Some(head), last, &refusal)?,
        };
        Ok(Answered::of(connection))
    }

    /// Queues an answer of our own. Without a head nothing behind it can be understood, so that it is the last.
    pub(super) fn refuse(
        &mut self,
        io: &mut Io<'_, Self>,
        route: RouteId,
        head: Option<&Head<'_>>,
        last: bool,
        refusal: &Refusal,
    ) -> Result<ConnectionField, Full> {
        let connection = head.map_or(ConnectionField::Close, |head| {
            ConnectionField::of(head, refusal.close || last)
        });
        let id = self.generations.snapshot().refusal(route, refusal.status);
        self.queue(io, id, connection, Form::whole(refusal.body))?;
        self.counters.not_ours(refusal.reason);
        self.routes.count(route, Fate::Refused(refusal.reason), 1);
        Ok(connection)
    }

    pub(super) fn queue(
        &mut self,
        io: &mut Io<'_, Self>,
        id: ResponseId,
        connection: ConnectionField,
        form: Form,
    ) -> Result<Answer, Full> {
        let rendering = Rendering {
            id,
            date: self.now.unix,
            connection,
            form,
        };
        let snapshot = self.generations.snapshot();
        let answer = Answer {
            piece: self.generations.piece(rendering),
            len: snapshot.len(&rendering),
            status: form.status(snapshot.status(id)),
            route: RouteId::NONE,
            learned: id.is_learned(),
            closes: connection == ConnectionField::Close,
        };
        io.send(answer.piece, answer.len)?;
        self.generations.sent();
        io.conn().requests += 1;
        self.counters.answered(answer.status, 1);
        Ok(answer)
    }
}
