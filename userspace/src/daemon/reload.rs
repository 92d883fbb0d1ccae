//! A running daemon gets another configuration, or reads its trees again.

use crate::store::{Live, Reload, StoreError};
use crate::worker::{Control, Limits};
use sidestep_config::{Config, ConfigError, NeedsAttach};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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
}

/// Reloads a daemon's configuration from its file.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    socket: Option<PathBuf>,
    interface: String,
    running: Mutex<Config>,
    live: Arc<Live>,
    workers: Vec<Control>,
}

impl Reloader {
    pub(super) fn new(
        path: PathBuf,
        socket: Option<PathBuf>,
        interface: String,
        running: Config,
        live: Arc<Live>,
        workers: Vec<Control>,
    ) -> Self {
        Self {
            path,
            socket,
            interface,
            running: Mutex::new(running),
            live,
            workers,
        }
    }

    /// Reads the file and every tree. Requests that come after this returned are answered by what was read; on an error
    /// nothing changes.
    ///
    /// # Errors
    /// See [`ReloadError`].
    #[expect(clippy::disallowed_methods, reason = "for the status, not for packets")]
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        // One at a time. A reload that panicked has changed nothing here.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let result = self.attempt(&running);
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let report = Reload {
            at: at.unwrap_or_default().as_secs(),
            took: begun.elapsed().as_millis() as u64,
            error: result.as_ref().err().map(ToString::to_string),
        };
        self.live.note(report.clone());
        *running = result.inspect_err(|e| log::error!("not reloaded: {e}"))?;
        log::info!("reloaded in {} ms", report.took);
        Ok(report)
    }

    fn attempt(&self, running: &Config) -> Result<Config, ReloadError> {
        let mut new = Config::load(&self.path)?;
        if let Some(socket) = &self.socket {
            new.control.socket = socket.clone();
        }
        let changes = running.changes(&new, &self.interface)?;
        let snapshot = self.live.current().get().rebuild(&new)?;
        // From here on nothing can fail.
        self.live.replace(snapshot);
        if changes.limits {
            for worker in &self.workers {
                worker.limit(Limits::from(&new.limits));
            }
        }
        Ok(new)
    }
}
