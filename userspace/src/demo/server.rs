//! An ordinary server on a kernel socket, as a neighbour of the fast path.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use tiny_http::Response;

pub(super) const BODY: &str = "Hello from the kernel's server.\n";

/// Stopped when dropped.
pub(super) struct Server {
    server: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `port` of every address of the calling thread's network namespace.
    pub fn start(port: u16) -> io::Result<Self> {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let server = Arc::new(tiny_http::Server::http(at).map_err(io::Error::other)?);
        let serving = server.clone();
        let thread = std::thread::Builder::new()
            .name("kernel-server".into())
            .spawn(move || {
                for request in serving.incoming_requests() {
                    // A client that went away is no concern of ours.
                    let _ = request.respond(Response::from_string(BODY));
                }
            })?;
        Ok(Self {
            server,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been reported by its hook.
            let _ = thread.join();
        }
    }
}
