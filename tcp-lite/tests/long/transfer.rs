//! How long answers take to come across a link that only loses, in virtual time: to a peer that acknowledges as Linux
//! does, so that a change of congestion control or recovery shows without a network.

use std::collections::BTreeMap;

use tcp_lite::wire::Sum;
use tcp_lite::{
    App, Arrival, CloseReason, Config, Counters, Disposition, Ecn, Flow, Full, Instant, Io, Out,
    Stack,
};

use crate::peer::{Peer, flow};
use crate::rng::Rng;

/// Answers the first request with so many bytes.
struct Answer(u32);

impl App for Answer {
    type Link = ();
    type Conn = ();
    type Piece = ();

    fn on_established(&mut self, _: Instant, _: &mut Io<'_, Self>) {}

    fn on_data(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        io.send((), self.0).expect("room for one piece");
        unread.len()
    }

    fn on_eof(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn on_deadline(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn fill(&mut self, (): &(), _: u32, buf: &mut [u8]) -> Sum {
        buf.fill(0);
        Sum::ZERO
    }

    fn on_release(&mut self, (): ()) {}

    fn on_closed(&mut self, _: &Flow, (): (), _: CloseReason) {}
}

#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Out<()> for Wire {
    fn emit(
        &mut self,
        _: &Flow,
        (): &(),
        _: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let mut bytes = vec![0; len];
        write(&mut bytes);
        self.0.push(bytes);
        Ok(())
    }
}

/// SYN-ACK and request.
const HANDSHAKE: u64 = 2;

#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Round trip, ms
    pub rtt: u64,
    /// Packets lost of a thousand, in each direction.
    pub loss: u64,
}

#[derive(Debug)]
pub struct Report {
    /// From SYN to the last byte, µs.
    pub time: u64,
    /// Of the answer's segments.
    pub lost: u64,
    /// Segments that came twice.
    pub twice: u32,
    pub counters: Counters,
}

/// Brings an answer of `size` bytes across.
pub fn transfer(seed: u64, path: Path, size: u32, verbose: bool) -> Report {
    let mut rng = Rng::new(seed);
    let mut stack: Stack<Answer> = Stack::new(Config {
        capacity: 4,
        pieces: 4,
        ..Config::default()
    });
    let (mut app, mut wire) = (Answer(size), Wire::default());
    let mut peer = Peer::new();
    // By arrival and number: to the server?, segment.
    let mut flying = BTreeMap::from([((0, 0), (true, peer.syn(0)))]);
    let (mut count, mut lost, mut now) = (0, 0, 0);
    let epoch = 5_000_000_000;
    while peer.got() < size {
        let at = Instant(epoch + now);
        let mut replies = Vec::new();
        while let Some(entry) = flying.first_entry()
            && entry.key().0 <= now
        {
            let (to_server, bytes) = entry.remove();
            if to_server {
                let arrival = Arrival {
                    flow: flow(),
                    link: (),
                    ecn: Ecn::NotEct,
                    bytes: &bytes,
                };
                let disposition = stack.on_segment(at, &arrival, &mut app, &mut wire);
                assert_eq!(disposition, Disposition::Handled);
            } else {
                replies.extend(peer.take(now, &bytes));
            }
        }
        if peer.ack_at.is_some_and(|at| at <= now) {
            replies.push(peer.ack(now, None));
        }
        stack.on_timers(at, &mut app, &mut wire);
        let out = wire.0.drain(..).map(|bytes| (false, bytes));
        for (to_server, bytes) in out.chain(replies.into_iter().map(|bytes| (true, bytes))) {
            count += 1;
            // Not the handshake and the request: their timeouts are another matter.
            let gone = count > HANDSHAKE && rng.chance(path.loss);
            if verbose {
                let way = [["<", ">"], ["< lost", "> lost"]][usize::from(gone)];
                let way = way[usize::from(to_server)];
                println!("{now:>9} {way} {}", describe(&bytes));
            }
            if gone {
                lost += u64::from(!to_server);
            } else {
                flying.insert((now + path.rtt * 500, count), (to_server, bytes));
            }
        }
        let server = stack.next_deadline().map(|at| at.0 - epoch);
        let link = flying.keys().next().map(|(at, _)| *at);
        let next = [server, link, peer.ack_at].into_iter().flatten().min();
        let next = next.unwrap_or_else(|| panic!("seed {seed} ended: {:?}", stack.counters()));
        now = next.max(now + 1);
    }
    Report {
        time: now,
        lost,
        twice: peer.twice,
        counters: stack.counters().clone(),
    }
}

/// A TCP segment in one line.
fn describe(segment: &[u8]) -> String {
    let view = tcp_lite::wire::SegmentView::parse(segment).unwrap();
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
