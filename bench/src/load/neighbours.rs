//! Answers for the generator's addresses, which no kernel has, to the questions of neighbours: ARP (RFC 826) and
//! neighbour solicitations (RFC 4861).
//!
//! A peer with a TCP of its own answers to where a segment came from. A kernel asks.

use super::engine::Sink;
use super::requests::{fold, sum};
use super::sources::Prefix;
use super::wire::ETHERNET;

const PROTOCOL_ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// RFC 4861 4.4: solicited, and to be believed rather than what was known.
const SOLICITED_OVERRIDE: u8 = 0x60;
/// RFC 4861 4.6.1: the target's link-layer address, in one unit of 8 bytes.
const TARGET_ADDRESS: [u8; 2] = [2, 1];
/// Only neighbours send with it: it comes through no router.
const HOP_LIMIT: u8 = 255;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours {
    pub(crate) own: [u8; 6],
    pub(crate) prefix: Prefix,
}

impl Neighbours {
    /// Answers `frame` if it is a question for one of our addresses.
    pub(crate) fn answer(&self, frame: &[u8], sink: &mut impl Sink) {
        let Some(packet) = frame.get(ETHERNET..) else {
            return;
        };
        let asker: [u8; 6] = [frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]];
        match frame[12..14] {
            [0x08, 0x06] => self.answer_arp(asker, packet, sink),
            [0x86, 0xdd] => self.answer_solicitation(asker, packet, sink),
            _ => {}
        }
    }

    fn answer_arp(&self, asker: [u8; 6], packet: &[u8], sink: &mut impl Sink) {
        let Some(question) = packet.first_chunk::<28>() else {
            return;
        };
        let wanted: [u8; 4] = [question[24], question[25], question[26], question[27]];
        if question[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || !self.prefix.has(wanted.into()) {
            return;
        }
        sink.send(ETHERNET + 28, |frame| {
            self.ethernet(frame, asker, [0x08, 0x06]);
            let answer = &mut frame[ETHERNET..];
            answer[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
            answer[8..14].copy_from_slice(&self.own);
            answer[14..18].copy_from_slice(&wanted);
            answer[18..28].copy_from_slice(&question[8..18]);
        });
    }

    fn answer_solicitation(&self, asker: [u8; 6], packet: &[u8], sink: &mut impl Sink) {
        let Some(question) = packet.first_chunk::<64>() else {
            return;
        };
        let wanted: [u8; 16] = std::array::from_fn(|i| question[48 + i]);
        let from = &question[8..24];
        // From nobody: somebody looks whether an address is free (RFC 4862 5.4.3). It is not theirs.
        let ours = question[6] == PROTOCOL_ICMPV6
            && question[7] == HOP_LIMIT
            && question[40] == SOLICITATION
            && from.iter().any(|byte| *byte != 0)
            && self.prefix.has(wanted.into());
        if !ours {
            return;
        }
        const LEN: usize = 32;
        sink.send(ETHERNET + 40 + LEN, |frame| {
            self.ethernet(frame, asker, [0x86, 0xdd]);
            let answer = &mut frame[ETHERNET..];
            answer.fill(0);
            answer[0] = 0x60;
            answer[5] = LEN as u8;
            answer[6] = PROTOCOL_ICMPV6;
            answer[7] = HOP_LIMIT;
            answer[8..24].copy_from_slice(&wanted);
            answer[24..40].copy_from_slice(from);
            answer[40] = ADVERTISEMENT;
            answer[44] = SOLICITED_OVERRIDE;
            answer[48..64].copy_from_slice(&wanted);
            answer[64..66].copy_from_slice(&TARGET_ADDRESS);
            answer[66..72].copy_from_slice(&self.own);
            let all = sum(&answer[8..]) + LEN as u64 + u64::from(PROTOCOL_ICMPV6);
            answer[42..44].copy_from_slice(&(!fold(all)).to_be_bytes());
        });
    }

    fn ethernet(&self, frame: &mut [u8], to: [u8; 6], ethertype: [u8; 2]) {
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&self.own);
        frame[12..14].copy_from_slice(&ethertype);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Frames(Vec<Vec<u8>>);

    impl Sink for Frames {
        fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
            let mut frame = vec![0xaa; len];
            fill(&mut frame);
            self.0.push(frame);
            true
        }
    }

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn asked(prefix: &str, ethertype: [u8; 2], packet: &[u8]) -> Option<Vec<u8>> {
        let prefix = prefix.parse().unwrap();
        let mut frames = Frames::default();
        let frame = [&[0xff; 6][..], &ASKER, &ethertype, packet].concat();
        Neighbours { own: OWN, prefix }.answer(&frame, &mut frames);
        for len in 0..frame.len() {
            Neighbours { own: OWN, prefix }.answer(&frame[..len], &mut Frames::default());
        }
        frames.0.pop()
    }

    fn arp(wanted: [u8; 4]) -> Vec<u8> {
        let head = [0, 1, 8, 0, 6, 4, 0, 1];
        [&head[..], &ASKER, &[10, 0, 0, 1], &[0; 6], &wanted].concat()
    }

    #[test]
    fn a_question_for_one_of_the_addresses_is_answered() {
        let answer = asked("10.64.0.0/10", [8, 6], &arp([10, 65, 1, 1])).expect("ours");
        assert_eq!(answer[..14], [&ASKER[..], &OWN, &[8, 6]].concat());
        let want = [
            &[0, 1, 8, 0, 6, 4, 0, 2][..],
            &OWN,
            &[10, 65, 1, 1],
            &ASKER,
            &[10, 0, 0, 1],
        ];
        assert_eq!(answer[14..], want.concat());
        assert_eq!(asked("10.64.0.0/10", [8, 6], &arp([10, 0, 0, 2])), None);
        assert_eq!(asked("fd00::/64", [8, 6], &arp([10, 65, 1, 1])), None);
    }

    #[test]
    fn a_solicitation_is_answered_with_a_right_checksum() {
        let [from, to, mut wanted] = [[0xfd; 16], [0xff; 16], [0xfd; 16]];
        wanted[15] = 5;
        let head = [0x60, 0, 0, 0, 0, 24, 58, 255];
        let packet = [&head[..], &from, &to, &[135, 0, 0, 0, 0, 0, 0, 0], &wanted].concat();
        let prefix = "fdfd:fdfd:fdfd:fdfd::/64";
        let answer = asked(prefix, [0x86, 0xdd], &packet).expect("ours");
        assert_eq!(answer[22..38], wanted);
        assert_eq!(answer[38..54], from);
        assert_eq!(answer[62..78], wanted);
        assert_eq!(answer[80..86], OWN);
        assert_eq!(fold(sum(&answer[22..]) + 32 + 58), 0xffff);
        let mut far = packet.clone();
        far[7] = 64;
        assert_eq!(asked(prefix, [0x86, 0xdd], &far), None, "through a router");
        assert_eq!(
            asked("fdfd::/64", [0x86, 0xdd], &packet),
            None,
            "somebody else's"
        );
    }
}
