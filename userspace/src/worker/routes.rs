//! Counters by route.
//!
//! There are too many to publish each of them with every batch, and a batch changes few: only those that changed are
//! written where other threads can read them.

use crate::reason::Fate;
use crate::store::{RouteId, RouteName};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A counter for each fate of each route.
#[derive(Debug)]
struct Table {
    names: Arc<[RouteName]>,
    counts: Box<[AtomicU64]>,
}

impl Table {
    fn new(names: Arc<[RouteName]>) -> Self {
        let counts = (0..names.len() * Fate::COUNT).map(|_| AtomicU64::new(0));
        Self {
            counts: counts.collect(),
            names,
        }
    }

    fn of(&self, route: usize) -> &[AtomicU64] {
        let from = route * Fate::COUNT;
        self.counts.get(from..from + Fate::COUNT).unwrap_or(&[])
    }
}

/// One worker's counters as other threads see them. A request is in them at the end of its batch.
#[derive(Debug)]
pub struct RouteBoard(Mutex<Arc<Table>>);

impl RouteBoard {
    /// Shows every counter that is not zero, and those of [`Fate::Served`].
    pub fn visit(&self, see: &mut impl FnMut(&RouteName, Fate, u64)) {
        let table = self.table().clone();
        for (route, name) in table.names.iter().enumerate() {
            for (fate, count) in Fate::all().zip(table.of(route)) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 || fate == Fate::Served {
                    see(name, fate, count);
                }
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Arc<Table>> {
        // It is only ever replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's counters as it counts. Most requests are for the route of the one before: those are added up in
/// `pending`, which takes an increment each.
#[derive(Debug)]
pub struct RouteCounters {
    table: Arc<Table>,
    board: Arc<RouteBoard>,
    current: (RouteId, Fate),
    pending: u64,
}

impl RouteCounters {
    /// Counters for `routes`, at zero.
    pub fn new(routes: &Arc<[RouteName]>) -> Self {
        let table = Arc::new(Table::new(routes.clone()));
        Self {
            board: Arc::new(RouteBoard(Mutex::new(table.clone()))),
            table,
            current: (RouteId::NONE, Fate::Served),
            pending: 0,
        }
    }

    /// Where it publishes them.
    pub fn board(&self) -> Arc<RouteBoard> {
        self.board.clone()
    }

    /// Counts `times` requests of `route`.
    #[inline]
    pub fn count(&mut self, route: RouteId, fate: Fate, times: u64) {
        if self.current != (route, fate) {
            self.publish();
            self.current = (route, fate);
        }
        self.pending += times;
    }

    /// To be called at the end of each batch.
    pub fn publish(&mut self) {
        if self.pending == 0 {
            return;
        }
        let (route, fate) = self.current;
        // Nobody else writes there.
        if let Some(count) = self.table.of(route.index()).get(fate.index()) {
            let before = count.load(Ordering::Relaxed);
            count.store(before + self.pending, Ordering::Relaxed);
        }
        self.pending = 0;
    }

    /// From now on ids are those of `routes`. A route that is in both keeps its counts; one that has gone is no longer
    /// shown.
    pub fn follow(&mut self, routes: &Arc<[RouteName]>) {
        if Arc::ptr_eq(&self.table.names, routes) {
            return;
        }
        self.publish();
        let table = Table::new(routes.clone());
        let old = self.table.names.iter().enumerate();
        let old: HashMap<&RouteName, usize> = old.map(|(at, name)| (name, at)).collect();
        for (at, name) in routes.iter().enumerate() {
            let Some(&before) = old.get(name) else {
                continue;
            };
            for (new, old) in table.of(at).iter().zip(self.table.of(before)) {
                new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.table = Arc::new(table);
        *self.board.table() = self.table.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::NotOurs;
    use crate::store::Snapshot;
    use sidestep_config::Config;

    fn routes(paths: &[&str]) -> Snapshot {
        let responses = paths
            .iter()
            .map(|p| format!("[[site.response]]\npath = {p:?}\n"));
        let text = format!(
            "[[site]]\nhosts = [\"a\", \"b\"]\n{}",
            responses.collect::<String>()
        );
        Snapshot::build(&Config::parse(&text, "t").unwrap_or_else(|e| panic!("{e}"))).unwrap()
    }

    fn seen(board: &RouteBoard) -> Vec<String> {
        let mut seen = Vec::new();
        board.visit(&mut |name, fate, count| seen.push(format!("{name} {} {count}", fate.label())));
        seen
    }

    #[test]
    fn counts_are_those_of_the_name_also_in_another_snapshot() {
        let one = routes(&["/x", "/a b"]);
        let mut counters = RouteCounters::new(one.routes());
        let board = counters.board();
        let (x, _) = one.find(b"b", b"/x");
        let (y, _) = one.find(b"a", b"/a%20b");
        let missing = Fate::Left(NotOurs::Method);
        for (route, fate) in [
            (x, Fate::Served),
            (x, Fate::Served),
            (y, missing),
            (x, Fate::Served),
        ] {
            counters.count(route, fate, 1);
        }
        counters.count(RouteId::NONE, Fate::Refused(NotOurs::Path), 1);
        counters.publish();
        counters.publish();
        let expected = [
            "none served 0",
            "none refused_path 1",
            "a /x served 3",
            "a /a%20b served 0",
            "a /a%20b left_method 1",
        ];
        assert_eq!(seen(&board), expected);

        let two = routes(&["/new", "/x"]);
        counters.count(x, Fate::Served, 1);
        counters.follow(two.routes());
        counters.count(two.find(b"a", b"/x").0, Fate::Served, 1);
        counters.publish();
        let expected = [
            "none served 0",
            "none refused_path 1",
            "a /new served 0",
            "a /x served 5",
        ];
        assert_eq!(seen(&board), expected);
    }
}
