//! Client, link and server under one clock.

use std::time::Duration;

use tcp_lite::{CloseReason, Config, Disposition, Instant, Stack};

use crate::away::Away;
use crate::link::{Link, To};
use crate::model::Model;
use crate::packet::Packet;
use crate::peer::Peer;
use crate::plan::{Plan, Streams};
use crate::referee::{Promises, Referee};
use crate::rng::Rng;
use crate::server::{Server, Transmit, arrival};
use crate::smol;

/// Wake-ups of one run at most: a livelock fails instead of hanging. Ten times what the longest run takes.
const MAX_STEPS: u64 = 400_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Smoltcp,
    Model,
    /// smoltcp again, on a connection that leaves the stack half-way.
    Leaving,
}

/// What happened in a run, or in many.
#[derive(Debug, Default)]
pub struct Report {
    pub steps: u64,
    pub virtual_seconds: u64,
    pub checked: u64,
    pub lost: u64,
    pub damaged: u64,
    pub retransmits: u64,
    pub fast_retransmits: u64,
    pub timeouts: u64,
    pub probes: u64,
    pub out_of_order: u64,
    pub cookies: u64,
    pub black_holes: u64,
    pub ecn_responses: u64,
    pub given_up: u64,
    pub forgotten_fins: u64,
    pub taken: u64,
    pub returned: u64,
    pub bytes: u64,
}

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.steps += other.steps;
        self.virtual_seconds += other.virtual_seconds;
        self.checked += other.checked;
        self.lost += other.lost;
        self.damaged += other.damaged;
        self.retransmits += other.retransmits;
        self.fast_retransmits += other.fast_retransmits;
        self.timeouts += other.timeouts;
        self.probes += other.probes;
        self.out_of_order += other.out_of_order;
        self.cookies += other.cookies;
        self.black_holes += other.black_holes;
        self.ecn_responses += other.ecn_responses;
        self.given_up += other.given_up;
        self.forgotten_fins += other.forgotten_fins;
        self.taken += other.taken;
        self.returned += other.returned;
        self.bytes += other.bytes;
    }
}

/// One run. An error says what went wrong.
pub fn run(client: Client, seed: u64, verbose: bool) -> Result<Report, String> {
    World::new(client, seed, verbose).run()
}

struct World {
    rng: Rng,
    link: Link,
    peer: Box<dyn Peer>,
    stack: Stack<Server>,
    server: Server,
    out: Transmit,
    choke: bool,
    /// Sees nothing of connections that leave: those do not acknowledge as one that stays has to.
    referee: Referee,
    away: Option<Away>,
    /// What the stack's clock shows when the run begins.
    epoch: u64,
    now: u64,
    verbose: bool,
}

fn draw_config(client: Client, seed: u64, rng: &mut Rng) -> Config {
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&rng.next().to_be_bytes());
    Config {
        capacity: 4,
        secret,
        // Every second handshake is by cookie.
        half_open: [8_192, 0][(seed % 2) as usize],
        pieces: rng.pick(&[3, 40, 1000]),
        pieces_per_connection: rng.pick(&[2, 10, 500]),
        receive_window: rng.pick(&[65_535, 65_535, 3_000]),
        sack: rng.chance(700),
        timestamps: rng.chance(700),
        window_scale: rng.chance(700),
        window_shift: if client == Client::Leaving { 7 } else { 0 },
        // A FIN that is lost again and again takes smoltcp tens of seconds.
        linger: Duration::from_secs(100),
        // A tenth of all packets lost, or those of more than 576 bytes: among many seeds a minute is not enough.
        user_timeout: Duration::from_secs(600),
        // Without it nobody would notice that a model client is gone.
        keep_alive: (client == Client::Model).then_some(Duration::from_secs(100)),
        keep_alive_interval: Duration::from_secs(20),
        ..Config::default()
    }
}

/// When the answer to this SYN begins `below` the wrap: the ISN goes with the clock, one per 4 µs (RFC 6528 section 3).
fn wrapping_soon(config: &Config, syn: &[u8], epoch: u64, below: u32) -> u64 {
    let (mut stack, mut server) = (Stack::new(config.clone()), Server::default());
    let mut out = Transmit {
        packets: Vec::new(),
        room: usize::MAX,
    };
    let _ = stack.on_segment(Instant(epoch), &arrival(syn), &mut server, &mut out);
    stack.flush(Instant(epoch), &mut server, &mut out);
    let seq = Packet::parse(&out.packets[0]).unwrap().seq;
    epoch + 4 * u64::from(0u32.wrapping_sub(below).wrapping_sub(seq))
}

impl World {
    fn new(client: Client, seed: u64, verbose: bool) -> World {
        let mut rng = Rng::new(seed);
        let mut link = Link::new(&mut rng);
        link.hole = match seed % 32 {
            5 => 1280,
            20 => 576,
            _ => usize::MAX,
        };
        let mtu = rng.pick(&[1500, 1500, 576, 9000]);
        let plan = Plan::new(&mut rng);
        if verbose {
            println!("{plan:?}");
        }
        let streams = Streams::new(&plan);
        let mut peer: Box<dyn Peer> = match client {
            Client::Smoltcp | Client::Leaving => Box::new(smol::Client::new(&mut rng, mtu, plan)),
            Client::Model => Box::new(Model::new(&mut rng, plan)),
        };
        let config = draw_config(client, seed, &mut rng);
        let choke = rng.chance(200);
        let promises = Promises {
            max_rto: config.max_rto.as_micros() as u64,
            min_rto: config.min_rto.as_micros() as u64,
            ack_delay: 500_000,
            receive_window: config.receive_window,
            mtu: config.mtu,
            late: if choke { 100_000 } else { 0 },
        };
        // Our clock starts near the wrap of its 32-bit microseconds, or our sequence numbers near theirs.
        let mut epoch = u64::from(u32::MAX) - rng.below(1_000_000);
        peer.step(0);
        for packet in peer.said() {
            if rng.chance(500) {
                epoch = wrapping_soon(&config, &packet, epoch, rng.below(20_000) as u32);
            }
            link.put(0, To::Server, packet, &mut rng);
        }
        let away = (client == Client::Leaving).then(|| Away::draw(&mut rng));
        let leave_at = away.is_some().then(|| rng.below(4) as u32);
        World {
            away,
            rng,
            link,
            peer,
            stack: Stack::new(config),
            server: Server {
                leave_at,
                ..Server::default()
            },
            out: Transmit {
                packets: Vec::new(),
                room: 0,
            },
            choke,
            referee: Referee::new(streams, promises),
            epoch,
            now: 0,
            verbose,
        }
    }

    fn at(&self) -> Instant {
        Instant(self.epoch + self.now)
    }

    fn run(mut self) -> Result<Report, String> {
        let mut steps = 0;
        loop {
            steps += 1;
            self.step()
                .and_then(|()| match self.stack.len() {
                    0 => Ok(()),
                    _ if self.away.is_some() => Ok(()),
                    _ => self.referee.looks(self.now),
                })
                .map_err(|what| format!("at {} µs: {what}\n{}", self.now, self.peer.progress()))?;
            if steps == MAX_STEPS {
                return Err(format!("no end in sight: {}", self.peer.progress()));
            }
            match self.next() {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.judge()?;
        let counters = self.stack.counters();
        Ok(Report {
            steps,
            virtual_seconds: self.now / 1_000_000,
            checked: self.referee.checked,
            lost: self.link.lost,
            damaged: self.link.damaged,
            retransmits: counters.retransmits,
            fast_retransmits: counters.fast_retransmits,
            timeouts: counters.timeouts,
            probes: counters.probes,
            out_of_order: counters.out_of_order,
            cookies: counters.cookies_taken,
            black_holes: counters.black_holes,
            ecn_responses: counters.ecn_responses,
            given_up: self.given_up(),
            forgotten_fins: u64::from(self.peer.forgot_its_fin()),
            taken: u64::from(self.away.as_ref().is_some_and(Away::taken)),
            returned: u64::from(self.away.as_ref().is_some_and(|away| away.returned)),
            bytes: counters.bytes_out,
        })
    }

    /// Everything that happens at this time.
    fn step(&mut self) -> Result<(), String> {
        self.out.room = if self.choke {
            self.rng.below(3) as usize
        } else {
            usize::MAX
        };
        while let Some((to, packet)) = self.link.take(self.now) {
            match to {
                To::Client => self.peer.arrive(self.now, packet),
                To::Server => self.serve(&packet)?,
            }
        }
        let at = self.at();
        if let Some(away) = &mut self.away {
            let (stack, server) = (&mut self.stack, &mut self.server);
            away.step((self.now, at), stack, server, &mut self.link, &mut self.out);
        }
        self.stack.on_timers(at, &mut self.server, &mut self.out);
        self.stack.flush(at, &mut self.server, &mut self.out);
        self.heed()?;
        self.peer.step(self.now);
        for packet in self.peer.said() {
            self.trace("client ->", &packet);
            self.link.put(self.now, To::Server, packet, &mut self.rng);
        }
        Ok(())
    }

    fn serve(&mut self, packet: &[u8]) -> Result<(), String> {
        self.trace("=> server", packet);
        if self.away.as_mut().is_some_and(|away| away.takes(packet)) {
            return Ok(());
        }
        self.referee.arrived(self.now, packet);
        let (at, arrival) = (self.at(), arrival(packet));
        let server = &mut self.server;
        match self.stack.on_segment(at, &arrival, server, &mut self.out) {
            Disposition::Unknown if self.stack.is_early(at, &arrival) => {}
            Disposition::Unknown => self.stack.reset(at, &arrival, &mut self.out),
            Disposition::Handled | Disposition::Dropped(_) => {}
            Disposition::Refused(why) => return Err(format!("refused: {why:?}")),
        }
        if let (Some(away), Some(detached)) = (&mut self.away, self.stack.take_detached()) {
            away.departs(self.now, detached);
        }
        // One by one, so that the referee knows what was said in answer to what.
        self.heed()
    }

    /// What the server said goes past the referee to the link.
    fn heed(&mut self) -> Result<(), String> {
        for packet in std::mem::take(&mut self.out.packets) {
            self.trace("<- server", &packet);
            if self.away.is_none() {
                self.referee
                    .said(self.now, &packet, self.server.consumed())
                    .map_err(|what| format!("the server: {what}"))?;
            }
            self.link.put(self.now, To::Client, packet, &mut self.rng);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<u64> {
        let now = self.now;
        let server = self.stack.next_deadline();
        let server = server.map(|at| at.0.saturating_sub(self.epoch).max(now + 1));
        let client = self.peer.next(now).map(|at| at.max(now + 1));
        let link = self.link.next().map(|at| at.max(now));
        let away = self.away.as_ref().and_then(|away| away.next(now));
        [server, client, link, away].into_iter().flatten().min()
    }

    /// Nothing is under way any more, and nothing ever will be.
    fn judge(&mut self) -> Result<(), String> {
        if self.peer.forgot_its_fin() {
            let at = self.at();
            self.stack.abort_all(at, &mut self.server, &mut self.out);
            self.server.closed.clear();
            self.server.established = 0;
        } else if !self.peer.finished() {
            let closed = &self.server.closed;
            return Err(format!(
                "stuck, server {closed:?}: {}",
                self.peer.progress()
            ));
        }
        if self.away.as_ref().is_some_and(Away::is_left_over) && !self.peer.forgot_its_fin() {
            return Err("another TCP is not done with it".into());
        }
        let left = (self.stack.len(), self.stack.time_wait(), self.server.held);
        if left != (0, 0, 0) {
            return Err(format!("left over: {left:?}"));
        }
        let closed = &self.server.closed;
        let fair = |why: &CloseReason| *why == CloseReason::Finished || self.peer.excuses(*why);
        if closed.len() != self.server.established || !closed.iter().all(fair) {
            return Err(format!("closed {closed:?}"));
        }
        Ok(())
    }

    fn given_up(&self) -> u64 {
        let alone = |why: &&CloseReason| {
            matches!(
                why,
                CloseReason::KeepAlive | CloseReason::UserTimeout | CloseReason::LingerTimeout
            )
        };
        self.server.closed.iter().filter(alone).count() as u64
    }

    fn trace(&self, what: &str, packet: &[u8]) {
        if self.verbose {
            match Packet::parse(packet) {
                Ok(parsed) => println!("{:>12} {what:<9} {parsed}", self.now),
                Err(damage) => println!("{:>12} {what:<9} damaged: {damage}", self.now),
            }
        }
    }
}
