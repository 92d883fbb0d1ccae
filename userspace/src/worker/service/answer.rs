//! What a request gets: an answer that is known, one that is decided about, or a refusal.

use super::{Phase, REQUESTS_BEFORE_TURNS, Service};
use crate::http::{self, Head, Parsed};
use crate::reason::Fate;
use crate::route::{self, Decision, Refusal};
use crate::store::{ConnectionField, Form, Rendering, ResponseId, RouteId};
use crate::worker::repeat::{self, Answer};
use std::ops::ControlFlow;
use tcp_lite::{Full, Instant, Io};

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
    /// before; how many bytes they take, and what becomes of the connection. `first`: nothing came before `rest` in its
    /// segment. `None`: it is another one, or its answer may be another one this time.
    #[inline]
    pub(super) fn repeat(
        &mut self,
        io: &mut Io<'_, Self>,
        rest: &[u8],
        first: bool,
    ) -> Option<Result<(usize, Answered), Full>> {
        let conn = io.conn();
        let (before, fallback) = (conn.requests, conn.fallback);
        // One less than there may be: the last answer says that it is the last.
        let most = self.most_requests.saturating_sub(before);
        if most <= 1 {
            return None;
        }
        let (answer, len) = self.repeats.find(rest, fallback)?;
        let snapshot = self.generations.snapshot();
        if answer.learned && !snapshot.is_still_fresh(answer.piece.id(), self.now) {
            return None;
        }
        let times = if answer.closes || rest.len() < 2 * len {
            1
        } else {
            repeat::times(rest, len, u16::try_from(most - 1).unwrap_or(u16::MAX))
        };
        let times = match io.send_run(answer.piece, answer.len, times) {
            Ok(times) => times,
            Err(Full) => return Some(Err(Full)),
        };
        self.generations.sent();
        let kind = (answer.status, answer.route);
        let lone = first && len == rest.len() && !answer.closes;
        let answered = match answer.closes {
            true => Answered::Close,
            false => Answered::KeepAlive,
        };
        self.count_repetitions(kind, times);
        let conn = io.conn();
        conn.requests += u32::from(times);
        conn.scanned = 0;
        conn.phase = Phase::Idle;
        self.lone = (lone && before >= REQUESTS_BEFORE_TURNS).then_some(fallback);
        Some(Ok((len * usize::from(times), answered)))
    }

    /// Counts `times` repetitions of this status and route.
    #[inline]
    pub(super) fn count_repetitions(&mut self, kind: (u16, RouteId), times: u16) {
        if self.repeated.kind != kind {
            self.count_repeated();
            self.repeated.kind = kind;
        }
        self.repeated.times += u64::from(times);
    }

    /// Brings the counters up to date.
    pub(super) fn count_repeated(&mut self) {
        let times = std::mem::take(&mut self.repeated.times);
        let (status, route) = self.repeated.kind;
        if times > 0 {
            self.counters.answered(status, times);
            self.counters.repeated += times;
            self.routes.count(route, Fate::Served, times);
        }
    }

    /// Does what is right for what `unread` has behind its first `used` bytes, if it is no repetition: one request at
    /// most. Where to go on, or where it has to stay.
    #[inline(never)]
    pub(super) fn next(
        &mut self,
        now: Instant,
        io: &mut Io<'_, Self>,
        unread: &[u8],
        used: usize,
    ) -> ControlFlow<usize, usize> {
        let rest = &unread[used..];
        if rest.is_empty() {
            self.idle(io);
            return ControlFlow::Break(used);
        }
        let scanned = usize::from(io.conn().scanned);
        let answered = match http::parse(rest, scanned, self.limits.header_bytes) {
            Parsed::Complete { head, len } => {
                let answered = self.answer(io, &head, &rest[..len]);
                io.conn().scanned = 0;
                match answered {
                    Ok(Answered::KeepAlive) => {
                        io.conn().phase = Phase::Idle;
                        return ControlFlow::Continue(used + len);
                    }
                    // TCP shows the bytes again once there is room. The head is here: what it waits for is the
                    // client's reading, not its writing.
                    Err(Full) => self.idle(io),
                    Ok(Answered::Left | Answered::Close) => {}
                }
                answered
            }
            Parsed::Partial { scanned } => {
                // More is never unread: the window is of 16 bits.
                io.conn().scanned = u16::try_from(scanned).unwrap_or(u16::MAX);
                if io.conn().phase != Phase::Head || used > 0 {
                    io.conn().phase = Phase::Head;
                    io.set_deadline(Some(now + self.limits.header_timeout));
                }
                return ControlFlow::Break(used);
            }
            Parsed::Invalid(error) => {
                let no_route = RouteId::NONE;
                match route::decide_invalid(error, io.conn().fallback) {
                    Decision::HandOff(reason) => self.step_aside(io, no_route, reason, None, true),
                    Decision::Refuse(refusal) => self
                        .refuse(io, no_route, None, true, &refusal)
                        .map(Answered::of),
                    Decision::Serve { .. } => Ok(Answered::Close),
                }
            }
        };
        ControlFlow::Break(match answered {
            Ok(Answered::Left) | Err(Full) => used,
            Ok(Answered::KeepAlive | Answered::Close) => {
                io.close();
                unread.len()
            }
        })
    }

    /// Queues the answer to the request in `head`, which `bytes` are.
    pub(super) fn answer(
        &mut self,
        io: &mut Io<'_, Self>,
        head: &Head<'_>,
        bytes: &[u8],
    ) -> Result<Answered, Full> {
        let before = io.conn().requests;
        let last = before + 1 >= self.most_requests;
        let fallback = io.conn().fallback;
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
