//! The control socket: how `sidestep status`, `detach`, `reload`, `put` and `purge` reach the daemon.
//!
//! A Unix stream socket that only the daemon's user may open. A caller sends one JSON object in a line, with the bytes of
//! a `put` behind it, and gets one back; or it speaks HTTP (`docs/control.md`).

mod client;
pub mod dump;
mod http;
mod metrics;
mod server;

pub use client::{ControlError, ask, ask_with};
pub use dump::DumpServer;
pub use metrics::serve_metrics;
pub use server::{ControlServer, SocketError};

use crate::store::{Purge, Put, Reload};
use serde::{Deserialize, Serialize};

/// Where the daemon listens unless `[control] socket` or `--socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sidestep/control.sock";

/// What the daemon can be asked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything it knows of itself.
    Status,
    /// Drain, detach and exit. Answered when the drain begins; the stream is closed when it is done.
    Detach {
        /// The NIC that the caller means; refused when the daemon serves another.
        interface: String,
    },
    /// Read the configuration and all trees again.
    Reload,
    /// Answer a path with the `length` bytes that follow the line.
    Put {
        /// What and where.
        put: Put,
        /// How many.
        length: u64,
    },
    /// Forget what was put or learned.
    Purge(Purge),
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(serde_json::Value),
    /// To [`Request::Detach`].
    Detaching,
    /// To [`Request::Reload`].
    Reloaded(Reload),
    /// To [`Request::Put`].
    Done,
    /// To [`Request::Purge`]: how many answers that were.
    Purged(usize),
    /// What was asked for, or the configuration that it means, is wrong: nothing has changed.
    Invalid(String),
    /// The request was not carried out, and why.
    Error(String),
}
