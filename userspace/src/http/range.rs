//! Parts of a representation (RFC 9110, 14).

use super::list;

/// What a `Range` asks for of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: no range, none that can be read, another unit, or several that are there (a server may ignore any of
    /// them: RFC 9110, 14.2).
    Whole,
    /// The only range of which there is anything: from `start` to before `end`, in bytes; never empty.
    Part {
        /// The first byte.
        start: u32,
        /// Behind the last byte.
        end: u32,
    },
    /// Ranges of which there is nothing.
    Unsatisfiable,
}

/// What the values of all `Range` fields of a GET ask for of a representation of `len` bytes.
pub fn select<'b>(mut fields: impl Iterator<Item = &'b [u8]>, len: u32) -> Selection {
    // It is no list: two of them contradict each other.
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Selection::Whole;
    };
    read(field, len).unwrap_or(Selection::Whole)
}

/// `None`: the field is to be ignored.
fn read(field: &[u8], len: u32) -> Option<Selection> {
    let (unit, set) = field.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut specs = 0;
    let mut parts = 0;
    let mut part = Selection::Unsatisfiable;
    for spec in list(set) {
        specs += 1;
        if let Some((start, end)) = range(spec, len)? {
            parts += 1;
            part = Selection::Part { start, end };
        }
    }
    match (specs, parts) {
        (0, _) => None,
        (_, 0 | 1) => Some(part),
        _ => Some(Selection::Whole),
    }
}

/// One range-spec (RFC 9110, 14.1.1): `None` if it is none; `Some(None)` if there is nothing of it.
fn range(spec: &[u8], len: u32) -> Option<Option<(u32, u32)>> {
    let dash = spec.iter().position(|&b| b == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let (start, end) = match (first, last) {
        ([], suffix) => {
            let count = number(suffix)?;
            // All of nothing is nothing that a Content-Range could name: the whole says it.
            if len == 0 && count > 0 {
                return None;
            }
            (u64::from(len).saturating_sub(count), u64::from(len))
        }
        (first, []) => (number(first)?, u64::from(len)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // 14.1.1: invalid, not only without match.
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(u64::from(len)))
        }
    };
    // Both are at most `len` if there is anything between them.
    Some((start < end).then_some((start as u32, end as u32)))
}

/// A number of any length; the largest one stands for all that are larger.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(sum.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_hundred_bytes() {
        let part = |start, end| Selection::Part { start, end };
        let (whole, none) = (Selection::Whole, Selection::Unsatisfiable);
        let table: &[(&[&str], Selection)] = &[
            (&[], whole),
            // RFC 9110, 14.1.2: first-last, both included.
            (&["bytes=0-0"], part(0, 1)),
            (&["bytes=0-99"], part(0, 100)),
            (&["bytes=10-19"], part(10, 20)),
            (&["bytes=99-99"], part(99, 100)),
            (&["bytes=00010-0019"], part(10, 20)),
            // 14.1.2: a last position past the end is the end.
            (&["bytes=90-1000"], part(90, 100)),
            (&["bytes=0-18446744073709551615"], part(0, 100)),
            (&["bytes=1-99999999999999999999999"], part(1, 100)),
            // 14.1.2: first-
            (&["bytes=0-"], part(0, 100)),
            (&["bytes=99-"], part(99, 100)),
            // 14.1.2: -suffix; longer than all is all.
            (&["bytes=-1"], part(99, 100)),
            (&["bytes=-100"], part(0, 100)),
            (&["bytes=-101"], part(0, 100)),
            (&["bytes=-99999999999999999999999"], part(0, 100)),
            // 15.5.17: nothing of them is there.
            (&["bytes=100-"], none),
            (&["bytes=100-100"], none),
            (&["bytes=99999999999999999999-99999999999999999999"], none),
            (&["bytes=4294967296-"], none),
            (&["bytes=-0"], none),
            (&["bytes=100-,200-,-0"], none),
            // 15.3.7.2: one of several is there.
            (&["bytes=5-6,100-"], part(5, 7)),
            (&["bytes=-0,5-6"], part(5, 7)),
            // 14.2: several are there, which may be ignored.
            (&["bytes=0-0,2-2"], whole),
            (&["bytes=0-9,5-"], whole),
            (&["bytes=-1,0-"], whole),
            // 5.6.1: empty elements, spaces around commas.
            (&["bytes=,5-6"], part(5, 7)),
            (&["bytes=5-6,"], part(5, 7)),
            (&["bytes= 5-6 , ,\t"], part(5, 7)),
            // 14.1: the unit in any case; other units are not known.
            (&["Bytes=5-6"], part(5, 7)),
            (&["items=5-6"], whole),
            (&["byte=5-6"], whole),
            (&["bytesx=5-6"], whole),
            // 14.1.1: the last position is before the first.
            (&["bytes=6-5"], whole),
            (&["bytes=200-100"], whole),
            (&["bytes=5-6,8-7"], whole),
            // 14.2: no ranges-specifier.
            (&[""], whole),
            (&["bytes"], whole),
            (&["bytes="], whole),
            (&["bytes=,"], whole),
            (&["bytes=-"], whole),
            (&["bytes=5"], whole),
            (&["bytes=a-b"], whole),
            (&["bytes=5-x"], whole),
            (&["bytes=x-"], whole),
            (&["bytes=-x"], whole),
            (&["bytes=--5"], whole),
            (&["bytes=+5-6"], whole),
            (&["bytes=5 - 6"], whole),
            (&["bytes=5-6 7-8"], whole),
            (&["bytes=5-6;7-8"], whole),
            (&["bytes=0x1-2"], whole),
            (&["bytes =5-6"], whole),
            (&["bytes:5-6"], whole),
            (&["5-6"], whole),
            // 5.3: no list, so that it cannot be there twice.
            (&["bytes=5-6", "bytes=5-6"], whole),
            (&["bytes=5-6", "bytes=100-"], whole),
        ];
        for &(fields, expected) in table {
            let values = fields.iter().map(|field| field.as_bytes());
            assert_eq!(select(values, 100), expected, "{fields:?}");
        }
    }

    #[test]
    fn ranges_of_nothing() {
        let table = [
            ("bytes=0-", Selection::Unsatisfiable),
            ("bytes=0-0", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=-1", Selection::Whole),
        ];
        for (field, expected) in table {
            let fields = [field.as_bytes()];
            assert_eq!(select(fields.into_iter(), 0), expected, "{field}");
        }
    }

    /// Every field that is read names what a reader of its own, which keeps all bytes, would keep.
    #[test]
    fn parts_are_those_of_a_plain_reading() {
        for len in [1u32, 2, 5] {
            for first in 0..8u32 {
                for last in first..8 {
                    let field = format!("bytes={first}-{last}");
                    let kept: Vec<u32> =
                        (0..len).filter(|at| (first..=last).contains(at)).collect();
                    let expected = match kept[..] {
                        [] => Selection::Unsatisfiable,
                        [start, ..] => Selection::Part {
                            start,
                            end: start + kept.len() as u32,
                        },
                    };
                    let got = select([field.as_bytes()].into_iter(), len);
                    assert_eq!(got, expected, "{field} of {len}");
                }
            }
        }
    }
}
