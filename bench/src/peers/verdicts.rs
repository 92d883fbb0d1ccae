//! The figures that the project is held to, each a ratio of one run: numbers, no opinions.

use super::account::Link;
use super::peer::Peer;
use super::results::{Results, Table};
use super::sample::{Generator, Layout, Sample};
use super::table::{thousands, title};
use serde::Serialize;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        let (sign, bound) = match self {
            Self::AtLeast(least) => ('≥', least),
            Self::AtMost(most) => ('≤', most),
        };
        match bound >= 1000.0 {
            true => format!("{sign} {}", thousands(Some(bound))),
            false => format!("{sign} {bound}"),
        }
    }
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub what: String,
    /// `None`: something of it was not measured.
    pub value: Option<f64>,
    /// The value in words, with what it was made of.
    pub text: String,
    /// `None`: it is only told.
    pub goal: Option<Goal>,
    /// `None`: there is no goal, or no value.
    pub holds: Option<bool>,
}

impl Verdict {
    fn with(self, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            holds: self.value.map(|value| goal.holds(value)),
            ..self
        }
    }
}

/// The last section of a report.
pub(super) fn markdown(verdicts: &[Verdict]) -> String {
    let mut text =
        "\n### Must show\n\n| claim | seen | goal | holds |\n|---|---|---|---|\n".to_owned();
    let (held, told): (Vec<_>, Vec<_>) = verdicts.iter().partition(|v| v.goal.is_some());
    for verdict in held {
        let holds = verdict
            .holds
            .map_or("–", |holds| if holds { "yes" } else { "NO" });
        let goal = verdict.goal.map_or(String::new(), Goal::text);
        text += &format!(
            "| {} | {} | {goal} | {holds} |\n",
            verdict.what, verdict.text
        );
    }
    let told: Vec<_> = told.into_iter().filter(|v| v.value.is_some()).collect();
    if !told.is_empty() {
        text += "\nBeside that, without a goal:\n\n";
        for verdict in told {
            text += &format!("- {}: {}\n", verdict.what, verdict.text);
        }
    }
    text
}

/// p99 of sidestep and of nginx at one rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct HalfLoad {
    pub rate: f64,
    /// Microseconds.
    pub sidestep: f64,
    pub nginx: f64,
}

/// All of them, those with a goal first.
pub(super) fn verdicts(
    results: &Results,
    half: Option<HalfLoad>,
    idle: Option<f64>,
) -> Vec<Verdict> {
    use Generator::{Own, Wrk};
    let (plain, pipelined) = (("plain", "12 bytes"), ("pipelined-24", "24 pipelined"));
    let connection = ("1-request", "1 request per connection");
    let cost = |(workload, what), generator, rival| {
        let table = Table {
            workload,
            layout: Layout::Same,
            generator,
        };
        costs(results, table, rival, what)
    };
    let mut all = vec![
        reflector(results).with(Goal::AtLeast(0.85)),
        cost(plain, Own, "nginx").with(Goal::AtLeast(5.0)),
        own_times(results, plain, "nginx").with(Goal::AtLeast(5.0)),
        cost(plain, Own, CHEAPEST).with(Goal::AtLeast(4.0)),
        own_times(results, plain, CHEAPEST).with(Goal::AtLeast(4.0)),
        cost(pipelined, Own, "japronto").with(Goal::AtLeast(4.0)),
        cost(pipelined, Own, CHEAPEST).with(Goal::AtLeast(2.0)),
        most(results).with(Goal::AtLeast(5e6)),
        limit(results).with(Goal::AtMost(0.5)),
        connections(results, Own).with(Goal::AtLeast(5.0)),
        own_times(results, connection, "nginx").with(Goal::AtLeast(5.0)),
        half_load(half).with(Goal::AtMost(1.0)),
        said(
            "share of a core that sidestep takes without traffic, %",
            idle.map(|share| 100.0 * share),
            "",
        )
        .with(Goal::AtMost(1.0)),
    ];
    all.extend([
        without_nic(results, "nginx"),
        without_nic(results, CHEAPEST),
        cost(plain, Wrk, "nginx"),
        cost(plain, Wrk, CHEAPEST),
        cost(pipelined, Wrk, "japronto"),
        cost(pipelined, Wrk, CHEAPEST),
        connections(results, Wrk),
    ]);
    all
}

/// How a line begins that the run has nothing for.
const NOT_MEASURED: &str = "not measured";

/// Of all with kernel sockets.
const CHEAPEST: &str = "*";

fn half_load(half: Option<HalfLoad>) -> Verdict {
    let what = "p99 of sidestep / of nginx, both at half of nginx's most requests/s";
    let text = half.map_or(String::new(), |half| {
        let rate = thousands(Some(half.rate));
        format!("{:.0} and {:.0} µs at {rate}/s", half.sidestep, half.nginx)
    });
    said(what, half.map(|half| half.sidestep / half.nginx), &text)
}

/// What comes of pipelines when nothing else is in the way.
fn most(results: &Results) -> Verdict {
    let table = Table {
        workload: "pipelined-24",
        layout: Layout::Two,
        generator: Generator::Own,
    };
    let rate = results.median(table, "sidestep", Sample::rate);
    Verdict {
        text: rate.map_or(NOT_MEASURED.to_owned(), |rate| thousands(Some(rate))),
        ..said("24 pipelined, two cores: requests/s of sidestep", rate, "")
    }
}

/// Whether wrk is what limits the rate: its core has no time left where the server's has.
fn limit(results: &Results) -> Verdict {
    let table = Table {
        workload: "pipelined-24",
        layout: Layout::Two,
        generator: Generator::Wrk,
    };
    let idle = |core: usize| {
        results.median(table, "sidestep", |sample: &Sample| {
            sample.spent.cores[core].shares()[3]
        })
    };
    let rate = results.median(table, "sidestep", Sample::rate);
    let both = idle(1).zip(idle(0));
    let text = both.map_or(String::new(), |(wrk, server)| {
        format!("{wrk:.0} and {server:.0} % at {}/s", thousands(rate))
    });
    // A server without idle time is as much the limit.
    let ratio = both.map(|(wrk, server)| if server > 0.0 { wrk / server } else { 1.0 });
    said(
        "24 pipelined, two cores: idle time of wrk's core / of sidestep's",
        ratio,
        &text,
    )
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

/// The server's cost per request beside that of a rival, who may be [`CHEAPEST`].
fn costs(results: &Results, table: Table, rival: &str, what: &str) -> Verdict {
    let by = table.generator.name();
    let other = match rival {
        CHEAPEST => cheapest(results, table),
        rival => results.cost(table, rival).map(|cost| (rival, cost)),
    };
    let name = named(rival, other);
    let link = Link::Veth.text();
    let what = format!("{what}, same core, {by}, {link}: µs of {name} / µs of sidestep");
    let Some(((_, other), ours)) = other.zip(results.cost(table, "sidestep")) else {
        return said(&what, None, "");
    };
    said(
        &what,
        Some(other / ours),
        &format!("{other:.2} and {ours:.2} µs"),
    )
}

/// What a rival is called, whom [`CHEAPEST`] may have found.
fn named(rival: &str, found: Option<(&str, f64)>) -> String {
    match (rival, found) {
        (CHEAPEST, Some((key, _))) => format!("the cheapest peer ({})", title(key)),
        (CHEAPEST, None) => "the cheapest peer".to_owned(),
        (rival, _) => title(rival).to_owned(),
    }
}

/// The server's own time per request beside that of a rival, where frames come to both as from a NIC's driver.
fn own_times(results: &Results, (workload, what): (&str, &str), rival: &str) -> Verdict {
    let other = match rival {
        CHEAPEST => {
            let mut peers = results.accounted(workload).into_iter();
            peers.find(|key| kernel(key))
        }
        rival => Some(rival),
    };
    let other = other.and_then(|key| Some((key, results.own_time(workload, key)?)));
    let (name, link) = (named(rival, other), Link::Wire.text());
    let what = format!("{what}, same core, {link}: the server's own µs, of {name} / of sidestep");
    let Some(((_, other), ours)) = other.zip(results.own_time(workload, "sidestep")) else {
        return said(&what, None, "");
    };
    let text = format!("{other:.2} and {ours:.2} µs");
    said(&what, Some(other / ours), &text)
}

/// The server's cost of a plain request without what the generator's NIC takes of it: one small frame comes for each.
fn without_nic(results: &Results, rival: &str) -> Verdict {
    let table = Table {
        workload: "plain",
        layout: Layout::Same,
        generator: Generator::Own,
    };
    let other = match rival {
        CHEAPEST => cheapest(results, table),
        rival => results.cost(table, rival).map(|cost| (rival, cost)),
    };
    let name = other.map_or("the cheapest peer", |(key, _)| title(key));
    let nic = results.generators_nic();
    let all = nic.zip(results.cost(table, "sidestep")).zip(other);
    let what = |nic: &str| {
        format!(
            "12 bytes, same core, without the generator's NIC{nic}: µs of {name} / µs of sidestep"
        )
    };
    match all {
        Some(((nic, ours), (_, other))) if ours > nic => {
            let (ours, other) = (ours - nic, other - nic);
            let text = format!("{other:.2} and {ours:.2} µs");
            said(&what(&format!(" ({nic:.2} µs)")), Some(other / ours), &text)
        }
        _ => said(&what(""), None, ""),
    }
}

/// The cheapest peer with kernel sockets, and what it costs.
fn cheapest(results: &Results, table: Table) -> Option<(&str, f64)> {
    let peers = results.peers(table).into_iter();
    let costs = peers
        .filter(|key| kernel(key))
        .filter_map(|key| Some((key, results.cost(table, key)?)));
    costs.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether a peer has kernel sockets.
fn kernel(key: &str) -> bool {
    Peer::named(key).is_ok_and(Peer::kernel)
}

fn connections(results: &Results, generator: Generator) -> Verdict {
    let what = format!(
        "1 request per connection, {}, {}: connections per CPU-second of sidestep / of nginx",
        generator.name(),
        Link::Veth.text()
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
    let figure = value.map_or(NOT_MEASURED.to_owned(), |value| format!("{value:.2}"));
    let text = match (value, text) {
        (None, _) | (_, "") => figure,
        (_, text) => format!("{figure} ({text})"),
    };
    Verdict {
        what: what.to_owned(),
        value,
        text,
        goal: None,
        holds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::account::Account;
    use crate::peers::results::Accounted;

    const PLAIN: (&str, &str) = ("plain", "12 bytes");

    fn results(times: &[(&str, &'static str, [f64; 3])]) -> Results {
        let all = times.iter().flat_map(|&(peer, workload, times)| {
            times.into_iter().enumerate().map(move |(run, processes)| {
                let account = Account {
                    processes,
                    nic: 1.0,
                    // Nobody's.
                    generator: 100.0,
                    generators_nic: 100.0,
                    wire: 100.0,
                    ..Account::default()
                };
                Accounted {
                    peer: peer.to_owned(),
                    workload,
                    run,
                    account,
                }
            })
        });
        Results {
            accounts: all.collect(),
            ..Results::default()
        }
    }

    #[test]
    fn the_servers_own_times_are_compared_by_their_medians() {
        let results = results(&[
            ("nginx", "plain", [9.0, 90.0, 8.0]),
            ("sidestep", "plain", [1.0, 0.5, 7.0]),
            ("may", "plain", [6.0, 7.0, 8.0]),
            ("nginx", "1-request", [4.0, 4.0, 4.0]),
        ]);
        let nginx = own_times(&results, PLAIN, "nginx").with(Goal::AtLeast(5.0));
        assert_eq!((nginx.value, nginx.holds), (Some(5.0), Some(true)));
        assert!(nginx.text.contains("10.00 and 2.00 µs"), "{}", nginx.text);
        let cheapest = own_times(&results, PLAIN, CHEAPEST).with(Goal::AtLeast(4.5));
        assert_eq!((cheapest.value, cheapest.holds), (Some(4.0), Some(false)));
        let what = &cheapest.what;
        assert!(what.contains("the cheapest peer (may_minihttp)"), "{what}");
        // sidestep has none with the other workload.
        let connection = ("1-request", "1 request per connection");
        assert_eq!(own_times(&results, connection, "nginx").value, None);
    }

    #[test]
    fn both_readings_stand_side_by_side_each_with_its_goal() {
        let all = verdicts(&Results::default(), None, None);
        let text = markdown(&all);
        let lines: Vec<&str> = text.lines().collect();
        for (claim, rival, goal) in [
            ("12 bytes, same core", "of nginx", "≥ 5"),
            ("12 bytes, same core", "of the cheapest peer", "≥ 4"),
            ("1 request per connection", "of nginx", "≥ 5"),
        ] {
            let line = |link: Link| {
                lines.iter().position(|line| {
                    line.contains(claim)
                        && line.contains(rival)
                        && line.contains(link.text())
                        && line.ends_with(&format!("| {NOT_MEASURED} | {goal} | – |"))
                })
            };
            let veth = line(Link::Veth).unwrap_or_else(|| panic!("{claim}: {text}"));
            assert_eq!(line(Link::Wire), Some(veth + 1), "{claim}: {text}");
        }
    }
}
