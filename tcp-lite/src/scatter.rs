//! Where in the connection table a flow belongs: a keyed hash of its few words, for every segment that comes.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::flow::Flow;

/// Folded multiplication under secret keys, as in wyhash: two or three multiplications where SipHash takes 170
/// instructions.
///
/// Who wants to fill one corner of the table has to choose flows whose hashes are near each other. A multiplication by
/// numbers that he does not know spreads whatever pattern his flows have over all 128 bits of the product; to make
/// products collide he must know a key, or guess the one addend that makes a factor 0: one in 2^64. Of the hash itself he
/// never sees a bit. It names a place in the table and nothing else: where a peer does get to see what we computed
/// (initial numbers, cookies, timestamp offsets), SipHash stays.
#[derive(Debug)]
pub(crate) struct Scatter {
    keys: [u64; 6],
}

impl Scatter {
    pub fn new(secret: &[u8; 16]) -> Scatter {
        let mut keys = [0; 6];
        for (n, key) in (0u64..).zip(&mut keys) {
            let mut hasher = SipHasher24::new_with_key(secret);
            hasher.write(b"table");
            hasher.write_u64(n);
            *key = hasher.finish();
        }
        Scatter { keys }
    }

    #[inline]
    pub fn hash(&self, flow: &Flow) -> u32 {
        let [a, b, c, d, e, f] = self.keys;
        let (ours, ours_low) = flow.local.addr.halves();
        let (theirs, theirs_low) = flow.remote.addr.halves();
        let ports = u64::from(flow.local.port) << 16 | u64::from(flow.remote.port);
        let mut hash = fold(ours_low ^ a, theirs_low ^ b);
        if ours | theirs != 0 {
            hash = fold(hash ^ ours ^ c, theirs ^ d);
        }
        // The upper half has had all bits of both factors in it.
        (fold(hash ^ ports ^ e, f | 1) >> 32) as u32
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::Scatter;
    use crate::flow::{Addr, Endpoint, Flow};

    fn flow(v6: bool, addr: u32, port: u16) -> Flow {
        let [a, b, c, d] = addr.to_be_bytes();
        let remote = if v6 {
            Addr::v6([0x20, 1, 0xd, 0xb8, a, b, 0, 0, 0, 0, 0, 0, 0, 0, c, d])
        } else {
            Addr::v4([a, b, c, d])
        };
        let local = if v6 {
            Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        } else {
            Addr::v4([192, 0, 2, 1])
        };
        let end = |addr, port| Endpoint { addr, port };
        Flow {
            local: end(local, 80),
            remote: end(remote, port),
        }
    }

    /// The patterns that clients and attackers have: neighbouring ports, neighbouring hosts, single bits, steps of powers
    /// of two. Spread over 4096 places, 16 each on average, none holds much more than a random one would.
    #[test]
    fn patterns_are_spread() {
        type Pattern = fn(u32) -> (u32, u16);
        let patterns: [Pattern; 5] = [
            |n| (0x0a00_0001, n as u16),
            |n| (0x0a00_0000 + n, 40_000),
            |n| (n << 16, 40_000),
            |n| (0x0a00_0000 + (n >> 8), (n << 8) as u16),
            |n| (n.rotate_left(24), 1 << (n % 16)),
        ];
        for secret in [[0; 16], [7; 16], [0xff; 16]] {
            let scatter = Scatter::new(&secret);
            for (nth, pattern) in patterns.iter().enumerate() {
                for v6 in [false, true] {
                    let mut places = vec![0u32; 4096];
                    for n in 0..65_536 {
                        let (addr, port) = pattern(n);
                        let hash = scatter.hash(&flow(v6, addr, port));
                        places[(hash >> 20) as usize] += 1;
                    }
                    let most = places.iter().max().copied();
                    assert!(most < Some(50), "{nth} {v6}: {most:?}");
                }
            }
        }
    }

    #[test]
    fn another_secret_scatters_otherwise() {
        let (one, other) = (Scatter::new(&[1; 16]), Scatter::new(&[2; 16]));
        let same = |n: &u32| {
            let flow = flow(false, *n, 1);
            one.hash(&flow) >> 24 == other.hash(&flow) >> 24
        };
        let hits = (0..25_600).filter(same).count();
        assert!((50..200).contains(&hits), "{hits}");
    }
}
