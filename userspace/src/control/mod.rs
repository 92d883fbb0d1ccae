//! The control socket: how `sidestep status` and `sidestep detach` reach the daemon.
//!
//! One JSON object a line each way over a Unix stream socket that only the daemon's user may open.

mod client;
pub mod dump;
mod metrics;
mod server;

pub use client::{ControlError, ask};
pub use dump::DumpServer;
pub use metrics::serve_metrics;
pub use server::{ControlServer, SocketError};

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
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(serde_json::Value),
    /// To [`Request::Detach`].
    Detaching,
    /// The request was not carried out, and why.
    Error(String),
}
