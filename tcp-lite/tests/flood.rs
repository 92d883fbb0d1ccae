//! A SYN flood from a million addresses: it costs no memory, and an honest client gets in by its cookie.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tcp_lite::wire::{Flags, Header, Options, SegmentView, Sum, Timestamps};
use tcp_lite::{
    Addr, App, Arrival, CloseReason, Config, Disposition, Ecn, Endpoint, Flow, Full, Instant, Io,
    Out, SeqNum, Stack,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SYNS: u32 = 1_000_000;
const HALF_OPEN: usize = 100;

/// Counts what it is told.
#[derive(Default)]
struct Ears {
    established: u32,
    bytes: usize,
}

impl App for Ears {
    type Link = ();
    type Conn = ();
    type Piece = ();

    fn on_established(&mut self, _: Instant, _: &mut Io<'_, Self>) {
        self.established += 1;
    }

    fn on_data(&mut self, _: Instant, _: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        self.bytes += unread.len();
        unread.len()
    }

    fn on_eof(&mut self, _: Instant, io: &mut Io<'_, Self>, _: &[u8]) {
        io.close();
    }

    fn on_deadline(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn fill(&mut self, (): &(), _: u32, _: &mut [u8]) -> Sum {
        Sum::ZERO
    }

    fn on_release(&mut self, (): ()) {}

    fn on_closed(&mut self, _: &Flow, (): (), _: CloseReason) {}
}

/// The last segment that was sent, and how many were.
struct Last {
    bytes: [u8; 128],
    len: usize,
    count: u32,
}

impl Out<()> for Last {
    fn emit(
        &mut self,
        _: &Flow,
        (): &(),
        _: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        write(&mut self.bytes[..len]);
        self.len = len;
        self.count += 1;
        Ok(())
    }
}

struct World {
    stack: Stack<Ears>,
    app: Ears,
    out: Last,
    now: Instant,
}

impl World {
    fn send(&mut self, client: u32, header: &Header, data: &[u8]) -> Disposition {
        let end = |addr: [u8; 4], port| Endpoint {
            addr: Addr::v4(addr),
            port,
        };
        let [a, b, c] = [client >> 16, client >> 8, client].map(|n| n as u8);
        let flow = Flow {
            local: end([192, 0, 2, 1], 80),
            remote: end([10, a, b, c], 4000),
        };
        let back = Flow {
            local: flow.remote,
            remote: flow.local,
        };
        let mut buf = [0; 128];
        let bytes = &mut buf[..header.len() + data.len()];
        header.emit(&back, bytes, |to| {
            to.copy_from_slice(data);
            Sum::of(data)
        });
        let arrival = Arrival {
            flow,
            link: (),
            ecn: Ecn::NotEct,
            bytes,
        };
        let got = self
            .stack
            .on_segment(self.now, &arrival, &mut self.app, &mut self.out);
        self.stack.flush(self.now, &mut self.app, &mut self.out);
        got
    }

    fn syn(&mut self, client: u32) {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                val: client,
                ecr: 0,
            }),
            ..Options::default()
        };
        let header = Header {
            seq: SeqNum(client.wrapping_mul(2_654_435_769)),
            ack: SeqNum(0),
            flags: Flags::SYN,
            window: 65_535,
            options,
        };
        assert_eq!(self.send(client, &header, b""), Disposition::Handled);
    }

    /// The third segment, with data, to the SYN-ACK that was sent last.
    fn answer(&mut self, client: u32, data: &[u8]) -> Disposition {
        let view = SegmentView::parse(&self.out.bytes[..self.out.len]).expect("a SYN-ACK");
        let options = view.options().expect("options");
        assert!(options.sack_permitted && options.window_scale.is_some());
        let header = Header {
            seq: view.ack(),
            ack: view.seq() + 1,
            flags: Flags::ACK,
            window: 500,
            options: Options {
                timestamps: options.timestamps.map(|ts| Timestamps {
                    val: client + 1,
                    ecr: ts.val,
                }),
                ..Options::default()
            },
        };
        self.send(client, &header, data)
    }
}

#[test]
fn a_syn_flood_costs_no_memory() {
    let mut world = World {
        stack: Stack::new(Config {
            capacity: 1000,
            half_open: HALF_OPEN,
            secret: *b"not so much of a",
            ..Config::default()
        }),
        app: Ears::default(),
        out: Last {
            bytes: [0; 128],
            len: 0,
            count: 0,
        },
        now: Instant(1),
    };
    let region = Region::new(ALLOCATOR);
    let mut honest = 0;
    for client in 0..SYNS {
        // 100,000 a second, and the timers of those that are half-open.
        world.now += std::time::Duration::from_micros(10);
        if world
            .stack
            .next_deadline()
            .is_some_and(|at| at <= world.now)
        {
            world
                .stack
                .on_timers(world.now, &mut world.app, &mut world.out);
        }
        world.syn(client);
        // Now and then somebody means it.
        if client % 100_000 == 99_999 {
            assert_eq!(world.answer(client, b"hello"), Disposition::Handled);
            honest += 1;
        }
        assert!(world.stack.len() <= HALF_OPEN + honest);
    }
    let change = region.change();
    let counters = world.stack.counters();
    assert_eq!((world.app.established, world.app.bytes), (10, 50));
    assert!(
        counters.cookies_sent > u64::from(SYNS) * 9 / 10,
        "{counters:?}"
    );
    assert!(world.out.count >= SYNS);
    // All tables were made at start. What little there is comes from the thread that waits for this one: it has its own
    // books to keep, at a moment of its choice.
    let times = change.allocations + change.reallocations;
    assert!(
        times <= 32 && change.bytes_allocated <= 16 << 10,
        "{change:?}"
    );
}
