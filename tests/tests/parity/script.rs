//! The language of the exchanges; `docs/parity.md` describes it for its readers.

use sidestep_tests::raw::flag;
use std::ops::Range;
use std::time::Duration;

/// One exchange with the server.
#[derive(Debug)]
pub struct Exchange {
    /// Its name, unique in the suite.
    pub name: String,
    /// Each step with its line in the script.
    pub steps: Vec<(String, Step)>,
}

/// What the client does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Chooses the path of the requests that make up the client's data.
    Ask {
        path: String,
        close: bool,
    },
    /// Opens the connection with these SYN options, not recorded.
    Open(Spec),
    Send(Spec),
    /// Records what the segments so far caused at once.
    Sync,
    /// Records until this has come, and what came at once behind it.
    Until(Goal),
    /// Records the next segment, which a timer causes.
    Next(Pace),
}

/// What is waited for.
#[derive(Debug, PartialEq)]
pub enum Goal {
    /// Data that ends at this number or behind it.
    Data(i64),
    /// A segment with just this data.
    Segment(i64, i64),
    /// An acknowledgment of this number.
    Ack(i64),
    /// All of these control bits.
    Flags(u8),
}

/// When a timer has to fire.
#[derive(Debug, PartialEq)]
pub enum Pace {
    /// So long after the last segment sent or received.
    Within(Range<Duration>),
    /// About twice as long as the last time.
    Doubled,
}

/// A segment to send; all numbers are relative.
#[derive(Debug, Default, PartialEq)]
pub struct Spec {
    pub flags: u8,
    pub seq: i64,
    /// End of its data.
    pub end: i64,
    pub ack: Option<i64>,
    pub window: Option<u16>,
    pub urgent: u16,
    /// TCP options as bytes, but for those below.
    pub options: Vec<u8>,
    /// TSval, and TSecr when it is not the last TSval received.
    pub ts: Option<(i64, Option<i64>)>,
    /// Without the timestamps that the connection has agreed to.
    pub no_ts: bool,
    pub sack: Vec<(i64, i64)>,
    /// ECN field of the IP header.
    pub ecn: u8,
    /// How long the segment, or the ACK of a handshake, lets wait for itself: the round trip that the server measures.
    pub rtt: Duration,
    /// Data that differs from the client's stream.
    pub garbled: bool,
    pub bad_sum: bool,
    pub data_offset: Option<u8>,
}

/// Reads a script; an error names the line and the word that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Vec<Exchange>, String> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((name, _about)) = name {
            exchanges.push(Exchange {
                name: name.to_owned(),
                steps: Vec::new(),
            });
            continue;
        }
        let step = step(line).map_err(|word| format!("{file}:{number}: {word:?} in: {line}"))?;
        let exchange = exchanges
            .last_mut()
            .ok_or_else(|| format!("{file}:{number}: a step before the first [name]"))?;
        exchange.steps.push((line.to_owned(), step));
    }
    Ok(exchanges)
}

/// The words of a line, taken one by one; an error is the word that is wrong.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "end of line".to_owned())
    }

    fn number<T: TryFrom<i64>>(&mut self) -> Result<T, String> {
        number(self.next()?)
    }
}

fn number<T: TryFrom<i64>>(word: &str) -> Result<T, String> {
    let value: i64 = word.parse().map_err(|_| word.to_owned())?;
    value.try_into().map_err(|_| word.to_owned())
}

fn pair(word: &str) -> Result<(i64, i64), String> {
    let (a, b) = word.split_once(':').ok_or(word)?;
    Ok((number(a)?, number(b)?))
}

fn step(line: &str) -> Result<Step, String> {
    let mut words = Words(line.split_whitespace());
    let step = match words.next()? {
        "ask" => Step::Ask {
            path: words.next()?.to_owned(),
            close: words.0.next() == Some("close"),
        },
        "open" => Step::Open(options(&mut words, Spec::default())?),
        ">" => {
            let flags = flags(words.next()?)?;
            let at = words.next()?;
            let (seq, end) = pair(at).or_else(|_| number(at).map(|seq| (seq, seq)))?;
            let spec = Spec {
                flags,
                seq,
                end,
                ..Spec::default()
            };
            Step::Send(options(&mut words, spec)?)
        }
        "sync" => Step::Sync,
        "until" => Step::Until(match words.next()? {
            "fin" => Goal::Flags(flag::FIN),
            "rst" => Goal::Flags(flag::RST),
            "syn" => Goal::Flags(flag::SYN),
            "ack" => Goal::Ack(words.number()?),
            word => match pair(word) {
                Ok((seq, end)) => Goal::Segment(seq, end),
                Err(_) => Goal::Data(number(word)?),
            },
        }),
        "next" => Step::Next(match words.next()? {
            "doubled" => Pace::Doubled,
            word => {
                let (from, to) = word.split_once("..").ok_or(word)?;
                let ms = |word| number(word).map(Duration::from_millis);
                Pace::Within(ms(from)?..ms(to.trim_end_matches("ms"))?)
            }
        }),
        word => return Err(word.to_owned()),
    };
    match words.0.next() {
        None => Ok(step),
        Some(word) => Err(word.to_owned()),
    }
}

fn flags(word: &str) -> Result<u8, String> {
    if word == "none" {
        return Ok(0);
    }
    word.chars().try_fold(0, |flags, letter| {
        let bit = match letter {
            'F' => flag::FIN,
            'S' => flag::SYN,
            'R' => flag::RST,
            'P' => flag::PSH,
            '.' => flag::ACK,
            'U' => flag::URG,
            'E' => flag::ECE,
            'W' => flag::CWR,
            _ => return Err(word.to_owned()),
        };
        Ok(flags | bit)
    })
}

fn options(words: &mut Words<'_>, mut spec: Spec) -> Result<Spec, String> {
    while let Some(word) = words.0.next() {
        match word {
            "ack" => spec.ack = Some(words.number()?),
            "win" => spec.window = Some(words.number()?),
            "urg" => spec.urgent = words.number()?,
            "mss" => {
                let mss: u16 = words.number()?;
                spec.options.extend([2, 4]);
                spec.options.extend(mss.to_be_bytes());
            }
            "ws" => spec.options.extend([3, 3, words.number()?, 1]),
            "sackok" => spec.options.extend([4, 2, 1, 1]),
            "ts" => {
                let value = words.number()?;
                let mut ahead = words.0.clone();
                let echo = (ahead.next() == Some("ecr"))
                    .then(|| ahead.next())
                    .flatten();
                if echo.is_some() {
                    words.0 = ahead;
                }
                spec.ts = Some((value, echo.map(number).transpose()?));
            }
            "ect" => spec.ecn = 2,
            "ce" => spec.ecn = 3,
            "rtt" => spec.rtt = Duration::from_millis(words.number()?),
            "nots" => spec.no_ts = true,
            "sack" => spec.sack.push(pair(words.next()?)?),
            "raw" => {
                let hex = words.next()?;
                for at in (0..hex.len()).step_by(2) {
                    let byte = hex.get(at..at + 2).ok_or(hex)?;
                    spec.options
                        .push(u8::from_str_radix(byte, 16).map_err(|_| hex.to_owned())?);
                }
            }
            "garbled" => spec.garbled = true,
            "badsum" => spec.bad_sum = true,
            "offset" => spec.data_offset = Some(words.number()?),
            word => return Err(word.to_owned()),
        }
    }
    Ok(spec)
}
