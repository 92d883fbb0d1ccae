//! A stack in a jar: an application that answers lines, a transmit side in memory, and a script language for both.
//!
//! Numbers in scripts are relative: the peer's SYN is its 0, ours is our 0.

use core::time::Duration;
use std::collections::VecDeque;

use crate::wire::{
    Flags, Header, Options, SackBlocks, SegmentView, Sum, Timestamps, pseudo_header,
};
use crate::{
    Addr, App, Arrival, CloseReason, Config, Detached, Disposition, DropReason, Ecn, Endpoint,
    Flow, Full, Instant, Io, Out, SeqNum, Stack, Terms,
};

/// The peer's initial sequence number in scripts: near the wrap, so that every script crosses it.
pub const PEER_ISS: u32 = u32::MAX - 20;

/// Byte `at` of the answer to a request for `seed` bytes.
pub fn byte_at(seed: u32, at: u32) -> u8 {
    (seed.wrapping_mul(31) ^ at ^ (at >> 8).wrapping_mul(7)) as u8
}

/// `GET n\n` is answered with n bytes, `BYE\n` closes, `DIE\n` aborts, `WAIT n\n` sets a deadline n ms ahead,
/// `OUT\n` hands the connection off.
#[derive(Default)]
pub struct Lines {
    pub log: Vec<String>,
    /// Pieces taken and not released.
    pub held: i64,
    /// Leave unread whatever comes.
    pub deaf: bool,
    /// Do not close at EOF and at the deadline.
    pub stay: bool,
    /// Take what would be handed off.
    pub keep: bool,
    /// Hand off at the drain.
    pub leave: bool,
}

impl App for Lines {
    type Link = u8;
    type Conn = u32;
    type Piece = u32;

    fn on_established(&mut self, _: Instant, _: &mut Io<'_, Self>) {
        self.log.push("established".into());
    }

    fn on_data(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        if self.deaf {
            return 0;
        }
        let mut used = 0;
        while let Some(end) = unread[used..].iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&unread[used..used + end]).into_owned();
            let number = line
                .split_once(' ')
                .and_then(|(_, n)| n.parse::<u32>().ok())
                .unwrap_or(0);
            match &line[..line.len().min(3)] {
                "GET" => {
                    if io.send(number, number).is_err() {
                        self.log.push("full".into());
                        return used;
                    }
                    self.held += i64::from(number > 0);
                    *io.conn() += 1;
                }
                "BYE" => io.close(),
                "OUT" if !self.keep => {
                    io.hand_off();
                    return used;
                }
                "OUT" => self.log.push("out".into()),
                "DIE" => io.abort(),
                "WAI" => io.set_deadline(Some(now + Duration::from_millis(u64::from(number)))),
                _ => self.log.push(format!("odd line {line:?}")),
            }
            used += end + 1;
        }
        used
    }

    fn on_eof(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) {
        self.log.push(format!("eof {}", unread.len()));
        if !self.stay {
            io.close();
        }
    }

    fn on_deadline(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) {
        self.log.push(format!("deadline {}", unread.len()));
        if !self.stay {
            io.close();
        }
    }

    fn on_drain(&mut self, _: Instant, io: &mut Io<'_, Self>) {
        if self.leave {
            io.hand_off();
        }
    }

    fn fill(&mut self, piece: &u32, offset: u32, buf: &mut [u8]) -> Sum {
        assert!(offset + buf.len() as u32 <= *piece, "fill past the piece");
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = byte_at(*piece, offset + at as u32);
        }
        Sum::of(buf)
    }

    fn on_release(&mut self, piece: u32) {
        self.held -= 1;
        assert!(self.held >= 0, "piece {piece} released twice");
    }

    fn on_closed(&mut self, _: &Flow, served: u32, why: CloseReason) {
        self.log.push(format!("closed {why:?} {served}"));
    }
}

/// The transmit side: segments in memory, and a count of how many still fit.
pub struct Wire {
    pub sent: VecDeque<(Flow, u8, Ecn, Vec<u8>)>,
    pub room: usize,
}

impl Out<u8> for Wire {
    fn emit(
        &mut self,
        flow: &Flow,
        link: &u8,
        ecn: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        if self.room == 0 {
            return Err(Full);
        }
        self.room -= 1;
        let mut buf = vec![0xee; len];
        write(&mut buf);
        assert_eq!(
            pseudo_header(flow, len).plus(Sum::of(&buf)).finish(),
            0,
            "bad checksum out"
        );
        self.sent.push_back((*flow, *link, ecn, buf));
        Ok(())
    }
}

/// A segment in a script.
#[derive(Clone, PartialEq, Eq)]
pub struct Seg {
    pub flags: Flags,
    pub seq: u32,
    pub ack: u32,
    pub win: u16,
    pub options: Options,
    pub data: Vec<u8>,
    pub ecn: Ecn,
}

impl core::fmt::Debug for Seg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Seg {
            flags,
            seq,
            ack,
            win,
            options,
            data,
            ecn,
        } = self;
        write!(
            f,
            "{flags:?} seq {seq} ack {ack} win {win} len {}",
            data.len()
        )?;
        if !options.is_empty() {
            write!(f, " {options:?}")?;
        }
        if *ecn != Ecn::NotEct {
            write!(f, " {ecn:?}")?;
        }
        Ok(())
    }
}

/// `seg("SA", 0, 1)`: flags by their letters, seq, ack; window 65,535.
pub fn seg(flags: &str, seq: u32, ack: u32) -> Seg {
    let flags = flags.chars().fold(Flags::default(), |set, c| {
        set.with(match c {
            'S' => Flags::SYN,
            'A' => Flags::ACK,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            'E' => Flags::ECE,
            'W' => Flags::CWR,
            other => panic!("flag {other}"),
        })
    });
    Seg {
        flags,
        seq,
        ack,
        win: 65_535,
        options: Options::default(),
        data: Vec::new(),
        ecn: Ecn::NotEct,
    }
}

impl Seg {
    pub fn data(mut self, data: impl AsRef<[u8]>) -> Seg {
        self.data = data.as_ref().to_vec();
        self
    }

    pub fn ecn(mut self, ecn: Ecn) -> Seg {
        self.ecn = ecn;
        self
    }

    pub fn win(mut self, win: u16) -> Seg {
        self.win = win;
        self
    }

    pub fn mss(mut self, mss: u16) -> Seg {
        self.options.mss = Some(mss);
        self
    }

    pub fn ts(mut self, val: u32, ecr: u32) -> Seg {
        self.options.timestamps = Some(Timestamps { val, ecr });
        self
    }

    pub fn sack(mut self, blocks: &[(u32, u32)]) -> Seg {
        let mut sack = SackBlocks::NONE;
        blocks
            .iter()
            .for_each(|&(l, r)| sack.push(SeqNum(l), SeqNum(r)));
        self.options.sack = sack;
        self
    }
}

/// The bytes of the answer to `GET n`, from `at` on.
pub fn answer(n: u32, at: u32, len: u32) -> Vec<u8> {
    (at..at + len).map(|i| byte_at(n, i)).collect()
}

pub struct Jar {
    pub stack: Stack<Lines>,
    pub app: Lines,
    pub out: Wire,
    pub now: Instant,
    pub flow: Flow,
    /// By which the next segments come in.
    pub link: u8,
    /// Our initial sequence number, once seen.
    pub iss: u32,
}

pub fn flow_v4() -> Flow {
    Flow {
        local: Endpoint {
            addr: Addr::v4([192, 0, 2, 1]),
            port: 80,
        },
        remote: Endpoint {
            addr: Addr::v4([198, 51, 100, 7]),
            port: 4242,
        },
    }
}

impl Jar {
    pub fn new(change: impl FnOnce(&mut Config)) -> Jar {
        let mut config = Config {
            capacity: 8,
            pieces: 64,
            secret: [9; 16],
            ..Config::default()
        };
        change(&mut config);
        Jar {
            stack: Stack::new(config),
            app: Lines::default(),
            out: Wire {
                sent: VecDeque::new(),
                room: usize::MAX,
            },
            now: Instant(5_000_000_000),
            flow: flow_v4(),
            link: 1,
            iss: 0,
        }
    }

    /// A connection of MSS 1000 without further options, in ESTABLISHED.
    pub fn established(change: impl FnOnce(&mut Config)) -> Jar {
        let mut jar = Jar::new(change);
        jar.send(seg("S", 0, 0).mss(1000));
        jar.expect(&[seg("SA", 0, 1).mss(1460)]);
        jar.send(seg("A", 1, 1));
        jar.expect(&[]);
        assert_eq!(jar.app.log, ["established"]);
        jar
    }

    /// Hands over a segment that is taken, and flushes.
    #[track_caller]
    pub fn send(&mut self, seg: Seg) {
        assert_eq!(self.hand(seg), Disposition::Handled);
        self.flush();
    }

    /// Hands over a segment that is dropped for this reason, and flushes.
    #[track_caller]
    pub fn drops(&mut self, seg: Seg, why: DropReason) {
        assert_eq!(self.hand(seg), Disposition::Dropped(why));
        self.flush();
    }

    /// Hands a segment to the stack; no flush.
    pub fn hand(&mut self, seg: Seg) -> Disposition {
        let ecn = seg.ecn;
        let bytes = self.bytes(seg);
        self.hand_marked(&bytes, ecn)
    }

    pub fn hand_bytes(&mut self, bytes: &[u8]) -> Disposition {
        self.hand_marked(bytes, Ecn::NotEct)
    }

    fn hand_marked(&mut self, bytes: &[u8], ecn: Ecn) -> Disposition {
        let arrival = Arrival {
            ecn,
            ..self.arrival(bytes)
        };
        self.stack
            .on_segment(self.now, &arrival, &mut self.app, &mut self.out)
    }

    /// Did a segment overtake the one that its cookie needs?
    pub fn is_early(&mut self, seg: Seg) -> bool {
        let bytes = self.bytes(seg);
        let arrival = self.arrival(&bytes);
        self.stack.is_early(self.now, &arrival)
    }

    /// Has a segment answered that is nobody's.
    pub fn reset(&mut self, seg: Seg) {
        let bytes = self.bytes(seg);
        let arrival = self.arrival(&bytes);
        self.stack.reset(self.now, &arrival, &mut self.out);
    }

    fn arrival<'a>(&self, bytes: &'a [u8]) -> Arrival<'a, u8> {
        Arrival {
            flow: self.flow,
            link: self.link,
            ecn: Ecn::NotEct,
            bytes,
        }
    }

    pub fn bytes(&self, seg: Seg) -> Vec<u8> {
        let mut options = seg.options;
        options.sack = SackBlocks::NONE;
        seg.options
            .sack
            .as_slice()
            .iter()
            .for_each(|&(l, r)| options.sack.push(l + self.iss, r + self.iss));
        let header = Header {
            seq: SeqNum(seg.seq) + PEER_ISS,
            ack: SeqNum(seg.ack) + self.iss,
            flags: seg.flags,
            window: seg.win,
            options,
        };
        let swapped = Flow {
            local: self.flow.remote,
            remote: self.flow.local,
        };
        let mut bytes = vec![0; header.len() + seg.data.len()];
        header.emit(&swapped, &mut bytes, |buf| {
            buf.copy_from_slice(&seg.data);
            Sum::of(buf)
        });
        bytes
    }

    pub fn flush(&mut self) {
        self.stack.flush(self.now, &mut self.app, &mut self.out);
    }

    /// What was emitted since last asked.
    pub fn sent(&mut self) -> Vec<Seg> {
        let mut all = Vec::new();
        for (_, _, ecn, bytes) in core::mem::take(&mut self.out.sent) {
            let view = SegmentView::parse(&bytes).expect("malformed segment out");
            if view.flags().has(Flags::SYN) {
                self.iss = view.seq().0;
            }
            let mut options = view.options().expect("malformed options out");
            let blocks = options.sack;
            options.sack = SackBlocks::NONE;
            blocks
                .as_slice()
                .iter()
                .for_each(|&(l, r)| options.sack.push(l - PEER_ISS, r - PEER_ISS));
            let has_ack = view.flags().has(Flags::ACK);
            all.push(Seg {
                flags: view.flags(),
                seq: view.seq().0.wrapping_sub(self.iss),
                ack: if has_ack {
                    view.ack().0.wrapping_sub(PEER_ISS)
                } else {
                    view.ack().0
                },
                win: view.window(),
                options,
                data: view.payload().to_vec(),
                ecn,
            });
        }
        all
    }

    /// Exactly these segments were emitted; their windows are not compared, nor TSval.
    #[track_caller]
    pub fn expect(&mut self, want: &[Seg]) {
        let mut got = self.sent();
        for (got, want) in got.iter_mut().zip(want) {
            got.win = want.win;
            got.options.window_scale = want.options.window_scale;
            if let (Some(got), Some(want)) = (&mut got.options.timestamps, want.options.timestamps)
            {
                got.val = want.val;
            }
        }
        assert_eq!(got, want);
    }

    /// The connection that has left, and its terms with relative numbers.
    #[track_caller]
    pub fn detached(&mut self) -> (Detached<Lines>, Terms) {
        let detached = self.stack.take_detached().expect("a connection has left");
        let mut terms = detached.terms(self.now);
        terms.seq = terms.seq - PEER_ISS;
        terms.ack = terms.ack - self.iss;
        (detached, terms)
    }

    /// Lets time pass from deadline to deadline; a livelock is a failure.
    #[track_caller]
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            match self.stack.next_deadline() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.stack.on_timers(self.now, &mut self.app, &mut self.out);
                }
                Some(_) | None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("livelock: deadlines without progress");
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The application's log since last asked.
    pub fn log(&mut self) -> Vec<String> {
        core::mem::take(&mut self.app.log)
    }

    /// No piece is held and, once entries of the wheel that lost their reason have rung, no deadline is left.
    #[track_caller]
    pub fn assert_idle(&mut self) {
        self.pass_ms(5_000);
        assert_eq!((self.app.held, self.stack.next_deadline()), (0, None));
        assert_eq!(self.sent(), []);
    }

    /// Nothing is left: no connection, no piece.
    #[track_caller]
    pub fn assert_gone(&self) {
        assert_eq!(
            (self.stack.len(), self.app.held),
            (0, 0),
            "connections, pieces left"
        );
    }
}
