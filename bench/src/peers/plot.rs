//! The costs of all servers as bars, one panel per workload.

use super::results::{Results, Table};
use super::table::{thousands, title};
use super::workload::Workload;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
/// Left of the bars: names.
const NAMES: f64 = 190.0;
/// Right of them: figures.
const FIGURES: f64 = 110.0;
const BAR: f64 = 18.0;
const HEAD: f64 = 30.0;
const OURS: &str = "#c2410c";
const OTHERS: &str = "#64748b";

/// Requests per processor second of everything that is not the generator: longer is better.
pub(super) fn svg(results: &Results, panels: &[(&Workload, Table)]) -> String {
    let mut body = String::new();
    let mut y = 0.0;
    for (workload, table) in panels {
        let mut bars: Vec<(&str, f64)> = results
            .peers(*table)
            .into_iter()
            .filter_map(|peer| Some((peer, 1e6 / results.cost(*table, peer)?)))
            .collect();
        bars.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some(&(_, most)) = bars.first() else {
            continue;
        };
        y += HEAD;
        let heading = format!(
            "{}: requests per CPU-second, {}, {}",
            workload.title,
            table.layout.name(),
            table.generator.name()
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{heading}</text>"
        );
        y += 8.0;
        for (peer, value) in bars {
            let length = (WIDTH - NAMES - FIGURES) * value / most;
            let (colour, middle) = (if peer == "sidestep" { OURS } else { OTHERS }, y + 13.0);
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{NAMES}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{middle}\">{}</text>",
                NAMES - 6.0,
                title(peer),
                BAR - 3.0,
                NAMES + length + 6.0,
                thousands(Some(value)),
            );
            y += BAR;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        y + 12.0
    )
}
