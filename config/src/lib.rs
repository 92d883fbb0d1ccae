//! The configuration file of sidestep: TOML in, checked values out.
//!
//! [`Config::load`] reads a file and checks everything that can be checked without touching the network, so that
//! what the daemon gets needs no second look. [`Config::sample`] is a file that names every key with its default.

mod check;
mod error;
mod name;
mod raw;
mod reload;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigError, Position, Problem};
pub use name::{CachePath, HostPattern, Origin};
pub use reload::{Changes, NeedsAttach};
pub use value::{Queues, Ttl};

use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The NIC and how it is used.
    pub interface: Interface,
    /// Addresses served; never empty, no two the same.
    pub listen: Vec<Listen>,
    /// What is served for which hosts; never empty.
    pub sites: Vec<Site>,
    /// Bounds of what clients can make the daemon hold.
    pub limits: Limits,
    /// How the daemon is asked and told things.
    pub control: Control,
}

/// `[interface]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The NIC; `None`: the command line names it.
    pub name: Option<String>,
    /// Queues that get a worker.
    pub queues: Queues,
    /// How frames reach user space.
    pub mode: Mode,
    /// Spin instead of sleeping in poll(2) when idle.
    pub busy_poll: bool,
    /// How long a worker looks for the next frame at most before it sleeps, where frames mostly come within that time.
    pub spin: Duration,
    /// What becomes of the interrupts of the queues.
    pub interrupts: Interrupts,
    /// Frames per queue; a power of two.
    pub umem_frames: u32,
}

/// How frames reach user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The first of the others, in their order, that the driver accepts.
    #[default]
    Auto,
    /// Native XDP, frames written by the NIC into user memory.
    ZeroCopy,
    /// Native XDP, frames copied once by the kernel.
    Copy,
    /// XDP after the kernel has made its own buffer; works on every driver.
    Generic,
}

/// What becomes of the interrupts of queues that get a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interrupts {
    /// They come as the driver has them.
    #[default]
    On,
    /// They are put off for as long as the worker looks at the queue itself; only with `busy_poll`.
    Deferred,
    /// They are suspended while the worker is busy, and come back when it sleeps; only without `busy_poll`.
    Suspended,
}

/// `[[listen]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address served.
    pub address: ListenAddress,
    /// The TCP port; not 0.
    pub port: u16,
    /// Who answers what the fast path does not.
    pub fallback: Fallback,
    /// How such a request gets to the kernel.
    pub fallback_mode: FallbackMode,
    /// How that server is told who the client is. Not `Off` only with `Fallback::Kernel` and `FallbackMode::Proxy`.
    pub proxy_protocol: ProxyProtocol,
}

/// The address of a `[[listen]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `"interface"`: every address that the NIC has.
    Interface,
    /// This one; neither unspecified nor multicast.
    Ip(IpAddr),
}

/// Who answers what the fast path does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The server that listens in the kernel on the same address and port.
    #[default]
    Kernel,
    /// Nobody: the fast path refuses it itself.
    None,
}

/// How a request gets to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallbackMode {
    /// `Handoff` where the kernel can, else `Proxy`.
    #[default]
    Auto,
    /// The connection itself moves to the kernel.
    Handoff,
    /// The daemon relays it.
    Proxy,
}

/// How a server behind the proxy is told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// Not at all.
    #[default]
    Off,
    /// By a header of the PROXY protocol, version 2, in front of what the client says.
    V2,
}

/// `[[site]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Host names of the site; no pattern is in two sites.
    pub hosts: Vec<HostPattern>,
    /// Directory trees.
    pub statics: Vec<StaticRoute>,
    /// Answers written in the file.
    pub responses: Vec<ResponseRoute>,
    /// Paths whose answers are learned from a server.
    pub caches: Vec<CacheRoute>,
}

/// `[[site.static]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Percent-decoded path under which the tree appears; begins and ends with `/`.
    pub path: Vec<u8>,
    /// The directory; existed when the file was checked.
    pub root: PathBuf,
    /// File served for a directory.
    pub index: String,
    /// Largest file served from memory, in bytes.
    pub max_object: u64,
    /// Where its variants in a content coding come from.
    pub compress: Compress,
    /// What is said about the encoding of text.
    pub charset: Charset,
    /// Fields of the answers that are files.
    pub headers: Vec<Header>,
    /// The page of a 404, from the root; existed when the file was checked.
    pub not_found: Option<PathBuf>,
    /// Symbolic links may lead out of the root.
    pub follow_symlinks: bool,
    /// Names that begin with a dot are served as well.
    pub hidden: bool,
}

/// Where variants in a content coding come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compress {
    /// Nowhere: there are none.
    Off,
    /// From the files beside it: `x.br`, `x.zst` and `x.gz` for `x`.
    #[default]
    Siblings,
    /// From those, and made once when a file is loaded.
    Auto,
}

/// What `Content-Type` says about the encoding of text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Charset {
    /// `utf-8` where that is certain, else nothing.
    #[default]
    Auto,
    /// Nothing.
    Off,
    /// This, of every text; a token.
    Is(String),
}

/// A field of an answer: a name and a value that may be sent, and that is not one of those that sidestep sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, as written.
    pub name: String,
    /// Its value: visible ASCII and spaces.
    pub value: String,
}

/// `[[site.response]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseRoute {
    /// Percent-decoded path, matched whole; begins with `/`.
    pub path: Vec<u8>,
    /// Status code, 200–599.
    pub status: u16,
    /// Value of `Content-Type`; a valid field value.
    pub content_type: String,
    /// The body; empty for status 204 and 205.
    pub body: String,
    /// More fields.
    pub headers: Vec<Header>,
}

/// `[[site.cache]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRoute {
    /// Which paths.
    pub path: CachePath,
    /// The server that is asked.
    pub origin: Origin,
    /// How long an answer is fresh.
    pub ttl: Ttl,
    /// How long after that it may be served while it is fetched anew (RFC 5861, 3).
    pub stale_while_revalidate: Duration,
    /// How long after it was fresh it may be served when the server fails or is gone (RFC 5861, 4).
    pub stale_if_error: Duration,
    /// Longest that an error such as 404 is kept; 0: none is.
    pub negative_ttl: Duration,
    /// How long nothing is learned of a path after a request that may have changed it.
    pub write_hold: Duration,
    /// Largest answer that is kept, in bytes.
    pub max_object: u64,
    /// The answer is the same for everybody: `Cookie` and `Authorization` do not bypass it.
    pub public: bool,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the whole host, split over the queues.
    pub connections: u32,
    /// Largest request head, in bytes; between [`Limits::MIN_HEADER_BYTES`] and [`Limits::MAX_HEADER_BYTES`].
    pub header_bytes: u32,
    /// Requests answered on one connection before it is closed; 0: no limit.
    pub requests_per_connection: u32,
    /// From the first byte of a request head to its last; not 0.
    pub header_timeout: Duration,
    /// From an answer to the next request on the connection; not 0.
    pub idle_timeout: Duration,
    /// Learned answers of all routes together, in bytes, with what is kept beside them.
    pub cache_memory: u64,
}

impl Limits {
    /// Bounds `header_bytes` from below. A browser's first line and `Host` alone take about 100 bytes: with less than
    /// this nearly every request would be refused.
    pub const MIN_HEADER_BYTES: u32 = 256;
    /// Bounds `header_bytes` from above. A head is read in place and must fit the receive window of 64 KiB with room
    /// for a last segment; with more, a large head would fill the window and wait for ever.
    pub const MAX_HEADER_BYTES: u32 = 60 * 1024;
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Socket of `sidestep status`, `reload` and the like.
    pub socket: PathBuf,
    /// Address of the metrics page.
    pub metrics: SocketAddr,
}

impl Config {
    /// Reads and checks the file at `path`. Relative roots in it count from its own directory.
    ///
    /// # Errors
    /// The file cannot be read, or [`Config::parse`] finds something wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let source = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::of_file(
                &source,
                format!("cannot read the configuration: {error}"),
                "name a readable UTF-8 file",
            )
        })?;
        check::parse(&text, &source, path.parent().unwrap_or(Path::new("")))
    }

    /// Checks `text`; `source_name` stands in front of each error. Relative roots count from the working directory.
    ///
    /// # Errors
    /// Syntax, unknown keys and values out of range; routes that overlap; hosts and listeners named twice; roots that
    /// are not directories. All that can be found in one pass are reported together.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, ConfigError> {
        check::parse(text, source_name, Path::new(""))
    }

    /// A file with every key, its default and what it does; it parses as it is.
    pub fn sample() -> &'static str {
        include_str!("sample.toml")
    }
}
