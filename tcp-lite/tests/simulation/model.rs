//! A client with a TCP of its own: strict about what it gets, and able to do what smoltcp is not.
//!
//! It looks at no window but the one it is offered (there is no congestion control), so a run is as rough as its link and
//! its habits make it. What it receives needs no second look at the bytes: the referee compared them where they were
//! sent, and the checksum is right.

mod habits;
mod hear;
mod say;

use tcp_lite::CloseReason;

use crate::packet::{ACK, CLIENT, PSH, Packet, RST, SERVER, SERVER_PORT, SYN};
use crate::peer::Peer;
use crate::plan::{Plan, Streams};
use crate::ranges::Ranges;
use crate::rng::Rng;
use habits::{End, Habits};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SynSent,
    Open,
    /// Resets whoever talks to it.
    Closed,
    /// Says nothing any more.
    Gone,
}

pub struct Model {
    rng: Rng,
    plan: Plan,
    habits: Habits,
    streams: Streams,
    out: Vec<Vec<u8>>,
    state: State,
    port: u16,
    was_reset: bool,
    /// The first bytes' sequence numbers; all positions count from there.
    mine: u32,
    theirs: u32,
    sack: bool,
    timestamps: bool,
    shift: u8,
    ecn: bool,
    clock_start: u32,
    recent: u32,
    // What it sends.
    una: u32,
    nxt: u32,
    /// Right edge of the server's window.
    lets_in: u32,
    /// Largest payload that the server takes.
    mss: u32,
    fin: Option<u32>,
    duplicates: u32,
    timer: Option<u64>,
    backoff: u32,
    cwr: bool,
    cwr_from: u32,
    // What it receives.
    got: u32,
    held: Ranges,
    /// Newest first, as they are reported.
    blocks: Vec<(u32, u32)>,
    twice: Option<(u32, u32)>,
    /// Right edge of the own window, as the server was told.
    edge: u32,
    read: u32,
    read_after: u64,
    their_fin: Option<u32>,
    ack_now: bool,
    ack_at: Option<u64>,
    unacknowledged: u32,
    ece: bool,
}

impl Model {
    pub fn new(rng: &mut Rng, plan: Plan) -> Model {
        let streams = Streams::new(&plan);
        let mut rng = Rng::new(rng.next());
        let habits = Habits::new(
            &mut rng,
            &plan,
            streams.answers(),
            streams.asked.len() as u32,
        );
        let near_wrap = rng.chance(500);
        let below = rng.below(3_000) as u32;
        let first = if near_wrap {
            0u32.wrapping_sub(below)
        } else {
            rng.next() as u32
        };
        let clock_start = if rng.chance(500) {
            u32::MAX - 300
        } else {
            rng.next() as u32
        };
        Model {
            port: 1024 + rng.below(60_000) as u16,
            rng,
            plan,
            habits,
            streams,
            out: Vec::new(),
            state: State::SynSent,
            was_reset: false,
            mine: first,
            theirs: 0,
            sack: false,
            timestamps: false,
            shift: 0,
            ecn: false,
            clock_start,
            recent: 0,
            una: 0,
            nxt: 0,
            lets_in: 0,
            mss: 536,
            fin: None,
            duplicates: 0,
            timer: Some(0),
            backoff: 0,
            cwr: false,
            cwr_from: 0,
            got: 0,
            held: Ranges::default(),
            blocks: Vec::new(),
            twice: None,
            edge: 0,
            read: 0,
            read_after: 0,
            their_fin: None,
            ack_now: false,
            ack_at: None,
            unacknowledged: 0,
            ece: false,
        }
    }

    fn clock(&self, now: u64) -> u32 {
        self.clock_start.wrapping_add((now / 1_000) as u32)
    }

    fn packet(&self, seq: u32, flags: u8) -> Packet {
        Packet {
            from: CLIENT,
            to: SERVER,
            ports: (self.port, SERVER_PORT),
            seq,
            flags,
            ..Packet::default()
        }
    }

    fn got_bytes(&self) -> u32 {
        self.got - u32::from(self.their_fin.is_some_and(|fin| fin < self.got))
    }

    /// How far the application has written, FIN included.
    fn written(&mut self) -> u32 {
        let ends = &self.streams.asked_ends;
        let may = self
            .streams
            .whole(self.read)
            .saturating_add(self.plan.depth);
        let all = self.streams.asked.len() as u32;
        if may < ends.len() {
            return ends[may - 1];
        }
        let read_all = self.read == self.streams.answers();
        let waits = self.plan.server_closes && !self.plan.early_fin && self.their_fin.is_none();
        if (self.plan.early_fin || read_all) && !waits {
            self.fin = Some(all);
        }
        all + u32::from(self.fin.is_some())
    }

    fn cut(&mut self) -> u32 {
        let cuts = self.habits.cuts;
        let most = u64::from(self.rng.pick(&cuts).min(self.mss));
        1 + self.rng.below(most) as u32
    }

    /// Sends what is missing again, with boundaries of its own.
    fn repeat(&mut self, now: u64) {
        let written = self.written();
        let back = self.rng.below(u64::from(self.habits.overlap) + 1) as u32;
        let from = self
            .una
            .saturating_sub(back)
            .max(self.una.saturating_sub(self.mss / 2));
        // At least one number, also where none is let in: that is how it learns of an opening.
        let most = written.min(self.lets_in).max(self.una + 1);
        let to = most.min(self.una + self.cut()).min(from + self.mss);
        if from < to && to <= written {
            self.say(now, from, to, PSH);
        }
    }

    fn read(&mut self, now: u64) {
        let unread = self.got_bytes() - self.read;
        if unread == 0 || now < self.read_after {
            return;
        }
        self.read += unread.min(u32::try_from(self.plan.sip).unwrap_or(u32::MAX));
        self.read_after = now + self.plan.pause;
        self.ack_now |= self.would_open();
    }

    fn write(&mut self, now: u64) {
        let written = self.written();
        while self.nxt < written.min(self.lets_in) {
            let to = (self.nxt + self.cut()).min(written).min(self.lets_in);
            self.say(now, self.nxt, to, PSH);
        }
        if self.timer.is_none() && self.una < written {
            self.timer = Some(now + self.habits.rto);
        }
    }

    fn ring(&mut self, now: u64) {
        self.timer = None;
        let wait = self.habits.rto << self.backoff.min(4);
        self.backoff += 1;
        match self.state {
            State::SynSent => {
                if self.habits.restarts && self.backoff == 1 {
                    // The connection it does not want: only its SYN comes to be.
                    let wanted = self.mine;
                    self.mine = wanted.wrapping_add(1 << 28);
                    self.say_syn(now);
                    self.mine = wanted;
                }
                self.say_syn(now);
                self.timer = Some(now + wait.max(1_000_000));
            }
            State::Open => {
                if self.una < self.written() {
                    self.timer = Some(now + wait);
                    self.repeat(now);
                }
            }
            State::Closed | State::Gone => {}
        }
    }

    fn ends(&mut self) {
        match self.habits.end {
            End::Reset(at) if self.read >= at => {
                self.reset(None);
                self.state = State::Closed;
            }
            End::Silence(at) if self.read >= at => self.state = State::Gone,
            End::InOrder | End::Reset(_) | End::Silence(_) => {}
        }
        if self.state != State::Open {
            (self.timer, self.ack_at, self.ack_now) = (None, None, false);
        }
    }

    fn ask_if_there(&mut self, now: u64) {
        let idle = self.una == self.nxt && self.fin.is_none();
        if idle && self.rng.chance(self.habits.keep_alive) {
            let mut packet = self.packet(self.mine.wrapping_add(self.nxt).wrapping_sub(1), ACK);
            if self.rng.chance(500) {
                // RFC 9293 section 3.8.4: some send a byte of garbage along.
                packet.payload = vec![0xa5];
            }
            self.finish(now, &mut packet);
            self.out.push(packet.build());
        }
    }

    /// RFC 9293 section 3.10.7.4: an ACK of what was not sent yet has no effect but an ACK.
    fn lie(&mut self, now: u64) {
        if self.rng.chance(self.habits.lies) {
            let mut packet = self.packet(self.mine.wrapping_add(self.nxt), ACK);
            self.finish(now, &mut packet);
            let ahead = 1 + self.streams.answers() + self.rng.below(1 << 20) as u32;
            packet.ack = packet.ack.wrapping_add(ahead);
            self.out.push(packet.build());
        }
    }

    fn unread(&self) -> bool {
        self.got_bytes() > self.read
    }
}

impl Peer for Model {
    fn arrive(&mut self, now: u64, bytes: Vec<u8>) {
        let Ok(packet) = Packet::parse(&bytes) else {
            return;
        };
        match self.state {
            State::SynSent => {
                if !packet.has(ACK) || packet.ack != self.mine {
                    if !packet.has(RST) {
                        self.reset(Some(&packet));
                    }
                } else if packet.has(RST) {
                    self.state = State::Closed;
                    self.was_reset = true;
                } else if packet.has(SYN) {
                    self.open(now, &packet);
                }
            }
            State::Open => self.hear(now, &packet),
            State::Closed if !packet.has(RST) => self.reset(Some(&packet)),
            State::Closed | State::Gone => {}
        }
    }

    fn step(&mut self, now: u64) {
        if self.timer.is_some_and(|at| at <= now) {
            self.ring(now);
        }
        if self.state != State::Open {
            return;
        }
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack_now = true;
        }
        self.read(now);
        self.ends();
        if self.state != State::Open {
            return;
        }
        self.ask_if_there(now);
        self.lie(now);
        self.write(now);
        if self.ack_now {
            self.say(now, self.nxt, self.nxt, 0);
        }
    }

    fn said(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    fn next(&mut self, now: u64) -> Option<u64> {
        if matches!(self.state, State::Closed | State::Gone) {
            return None;
        }
        let reads = (self.state == State::Open && self.unread()).then(|| self.read_after.max(now));
        [self.timer, self.ack_at, reads].into_iter().flatten().min()
    }

    fn finished(&self) -> bool {
        let answers = self.streams.answers();
        let all = self.their_fin == Some(answers) && self.got > answers;
        if all && self.was_reset {
            // It was still reading: the server lingers only so long.
            return true;
        }
        match self.habits.end {
            End::InOrder => {
                let closed = self.fin.is_some_and(|fin| fin < self.una);
                all && closed && self.read == answers
            }
            End::Reset(_) => self.state == State::Closed,
            End::Silence(_) => self.state == State::Gone,
        }
    }

    fn progress(&self) -> String {
        format!(
            "{:?} reset {} read {} of {}, got {}, their FIN {:?}; said {} of {}, acknowledged {}, FIN {:?}\n{:?}",
            self.state,
            self.was_reset,
            self.read,
            self.streams.answers(),
            self.got,
            self.their_fin,
            self.nxt,
            self.streams.asked.len(),
            self.una,
            self.fin,
            self.habits
        )
    }

    fn excuses(&self, why: CloseReason) -> bool {
        let slow = self.plan.pause > 0;
        match self.habits.end {
            End::InOrder => why == CloseReason::LingerTimeout && slow,
            // The RST may be lost.
            End::Reset(_) => matches!(
                why,
                CloseReason::PeerReset | CloseReason::KeepAlive | CloseReason::LingerTimeout
            ),
            End::Silence(_) => matches!(
                why,
                CloseReason::UserTimeout | CloseReason::KeepAlive | CloseReason::LingerTimeout
            ),
        }
    }
}
