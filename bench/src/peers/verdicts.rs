//! The figures that the project is held to, each a ratio of one run: numbers, no opinions.

use super::peer::Peer;
use super::results::{Results, Table};
use super::sample::{Generator, Layout, Sample};
use super::table::{thousands, title};
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub what: String,
    /// `None`: something of it was not measured.
    pub value: Option<f64>,
    /// The value in words, with what it was made of.
    pub text: String,
}

/// p99 of sidestep and of nginx at one rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct HalfLoad {
    pub rate: f64,
    /// Microseconds.
    pub sidestep: f64,
    pub nginx: f64,
}

/// All of them.
pub(super) fn verdicts(
    results: &Results,
    half: Option<HalfLoad>,
    idle: Option<f64>,
) -> Vec<Verdict> {
    let mut all = vec![reflector(results)];
    for generator in [Generator::Own, Generator::Wrk] {
        let by = generator.name();
        for (workload, what) in [
            ("plain", "12 bytes"),
            ("pipelined-24", "12 bytes, 24 pipelined"),
        ] {
            let table = Table {
                workload,
                layout: Layout::Same,
                generator,
            };
            let rivals = match workload {
                "plain" => ["nginx", "*"],
                _ => ["japronto", "*"],
            };
            all.extend(rivals.map(|rival| costs(results, table, rival, what, by)));
        }
        all.push(connections(results, generator));
    }
    all.push(match half {
        Some(half) => said(
            "p99 of sidestep / p99 of nginx, both at half of nginx's most requests/s",
            Some(half.sidestep / half.nginx),
            &format!(
                "{:.0} and {:.0} µs at {}/s",
                half.sidestep,
                half.nginx,
                thousands(Some(half.rate))
            ),
        ),
        None => said(
            "p99 of sidestep / p99 of nginx, both at half of nginx's most requests/s",
            None,
            "",
        ),
    });
    all.push(said(
        "share of a core that sidestep takes without traffic, %",
        idle.map(|share| 100.0 * share),
        "",
    ));
    all
}

fn reflector(results: &Results) -> Verdict {
    let table = Table {
        workload: "plain",
        layout: Layout::Two,
        generator: Generator::Own,
    };
    let [ours, limit] =
        ["sidestep", "reflector"].map(|peer| results.median(table, peer, Sample::rate));
    let what = "12 bytes, two cores: requests/s of sidestep / frames/s of the bare reflector";
    let text = format!("{} and {}", thousands(ours), thousands(limit));
    said(
        what,
        ours.zip(limit).map(|(ours, limit)| ours / limit),
        &text,
    )
}

/// The server's cost per request; `rival` may be `*`, the cheapest of all with kernel sockets.
fn costs(results: &Results, table: Table, rival: &str, what: &str, by: &str) -> Verdict {
    let cheapest = || {
        let peers = results.peers(table).into_iter();
        let kernel = peers.filter(|key| Peer::named(key).is_ok_and(Peer::kernel));
        let costs = kernel.filter_map(|key| Some((key, results.cost(table, key)?)));
        costs.min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let other = match rival {
        "*" => cheapest(),
        rival => results.cost(table, rival).map(|cost| (rival, cost)),
    };
    let name = match (rival, other) {
        ("*", Some((key, _))) => format!("the cheapest peer ({})", title(key)),
        ("*", None) => "the cheapest peer".to_owned(),
        (rival, _) => title(rival).to_owned(),
    };
    let what = format!("{what}, same core, {by}: µs of {name} / µs of sidestep");
    let Some(((_, other), ours)) = other.zip(results.cost(table, "sidestep")) else {
        return said(&what, None, "");
    };
    said(
        &what,
        Some(other / ours),
        &format!("{other:.2} and {ours:.2} µs"),
    )
}

fn connections(results: &Results, generator: Generator) -> Verdict {
    let what = format!(
        "1 request per connection, {}: connections per CPU-second of sidestep / of nginx",
        generator.name()
    );
    let table = |layout| Table {
        workload: "1-request",
        layout,
        generator,
    };
    // With one core the generator's part is the same for both; with two it is that of each run.
    let both = [Layout::Same, Layout::Two].into_iter().find_map(|layout| {
        let cost = |peer| results.cost(table(layout), peer);
        Some((layout, cost("sidestep")?, cost("nginx")?))
    });
    let Some((layout, ours, nginx)) = both else {
        return said(&what, None, "");
    };
    let text = format!(
        "{} and {}, {}",
        thousands(Some(1e6 / ours)),
        thousands(Some(1e6 / nginx)),
        layout.name()
    );
    said(&what, Some(nginx / ours), &text)
}

fn said(what: &str, value: Option<f64>, text: &str) -> Verdict {
    let figure = value.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
    let text = match (value, text) {
        (None, _) | (_, "") => figure,
        (_, text) => format!("{figure} ({text})"),
    };
    Verdict {
        what: what.to_owned(),
        value,
        text,
    }
}
