//! What of everything is measured.

use super::sample::{Generator, Layout};
use super::workload::Workload;

/// What the figures that the project is held to are made of, and no more.
struct Need {
    workload: &'static str,
    layouts: &'static [Layout],
    generator: Generator,
    peers: &'static [&'static str],
}

/// With two cores first: it tells what the generator itself takes.
const BOTH: &[Layout] = &[Layout::Two, Layout::Same];

/// Whoever could be the cheapest with kernel sockets: those in C, Rust or Go that have been so in any workload, and what
/// was written for pipelines.
const FAST: &[&str] = &[
    "sidestep", "nginx", "h2o", "fasthttp", "japronto", "hyper", "actix", "may",
];

const NEEDS: [Need; 5] = [
    Need {
        workload: "plain",
        layouts: BOTH,
        generator: Generator::Own,
        peers: FAST,
    },
    Need {
        workload: "plain",
        layouts: BOTH,
        generator: Generator::Own,
        peers: &["reflector"],
    },
    Need {
        workload: "pipelined-24",
        layouts: BOTH,
        generator: Generator::Own,
        peers: FAST,
    },
    // Whether wrk is the limit.
    Need {
        workload: "pipelined-24",
        layouts: &[Layout::Two],
        generator: Generator::Wrk,
        peers: &["sidestep"],
    },
    Need {
        workload: "1-request",
        layouts: BOTH,
        generator: Generator::Own,
        peers: &["sidestep", "nginx"],
    },
];

/// Whose processor time a request takes: of which workloads and servers that is asked, whatever the scope.
const ACCOUNTS: [(&str, &[&str]); 2] = [
    ("plain", FAST),
    ("1-request", &["sidestep", "nginx", "may"]),
];

/// Whether it is asked of this server and workload whose time its requests take.
pub(super) fn accounted(peer: &str, workload: &Workload) -> bool {
    let wanted = |(key, peers): &(&str, &[&str])| *key == workload.key && peers.contains(&peer);
    ACCOUNTS.iter().any(wanted)
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    /// As little as the lines of "Must show" need.
    MustShow,
}

impl Scope {
    /// Whether this is a part of it.
    pub(super) fn has(
        self,
        peer: &str,
        workload: &Workload,
        layout: Layout,
        generator: Generator,
    ) -> bool {
        let needed = |need: &Need| {
            need.workload == workload.key
                && need.generator == generator
                && need.layouts.contains(&layout)
                && need.peers.contains(&peer)
        };
        self == Self::Everything || NEEDS.iter().any(needed)
    }

    /// The names that [`Self::MustShow`] has, each once, in the order of `all`.
    pub(super) fn peers(all: Vec<&'static str>) -> Vec<&'static str> {
        let known = |key: &&str| NEEDS.iter().any(|need| need.peers.contains(key));
        all.into_iter().filter(known).collect()
    }

    pub(super) fn workloads(all: Vec<&'static str>) -> Vec<&'static str> {
        let known = |key: &&str| NEEDS.iter().any(|need| need.workload == *key);
        all.into_iter().filter(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::peer::Peer;

    #[test]
    fn what_is_needed_exists() {
        for need in &NEEDS {
            Workload::named(need.workload).expect("a workload");
            for peer in need.peers {
                Peer::named(peer).expect("a peer");
            }
        }
    }

    #[test]
    fn whose_time_it_is_is_asked_of_what_is_measured_anyway() {
        let must = |key| NEEDS.iter().any(|need| need.peers.contains(&key));
        for (key, peers) in ACCOUNTS {
            let workload = Workload::named(key).expect("a workload");
            for peer in peers {
                assert!(accounted(peer, workload) && must(peer), "{key}, {peer}");
            }
            // It answers nothing.
            assert!(!accounted("reflector", workload));
        }
        let mixed = Workload::named("mixed").expect("a workload");
        assert!(!accounted("sidestep", mixed));
    }

    #[test]
    fn the_generators_own_part_is_always_measured_too() {
        // One core alone does not tell it.
        for need in NEEDS.iter().filter(|n| n.layouts.contains(&Layout::Same)) {
            assert!(need.layouts.contains(&Layout::Two), "{}", need.workload);
        }
    }

    #[test]
    fn few_things_of_everything_are_needed() {
        let [plain, mixed] = ["plain", "mixed"].map(|key| Workload::named(key).expect("one"));
        let must = |peer, workload, layout, generator| {
            assert!(Scope::Everything.has(peer, workload, layout, generator));
            Scope::MustShow.has(peer, workload, layout, generator)
        };
        assert!(must("sidestep", plain, Layout::Same, Generator::Own));
        assert!(must("reflector", plain, Layout::Two, Generator::Own));
        assert!(!must("sidestep", plain, Layout::Same, Generator::Wrk));
        assert!(!must("sidestep", mixed, Layout::Same, Generator::Own));
        assert!(!must("flask", plain, Layout::Same, Generator::Own));
    }
}
