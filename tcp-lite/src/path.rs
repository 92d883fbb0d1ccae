//! What the path takes when no router says so (RFC 4821 section 7.7, RFC 8899 section 4.3).

use crate::app::App;
use crate::connection::{Connection, Cx};

/// After so many timeouts in a row of one segment the path is taken to drop what is larger than this MTU: first what
/// IPv6 guarantees and nearly every tunnel leaves, then what every IPv4 host accepts. Fewer, and a lossy path is taken
/// for a small one; more, and the peer gives up first.
const STEPS: [(u8, u16); 2] = [(3, 1280), (5, 576)];

/// So many timeouts more for a path that has carried larger segments on this connection, and would have to have become
/// smaller since. Fewer, and where a tenth is lost long answers go on in small segments for nothing; more, and the peer
/// gives up first.
const PROVEN: u8 = 3;

impl<A: App> Connection<A> {
    /// The retransmission timer rang. Never taken back: the connection is short, a wrong guess costs a few headers, and a
    /// probe that is lost costs a timeout.
    pub fn suspect_black_hole<O>(&mut self, cx: &mut Cx<'_, A, O>) {
        let (flow, terms) = (cx.flow, &mut self.terms);
        let Some((snd, _)) = self.state.snd() else {
            return;
        };
        for (timeouts, mtu) in STEPS {
            let small = terms.payload_within(flow, mtu);
            let proven = if snd.has_carried(small) { PROVEN } else { 0 };
            if snd.timeouts_above(small) >= timeouts + proven && terms.lower_mtu(flow, mtu) {
                snd.lower_mss(terms.payload());
                cx.shared.counters.black_holes += 1;
            }
        }
    }
}
