//! Which content coding a client wants (RFC 9110, 12.5.3).

use super::{list, scan};
use crate::store::Coding;

/// Thousandths of a weight.
type Weight = u16;

/// What a client accepts: for each coding its weight, if the client named it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Accepted {
    /// In the order of [`Coding`].
    codings: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    any: Option<Weight>,
}

/// The position in `offered` of the coding that `Accept-Encoding` asks for; `None`: the representation as it is.
///
/// `fields` are the values of all fields of the name; `offered` has the codings that there are, the best first. The
/// highest weight wins, and of equals the first one offered; one that was not named is only taken for `*`. A field that
/// is wrong anywhere asks for nothing, and a client that refuses all that there is gets it as it is (RFC 9110, 12.4.1).
pub fn choose<'b>(
    fields: impl Iterator<Item = &'b [u8]>,
    offered: impl Iterator<Item = Coding>,
) -> Option<usize> {
    let accepted = Accepted::read(fields)?;
    let weight = |own: Option<Weight>| own.or(accepted.any);
    // As it is, a representation is acceptable unless that is excluded; but nobody asked for it.
    let mut best = weight(accepted.identity).unwrap_or(0);
    // Of equals, a coding: it is shorter.
    let mut found = None;
    for (at, coding) in offered.enumerate() {
        let weight = weight(accepted.codings[coding as usize]).unwrap_or(0);
        if weight > best || (weight == best && weight > 0 && found.is_none()) {
            (best, found) = (weight, Some(at));
        }
    }
    found
}

impl Accepted {
    fn read<'b>(fields: impl Iterator<Item = &'b [u8]>) -> Option<Self> {
        let mut accepted = Self::default();
        for element in fields.flat_map(list) {
            let (name, rest) = element.split_at(scan::token(element));
            if name.is_empty() {
                return None;
            }
            let new = weight(rest)?;
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            // 8.4.1.3: an old name of it.
            let coding = if is("x-gzip") {
                Some(Coding::Gzip)
            } else {
                Coding::ALL.into_iter().find(|coding| is(coding.token()))
            };
            let place = match coding {
                Some(coding) => &mut accepted.codings[coding as usize],
                None if is("identity") => &mut accepted.identity,
                None if is("*") => &mut accepted.any,
                None => continue,
            };
            // Named twice, it is not wanted more than either time says.
            *place = Some(place.map_or(new, |old| old.min(new)));
        }
        Some(accepted)
    }
}

/// The weight behind a coding's name (RFC 9110, 12.4.2); 1 if there is none.
fn weight(rest: &[u8]) -> Option<Weight> {
    if rest.is_empty() {
        return Some(1000);
    }
    let rest = rest.trim_ascii_start().strip_prefix(b";")?;
    let [b'q' | b'Q', b'=', whole, fraction @ ..] = rest.trim_ascii_start() else {
        return None;
    };
    let digits = match fraction {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = match digits.get(place) {
            None => 0,
            Some(digit) if digit.is_ascii_digit() => digit - b'0',
            Some(_) => return None,
        };
        thousandths = 10 * thousandths + Weight::from(digit);
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(fields: &[&str], offered: &[Coding]) -> Option<Coding> {
        let fields = fields.iter().map(|field| field.as_bytes());
        choose(fields, offered.iter().copied()).map(|at| offered[at])
    }

    #[test]
    fn codings_by_weight() {
        use Coding::{Brotli, Gzip, Zstd};
        let all = [Brotli, Zstd, Gzip];
        let table: &[(&[&str], Option<Coding>)] = &[
            // RFC 9110, 12.5.3: no field, an empty one.
            (&[], None),
            (&[""], None),
            (&[" , ,"], None),
            // What browsers and curl send.
            (&["gzip, deflate, br, zstd"], Some(Brotli)),
            (&["gzip, deflate"], Some(Gzip)),
            (&["deflate, gzip;q=1.0, *;q=0.5"], Some(Gzip)),
            (&["compress, deflate"], None),
            // 12.5.3: the examples.
            (&["compress, gzip"], Some(Gzip)),
            (&["*"], Some(Brotli)),
            (&["compress;q=0.5, gzip;q=1.0"], Some(Gzip)),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], Some(Gzip)),
            // 12.4.2: the highest weight; of equals the first offered; 0 is never.
            (&["gzip;q=0.9, br;q=0.8"], Some(Gzip)),
            (&["gzip;q=0.801, br;q=0.8"], Some(Gzip)),
            (&["gzip;q=0.5, zstd;q=0.5"], Some(Zstd)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some(Gzip)),
            (&["*;q=0"], None),
            (&["br;q=0, *"], Some(Zstd)),
            (&["br;q=0, zstd;q=0.0, *;q=0.1"], Some(Gzip)),
            // 12.5.3: identity, by name or not.
            (&["identity"], None),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity;q=1, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["*;q=0.5, gzip;q=0.2"], Some(Brotli)),
            (&["*, identity;q=0"], Some(Brotli)),
            // 12.4.1: nothing is acceptable: as it is.
            (&["identity;q=0"], None),
            (&["identity;q=0, compress"], None),
            (&["*;q=0, compress"], None),
            // 8.4.1: case, and the old name of gzip.
            (&["GZip"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["X-GZIP;Q=0.3"], Some(Gzip)),
            (&["x-br, gzipped"], None),
            // 5.3: several fields are one list; 5.6.1: empty elements.
            (&["compress", "br"], Some(Brotli)),
            (&["gzip;q=0.1", "zstd;q=0.2"], Some(Zstd)),
            (&[",gzip,"], Some(Gzip)),
            // 12.4.2: optional spaces.
            (&["gzip ;\tq=1"], Some(Gzip)),
            (&["gzip; q=1.000 , br;q=0"], Some(Gzip)),
            // Named twice.
            (&["gzip, gzip;q=0"], None),
            (&["gzip;q=0, gzip"], None),
            (&["gzip;q=0, x-gzip"], None),
            // Wrong in any place.
            (&["gzip;q=2"], None),
            (&["gzip;q=1.1"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;q=.5"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;q=0.5x"], None),
            (&["gzip;q = 1"], None),
            (&["gzip;level=1"], None),
            (&["gzip;q=1;level=1"], None),
            (&["gzip;"], None),
            (&["gzip q=1"], None),
            (&["gzip, ;q=1"], None),
            (&["gzip, \"br\""], None),
            (&["gzip br"], None),
            (&["gzip/br"], None),
            (&["gzip", "br;q=x"], None),
        ];
        for &(fields, expected) in table {
            assert_eq!(chosen(fields, &all), expected, "{fields:?}");
        }
    }

    #[test]
    fn only_what_is_offered_is_chosen() {
        assert_eq!(
            chosen(&["br, gzip;q=0.1"], &[Coding::Gzip]),
            Some(Coding::Gzip)
        );
        assert_eq!(chosen(&["br"], &[Coding::Gzip]), None);
        assert_eq!(chosen(&["*"], &[]), None);
    }
}
