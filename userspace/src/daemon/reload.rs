//! A running daemon gets another configuration, or reads its trees again.

use super::Reader;
use crate::cache::Purger;
use crate::control::serve_metrics;
use crate::kernel_http::KernelServer;
use crate::store::{Keeper, Reload, StoreError};
use crate::worker::{Control, Limits};
use sidestep_config::{Config, ConfigError, NeedsAttach};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Why everything stayed as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It asks for what cannot change in a running daemon.
    #[error(transparent)]
    NeedsAttach(#[from] NeedsAttach),
    /// A tree of it cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics page cannot be served there.
    #[error(
        "[control] metrics: cannot listen at {address}: {why}\n  help: name an address and port of this host that nobody listens at"
    )]
    Metrics {
        /// Where it was to be.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is only ever replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reloads a daemon's configuration from its file.
pub struct Reloader {
    pub(super) path: PathBuf,
    /// Its control socket, if that is not what the file says.
    pub(super) socket: Option<PathBuf>,
    pub(super) interface: String,
    pub(super) keeper: Arc<Keeper>,
    pub(super) workers: Vec<Control>,
    /// What is learned.
    pub(super) learned: Purger,
    pub(super) reader: Reader,
    /// The metrics page, once it is [served](Self::serve_metrics).
    pub(super) metrics: Mutex<Option<KernelServer>>,
}

impl Reloader {
    /// Reads the file and every tree. Requests that come after this returned are answered by what was read; on an error
    /// nothing changes.
    ///
    /// # Errors
    /// See [`ReloadError`].
    #[expect(clippy::disallowed_methods, reason = "for the status, not for packets")]
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        let begun = Instant::now();
        let result = self.attempt();
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let report = Reload {
            at: at.unwrap_or_default().as_secs(),
            took: begun.elapsed().as_millis() as u64,
            error: result.as_ref().err().map(ToString::to_string),
        };
        self.keeper.live().note(report.clone());
        result.inspect_err(|e| log::error!("not reloaded: {e}"))?;
        log::info!("reloaded in {} ms", report.took);
        Ok(report)
    }

    /// Serves the metrics page at `address` until this is dropped, or a reload names another.
    ///
    /// # Errors
    /// See [`KernelServer::start`].
    pub fn serve_metrics(&self, address: SocketAddr) -> io::Result<()> {
        let server = serve_metrics(address, self.reader.clone())?;
        let before = lock(&self.metrics).replace(server);
        // Waits for who is being answered.
        drop(before);
        Ok(())
    }

    fn attempt(&self) -> Result<(), ReloadError> {
        let (mut limits, mut memory, mut metrics) = (None, false, None);
        self.keeper.change(|running| -> Result<_, ReloadError> {
            let mut new = Config::load(&self.path)?;
            if let Some(socket) = &self.socket {
                new.control.socket = socket.clone();
            }
            let changes = running.changes(&new, &self.interface)?;
            limits = changes.limits.then(|| Limits::from(&new.limits));
            memory = changes.cache_memory;
            if changes.metrics {
                // Before anything changes, as it may fail.
                let address = new.control.metrics;
                let server = serve_metrics(address, self.reader.clone());
                metrics = Some(server.map_err(|why| ReloadError::Metrics { address, why })?);
            }
            Ok(new)
        })?;
        if let Some(server) = metrics {
            let before = lock(&self.metrics).replace(server);
            self.reader.end_trouble("no_metrics");
            drop(before);
        }
        if memory {
            self.learned.resize();
        }
        if let Some(limits) = limits {
            for worker in &self.workers {
                worker.limit(limits.clone());
            }
        }
        Ok(())
    }
}
