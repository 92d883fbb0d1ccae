//! Values that TOML has no type for: sizes, durations, queue lists. Each reads itself from the file.
//!
//! An error message made here has the form `what\nhelp`; `parse` takes it apart.

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::time::Duration;

/// A number of bytes: `"64KiB"`, or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A time span: `"10s"`, `"1m 30s"`, `"500ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Which receive queues of the NIC get a worker.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Queues {
    /// All that the NIC has.
    #[default]
    All,
    /// These, each once, in ascending order; never empty.
    List(Vec<u32>),
}

/// How long a learned response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As long as the origin's `Cache-Control` says (RFC 9111).
    #[default]
    Auto,
    /// This long, whatever the origin says.
    Fixed(Duration),
}

const SIZE_HELP: &str =
    r#"write bytes as a whole number, or with a unit B, KiB, MiB or GiB: "64KiB""#;
const SPAN_HELP: &str = r#"write a number with a unit ms, s, m, h or d: "10s""#;
const QUEUES_HELP: &str = r#"write "all", or a list of queue numbers: [0, 1]"#;

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn parse_span(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// `bytes` in the unit that shows it shortest without loss.
pub(crate) fn show_size(bytes: u64) -> String {
    [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|&(unit, _)| bytes >= unit && bytes.is_multiple_of(unit))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, name)| format!("{}{name}", bytes / unit),
        )
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a size such as "64KiB""#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text)
                    .map(Size)
                    .ok_or_else(|| E::custom(format!("`{text}` is not a size\n{SIZE_HELP}")))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::custom(format!("`{bytes}` is not a size\n{SIZE_HELP}")))
            }
        }
        from.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a duration such as "10s""#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                parse_span(text)
                    .map(Span)
                    .ok_or_else(|| E::custom(format!("`{text}` is not a duration\n{SPAN_HELP}")))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                Err(E::custom(format!("`{number}` has no unit\n{SPAN_HELP}")))
            }
        }
        from.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Ttl;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""auto" or a duration such as "1s""#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ttl, E> {
                if text == "auto" {
                    return Ok(Ttl::Auto);
                }
                parse_span(text).map(Ttl::Fixed).ok_or_else(|| {
                    E::custom(format!(
                        "`{text}` is not a time to live\nwrite \"auto\" for the origin's Cache-Control, or a duration: \"1s\""
                    ))
                })
            }
        }
        from.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Queues;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""all" or a list of queue numbers"#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Queues, E> {
                match text {
                    "all" => Ok(Queues::All),
                    _ => Err(E::custom(format!(
                        "`{text}` does not name queues\n{QUEUES_HELP}"
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Queues, A::Error> {
                let mut list = Vec::new();
                while let Some(queue) = seq.next_element::<u32>()? {
                    if list.contains(&queue) {
                        return Err(de::Error::custom(format!(
                            "queue {queue} is listed twice\nname each queue once"
                        )));
                    }
                    list.push(queue);
                }
                if list.is_empty() {
                    return Err(de::Error::custom(format!(
                        "no queue is listed\n{QUEUES_HELP}"
                    )));
                }
                list.sort_unstable();
                Ok(Queues::List(list))
            }
        }
        from.deserialize_any(V)
    }
}
