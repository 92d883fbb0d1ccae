//! Client, link and server under one clock.

use std::time::Duration;

use tcp_lite::{Arrival, CloseReason, Config, Detached, Disposition, Ecn, Instant, Stack};

use crate::client::{Client, Plan};
use crate::kernel::Kernel;
use crate::link::{Link, To};
use crate::rng::Rng;
use crate::server::{Server, Transmit, split};

/// Wake-ups of one run at most: a livelock fails instead of hanging. Ten times what the longest run takes.
const MAX_STEPS: u64 = 400_000;

#[derive(Debug, Default)]
pub struct Report {
    pub steps: u64,
    pub virtual_seconds: u64,
    pub lost: u64,
    pub retransmits: u64,
    pub fast_retransmits: u64,
    pub timeouts: u64,
    pub probes: u64,
    pub out_of_order: u64,
    pub cookies: u64,
    pub black_holes: u64,
    pub forgotten_fins: u64,
    pub taken: u64,
    pub returned: u64,
    pub bytes: u64,
}

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.steps += other.steps;
        self.virtual_seconds += other.virtual_seconds;
        self.lost += other.lost;
        self.retransmits += other.retransmits;
        self.fast_retransmits += other.fast_retransmits;
        self.timeouts += other.timeouts;
        self.probes += other.probes;
        self.out_of_order += other.out_of_order;
        self.cookies += other.cookies;
        self.black_holes += other.black_holes;
        self.forgotten_fins += other.forgotten_fins;
        self.taken += other.taken;
        self.returned += other.returned;
        self.bytes += other.bytes;
    }
}

/// A connection that has left the stack, and what came for it since.
struct Waiting {
    detached: Detached<Server>,
    packets: Vec<Vec<u8>>,
    until: u64,
}

pub fn run(seed: u64, verbose: bool) -> Report {
    let mut rng = Rng::new(seed);
    let mut link = Link::new(&mut rng);
    link.hole = match seed % 32 {
        5 => 1280,
        20 => 576,
        _ => usize::MAX,
    };
    let mtu = rng.pick(&[1500, 1500, 576, 9000]);
    let plan = Plan::new(&mut rng);
    let slow = plan.pause > 0;
    if verbose {
        println!("{plan:?}");
    }
    let mut client = Client::new(&mut rng, mtu, plan);
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&rng.next().to_be_bytes());
    let config = Config {
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
        window_shift: rng.pick(&[0, 7]),
        // A FIN that is lost again and again takes smoltcp tens of seconds.
        linger: Duration::from_secs(100),
        // A tenth of all packets lost, or those of more than 576 bytes: among many seeds a minute is not enough.
        user_timeout: Duration::from_secs(600),
        ..Config::default()
    };
    let mut stack: Stack<Server> = Stack::new(config);
    let mut server = Server {
        leave_at: rng.chance(300).then(|| rng.below(4) as u32),
        ..Server::default()
    };
    // What has left waits a while, and then another TCP takes it, or nobody.
    let (patience, refused) = (rng.pick(&[0, 0, 10_000, 2_000_000]), rng.chance(300));
    let mut waiting: Option<Waiting> = None;
    let mut kernel: Option<Kernel> = None;
    let mut returned = false;
    let mut out = Transmit {
        packets: Vec::new(),
        room: 0,
    };
    let choke = rng.chance(200);
    // Both clocks start away from zero, ours near the wrap of the 32-bit microseconds.
    let epoch = u64::from(u32::MAX) - rng.below(1_000_000);
    let mut now = 0u64;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(
            steps < MAX_STEPS,
            "no end in sight: {} {}",
            client.progress(),
            stack.len()
        );
        let at = Instant(epoch + now);
        out.room = if choke {
            rng.below(3) as usize
        } else {
            usize::MAX
        };
        while let Some((to, packet)) = link.take(now) {
            match to {
                To::Client => client.device.rx.push_back(packet),
                To::Server => {
                    let (flow, bytes) = split(&packet);
                    if let Some(waiting) = &mut waiting {
                        waiting.packets.push(packet);
                        continue;
                    }
                    if let Some(kernel) = kernel.as_mut().filter(|k| *k.flow() == flow) {
                        kernel.on_segment(bytes);
                        continue;
                    }
                    let arrival = Arrival {
                        flow,
                        link: (),
                        ecn: Ecn::NotEct,
                        bytes,
                    };
                    match stack.on_segment(at, &arrival, &mut server, &mut out) {
                        Disposition::Unknown if stack.is_early(at, &arrival) => {}
                        Disposition::Unknown => stack.reset(at, &arrival, &mut out),
                        Disposition::Handled | Disposition::Dropped(_) => {}
                        Disposition::Refused(why) => panic!("refused: {why:?}"),
                    }
                    if let Some(detached) = stack.take_detached() {
                        waiting = Some(Waiting {
                            detached,
                            packets: Vec::new(),
                            until: now + patience,
                        });
                    }
                }
            }
        }
        if let Some(over) = waiting.take_if(|w| w.until <= now) {
            server.leave_at = None;
            if refused {
                returned = true;
                stack.adopt(at, over.detached, &mut server, &mut out);
            } else {
                kernel = Some(Kernel::take_over(now, at, over.detached));
                server.established -= 1;
            }
            // What came meanwhile goes the same way, once more through the link's end.
            for packet in over.packets {
                link.again(now, packet);
            }
            continue;
        }
        if let Some(kernel) = &mut kernel {
            kernel.output(now, &mut out);
        }
        stack.on_timers(at, &mut server, &mut out);
        stack.flush(at, &mut server, &mut out);
        client.step(now);
        for packet in client.device.tx.drain(..) {
            if verbose {
                println!("{now:>12} > {}", describe(&packet));
            }
            link.put(now, To::Server, packet, &mut rng);
        }
        for packet in out.packets.drain(..) {
            if verbose {
                println!("{now:>12} < {}", describe(&packet));
            }
            link.put(now, To::Client, packet, &mut rng);
        }
        let next_server = stack
            .next_deadline()
            .map(|at| at.0.saturating_sub(epoch).max(now + 1));
        let next_client = client.next(now).map(|at| at.max(now + 1));
        let next_link = link.next().map(|at| at.max(now));
        let next_kernel = kernel
            .as_ref()
            .and_then(Kernel::next)
            .map(|at| at.max(now + 1));
        let next_waiting = waiting.as_ref().map(|w| w.until.max(now));
        match [
            next_server,
            next_client,
            next_link,
            next_kernel,
            next_waiting,
        ]
        .into_iter()
        .flatten()
        .min()
        {
            Some(next) => now = next,
            None => break,
        }
    }
    let forgotten = client.forgot_its_fin();
    assert!(
        forgotten || kernel.as_ref().is_none_or(Kernel::is_done),
        "the kernel's connection is left over"
    );
    if forgotten {
        // Nothing is under way any more, and nothing ever will be.
        stack.abort_all(Instant(epoch + now), &mut server, &mut out);
        server.closed.clear();
        server.established = 0;
    }
    assert!(
        forgotten || client.finished(),
        "stuck: {} server {:?}",
        client.progress(),
        server.closed
    );
    assert_eq!(
        (stack.len(), stack.time_wait(), server.held),
        (0, 0, 0),
        "left over"
    );
    assert_eq!(server.closed.len(), server.established);
    // A client that reads slowly from a large buffer says FIN later than we linger.
    let fair = |why: &CloseReason| match why {
        CloseReason::Finished | CloseReason::PeerReset => true,
        CloseReason::LingerTimeout => slow,
        _ => false,
    };
    assert!(server.closed.iter().all(fair), "closed {:?}", server.closed);
    let counters = stack.counters();
    Report {
        steps,
        virtual_seconds: now / 1_000_000,
        lost: link.lost,
        retransmits: counters.retransmits,
        fast_retransmits: counters.fast_retransmits,
        timeouts: counters.timeouts,
        probes: counters.probes,
        out_of_order: counters.out_of_order,
        cookies: counters.cookies_taken,
        black_holes: counters.black_holes,
        forgotten_fins: u64::from(forgotten),
        taken: u64::from(kernel.is_some()),
        returned: u64::from(returned),
        bytes: counters.bytes_out,
    }
}

fn describe(packet: &[u8]) -> String {
    let view = tcp_lite::wire::SegmentView::parse(&packet[20..]).unwrap();
    format!(
        "{:?} seq {} ack {} win {} len {} {:?}",
        view.flags(),
        view.seq().0,
        view.ack().0,
        view.window(),
        view.payload().len(),
        view.options()
            .map(|o| (o.timestamps, o.sack.as_slice().to_vec()))
    )
}
