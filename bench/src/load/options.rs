//! The command line of `load`.

use super::answers::Expected;
use super::device::Mode;
use super::engine::Settings;
use super::frames;
use super::neighbours::Neighbours;
use super::peer::parse_mac;
use super::requests::{Requests, render};
use super::sources::{Prefix, Sources};
use super::wire::Template;
use anyhow::{Context, Result, ensure};
use sidestep::nic::Nic;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of an IP and a TCP header without options.
const HEADERS_V4: usize = 40;
const HEADERS_V6: usize = 60;

/// Requests of the circle at most: their places are counted in 16 bits.
const MAX_PATHS: usize = 10_000;

/// What to ask for, how, and from where. Needs root.
///
/// The generator has addresses and a TCP of its own; the kernel of its host sees nothing of it but what other traffic
/// there is on the interface, which it keeps. A server with a kernel needs a route back to the addresses of --sources
/// by this link (`ip route add 10.64.0.0/10 dev eth0`); the generator answers its questions for them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The NIC to send from
    #[arg(long)]
    pub(crate) interface: String,
    /// The server
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Addresses to ask from: ADDRESS or ADDRESS/LENGTH [default: the first address of the NIC]
    #[arg(long)]
    sources: Option<Prefix>,
    /// The server's Ethernet address, or that of the router to it [default: as the kernel finds it]
    #[arg(long, value_parser = parse_mac)]
    pub(crate) target_mac: Option<[u8; 6]>,
    /// Connections, all opened before the first request is sent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) connections: u32,
    /// Requests under way on a connection; in a closed loop they are sent together, when all answers have come
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    depth: u32,
    /// Requests of a connection, which is then closed and followed by a new one; 0: no limit
    #[arg(long, default_value_t = 0)]
    requests_per_connection: u32,
    /// How long to measure
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// How long to ask before that
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Requests per second over all connections, sent at even intervals; a latency counts from when its request should
    /// have been sent [default: each as soon as its connection has its answers]
    #[arg(long)]
    rate: Option<f64>,
    /// What to ask for; several are asked for in turn, one that is given twice twice as often [default: /]
    #[arg(long = "path")]
    paths: Vec<String>,
    /// Per cent of the connections that ask; the others only stay open
    #[arg(long, default_value_t = 100.0)]
    active: f64,
    /// Share of the bodies that are compared byte by byte, with the first one or that of --expect; each answer's status
    /// and length always are
    #[arg(long, default_value_t = 0.01)]
    verify: f64,
    /// What every body has to be
    #[arg(long)]
    expect: Option<PathBuf>,
    /// The status of a right answer
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// The method
    #[arg(long, default_value = "GET")]
    method: String,
    /// One more field of each request, `Name: value`
    #[arg(long = "header")]
    headers: Vec<String>,
    /// Connections that wait for the server at once; the others wait here for their turn. More than some thousand may
    /// overflow the server's queue
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Longest that an answer is waited for
    #[arg(long, default_value = "30", value_parser = seconds)]
    patience: Duration,
    /// Look at the checksums of segments, where the NIC does not; those of a kernel on a veth pair are not whole unless
    /// `ethtool -K IF tx off` has been run there
    #[arg(long)]
    checksums: bool,
    /// Leave the connections open at the end
    #[arg(long)]
    abandon: bool,
    /// No connections, but so many frames of the first request's size under way, for `sidestep-bench reflect`
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3072))]
    pub(crate) frames: Option<u32>,
    /// How to open the NIC
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub(crate) mode: Mode,
    /// The core to run on
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Never sleep
    #[arg(long)]
    pub(crate) spin: bool,
    /// Say the result in one line, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Options {
    /// The addresses to ask from.
    pub(crate) fn sources(&self, nic: &Nic) -> Result<Prefix> {
        let prefix = match self.sources {
            Some(prefix) => prefix,
            None => {
                let link_local = |address: &IpAddr| match address {
                    IpAddr::V4(v4) => v4.is_link_local(),
                    IpAddr::V6(v6) => v6.is_unicast_link_local(),
                };
                let fits = |address: &&IpAddr| {
                    address.is_ipv4() == self.target.is_ipv4() && !link_local(address)
                };
                let own = nic.addresses.iter().find(fits).with_context(|| {
                    format!(
                        "{} has no address to ask from\n  help: give some by --sources",
                        nic.name
                    )
                })?;
                Prefix::only(*own)
            }
        };
        ensure!(
            prefix.address().is_ipv4() == self.target.is_ipv4(),
            "--sources and --target are of different IP versions"
        );
        ensure!(
            !prefix.has(self.target.ip()),
            "--sources has the address of --target"
        );
        Ok(prefix)
    }

    /// The requests of the circle.
    fn rendered(&self) -> Vec<Vec<u8>> {
        let host = match self.target.port() {
            80 if self.target.is_ipv6() => format!("[{}]", self.target.ip()),
            80 => self.target.ip().to_string(),
            _ => self.target.to_string(),
        };
        let request = |path: &String| render(&self.method, path, &host, &self.headers);
        self.paths().iter().map(request).collect()
    }

    fn paths(&self) -> Vec<String> {
        match self.paths[..] {
            [] => vec!["/".to_owned()],
            _ => self.paths.clone(),
        }
    }

    /// What a run without connections needs.
    pub(crate) fn frame_settings(
        &self,
        nic: &Nic,
        sources: Sources,
        template: Template,
        frames: u32,
    ) -> frames::Settings {
        frames::Settings {
            sources,
            template,
            requests: Requests::new(&self.rendered(), nic.mtu),
            frames,
            warm_up: self.warm_up,
            seconds: self.seconds,
        }
    }

    /// What the engine needs.
    ///
    /// # Errors
    /// Says which option is wrong.
    pub(crate) fn settings(
        &self,
        nic: &Nic,
        prefix: Prefix,
        sources: Sources,
        own: [u8; 6],
        template: Template,
    ) -> Result<Settings> {
        let share = |value: f64, most: f64| value >= 0.0 && value <= most;
        ensure!(share(self.verify, 1.0), "--verify is a share, 0 to 1");
        ensure!(
            share(self.active, 100.0),
            "--active is a percentage, 0 to 100"
        );
        ensure!(
            self.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()),
            "--rate is a number of requests per second"
        );
        let paths = self.paths();
        ensure!(paths.len() <= MAX_PATHS, "more than {MAX_PATHS} paths");
        let known = match &self.expect {
            Some(file) => {
                Some(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
            }
            None => None,
        };
        let bodiless = self.method == "HEAD";
        let mut different: Vec<&String> = Vec::new();
        let mut path_of = Vec::with_capacity(paths.len());
        for path in &paths {
            let place = different.iter().position(|other| *other == path);
            path_of.push(place.unwrap_or(different.len()) as u16);
            if place.is_none() {
                different.push(path);
            }
        }
        let expected = different
            .iter()
            .map(|_| Expected::new(self.status, bodiless, known.clone().filter(|_| !bodiless)))
            .collect();
        let headers = if self.target.is_ipv4() {
            HEADERS_V4
        } else {
            HEADERS_V6
        };
        let mss = nic.mtu.saturating_sub(headers);
        ensure!(mss >= 500, "an MTU of {} is too small", nic.mtu);
        let active = (f64::from(self.connections) * self.active / 100.0).round() as u32;
        Ok(Settings {
            sources,
            template,
            neighbours: Neighbours { own, prefix },
            requests: Requests::new(&self.rendered(), mss),
            expected,
            path_of,
            mss: mss as u16,
            connections: self.connections,
            active: active.max(1),
            depth: self.depth,
            per_connection: self.requests_per_connection,
            rate: self.rate,
            in_flight: self.in_flight,
            compare_each: if self.verify > 0.0 {
                (1.0 / self.verify).round() as u32
            } else {
                0
            },
            check_sums: self.checksums,
            patience: self.patience,
            warm_up: self.warm_up,
            seconds: self.seconds,
            abandon: self.abandon,
        })
    }
}
