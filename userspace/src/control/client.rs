//! The command line's side of the control socket.

use super::{Request, Response};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a daemon was not asked, or did not do it.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody answers.
    #[error(
        "no sidestep daemon answers on {}: {source}\n  help: start one with `sidestep attach`, or name its socket with --socket",
        .path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("the daemon on {} is of another version: {source}", .path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
    /// It said no.
    #[error("the daemon refused: {0}")]
    Refused(String),
    /// What it was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Asks the daemon at `path`. Returns from [`Request::Detach`] once it has detached.
///
/// # Errors
/// See [`ControlError`].
pub fn ask(path: &Path, request: &Request) -> Result<Response, ControlError> {
    ask_with(path, request, &[])
}

/// The same, with the bytes of a [`Request::Put`].
///
/// # Errors
/// See [`ControlError`].
pub fn ask_with(path: &Path, request: &Request, body: &[u8]) -> Result<Response, ControlError> {
    let unreachable = |source| ControlError::Unreachable {
        path: path.to_owned(),
        source,
    };
    let garbled = |source| ControlError::Garbled {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    let mut line = serde_json::to_string(request).map_err(garbled)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(unreachable)?;
    stream.write_all(body).map_err(unreachable)?;
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    stream.read_line(&mut answer).map_err(unreachable)?;
    match serde_json::from_str(&answer).map_err(garbled)? {
        Response::Error(why) => Err(ControlError::Refused(why)),
        Response::Invalid(why) => Err(ControlError::Invalid(why)),
        Response::Detaching => {
            // The daemon closes the stream once it has detached; so does the kernel if it dies.
            let _ = stream.read_to_string(&mut answer);
            Ok(Response::Detaching)
        }
        answer @ (Response::Status(_)
        | Response::Reloaded(_)
        | Response::Done
        | Response::Purged(_)) => Ok(answer),
    }
}
