//! All samples, and the medians that tables are made of.

use super::account::Account;
use super::sample::{Generator, Layout, Sample};
use serde::Serialize;

/// Median, least and most of what the runs gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` when there is nothing.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = values.collect();
        all.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*all.first()?, *all.last()?);
        let middle = all.len() / 2;
        let median = match all.len() % 2 {
            1 => all[middle],
            _ => f64::midpoint(all[middle - 1], all[middle]),
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

/// One place in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub workload: &'static str,
    pub layout: Layout,
    pub generator: Generator,
}

/// Whose processor time the requests of one measurement took, over a veth that gives frames as a NIC's driver does.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Accounted {
    pub peer: String,
    pub workload: &'static str,
    pub run: usize,
    /// Microseconds per request.
    #[serde(flatten)]
    pub account: Account,
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub samples: Vec<Sample>,
    pub accounts: Vec<Accounted>,
}

impl Results {
    /// The runs of one peer in one table.
    pub(super) fn of<'a>(
        &'a self,
        table: Table,
        peer: &'a str,
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.peer == peer
                && sample.workload == table.workload
                && sample.layout == table.layout
                && sample.generator == table.generator
        })
    }

    /// A figure of one peer in one table.
    pub(super) fn spread(
        &self,
        table: Table,
        peer: &str,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.of(table, peer).map(figure))
    }

    pub(super) fn median(
        &self,
        table: Table,
        peer: &str,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        self.spread(table, peer, figure).map(|spread| spread.median)
    }

    /// The generator's own microseconds per request in this workload: what it took for the peer with the most requests per
    /// second, with two cores, where it can be told apart.
    pub(super) fn generators_own(&self, table: Table) -> Option<f64> {
        let two = Table {
            layout: Layout::Two,
            ..table
        };
        let rate = |peer: &str| self.median(two, peer, Sample::rate).unwrap_or(0.0);
        let peers = self.peers(two).into_iter();
        let fastest = peers.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        let own = Spread::of(self.of(two, fastest).filter_map(Sample::own));
        own.map(|spread| spread.median)
    }

    /// Microseconds that the generator's NIC takes in softirqs to receive a small frame. They are in [`Self::cost`], since
    /// they run on the time of whoever sent it. With the bare reflector both NICs do the same, so it is half of it all there.
    pub(super) fn generators_nic(&self) -> Option<f64> {
        let table = Table {
            workload: "plain",
            layout: Layout::Same,
            generator: Generator::Own,
        };
        let all = Spread::of(self.of(table, "reflector").filter_map(Sample::softirqs));
        all.map(|all| all.median / 2.0)
    }

    /// Microseconds of processor time per request of everything that is not the generator.
    pub(super) fn cost(&self, table: Table, peer: &str) -> Option<f64> {
        let cost = match table.layout {
            Layout::Two => {
                let costs = self
                    .of(table, peer)
                    .filter_map(|s| Some(s.whole() - s.own()?));
                Spread::of(costs)?.median
            }
            Layout::Same => {
                let whole = self.median(table, peer, Sample::whole)?;
                whole - self.generators_own(table)?
            }
        };
        // Nothing costs nothing: then the parts were measured on too busy a machine.
        (cost > 0.0).then_some(cost)
    }

    /// The accounts of one peer with one workload.
    pub(super) fn accounts(&self, workload: &str, peer: &str) -> Vec<Account> {
        let here = |one: &&Accounted| one.workload == workload && one.peer == peer;
        let all = self.accounts.iter().filter(here);
        all.map(|one| one.account).collect()
    }

    /// Microseconds of the server itself per request, by its accounts.
    pub(super) fn own_time(&self, workload: &str, peer: &str) -> Option<f64> {
        let all = self.accounts(workload, peer);
        Spread::of(all.iter().map(Account::server)).map(|spread| spread.median)
    }

    /// The peers that have accounts with this workload, the cheapest first.
    pub(super) fn accounted(&self, workload: &str) -> Vec<&str> {
        let mut peers: Vec<&str> = Vec::new();
        for one in self.accounts.iter().filter(|one| one.workload == workload) {
            if !peers.contains(&&one.peer[..]) {
                peers.push(&one.peer);
            }
        }
        let time = |peer| self.own_time(workload, peer).unwrap_or(f64::INFINITY);
        peers.sort_by(|a, b| time(a).total_cmp(&time(b)));
        peers
    }

    /// The peers of a table, in the order in which they were measured first.
    pub(super) fn peers(&self, table: Table) -> Vec<&str> {
        let mut peers: Vec<&str> = Vec::new();
        for sample in &self.samples {
            let here = sample.workload == table.workload
                && sample.layout == table.layout
                && sample.generator == table.generator;
            if here && !peers.contains(&&sample.peer[..]) {
                peers.push(&sample.peer);
            }
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert!(of(&[]).is_none());
        for (values, want) in [
            (&[3.0][..], [3.0, 3.0, 3.0]),
            (&[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]),
            (&[4.0, 1.0, 10.0, 2.0], [1.0, 3.0, 10.0]),
        ] {
            let spread = of(values).expect("values");
            assert_eq!([spread.least, spread.median, spread.most], want);
        }
    }
}
