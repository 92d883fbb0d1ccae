//! Servers on kernel sockets: what a user would run beside `sidestep`.

pub mod origin;
pub mod user;

use crate::clock::{PATIENCE, wait_for};
use crate::net::Host;
use crate::packet;
use crate::process;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A server inside the test process, one thread per connection; it ends when dropped.
pub struct Server {
    listener: TcpListener,
    open: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves every connection to `port` of `host`, over IPv4 and IPv6, with `handle`.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub fn start(
        host: &Host,
        port: u16,
        handle: impl Fn(&TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let listener = host
            .listen(port)
            .unwrap_or_else(|error| panic!("cannot listen on port {port}: {error}"));
        Self::on(listener, handle)
    }

    /// Serves every connection that `listener` gets with `handle`.
    ///
    /// # Panics
    /// When the listener cannot be copied.
    pub fn on(
        listener: TcpListener,
        handle: impl Fn(&TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let accepting = listener
            .try_clone()
            .unwrap_or_else(|error| panic!("cannot copy a listener: {error}"));
        let open = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::new(AtomicU64::new(0));
        let (streams, count) = (Arc::clone(&open), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                let stream = Arc::new(stream);
                let mut open = streams.lock().unwrap_or_else(PoisonError::into_inner);
                open.retain(|stream: &Weak<_>| stream.strong_count() > 0);
                open.push(Arc::downgrade(&stream));
                drop(open);
                let handle = handle.clone();
                // A connection that breaks is the client's business; the thread ends with it.
                std::thread::spawn(move || handle(&stream));
            }
        });
        Self {
            listener,
            open,
            accepted,
            thread: Some(thread),
        }
    }

    /// Sends back whatever comes.
    pub fn echo(host: &Host, port: u16) -> Self {
        Self::start(host, port, |mut stream| {
            stream.set_nodelay(true)?;
            let mut buffer = [0; 16 << 10];
            loop {
                let got = stream.read(&mut buffer)?;
                if got == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..got])?;
            }
        })
    }

    /// Answers each HTTP/1.1 request head with 200, `Server: kernel` and `body`, connection kept.
    pub fn http(host: &Host, port: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::start(host, port, move |stream| answer_all(stream, &body))
    }

    /// As [`Server::http`] on `listener`, with the client's address as the body.
    ///
    /// # Panics
    /// As [`Server::on`].
    pub fn who(listener: TcpListener) -> Self {
        Self::on(listener, |stream| {
            let from = stream.peer_addr()?;
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            answer_all(stream, &from.to_string())
        })
    }

    /// Lets ACKs wait for an answer to ride on from the first request of a connection on; the kernel acknowledges the
    /// first ones at once otherwise. Accepted sockets have it from the listener.
    pub fn delay_acks(&self) -> io::Result<()> {
        let listener = self.listener.as_raw_fd();
        packet::set(listener, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn answer_all(stream: &TcpStream, body: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: kernel\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.set_nodelay(true)?;
    let mut out = stream;
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line == b"\r\n" {
            out.write_all(answer.as_bytes())?;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Linux this makes the blocked accept(2) return.
        let _ =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// An unmodified nginx that serves one file tree.
pub struct Nginx {
    _process: process::Process,
    _files: TempDir,
}

impl Nginx {
    /// Starts it on `port` of `host`, IPv4 and IPv6; every file of `tree` is (path, content).
    ///
    /// # Panics
    /// When nginx is missing or does not start.
    pub fn start(host: &Host, port: u16, tree: &[(&str, &[u8])]) -> Self {
        let files =
            TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let dir = files.path().display();
        let root = files.path().join("www");
        for (path, content) in tree {
            let path = root.join(path.trim_start_matches('/'));
            path.parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&path, content))
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        }
        let config = format!(
            "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ include /etc/nginx/mime.types; access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen {port}; listen [::]:{port}; root {dir}/www; }} }}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, config)
            .unwrap_or_else(|error| panic!("cannot write nginx.conf: {error}"));
        let path = path.display().to_string();
        let mut process = host.spawn(&["nginx", "-e", "stderr", "-c", &path]);
        wait_for(PATIENCE, "nginx listens", || {
            assert!(process.running(), "nginx ended:\n{}", process.stderr());
            let listens = host.must(&["ss", "-Hltn", &format!("sport = :{port}")]);
            (listens.lines().count() == 2).then_some(())
        });
        Self {
            _process: process,
            _files: files,
        }
    }
}
