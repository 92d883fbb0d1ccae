//! The tables, as Markdown.

use super::peer::Peer;
use super::results::{Results, Spread, Table};
use super::sample::{Generator, Layout, Sample};
use super::workload::Workload;
use std::fmt::Write;

const TWO: &str = "\
| server | requests/s | min – max | of sidestep's | requests per CPU-second | of sidestep's | p50, µs | p99 | p99.9 \
| server's core: us / sy / si / idle, % | generator's core | failed |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";

const SAME: &str = "\
| server | requests/s | min – max | µs per request, both | more than sidestep | server's µs | × sidestep's \
| requests per CPU-second | p50, µs | p99 | p99.9 | failed |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// From this share on sidestep has answered everything itself: it publishes its counters a little late.
const ALL_HITS: f64 = 0.98;

/// One table under its heading, servers in the order of what they cost; nothing when it was not measured.
pub(super) fn markdown(results: &Results, workload: &Workload, table: Table) -> String {
    let mut peers = results.peers(table);
    if peers.is_empty() {
        return String::new();
    }
    let cost = |peer: &str| {
        let whole = || results.median(table, peer, Sample::whole);
        results.cost(table, peer).or_else(whole).unwrap_or(0.0)
    };
    peers.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let mut text = format!(
        "### {}: {}, {}\n\n",
        workload.title,
        table.layout.name(),
        table.generator.name()
    );
    text += match table.layout {
        Layout::Two => TWO,
        Layout::Same => SAME,
    };
    for peer in peers {
        text += &match table.layout {
            Layout::Two => two(results, table, peer),
            Layout::Same => same(results, table, peer),
        };
    }
    // Writing to a String cannot fail.
    if let Some(own) = results.generators_own(table) {
        let _ = write!(
            text,
            "\nThe generator's own part is {own:.2} µs per request{}.\n",
            match table.layout {
                Layout::Two => " for the fastest server; what is taken off is that of each run",
                Layout::Same => ", measured with two cores for the fastest server",
            }
        );
    }
    if workload.large() {
        text += &memory(results, workload, table);
    }
    let ours = results.of(table, "sidestep");
    // What our own generator asks for before it measures is not counted exactly enough.
    let ours = ours.filter(|s| s.generator == Generator::Wrk);
    let hits = Spread::of(ours.filter_map(|s| s.hits));
    if let Some(hits) = hits.filter(|hits| hits.least < ALL_HITS) {
        let _ = write!(
            text,
            "\nsidestep itself answered {:.0} to {:.0} % of the requests to it.\n",
            100.0 * hits.least,
            100.0 * hits.most
        );
    }
    text + "\n"
}

/// What a connection costs each server and its kernel.
fn memory(results: &Results, workload: &Workload, table: Table) -> String {
    let each = results.peers(table).into_iter().filter_map(|peer| {
        let grown = results.median(table, peer, |s| s.spent.grown)?;
        let bytes = grown / f64::from(workload.connections);
        Some(format!("{} {}", title(peer), thousands(Some(bytes))))
    });
    let each: Vec<_> = each.collect();
    format!(
        "\nBytes of memory per connection, of the server's processes and of all of the kernel's objects: {}.\n",
        each.join(", ")
    )
}

fn two(results: &Results, table: Table, peer: &str) -> String {
    let (rate, low, high, share) = rates(results, table, peer);
    let cost = |peer| results.cost(table, peer);
    let per_second = cost(peer).map(|cost| 1e6 / cost);
    let of_ours = ratio(per_second, cost("sidestep").map(|cost| 1e6 / cost));
    let cores = [0, 1].map(|core| {
        let parts = [0, 1, 2, 3].map(|part| {
            let median = results.median(table, peer, |s| s.spent.cores[core].shares()[part]);
            format!("{:.0}", median.unwrap_or(0.0))
        });
        parts.join(" / ")
    });
    format!(
        "| {} | {rate} | {low} – {high} | {share} | {} | {of_ours} | {} | {} | {} | {} |\n",
        title(peer),
        thousands(per_second),
        times(results, table, peer),
        cores[0],
        cores[1],
        failures(results, table, peer),
    )
}

fn same(results: &Results, table: Table, peer: &str) -> String {
    let (rate, low, high, _) = rates(results, table, peer);
    let whole = |peer| results.median(table, peer, Sample::whole);
    let more = whole(peer).zip(whole("sidestep"));
    let more = more.map(|(ours, sidestep)| ours - sidestep);
    let cost = results.cost(table, peer);
    format!(
        "| {} | {rate} | {low} – {high} | {} | {} | {} | {} | {} | {} | {} |\n",
        title(peer),
        number(whole(peer), 2),
        match peer {
            "sidestep" => "–".to_owned(),
            _ => number(more, 2),
        },
        number(cost, 2),
        ratio(cost, results.cost(table, "sidestep")),
        thousands(cost.map(|cost| 1e6 / cost)),
        times(results, table, peer),
        failures(results, table, peer),
    )
}

fn rates(results: &Results, table: Table, peer: &str) -> (String, String, String, String) {
    let of = |peer| results.spread(table, peer, Sample::rate);
    let (ours, sidestep) = (of(peer), of("sidestep"));
    let each = |part: fn(&Spread) -> f64| thousands(ours.as_ref().map(part));
    (
        each(|spread| spread.median),
        each(|spread| spread.least),
        each(|spread| spread.most),
        ratio(ours.map(|s| s.median), sidestep.map(|s| s.median)),
    )
}

fn times(results: &Results, table: Table, peer: &str) -> String {
    let each = [0, 1, 2].map(|n| {
        let known = results
            .of(table, peer)
            .filter_map(|s| Some(s.load.latency?[n]));
        number(Spread::of(known).map(|spread| spread.median), 0)
    });
    each.join(" | ")
}

/// The share of requests that failed in any run, if any did.
fn failures(results: &Results, table: Table, peer: &str) -> String {
    let (failed, all) = results
        .of(table, peer)
        .fold((0.0, 0.0), |(failed, all), s| {
            (failed + s.load.failed + s.load.wrong, all + s.load.requests)
        });
    match failed > 0.0 {
        true => format!("{failed:.0} of {all:.0}"),
        false => String::new(),
    }
}

pub(super) fn title(key: &str) -> &str {
    Peer::named(key).map_or(key, |peer| peer.title)
}

fn ratio(value: Option<f64>, of: Option<f64>) -> String {
    let both = value.zip(of);
    both.map_or("–".to_owned(), |(value, of)| match value / of {
        ratio if ratio < 0.1 => format!("{ratio:.3}"),
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.0}"),
    })
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

/// As a whole number with a comma between thousands.
pub(super) fn thousands(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 {
        "-".to_owned()
    } else {
        String::new()
    };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{ratio, thousands};

    #[test]
    fn numbers_are_readable() {
        let cases = [
            (0.4, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (-123_456.0, "-123,456"),
        ];
        for (value, want) in cases {
            assert_eq!(thousands(Some(value)), want);
        }
        assert_eq!(thousands(None), "–");
        assert_eq!(ratio(Some(1.0), Some(3.0)), "0.33");
        assert_eq!(ratio(Some(50.0), Some(2.0)), "25");
        assert_eq!(ratio(Some(50.0), None), "–");
    }
}
