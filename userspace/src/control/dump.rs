//! `sidestep dump`: who connects to the socket beside the control socket gets the workers' frames as a pcap stream.
//!
//! A socket of its own, since a dump lasts, and the control socket serves one caller after the other.

use super::server::{self, SocketError};
use crate::worker::{Copied, Open, Taps};
use crossbeam::channel::RecvTimeoutError;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long to wait for a frame before what is written is sent, and before looking whether the reader has gone.
const LOOK: Duration = Duration::from_millis(100);

/// How long a reader may take nothing. Longer only holds up the next one; what it misses is lost long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// File header of pcap (draft-ietf-opsawg-pcap): nanoseconds, version 2.4, frames of any length, Ethernet. Little-endian,
/// as all numbers here.
pub const FILE_HEADER: [u8; 24] = [
    0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
];

/// Bytes in front of each frame: seconds, nanoseconds, length written, length that there was.
pub const RECORD_HEADER: usize = 16;

/// Where to connect to for a dump of the daemon with this control socket.
pub fn socket(control: &Path) -> PathBuf {
    let mut path = control.as_os_str().to_owned();
    path.push(".dump");
    path.into()
}

/// The listening socket; dropping it removes it.
#[derive(Debug)]
pub struct DumpServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DumpServer {
    /// Makes the socket beside `control`.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn start(control: &Path, taps: Taps) -> Result<Self, SocketError> {
        let path = socket(control);
        let listener = server::listen(&path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let serve = move || serve(&listener, &taps, &stopping);
        let thread = std::thread::Builder::new().name("dump".into());
        let thread = thread.spawn(serve).map_err(|source| SocketError::Make {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for DumpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread out of accept(2); one that dumps looks by itself.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic of it has been reported by its hook.
            let _ = thread.join();
        }
        // Already gone is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// One reader after the other: a second one waits for the end of the first.
fn serve(listener: &UnixListener, taps: &Taps, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(open) = taps.open() else { continue };
        let dumped = stream.and_then(|stream| dump(&stream, &open, stop));
        if let Err(e) = dumped {
            log::debug!("dump: {e}");
        }
        if open.lost() > 0 {
            log::warn!(
                "{} frames are not in the dump: it was read too slowly",
                open.lost()
            );
        }
    }
}

fn dump(stream: &UnixStream, open: &Open, stop: &AtomicBool) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = BufWriter::new(stream);
    out.write_all(&FILE_HEADER)?;
    out.flush()?;
    while !stop.load(Ordering::Relaxed) {
        match open.copies().recv_timeout(LOOK) {
            Ok(copied) => write(&mut out, &copied)?,
            Err(RecvTimeoutError::Timeout) => {
                out.flush()?;
                if has_gone(stream)? {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    out.flush()
}

fn write(out: &mut impl Write, copied: &Copied) -> io::Result<()> {
    // Seconds until 2106, as the format has it; a frame is never longer than its MTU.
    let numbers = [
        copied.at.as_secs() as u32,
        copied.at.subsec_nanos(),
        copied.frame.len() as u32,
        copied.frame.len() as u32,
    ];
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&copied.frame)
}

/// Readers send nothing, so that all there is to read is their end.
fn has_gone(mut stream: &UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(read) => Ok(read == 0),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}
