//! The daemon's side of the control socket.

use super::{Request, Response, http};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// Bytes of a request line or head: a path and some tags; more is not from us.
pub(super) const MAX_REQUEST: u64 = 64 << 10;

/// Bytes of what is put. More would do, but is read into memory before it is known to be right.
pub(super) const MAX_BODY: u64 = 256 << 20;

/// How long a caller may be silent. One that never sends anything would keep its place for ever; one that waits for a core on an
/// overloaded machine is to be heard.
const PATIENCE: Duration = Duration::from_secs(10);

/// Callers at a time: status, a reload that takes long, some that put or purge. Each has a thread; those that come when
/// all places are taken find the stream closed.
const CALLERS: usize = 16;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// A daemon answers on it.
    #[error(
        "another sidestep daemon has the control socket {}\n  help: `sidestep detach` it first, or give this one another [control] socket",
        .0.display()
    )]
    InUse(PathBuf),
    /// Something else has the path.
    #[error("{} is not a socket\n  help: correct [control] socket, or remove the file", .0.display())]
    NotASocket(PathBuf),
    /// It could not be made.
    #[error("cannot make the control socket {}: {source}\n  help: correct [control] socket", .path.display())]
    Make {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A listening control socket; dropping it removes the socket.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<UnixStream>>>,
}

impl ControlServer {
    /// Whether [`ControlServer::start`] may have `path`.
    ///
    /// # Errors
    /// [`SocketError::InUse`], [`SocketError::NotASocket`].
    pub fn may_have(path: &Path) -> Result<(), SocketError> {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        match fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                Err(SocketError::NotASocket(path.to_owned()))
            }
            // What cannot be looked at cannot be replaced either.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes the socket, and its directory if needed. Each request is answered by `answer`, which gets the bytes of a
    /// put with it, on a thread of its own.
    ///
    /// # Errors
    /// See [`SocketError`]. A socket that a killed daemon left behind is replaced.
    pub fn start(
        path: &Path,
        answer: impl Fn(Request, &[u8]) -> Response + Send + Sync + 'static,
    ) -> Result<Self, SocketError> {
        let make = |source| SocketError::Make {
            path: path.to_owned(),
            source,
        };
        let listener = listen(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || serve_all(&listener, &stopping, &answer))
            .map_err(make)?;
        Ok(Self {
            path: path.to_owned(),
            stop,
            thread: Some(thread),
        })
    }
}

/// A listening socket at `path` for the daemon's user only, and its directory if need be. One that a killed daemon left
/// behind is replaced.
pub(super) fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let make = |source| SocketError::Make {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(make)?;
    }
    ControlServer::may_have(path)?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(make(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(make)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(make)?;
    Ok(listener)
}

/// Serves callers until told to stop. Returns the streams of those who wait for the daemon's end: they are closed when
/// all is done.
fn serve_all(
    listener: &UnixListener,
    stopping: &AtomicBool,
    answer: &(impl Fn(Request, &[u8]) -> Response + Sync),
) -> Vec<UnixStream> {
    let waiting = Mutex::new(Vec::new());
    let callers = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if stopping.load(Ordering::Relaxed) {
                break;
            }
            if callers.fetch_add(1, Ordering::Relaxed) >= CALLERS {
                callers.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (waiting, callers) = (&waiting, &callers);
            scope.spawn(move || {
                match stream.and_then(|s| serve(s, answer)) {
                    Ok(Some(stream)) => waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(stream),
                    Ok(None) => {}
                    Err(e) => log::debug!("control socket: {e}"),
                }
                callers.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    waiting.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one caller. Returns its stream if it waits for the daemon's end.
fn serve(
    stream: UnixStream,
    answer: impl Fn(Request, &[u8]) -> Response,
) -> io::Result<Option<UnixStream>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut input = BufReader::new(&stream);
    if input.fill_buf()?.first() != Some(&b'{') {
        http::serve(&mut input, &stream, answer)?;
        return Ok(None);
    }
    let mut line = String::new();
    (&mut input).take(MAX_REQUEST).read_line(&mut line)?;
    let response = match serde_json::from_str(&line) {
        Ok(Request::Put { length, .. }) if length > MAX_BODY => {
            Response::Invalid(format!("more than {} MiB cannot be put", MAX_BODY >> 20))
        }
        Ok(request) => {
            let mut body = Vec::new();
            if let Request::Put { length, .. } = request {
                body = vec![0; length as usize];
                input.read_exact(&mut body)?;
            }
            answer(request, &body)
        }
        Err(e) => Response::Error(format!("not a request: {e}")),
    };
    let mut text = serde_json::to_string(&response)?;
    text.push('\n');
    (&stream).write_all(text.as_bytes())?;
    Ok(matches!(response, Response::Detaching).then_some(stream))
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread out of accept(2).
        let woken = UnixStream::connect(&self.path).is_ok();
        // A panic of that thread has been reported by its hook.
        let waiting = self.thread.take().filter(|_| woken).map(JoinHandle::join);
        // Already gone is as good.
        let _ = fs::remove_file(&self.path);
        // After that: who waited may be the next daemon, and make a socket of its own there.
        drop(waiting);
    }
}
