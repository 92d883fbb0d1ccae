//! What is measured, in which order, and how long that takes.

use super::measure;
use super::offloads::Offloads;
use super::options::{Generators, Layouts, Options};
use super::own;
use super::peer::{self, Kind, Peer};
use super::results::Table;
use super::sample::{Generator, Layout};
use super::scope::{self, Scope};
use super::workload::{self, Workload};

const QUICK_WORKLOADS: [&str; 3] = ["plain", "pipelined-24", "1-request"];
const QUICK_PEERS: [&str; 5] = ["sidestep", "reflector", "nginx", "go", "japronto"];

/// Seconds that a fresh pair of hosts with a server on it takes, seen on two cores of a virtual machine: the server's start,
/// the check of its answers, a second of warm-up, its end.
const HOSTS: f64 = 2.5;

/// Seconds that a generator takes beside its warm-up and its time.
const START: f64 = 0.3;

/// Connections that a generator opens and a server accepts in a second, on the slow side.
const OPENED: f64 = 20_000.0;

/// A workload, and who asks for it.
pub(super) type Turn = (&'static Workload, Vec<Generator>);

/// What is measured, in full.
pub(super) struct Plan {
    pub workloads: Vec<&'static Workload>,
    pub peers: Vec<&'static Peer>,
    pub generators: Vec<Generator>,
    pub seconds: u64,
    pub runs: usize,
    pub cores: [usize; 2],
    layouts: Vec<Layout>,
    scope: Scope,
    offloads: Offloads,
}

impl Plan {
    /// # Errors
    /// Says what there is instead of a name that does not exist.
    pub(super) fn of(options: &Options) -> Result<Self, String> {
        let (scope, seconds, runs) = match (options.must_show, options.quick) {
            (true, _) => (Scope::MustShow, 2, 5),
            (_, true) => (Scope::Everything, 1, 1),
            _ => (Scope::Everything, 3, 10),
        };
        let keys = |given: &[String], quick: &[&str], all: Vec<&str>| -> Vec<String> {
            let wanted = match (given.is_empty(), options.quick) {
                (false, _) => return given.to_vec(),
                (true, true) => quick.to_vec(),
                (true, false) => all,
            };
            wanted.into_iter().map(str::to_owned).collect()
        };
        let mut all: Vec<&str> = workload::ALL.iter().map(|w| w.key).collect();
        let mut everybody: Vec<&str> = peer::ALL.iter().map(|p| p.key).collect();
        if scope == Scope::MustShow {
            (all, everybody) = (Scope::workloads(all), Scope::peers(everybody));
        }
        let workloads = keys(&options.workload, &QUICK_WORKLOADS, all);
        let peers = keys(&options.peer, &QUICK_PEERS, everybody);
        let own = own::available();
        Ok(Self {
            workloads: workloads
                .iter()
                .map(|key| Workload::named(key))
                .collect::<Result<_, _>>()?,
            peers: peers
                .iter()
                .map(|key| Peer::named(key))
                .collect::<Result<_, _>>()?,
            // Two cores first: they tell what the generator itself takes.
            layouts: match options.layout {
                Layouts::Same => vec![Layout::Same],
                Layouts::Two => vec![Layout::Two],
                Layouts::Both => vec![Layout::Two, Layout::Same],
            },
            generators: match options.generator {
                Generators::Wrk => vec![Generator::Wrk],
                Generators::Own if own => vec![Generator::Own],
                Generators::Own => return Err("this build has no load generator".to_owned()),
                Generators::Both if own => vec![Generator::Wrk, Generator::Own],
                Generators::Both => vec![Generator::Wrk],
            },
            seconds: options.seconds.unwrap_or(seconds),
            runs: options.runs.map_or(runs, |runs| runs as usize),
            cores: [options.cores[0], options.cores[1]],
            scope,
            offloads: options.offloads,
        })
    }

    /// The peers of a run, each beginning with another one.
    pub(super) fn turn(&self, run: usize) -> impl Iterator<Item = &'static Peer> + '_ {
        let first = run % self.peers.len().max(1);
        self.peers[first..]
            .iter()
            .chain(&self.peers[..first])
            .copied()
    }

    /// What a peer gets, hosts by hosts: those workloads together that share hosts and a server. What leaves much behind, or
    /// needs much room, has some of its own: a connection in TIME-WAIT keeps its ports, and with sidestep the next one from
    /// there would be the kernel's.
    pub(super) fn cells(&self, peer: &Peer) -> Vec<(Layout, Vec<Turn>)> {
        let mut cells = Vec::new();
        for &layout in &self.layouts {
            let turns = self.workloads.iter().map(|&workload| {
                let all = self.generators.iter().copied();
                let asks = |by: &Generator| self.asks(peer, workload, layout, *by);
                (workload, all.filter(asks).collect::<Vec<_>>())
            });
            let turns = turns.filter(|(_, generators)| !generators.is_empty());
            let (together, alone): (Vec<Turn>, Vec<Turn>) =
                turns.partition(|(w, _)| !w.large() && w.hits() == 1.0);
            if !together.is_empty() {
                cells.push((layout, together));
            }
            cells.extend(alone.into_iter().map(|turn| (layout, vec![turn])));
        }
        cells
    }

    /// The workloads of which is asked whose time a request takes of a peer. All share a core and our own generator asks, over a
    /// link whose frames nobody merges or divides.
    pub(super) fn accounts(&self, peer: &Peer) -> Vec<&'static Workload> {
        let possible = self.layouts.contains(&Layout::Same)
            && self.generators.contains(&Generator::Own)
            && self.offloads == Offloads::None;
        let workloads = self.workloads.iter().copied();
        workloads
            .filter(|workload| possible && scope::accounted(peer.key, workload))
            .collect()
    }

    fn asks(&self, peer: &Peer, workload: &Workload, layout: Layout, by: Generator) -> bool {
        let able = match by {
            // It answers nothing, and only our generator sends frames.
            Generator::Wrk => workload.wrk() && peer.kind != Kind::Reflector,
            Generator::Own => peer.kind != Kind::Reflector || workload.key == "plain",
        };
        able && (!workload.large() || peer.crowds())
            && self.scope.has(peer.key, workload, layout, by)
    }

    /// Workloads that a peer is not even asked for.
    pub(super) fn spared(&self, peer: &Peer) -> Vec<&'static str> {
        let large = self.workloads.iter().filter(|w| w.large());
        match peer.kernel() && !peer.crowds() {
            true => large.map(|w| w.key).collect(),
            false => Vec::new(),
        }
    }

    /// Whether sidestep and nginx are to be compared at half of nginx's rate.
    pub(super) fn half_load(&self) -> bool {
        self.planned("sidestep")
            && self.planned("nginx")
            && self.generators.contains(&Generator::Own)
    }

    pub(super) fn planned(&self, key: &str) -> bool {
        self.peers.iter().any(|peer| peer.key == key)
    }

    /// Seconds that it takes, roughly.
    pub(super) fn estimate(&self) -> f64 {
        let each = self.seconds as f64 + own::WARM_UP + START;
        let jobs = |turns: &[Turn]| {
            let jobs = turns.iter().map(|(workload, generators)| {
                let opening = f64::from(workload.connections) / OPENED;
                generators.len() as f64 * (each + opening)
            });
            HOSTS + jobs.sum::<f64>()
        };
        let mut run = 0.0;
        let installed = |peer: &&&Peer| peer.program().is_some();
        for peer in self.peers.iter().filter(installed) {
            let cells = self.cells(peer);
            run += cells.iter().map(|(_, turns)| jobs(turns)).sum::<f64>();
            let accounts = self.accounts(peer).into_iter();
            let accounts: Vec<Turn> = accounts.map(|w| (w, vec![Generator::Own])).collect();
            if !accounts.is_empty() {
                run += jobs(&accounts);
            }
        }
        if self.half_load() {
            run += 2.0 * (HOSTS + each);
        }
        self.runs as f64 * run + HOSTS + measure::IDLE.as_secs_f64()
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (&'static Workload, Table)> + '_ {
        self.workloads.iter().flat_map(move |&workload| {
            let layouts = [Layout::Same, Layout::Two];
            layouts.into_iter().flat_map(move |layout| {
                self.generators.iter().map(move |&generator| {
                    let table = Table {
                        workload: workload.key,
                        layout,
                        generator,
                    };
                    (workload, table)
                })
            })
        })
    }
}
