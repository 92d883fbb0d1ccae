//! Where frames to the target have to go.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How often, and how long apart, the kernel is asked for a neighbour that it has been made to look for: three seconds,
/// as long as it looks itself.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);

/// The port of a datagram that is sent for its address to be looked for ("discard", RFC 863).
const DISCARD: u16 = 9;

/// An Ethernet address, `02:00:00:00:00:01`.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = parts
            .next()
            .filter(|part| part.len() == 2)
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or_else(|| format!("`{text}` is not an Ethernet address like 02:00:00:00:00:01"))?;
    }
    match parts.next() {
        None => Ok(mac),
        Some(_) => Err(format!("`{text}` has more than six bytes")),
    }
}

/// The Ethernet address behind which `target` is, as the kernel has it: the target's own, or that of the router.
///
/// # Errors
/// The kernel has no route there by `interface`, or the neighbour does not answer.
pub(crate) fn resolve(interface: &str, target: SocketAddr) -> Result<[u8; 6]> {
    let next = next_hop(interface, target.ip())?;
    let any: IpAddr = match next {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    for _ in 0..TRIES {
        if let Some(mac) = neighbour(interface, next)? {
            return Ok(mac);
        }
        // An error means that it is being looked for, too.
        let _ = UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(&[], (next, DISCARD)));
        thread::sleep(PAUSE);
    }
    bail!(
        "{next} does not say its Ethernet address on {interface}\n  help: give it by --target-mac"
    )
}

fn next_hop(interface: &str, target: IpAddr) -> Result<IpAddr> {
    let routes = ip(&["route", "get", &target.to_string(), "oif", interface])?;
    let gateway = routes[0]["gateway"].as_str();
    gateway.map_or(Ok(target), |gateway| {
        gateway.parse().context("a router's address")
    })
}

fn neighbour(interface: &str, address: IpAddr) -> Result<Option<[u8; 6]>> {
    let known = ip(&["neigh", "show", &address.to_string(), "dev", interface])?;
    Ok(known[0]["lladdr"]
        .as_str()
        .and_then(|mac| parse_mac(mac).ok()))
}

/// What `ip` says, as JSON.
fn ip(words: &[&str]) -> Result<Value> {
    let output = Command::new("ip")
        .arg("-json")
        .args(words)
        .output()
        .context("cannot run `ip`, of the package iproute2")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}`: {}", words.join(" "), complaint.trim());
    }
    if output.stdout.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).context("the output of `ip`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses_are_read() {
        assert_eq!(parse_mac("02:00:0a:ff:00:01"), Ok([2, 0, 10, 255, 0, 1]));
        for text in [
            "",
            "02:00:0a:ff:00",
            "02:00:0a:ff:00:01:02",
            "2:0:0:0:0:1",
            "02-00-00-00-00-01",
        ] {
            assert!(parse_mac(text).is_err(), "{text}");
        }
    }
}
