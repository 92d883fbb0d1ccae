//! What is asked for.

use super::site;

/// One table of the report.
#[derive(Debug)]
pub(super) struct Workload {
    /// Its name for `--workload`.
    pub key: &'static str,
    pub title: &'static str,
    pub paths: Paths,
    pub connections: u32,
    /// Requests sent at a time on each connection.
    pub depth: u32,
    /// Requests of a connection before it is closed; `None`: it stays open.
    pub per_connection: Option<u32>,
}

/// Asked for in turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paths {
    One(&'static str),
    Mixed,
    /// Every second request is one that sidestep hands over.
    HalfMisses,
}

/// As many as the figures have that are published for servers of this kind.
const CONNECTIONS: u32 = 100;

/// More than this and wrk measures itself.
const MOST_OF_WRK: u32 = 1000;

const PLAIN: Workload = Workload {
    key: "plain",
    title: "12 bytes",
    paths: Paths::One(site::HELLO),
    connections: CONNECTIONS,
    depth: 1,
    per_connection: None,
};

const fn many(key: &'static str, title: &'static str, connections: u32) -> Workload {
    Workload {
        key,
        title,
        connections,
        ..PLAIN
    }
}

const fn sized(key: &'static str, title: &'static str, path: &'static str) -> Workload {
    Workload {
        key,
        title,
        paths: Paths::One(path),
        ..PLAIN
    }
}

pub(super) const ALL: [Workload; 15] = [
    PLAIN,
    Workload {
        key: "pipelined-16",
        title: "12 bytes, 16 pipelined",
        depth: 16,
        ..PLAIN
    },
    Workload {
        key: "pipelined-24",
        title: "12 bytes, 24 pipelined",
        depth: 24,
        ..PLAIN
    },
    sized("1k", "1 KiB", site::ONE),
    sized("10k", "10 KiB", site::TEN),
    sized("64k", "64 KiB", site::SIXTY_FOUR),
    Workload {
        key: "10-requests",
        title: "12 bytes, 10 requests per connection",
        per_connection: Some(10),
        ..PLAIN
    },
    Workload {
        key: "1-request",
        title: "12 bytes, 1 request per connection",
        per_connection: Some(1),
        ..PLAIN
    },
    Workload {
        key: "mixed",
        title: "20 files of 256 bytes to 16 KiB in turn",
        paths: Paths::Mixed,
        ..PLAIN
    },
    Workload {
        key: "handed-over",
        title: "12 bytes, 1 request per connection, every second one handed over by sidestep",
        paths: Paths::HalfMisses,
        per_connection: Some(1),
        ..PLAIN
    },
    many("64-connections", "12 bytes, 64 connections", 64),
    many("1000-connections", "12 bytes, 1,000 connections", 1_000),
    many("10000-connections", "12 bytes, 10,000 connections", 10_000),
    many(
        "100000-connections",
        "12 bytes, 100,000 connections",
        100_000,
    ),
    many(
        "1000000-connections",
        "12 bytes, 1,000,000 connections",
        1_000_000,
    ),
];

impl Workload {
    pub(super) fn named(key: &str) -> Result<&'static Self, String> {
        static TABLE: [Workload; 15] = ALL;
        TABLE.iter().find(|w| w.key == key).ok_or_else(|| {
            let keys: Vec<&str> = TABLE.iter().map(|w| w.key).collect();
            format!("no workload {key}; there are: {}", keys.join(", "))
        })
    }

    /// Whether wrk can drive it.
    pub(super) fn wrk(&self) -> bool {
        self.connections <= MOST_OF_WRK
    }

    /// Whether it takes more connections than a kernel's default limits allow.
    pub(super) fn large(&self) -> bool {
        self.connections > MOST_OF_WRK
    }

    pub(super) fn paths(&self) -> Vec<String> {
        match self.paths {
            Paths::One(path) => vec![path.to_owned()],
            Paths::Mixed => site::mixed(),
            Paths::HalfMisses => vec![site::HELLO.to_owned(), site::MISS.to_owned()],
        }
    }

    /// The share of its requests that sidestep answers itself.
    pub(super) fn hits(&self) -> f64 {
        match self.paths {
            Paths::HalfMisses => 0.5,
            Paths::One(_) | Paths::Mixed => 1.0,
        }
    }
}
