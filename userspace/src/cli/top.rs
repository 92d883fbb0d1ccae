//! `sidestep top`: the rates of a running daemon, once a second.

use super::{FAILURE, OK, fail};
use crate::control::{Request, Response, ask};
use crossbeam::channel::{RecvTimeoutError, bounded};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Lines and columns of a terminal that does not tell (a pipe): no line is cut, no route left out.
const UNKNOWN: (usize, usize) = (usize::MAX, usize::MAX);

/// To the top left corner; each line then clears what it leaves of the one before it, and the last what is below. Nothing
/// flickers, as it would if all were cleared first.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const BELOW: &str = "\x1b[J";
/// A screen of its own, without a cursor, and back to what was there.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Shows rates every `every` until Ctrl-C, or `once`, which looks twice.
#[expect(clippy::disallowed_methods, reason = "measures time between two looks")]
pub(super) fn run(once: bool, every: Duration, socket: &Path) -> u8 {
    let (tell, stop) = bounded(1);
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(e) => return fail(&format_args!("cannot handle signals: {e}"), FAILURE),
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // Full: it is ending already.
            let _ = tell.try_send(());
        }
    });
    let mut before = match look(socket) {
        Ok(sample) => sample,
        Err(code) => return code,
    };
    let mut at = Instant::now();
    let screen = Screen::open(!once && io::stdout().is_terminal());
    loop {
        match stop.recv_timeout(every) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return OK,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = match look(socket) {
            Ok(sample) => sample,
            Err(code) => {
                // Its message would go with the screen.
                drop(screen);
                return code;
            }
        };
        let then = Instant::now();
        let frame = frame(&before, &now, then.duration_since(at), screen.size());
        if screen.show(&frame).is_err() || once {
            // Nobody reads it any more, or it was all that was asked for.
            return OK;
        }
        (before, at) = (now, then);
    }
}

fn look(socket: &Path) -> Result<Value, u8> {
    match ask(socket, &Request::Status) {
        Ok(Response::Status(status)) => Ok(status),
        Ok(other) => Err(fail(&format_args!("unexpected answer: {other:?}"), FAILURE)),
        Err(e) => Err(fail(&e, FAILURE)),
    }
}

/// The terminal while it is ours, or whatever standard output is.
struct Screen {
    terminal: bool,
}

impl Screen {
    fn open(terminal: bool) -> Self {
        if terminal {
            print!("{ENTER}");
        }
        Self { terminal }
    }

    fn size(&self) -> (usize, usize) {
        match terminal_size::terminal_size() {
            Some((width, height)) if self.terminal => (height.0.into(), width.0.into()),
            _ => UNKNOWN,
        }
    }

    fn show(&self, frame: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            write!(out, "{HOME}{}{BELOW}", frame.replace('\n', END_OF_LINE))?;
        } else {
            writeln!(out, "{frame}")?;
        }
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            print!("{LEAVE}");
            // Gone: nobody sees it.
            let _ = io::stdout().flush();
        }
    }
}

/// What is shown of a worker, of all, or of a route: how often since the daemon started.
#[derive(Clone, Copy, Default)]
struct Counts {
    served: u64,
    handed_over: u64,
    refused: u64,
    connections: u64,
    received: u64,
    sent: u64,
}

impl Counts {
    fn of_worker(worker: &Value) -> Self {
        let counters = &worker["counters"];
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        Self {
            served: number(&worker["requests"]),
            handed_over: number(&counters["handoff"]["taken"]),
            refused: sum(&counters["http_not_ours"], |_| true)
                + sum(&counters["handoff"], |label| label != "taken"),
            connections: number(&worker["connections"]),
            received: number(&counters["frames"]["received"]),
            sent: number(&counters["frames"]["sent"]),
        }
    }

    fn of_route(route: &Value) -> Self {
        let counts = &route["counts"];
        let left = |label: &str| label.starts_with("left");
        Self {
            served: sum(counts, |label| label == "served"),
            handed_over: sum(counts, left),
            refused: sum(counts, |label| label != "served" && !left(label)),
            ..Self::default()
        }
    }

    fn add(self, other: Self) -> Self {
        Self {
            served: self.served + other.served,
            handed_over: self.handed_over + other.handed_over,
            refused: self.refused + other.refused,
            connections: self.connections + other.connections,
            received: self.received + other.received,
            sent: self.sent + other.sent,
        }
    }
}

fn sum(counters: &Value, wanted: impl Fn(&str) -> bool) -> u64 {
    let all = counters.as_object().into_iter().flatten();
    all.filter(|(label, _)| wanted(label))
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}

/// Events a second.
struct Rate(f64);

impl Rate {
    /// A daemon that was started anew counts from zero: then what it has is what came.
    fn between(before: u64, now: u64, time: Duration) -> Self {
        let events = now.checked_sub(before).unwrap_or(now);
        Self(events as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0.0 => "-".to_owned(),
            few if few < 10.0 => format!("{few:.1}"),
            some if some < 1e5 => format!("{some:.0}"),
            many if many < 1e7 => format!("{:.1}k", many / 1e3),
            more => format!("{:.1}M", more / 1e6),
        };
        f.pad(&text)
    }
}

/// What was seen in `time`, as lines of at most `columns`, and at most `lines` of them.
fn frame(before: &Value, now: &Value, time: Duration, (lines, columns): (usize, usize)) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{}", headline(now));
    for trouble in now["degraded"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "degraded: {}",
            trouble["text"].as_str().unwrap_or("?")
        );
    }
    text.push('\n');
    let workers = |status: &Value| -> Vec<(String, Counts)> {
        let all = status["workers"].as_array().into_iter().flatten();
        all.map(|w| (format!("queue {}", w["queue"]), Counts::of_worker(w)))
            .collect()
    };
    let (old, new) = (workers(before), workers(now));
    let _ = writeln!(
        text,
        "{:<10}{:>10}{:>12}{:>12}{:>13}{:>12}{:>12}",
        "", "hits/s", "handoffs/s", "refused/s", "connections", "frames in", "frames out"
    );
    let total = |rows: &[(String, Counts)]| {
        let counts = rows.iter().map(|(_, counts)| *counts);
        (
            "all".to_owned(),
            counts.fold(Counts::default(), Counts::add),
        )
    };
    for (name, counts) in std::iter::once(total(&new)).chain(new.clone()) {
        let was = match name.as_str() {
            "all" => total(&old).1,
            queue => named(&old, queue),
        };
        let rate = |of: fn(&Counts) -> u64| Rate::between(of(&was), of(&counts), time);
        let _ = writeln!(
            text,
            "{name:<10}{:>10}{:>12}{:>12}{:>13}{:>12}{:>12}",
            rate(|c| c.served),
            rate(|c| c.handed_over),
            rate(|c| c.refused),
            counts.connections,
            rate(|c| c.received),
            rate(|c| c.sent),
        );
    }
    let routes = |status: &Value| -> Vec<(String, Counts)> {
        let all = status["routes"].as_array().into_iter().flatten();
        all.map(|r| (route_name(r), Counts::of_route(r))).collect()
    };
    let (old, mut new) = (routes(before), routes(now));
    // The busiest first; those that are equally busy stay in the configuration's order.
    let rate = |name: &str, now: &Counts| {
        let was = named(&old, name);
        let events = |c: &Counts| c.served + c.handed_over + c.refused;
        events(now).saturating_sub(events(&was))
    };
    new.sort_by_key(|(name, counts)| std::cmp::Reverse(rate(name, counts)));
    let _ = writeln!(
        text,
        "\n{:>10}{:>12}{:>12}{:>13}   route",
        "hits/s", "left/s", "refused/s", "hits in all"
    );
    for (name, counts) in &new {
        let was = named(&old, name);
        let rate = |of: fn(&Counts) -> u64| Rate::between(of(&was), of(counts), time);
        let _ = writeln!(
            text,
            "{:>10}{:>12}{:>12}{:>13}   {name}",
            rate(|c| c.served),
            rate(|c| c.handed_over),
            rate(|c| c.refused),
            counts.served,
        );
    }
    fit(&text, lines, columns)
}

fn headline(status: &Value) -> String {
    let listening = status["listening"].as_array().into_iter().flatten();
    let listening: Vec<&str> = listening.filter_map(Value::as_str).collect();
    format!(
        "sidestep on {}, {} mode, listening on {}",
        status["interface"].as_str().unwrap_or("?"),
        status["mode"].as_str().unwrap_or("?"),
        listening.join(" ")
    )
}

fn route_name(route: &Value) -> String {
    match (route["site"].as_str(), route["route"].as_str()) {
        (Some("") | None, _) => "(no route)".to_owned(),
        (Some(site), path) => format!("{site} {}", path.unwrap_or("?")),
    }
}

fn named(rows: &[(String, Counts)], name: &str) -> Counts {
    let found = rows.iter().find(|(other, _)| other == name);
    found.map(|(_, counts)| *counts).unwrap_or_default()
}

/// Cut to the terminal: a line that wraps would push the first ones out.
fn fit(text: &str, lines: usize, columns: usize) -> String {
    let cut = |line: &str| line.chars().take(columns).collect::<String>();
    let all: Vec<String> = text.lines().take(lines).map(cut).collect();
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Rate, frame};
    use serde_json::{Value, json};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(served: u64, left: u64) -> Value {
        let worker = |queue: u64| {
            json!({
                "queue": queue,
                "requests": served,
                "connections": 7,
                "counters": {
                    "handoff": {"taken": left, "no_listener": 3},
                    "http_not_ours": {"path": 0},
                    "frames": {"received": 2 * served, "sent": served},
                },
            })
        };
        json!({
            "interface": "eth0",
            "mode": "copy",
            "degraded": [{"text": "slow"}],
            "listening": ["192.0.2.1:80"],
            "workers": [worker(0), worker(1)],
            "routes": [
                {"site": "", "route": "none", "counts": {"served": 0, "left_path": left}},
                {"site": "*", "route": "/ping", "counts": {"served": 2 * served}},
            ],
        })
    }

    #[test]
    fn a_frame_shows_what_came_between_two_looks() {
        let shown = frame(&status(1000, 10), &status(1500, 14), 2 * SECOND, (99, 99));
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(shown.starts_with("sidestep on eth0, copy mode, listening on 192.0.2.1:80\n"));
        assert_eq!(rows[1], ["degraded:", "slow"]);
        let rows = &rows[1..];
        assert_eq!(rows[3], ["all", "500", "4.0", "-", "14", "1000", "500"]);
        assert_eq!(
            rows[4],
            ["queue", "0", "250", "2.0", "-", "7", "500", "250"]
        );
        assert_eq!(rows[5][..2], ["queue", "1"]);
        // The busiest route first.
        assert_eq!(rows[8], ["500", "-", "-", "3000", "*", "/ping"]);
        assert_eq!(rows[9], ["-", "2.0", "-", "0", "(no", "route)"]);
        assert_eq!(rows.len(), 10);
    }

    #[test]
    fn a_daemon_started_anew_has_no_negative_rates() {
        let shown = frame(&status(1000, 10), &status(30, 0), SECOND, (99, 99));
        assert!(shown.contains("60"), "{shown}");
    }

    #[test]
    fn a_frame_is_cut_to_the_terminal() {
        let shown = frame(&status(0, 0), &status(1, 0), SECOND, (4, 20));
        assert_eq!(shown.lines().count(), 4);
        assert!(shown.lines().all(|line| line.chars().count() <= 20));
    }

    #[test]
    fn what_is_no_status_is_shown_as_nothing() {
        let shown = frame(&Value::Null, &Value::Null, Duration::ZERO, (99, 99));
        assert!(shown.starts_with("sidestep on ?, ? mode"), "{shown}");
    }

    #[test]
    fn rates_are_short() {
        for (rate, text) in [
            (0.0, "-"),
            (0.25, "0.2"),
            (9.96, "10.0"),
            (12.3, "12"),
            (99_999.0, "99999"),
            (123_456.0, "123.5k"),
            (12_345_678.0, "12.3M"),
        ] {
            assert_eq!(Rate(rate).to_string(), text);
        }
    }
}
