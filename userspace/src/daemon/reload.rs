//! A running daemon gets another configuration, or reads its trees again.

use crate::store::{Keeper, Reload, StoreError};
use crate::worker::{Control, Limits};
use sidestep_config::{Config, ConfigError, NeedsAttach};
use std::path::PathBuf;
use std::sync::Arc;
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
    pub(super) path: PathBuf,
    /// Its control socket, if that is not what the file says.
    pub(super) socket: Option<PathBuf>,
    pub(super) interface: String,
    pub(super) keeper: Arc<Keeper>,
    pub(super) workers: Vec<Control>,
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

    fn attempt(&self) -> Result<(), ReloadError> {
        let mut limits = None;
        self.keeper.change(|running| -> Result<_, ReloadError> {
            let mut new = Config::load(&self.path)?;
            if let Some(socket) = &self.socket {
                new.control.socket = socket.clone();
            }
            let changes = running.changes(&new, &self.interface)?;
            limits = changes.limits.then(|| Limits::from(&new.limits));
            Ok(new)
        })?;
        if let Some(limits) = limits {
            for worker in &self.workers {
                worker.limit(limits.clone());
            }
        }
        Ok(())
    }
}
