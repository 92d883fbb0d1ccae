//! Whose processor time a request takes.
//!
//! Kernels without `CONFIG_IRQ_TIME_ACCOUNTING` count what softirqs do for a NIC as the time of whom they interrupt. But the
//! scheduler knows to the nanosecond how long each thread ran. So the NICs' receive work is given threads of its own
//! (`/sys/class/net/*/threaded`): what the server's processes and its NIC's thread ran for is what the server takes, and
//! the rest is the generator's. All of them share one core.
//!
//! A veth copies each frame before an XDP program sees it, which is the sender's way of sending and no NIC's driver does. Over
//! [`Link::Wire`] that is done between the hosts, and is neither side's.

mod cell;

use super::measure::Terms;
use super::offloads::Offloads;
use super::peer::Peer;
use super::results::Spread;
use super::site::Site;
use super::workload::Workload;
pub(super) use cell::{Account, Link, cell};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// What to run. `cargo xtask bench` installs the servers. Needs root, and Linux 6.6.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Servers, by name
    #[arg(long, value_delimiter = ',', default_value = "sidestep,nginx")]
    peer: Vec<String>,
    /// Workloads, by name
    #[arg(long, value_delimiter = ',', default_value = "1-request")]
    workload: Vec<String>,
    /// What is between the hosts
    #[arg(long, value_enum, default_value_t = Link::Wire)]
    link: Link,
    /// Each request says `Connection: close`, so that the server ends its connection
    #[arg(long)]
    close: bool,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Interleaved runs, each with fresh hosts; medians count
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The core that all share
    #[arg(long, default_value_t = 0)]
    core: usize,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match measured(options) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(options: &Options) -> Result<String, String> {
    let peers: Vec<&Peer> = options
        .peer
        .iter()
        .map(|key| Peer::named(key))
        .collect::<Result<_, _>>()?;
    let workloads: Vec<&Workload> = options
        .workload
        .iter()
        .map(|key| Workload::named(key))
        .collect::<Result<_, _>>()?;
    if peers.is_empty() {
        return Err("no server".to_owned());
    }
    super::room_for_connections();
    let site = Site::new();
    let terms = Terms {
        site: &site,
        cores: [options.core; 2],
        seconds: options.seconds,
        offloads: Offloads::None,
    };
    let mut accounts: BTreeMap<(usize, usize), Vec<Account>> = BTreeMap::new();
    let mut remarks = String::new();
    for run in 0..options.runs {
        for turn in 0..peers.len() {
            let place = (run + turn) % peers.len();
            let peer = peers[place];
            eprintln!("run {} of {}: {}", run + 1, options.runs, peer.title);
            let all = cell(&terms, options.link, options.close, peer, &workloads)?;
            for (row, account) in all.into_iter().enumerate() {
                let account = account?;
                if let Some(trouble) = account.disturbed() {
                    let (title, run) = (workloads[row].title, run + 1);
                    remarks += &format!("\n{title}, {}, run {run}: {trouble}", peer.title);
                }
                accounts.entry((row, place)).or_default().push(account);
            }
        }
    }
    let rows = accounts.into_iter().map(|((row, place), accounts)| Row {
        workload: workloads[row].title,
        peer: peers[place].title,
        accounts,
    });
    let rows: Vec<_> = rows.collect();
    Ok(markdown(options.link, &rows) + &remarks)
}

/// One line of the table.
pub(super) struct Row<'a> {
    /// Titles.
    pub workload: &'a str,
    pub peer: &'a str,
    /// Of all runs.
    pub accounts: Vec<Account>,
}

/// The medians as a table. Rows of a workload are together, and compared with the first of them.
pub(super) fn markdown(link: Link, rows: &[Row<'_>]) -> String {
    let wired = link == Link::Wire;
    let (name, line) = match wired {
        true => (" the wire |", "---|"),
        false => ("", ""),
    };
    let mut text = format!(
        "| workload | server | requests/s | server, µs | its processes | its NIC | generator, µs | its NIC |{name} beside the first |\n\
         |---|---|---|---|---|---|---|---|{line}---|\n",
    );
    let mut first = ("", f64::NAN);
    for row in rows {
        let median = |of: fn(&Account) -> f64| {
            let all = Spread::of(row.accounts.iter().map(of));
            all.map_or(f64::NAN, |all| all.median)
        };
        let server = median(Account::server);
        if first.0 != row.workload {
            first = (row.workload, server);
        }
        text += &format!(
            "| {} | {} | {:.0} | {server:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            row.workload,
            row.peer,
            median(|a| a.rate),
            median(|a| a.processes),
            median(|a| a.nic),
            median(|a| a.generator),
            median(|a| a.generators_nic),
        );
        if wired {
            text += &format!(" {:.2} |", median(|a| a.wire));
        }
        text += &format!(" {:.2} |\n", server / first.1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_stand_beside_the_first_of_their_workload() {
        let account = |processes, wire| Account {
            rate: 1000.0,
            processes,
            nic: 1.0,
            wire,
            ..Account::default()
        };
        let [ours, other] = [[3.0, 1.0, 2.0], [8.0, 5.0, 6.0]];
        let [ours, other] = [ours, other].map(|all| all.map(|processes| account(processes, 0.5)));
        let all = [("a", "x", ours), ("a", "y", other), ("b", "y", other)];
        let rows = all.map(|(workload, peer, accounts)| Row {
            workload,
            peer,
            accounts: accounts.to_vec(),
        });
        let text = markdown(Link::Wire, &rows);
        for line in [
            "| a | x | 1000 | 3.00 | 2.00 | 1.00 | 0.00 | 0.00 | 0.50 | 1.00 |",
            "| a | y | 1000 | 7.00 | 6.00 | 1.00 | 0.00 | 0.00 | 0.50 | 2.33 |",
            "| b | y | 1000 | 7.00 | 6.00 | 1.00 | 0.00 | 0.00 | 0.50 | 1.00 |",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let veth = markdown(Link::Veth, &rows);
        let line = "| a | y | 1000 | 7.00 | 6.00 | 1.00 | 0.00 | 0.00 | 2.33 |";
        assert!(veth.contains(line) && !veth.contains("wire"), "{veth}");
    }
}
