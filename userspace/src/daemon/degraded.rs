//! What keeps a running daemon from working as well as its configuration asks for.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One shortcoming. Everything is answered all the same; each text says what is worse for it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Degraded {
    /// A worker does not come round.
    #[error(
        "the worker of queue {queue} hangs: the kernel has its frames until it goes on; `sidestep attach` anew starts another"
    )]
    WorkerHangs {
        /// Its queue.
        queue: u32,
    },
    /// `mode = "auto"` ended below what the driver could do, or where every driver can.
    #[error(
        "{mode} mode is slower than others:{tried}\n  help: mend that, or write `mode = \"{mode}\"` if it is as it should be"
    )]
    LowerMode {
        /// The mode that works.
        mode: &'static str,
        /// Those that do not, one in a line, and why.
        tried: String,
    },
    /// There is no way back into the kernel's receive path.
    #[error("segments that are not ours cannot be given to the kernel, and are lost: {0}")]
    NoInjector(String),
    /// Connections cannot move to the kernel.
    #[error("connections cannot move to the server behind ({instead} instead): {why}")]
    NoHandoff {
        /// What their requests meet.
        instead: &'static str,
        /// Why.
        why: String,
    },
    /// There is no proxy for connections that cannot move.
    #[error("no proxy to the server behind: {0}")]
    NoProxy(String),
    /// The NIC's interrupts cannot be put off.
    #[error(
        "the NIC interrupts as ever: {0}; write `interrupts = \"on\"` if it is as it should be"
    )]
    Interrupts(String),
    /// Nobody can read the metrics.
    #[error("no metrics on {address}: {why}; correct [control] metrics")]
    NoMetrics {
        /// Where they should be.
        address: SocketAddr,
        /// Why they are not.
        why: String,
    },
    /// `ethtool -L` while attached.
    #[error(
        "the NIC has {now} queues, and had {before} at the attach: `sidestep attach` anew to serve them all"
    )]
    Queues {
        /// At the attach.
        before: u32,
        /// Now.
        now: u32,
    },
    /// `ip link set … mtu` while attached.
    #[error(
        "the MTU is {now} bytes, and was {before} at the attach, which answers go by: `sidestep attach` anew"
    )]
    Mtu {
        /// At the attach.
        before: usize,
        /// Now.
        now: usize,
    },
    /// The NIC is not up.
    #[error("the NIC is down: `ip link set {0} up`")]
    Down(String),
    /// The NIC does not tell about itself.
    #[error("the NIC cannot be asked: {0}")]
    Unreadable(String),
}

impl Degraded {
    /// Metric label and word of the status.
    pub fn label(&self) -> &'static str {
        match self {
            Self::WorkerHangs { .. } => "worker_hangs",
            Self::LowerMode { .. } => "lower_mode",
            Self::NoInjector(_) => "no_injector",
            Self::NoHandoff { .. } => "no_handoff",
            Self::NoProxy(_) => "no_proxy",
            Self::Interrupts(_) => "interrupts",
            Self::NoMetrics { .. } => "no_metrics",
            Self::Queues { .. } => "queues_changed",
            Self::Mtu { .. } => "mtu_changed",
            Self::Down(_) => "nic_down",
            Self::Unreadable(_) => "nic_unreadable",
        }
    }
}

impl Serialize for Degraded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Degraded", 2)?;
        object.serialize_field("reason", self.label())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

/// What is wrong at the moment, for all threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(Arc<Mutex<Vec<Degraded>>>);

impl Troubles {
    /// Enters one, and logs it; once is enough for all workers.
    pub fn add(&self, trouble: Degraded) {
        let mut all = self.lock();
        if !all.contains(&trouble) {
            log::warn!("{trouble}");
            all.push(trouble);
        }
    }

    /// It is over.
    pub fn remove(&self, trouble: &Degraded) {
        self.lock().retain(|other| other != trouble);
    }

    /// Those with this label are over.
    pub fn end(&self, label: &str) {
        self.lock().retain(|other| other.label() != label);
    }

    /// All that there are.
    pub fn all(&self) -> Vec<Degraded> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Degraded>> {
        // A list that is only pushed to and retained from is whole after a panic, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
