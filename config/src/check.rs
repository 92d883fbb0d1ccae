//! From the file as written to a [`Config`]: defaults, ranges, and rules across values.

mod fields;
mod site;

use crate::error::{ConfigError, Report};
use crate::value::{Queues, Size, Span, show_size};
use crate::{
    Config, Control, Fallback, FallbackMode, Interface, Interrupts, Limits, Listen, ListenAddress,
    ProxyProtocol, raw,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Bounds `umem_frames`, per queue. Below 256 the four rings starve under one burst of the NIC; above a million a
/// queue pins more than 4 GiB. The kernel's rings are powers of two, so the frames are too.
const UMEM_FRAMES: RangeInclusive<i64> = 256..=1 << 20;
/// Bounds `limits.connections`. Each costs up to 256 bytes of table allocated at start: a hundred million is 25 GiB.
const CONNECTIONS: RangeInclusive<i64> = 1..=100_000_000;
/// Bounds the timeouts. Zero would close every connection at once; over a day they protect nothing.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// Bounds `spin`. A worker learns where it does not pay, but each try may take this long from others on its core; no
/// wake-up takes a millisecond.
const SPIN: Duration = Duration::from_millis(1);
/// `spin` by default: what the wake-up of an idle core takes under a hypervisor. On bare metal, and by a longer sleep of
/// the core, it is less.
const SPIN_DEFAULT: Duration = Duration::from_micros(50);
/// Bounds `limits.cache_memory`. Below a mebibyte hardly an answer fits; above a tebibyte it is a slip.
const CACHE_MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;
/// Longest interface name: IFNAMSIZ - 1 (linux/if.h).
const INTERFACE_NAME: usize = 15;
/// Longest path of a Unix socket: sizeof(sun_path) - 1 (unix(7)).
const SOCKET_PATH: usize = 107;

pub(crate) fn parse(text: &str, source: &str, base: &Path) -> Result<Config, ConfigError> {
    let mut report = Report::new(source, text);
    let file: raw::File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let (what, help) = explain(error.message());
            report.add(error.span().unwrap_or(0..0), what, help);
            return Err(report.into_error());
        }
    };
    let config = Config {
        interface: interface(file.interface, &mut report),
        listen: listeners(file.listen, &mut report),
        sites: site::sites(file.site, base, &mut report),
        limits: limits(file.limits, &mut report),
        control: control(file.control, &mut report),
    };
    if config.sites.is_empty() {
        report.add(
            text.len()..text.len(),
            "there is no [[site]]: nothing would be served",
            "add one, e.g. a [[site]] with a [[site.static]] that has `path` and `root`",
        );
    }
    if report.is_empty() {
        Ok(config)
    } else {
        Err(report.into_error())
    }
}

/// Splits a message of the TOML reader into what is wrong and what to do.
fn explain(message: &str) -> (String, String) {
    if let Some((what, help)) = message.split_once('\n') {
        return (what.to_owned(), help.trim().replace('\n', ", "));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (key, known) = rest.split_once(", expected ").unwrap_or((rest, "no keys"));
        return (
            format!("unknown key {key}"),
            format!("the keys here are: {}", known.trim_start_matches("one of ")),
        );
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return (
            format!("the key {key} is missing"),
            format!("add {key} to this table"),
        );
    }
    let help = match message {
        m if m.starts_with("unknown variant") => "write one of the values named",
        m if m.starts_with("invalid type") => "write a value of the type expected",
        _ => "the file is TOML 1.0 (https://toml.io); `sidestep check FILE` checks it",
    };
    (message.to_owned(), help.to_owned())
}

fn interface(raw: raw::Interface, report: &mut Report<'_>) -> Interface {
    let name = raw.name.and_then(|name| {
        let text = name.get_ref();
        let fits = (1..=INTERFACE_NAME).contains(&text.len())
            && !matches!(text.as_str(), "." | "..")
            && !text
                .contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if fits {
            return Some(name.into_inner());
        }
        report.add(
            name.span(),
            format!(
                "`{}` cannot be the name of an interface",
                text.escape_debug()
            ),
            "`ip link` lists the names",
        );
        None
    });
    let umem_span = raw.umem_frames.as_ref().map(Spanned::span);
    let umem_frames: u32 = integer(raw.umem_frames, 8192, UMEM_FRAMES, "umem_frames", report);
    if let (false, Some(span)) = (umem_frames.is_power_of_two(), umem_span) {
        report.add(
            span,
            format!("umem_frames = {umem_frames} is not a power of two"),
            format!("write {}", umem_frames.next_power_of_two()),
        );
    }
    let busy_poll = raw.busy_poll.unwrap_or(false);
    let interrupts = interrupts(raw.interrupts, busy_poll, report);
    Interface {
        name,
        queues: raw.queues.unwrap_or(Queues::All),
        mode: raw.mode.unwrap_or_default(),
        busy_poll,
        spin: longest(raw.spin, SPIN_DEFAULT, SPIN, "spin", report),
        interrupts,
        umem_frames,
    }
}

/// Who has put off a NIC's interrupts has to look at it.
fn interrupts(
    raw: Option<Spanned<Interrupts>>,
    busy_poll: bool,
    report: &mut Report<'_>,
) -> Interrupts {
    let Some(raw) = raw else {
        return Interrupts::default();
    };
    let wrong = match (raw.get_ref(), busy_poll) {
        (Interrupts::Deferred, false) => (
            "nobody would look at the queues: with interrupts = \"deferred\" the worker must not sleep",
            "add busy_poll = true, or write interrupts = \"suspended\"",
        ),
        (Interrupts::Suspended, true) => (
            "a worker that never sleeps would never let suspended interrupts come back",
            "write interrupts = \"deferred\", or busy_poll = false",
        ),
        (Interrupts::On, _) | (Interrupts::Deferred, true) | (Interrupts::Suspended, false) => {
            return raw.into_inner();
        }
    };
    report.add(raw.span(), wrong.0, wrong.1);
    raw.into_inner()
}

fn listeners(raw: Vec<Spanned<raw::Listen>>, report: &mut Report<'_>) -> Vec<Listen> {
    let mut seen: Vec<(ListenAddress, u16)> = Vec::new();
    let mut list = Vec::new();
    if raw.is_empty() {
        list.push(Listen {
            address: ListenAddress::Interface,
            port: 80,
            fallback: Default::default(),
            fallback_mode: Default::default(),
            proxy_protocol: Default::default(),
        });
    }
    for entry in raw {
        let table = entry.span();
        let listen = entry.into_inner();
        let address = match listen.address {
            None => Some(ListenAddress::Interface),
            Some(text) => listen_address(&text, report),
        };
        let port = integer(listen.port, 80, 1..=65_535, "port", report);
        let Some(address) = address else { continue };
        // "interface" stands for every address, so it collides with each.
        let taken = seen.iter().any(|&(other, other_port)| {
            other_port == port
                && (other == address
                    || other == ListenAddress::Interface
                    || address == ListenAddress::Interface)
        });
        if taken {
            report.add(
                table,
                format!("port {port} of this address is in another [[listen]] already"),
                "keep one of the two; \"interface\" means every address",
            );
        }
        seen.push((address, port));
        let (fallback_mode, proxy_protocol) = proxied(
            listen.fallback,
            listen.fallback_mode,
            listen.proxy_protocol,
            report,
        );
        list.push(Listen {
            address,
            port,
            fallback: listen.fallback,
            fallback_mode,
            proxy_protocol,
        });
    }
    list
}

/// The PROXY protocol is spoken by a proxy, which it therefore implies.
fn proxied(
    fallback: Fallback,
    mode: FallbackMode,
    protocol: Option<Spanned<ProxyProtocol>>,
    report: &mut Report<'_>,
) -> (FallbackMode, ProxyProtocol) {
    let Some(protocol) = protocol else {
        return (mode, ProxyProtocol::Off);
    };
    let wrong = match (protocol.get_ref(), fallback, mode) {
        (ProxyProtocol::Off, _, _) => return (mode, ProxyProtocol::Off),
        (ProxyProtocol::V2, Fallback::None, _) => Some((
            "proxy_protocol tells a server who the client is, and with fallback = \"none\" there is no server",
            "remove proxy_protocol, or write fallback = \"kernel\"",
        )),
        (ProxyProtocol::V2, Fallback::Kernel, FallbackMode::Handoff) => Some((
            "with fallback_mode = \"handoff\" the server accepts the client's own connection, without a PROXY header",
            "remove proxy_protocol: the server sees the client's address; or write fallback_mode = \"proxy\"",
        )),
        (ProxyProtocol::V2, Fallback::Kernel, FallbackMode::Auto | FallbackMode::Proxy) => None,
    };
    if let Some((what, help)) = wrong {
        report.add(protocol.span(), what, help);
    }
    (FallbackMode::Proxy, protocol.into_inner())
}

fn listen_address(text: &Spanned<String>, report: &mut Report<'_>) -> Option<ListenAddress> {
    const HELP: &str = r#"write an IPv4 or IPv6 address of the NIC, or "interface" for all of them; `port` is a key of its own"#;
    if text.get_ref() == "interface" {
        return Some(ListenAddress::Interface);
    }
    match text.get_ref().parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip)
            if ip.is_unspecified()
                || ip.is_multicast()
                || ip == IpAddr::V4(Ipv4Addr::BROADCAST) =>
        {
            report.add(
                text.span(),
                format!("{ip} is not the address of one host"),
                HELP,
            );
            None
        }
        Ok(ip) => Some(ListenAddress::Ip(ip)),
        Err(_) => {
            report.add(
                text.span(),
                format!("`{}` is not an address", text.get_ref()),
                HELP,
            );
            None
        }
    }
}

fn limits(raw: raw::Limits, report: &mut Report<'_>) -> Limits {
    let header_bytes = size(
        raw.header_bytes,
        16 * 1024,
        u64::from(Limits::MIN_HEADER_BYTES)..=u64::from(Limits::MAX_HEADER_BYTES),
        "header_bytes",
        report,
    );
    Limits {
        connections: integer(
            raw.connections,
            1_000_000,
            CONNECTIONS,
            "connections",
            report,
        ),
        header_bytes: u32::try_from(header_bytes).unwrap_or(Limits::MAX_HEADER_BYTES),
        requests_per_connection: integer(
            raw.requests_per_connection,
            0,
            0..=i64::from(u32::MAX),
            "requests_per_connection",
            report,
        ),
        header_timeout: timeout(
            raw.header_timeout,
            Duration::from_secs(10),
            "header_timeout",
            report,
        ),
        idle_timeout: timeout(
            raw.idle_timeout,
            Duration::from_secs(60),
            "idle_timeout",
            report,
        ),
        cache_memory: size(
            raw.cache_memory,
            256 << 20,
            CACHE_MEMORY,
            "cache_memory",
            report,
        ),
    }
}

fn control(raw: raw::Control, report: &mut Report<'_>) -> Control {
    let socket = match raw.socket {
        None => PathBuf::from("/run/sidestep/control.sock"),
        Some(path) => {
            let text = path.get_ref();
            if !text.starts_with('/') || text.len() > SOCKET_PATH || text.contains('\0') {
                report.add(
                    path.span(),
                    format!("`{}` cannot be the path of a socket", text.escape_debug()),
                    format!("write an absolute path of at most {SOCKET_PATH} bytes"),
                );
            }
            PathBuf::from(path.into_inner())
        }
    };
    let metrics = match raw.metrics {
        None => SocketAddr::from(([127, 0, 0, 1], 9469)),
        Some(text) => text.get_ref().parse().unwrap_or_else(|_| {
            report.add(
                text.span(),
                format!("`{}` is not an address with a port", text.get_ref()),
                r#"write e.g. "127.0.0.1:9469" or "[::1]:9469""#,
            );
            SocketAddr::from(([127, 0, 0, 1], 9469))
        }),
    };
    Control { socket, metrics }
}

/// The integer or its default; outside `range` is noted, and the default taken so that checking can go on.
fn integer<T: TryFrom<i64> + Copy>(
    raw: Option<Spanned<i64>>,
    default: T,
    range: RangeInclusive<i64>,
    key: &str,
    report: &mut Report<'_>,
) -> T {
    let Some(raw) = raw else { return default };
    let number = *raw.get_ref();
    match T::try_from(number) {
        Ok(value) if range.contains(&number) => value,
        _ => {
            report.add(
                raw.span(),
                format!("{key} = {number} is out of range"),
                format!("write a number from {} to {}", range.start(), range.end()),
            );
            default
        }
    }
}

fn size(
    raw: Option<Spanned<Size>>,
    default: u64,
    range: RangeInclusive<u64>,
    key: &str,
    report: &mut Report<'_>,
) -> u64 {
    let Some(raw) = raw else { return default };
    let Size(bytes) = *raw.get_ref();
    if range.contains(&bytes) {
        return bytes;
    }
    report.add(
        raw.span(),
        format!("{key} of {} is out of range", show_size(bytes)),
        format!(
            "write a size from {} to {}",
            show_size(*range.start()),
            show_size(*range.end())
        ),
    );
    default
}

/// The span or its default, at most `most`.
fn longest(
    raw: Option<Spanned<Span>>,
    default: Duration,
    most: Duration,
    key: &str,
    report: &mut Report<'_>,
) -> Duration {
    let Some(raw) = raw else { return default };
    let Span(span) = *raw.get_ref();
    if span <= most {
        return span;
    }
    report.add(
        raw.span(),
        format!(
            "{key} of {} is out of range",
            humantime::format_duration(span)
        ),
        format!(
            "write a duration of at most {}",
            humantime::format_duration(most)
        ),
    );
    default
}

fn timeout(
    raw: Option<Spanned<Span>>,
    default: Duration,
    key: &str,
    report: &mut Report<'_>,
) -> Duration {
    let Some(raw) = raw else { return default };
    let Span(span) = *raw.get_ref();
    if TIMEOUT.contains(&span) {
        return span;
    }
    report.add(
        raw.span(),
        format!(
            "{key} of {} is out of range",
            humantime::format_duration(span)
        ),
        "write a duration from 1ms to 1d",
    );
    default
}
