//! What a running daemon tells about itself.

use super::addresses::Addresses;
use super::degraded::{Degraded, Troubles};
use super::ladder;
use crate::handoff::Books;
use crate::nic::Nic;
use crate::steer::Steering;
use crate::store::{Live, Summary};
use crate::worker::{Published, RouteBoard};
use serde::Serialize;
use sidestep_config::Mode;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use xdp_prog::Verdict;

/// Counters by name and label.
pub type Counters = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// One moment of a daemon.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The NIC.
    pub interface: String,
    /// How frames reach user space: zero-copy, copy or generic.
    pub mode: &'static str,
    /// What keeps it from working as well as it could; empty: nothing.
    pub degraded: Vec<Degraded>,
    /// True when the UMEMs lie on hugepages.
    pub hugepages: bool,
    /// Addresses that are served.
    pub listening: Vec<SocketAddr>,
    /// What answers are made from.
    pub store: Summary,
    /// Each queue's worker.
    pub workers: Vec<QueueStatus>,
    /// What became of requests, by route.
    pub routes: Vec<RouteStatus>,
    /// What is learned, by route.
    pub cache: Vec<CacheStatus>,
    /// Connections that go through the proxy.
    pub proxied: Proxied,
    /// Frames by the XDP program's verdict.
    pub xdp: BTreeMap<&'static str, u64>,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStatus {
    /// The queue.
    pub queue: u32,
    /// See [`Status::mode`].
    pub mode: &'static str,
    /// How often it has come round.
    pub rounds: u64,
    /// Where its frames are: free, in_rx, in_tx, held, total.
    pub frames: BTreeMap<&'static str, u64>,
    /// Open connections.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
    /// Everything that it counts.
    pub counters: Counters,
}

/// One route, over all workers.
#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    /// The first host of its site; empty for what belongs to no route.
    pub site: String,
    /// Its path; `none` for what belongs to no route.
    pub route: String,
    /// Requests by what became of them; those that are 0 are left out, except for `served`.
    pub counts: BTreeMap<String, u64>,
}

/// What is learned for one route.
#[derive(Clone, Debug, Serialize)]
pub struct CacheStatus {
    /// The first host of its site.
    pub site: String,
    /// Its path.
    pub route: String,
    /// Answers that are there.
    pub entries: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// What the fetcher did; what is 0 is left out.
    pub counts: BTreeMap<String, u64>,
}

/// Connections between a client and the server behind, carried by the daemon.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Proxied {
    /// Those there are.
    pub open: u64,
    /// How many have ended in which way.
    pub ended: BTreeMap<&'static str, u64>,
}

impl From<&Books> for Proxied {
    fn from(books: &Books) -> Self {
        Self {
            open: books.open(),
            ended: books.ends().collect(),
        }
    }
}

impl Status {
    /// The sum of a counter over all workers.
    pub fn total(&self, name: &str, label: &str) -> u64 {
        self.workers
            .iter()
            .filter_map(|w| w.counters.get(name)?.get(label))
            .sum()
    }
}

/// Reads a daemon's counters from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) nic: Nic,
    pub(super) troubles: Troubles,
    pub(super) mode: Mode,
    pub(super) hugepages: bool,
    pub(super) addresses: Addresses,
    pub(super) queues: Vec<(u32, Arc<Published>)>,
    pub(super) routes: Vec<Arc<RouteBoard>>,
    pub(super) steering: Arc<Mutex<Steering>>,
    /// Of the proxy, if there is one.
    pub(super) books: Option<Arc<Books>>,
    pub(super) live: Arc<Live>,
}

impl Reader {
    /// The state now.
    pub fn read(&self) -> Status {
        Status {
            interface: self.nic.name.clone(),
            mode: ladder::name(self.mode),
            degraded: self.degraded(),
            hugepages: self.hugepages,
            listening: self.addresses.served(),
            store: self.live.summary(),
            workers: self.queues.iter().map(|q| self.queue(q)).collect(),
            routes: self.routes(),
            cache: self.cache(),
            proxied: self.books.as_deref().map(Proxied::from).unwrap_or_default(),
            xdp: self.verdicts(),
        }
    }

    /// Enters a shortcoming of what was built around the daemon.
    pub fn add_trouble(&self, trouble: Degraded) {
        self.troubles.add(trouble);
    }

    /// Those of a kind are over.
    pub(super) fn end_trouble(&self, label: &str) {
        self.troubles.end(label);
    }

    fn degraded(&self) -> Vec<Degraded> {
        let mut all = self.troubles.all();
        let before = &self.nic;
        match Nic::read(&before.name) {
            Ok(now) => {
                if !now.up {
                    all.push(Degraded::Down(now.name));
                }
                if now.queues != before.queues {
                    let (before, now) = (before.queues, now.queues);
                    all.push(Degraded::Queues { before, now });
                }
                if now.mtu != before.mtu {
                    let (before, now) = (before.mtu, now.mtu);
                    all.push(Degraded::Mtu { before, now });
                }
            }
            Err(e) => all.push(Degraded::Unreadable(e.to_string())),
        }
        all
    }

    fn routes(&self) -> Vec<RouteStatus> {
        let mut routes: BTreeMap<_, BTreeMap<String, u64>> = BTreeMap::new();
        for board in &self.routes {
            board.visit(&mut |name, fate, count| {
                let counts = routes.entry(name.clone()).or_default();
                *counts.entry(fate.label()).or_default() += count;
            });
        }
        let routes = routes.into_iter().map(|(name, counts)| RouteStatus {
            site: name.site,
            route: name.route,
            counts,
        });
        routes.collect()
    }

    fn cache(&self) -> Vec<CacheStatus> {
        let snapshot = self.live.current().get();
        let routes = snapshot.caches().all().map(|route| {
            let (entries, bytes) = route.stats.held();
            let mut counts = BTreeMap::new();
            route.stats.visit(&mut |label, count| {
                if count > 0 {
                    counts.insert(label, count);
                }
            });
            CacheStatus {
                site: route.name.site.clone(),
                route: route.name.route.clone(),
                entries,
                bytes,
                counts,
            }
        });
        routes.collect()
    }

    fn queue(&self, (queue, published): &(u32, Arc<Published>)) -> QueueStatus {
        let mut counters = Counters::new();
        for (name, label, value) in published.read() {
            counters.entry(name).or_default().insert(label, value);
        }
        let frames = counters.remove("queue_frames").unwrap_or_default();
        let value = |name: &str, label: &str| {
            let labels = counters.get(name);
            labels.and_then(|l| l.get(label)).copied().unwrap_or(0)
        };
        QueueStatus {
            queue: *queue,
            mode: ladder::name(self.mode),
            rounds: published.rounds(),
            frames,
            connections: value("connections", "open"),
            requests: value("http", "requests"),
            counters,
        }
    }

    fn verdicts(&self) -> BTreeMap<&'static str, u64> {
        let steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        match steering.counters() {
            Ok(counts) => counts
                .into_iter()
                .enumerate()
                .map(|(i, count)| (Verdict::label(i), count))
                .collect(),
            Err(e) => {
                log::warn!("cannot read the XDP counters: {e}");
                BTreeMap::new()
            }
        }
    }
}
