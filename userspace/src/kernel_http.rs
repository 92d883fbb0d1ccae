//! A small HTTP server on a kernel socket: the metrics page, and the demo's ordinary server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tiny_http::{Request, Response};

/// Listens on a thread of its own; stopped when dropped.
pub struct KernelServer {
    server: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
}

impl KernelServer {
    /// Listens at `address` in the network namespace of the calling thread, and answers each request by `answer`.
    ///
    /// # Errors
    /// Those of `bind(2)`, or no thread to be had.
    pub fn start(
        address: SocketAddr,
        name: &str,
        answer: impl Fn(&Request) -> Response<io::Cursor<Vec<u8>>> + Send + 'static,
    ) -> io::Result<Self> {
        let server = Arc::new(tiny_http::Server::http(address).map_err(io::Error::other)?);
        let serving = server.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for request in serving.incoming_requests() {
                    let response = answer(&request);
                    // A client that went away is no concern of ours.
                    let _ = request.respond(response);
                }
            })?;
        Ok(Self {
            server,
            thread: Some(thread),
        })
    }
}

impl Drop for KernelServer {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been reported by its hook.
            let _ = thread.join();
        }
    }
}
