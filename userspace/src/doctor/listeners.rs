//! Who listens behind the fast path.

use super::{Check, Finding, Patient};
use crate::handoff::{Diag, Match};
use sidestep_config::{Fallback, ListenAddress};
use std::net::IpAddr;
use tcp_lite::Endpoint;

pub(super) const CHECKS: &[Check] = &[("listeners", listeners)];

fn listeners(patient: &Patient<'_>) -> Finding {
    let Some(config) = patient.config else {
        return Finding::fine("not asked: name a configuration with --config");
    };
    let mut diag = match Diag::open(patient.nic.index) {
        Ok(diag) => diag,
        Err(e) => {
            return Finding::worse(
                format!("the kernel does not tell who listens: {e}; connections cannot move to it"),
                "`modprobe tcp_diag`",
            );
        }
    };
    let (mut nobody, mut mptcp) = (Vec::new(), Vec::new());
    for listen in &config.listen {
        if listen.fallback == Fallback::None {
            continue;
        }
        let addresses: Vec<IpAddr> = match listen.address {
            ListenAddress::Ip(ip) => vec![ip],
            ListenAddress::Interface => patient.nic.addresses.iter().copied().collect(),
        };
        for ip in addresses {
            let at = Endpoint {
                addr: ip.into(),
                port: listen.port,
            };
            let name = std::net::SocketAddr::new(ip, listen.port).to_string();
            match diag.listener(&at) {
                Ok(Match::Nobody) => nobody.push(name),
                Ok(Match::Listener { mptcp: true }) => mptcp.push(name),
                Ok(Match::Listener { mptcp: false } | Match::Flow) | Err(_) => {}
            }
        }
    }
    if !mptcp.is_empty() {
        return Finding::worse(
            format!(
                "the server at {} speaks MPTCP: a proxy carries connections to it",
                mptcp.join(", ")
            ),
            "turn MPTCP off there (Go: GODEBUG=multipathtcp=0), or `sysctl -w net.mptcp.enabled=0`",
        );
    }
    if !nobody.is_empty() {
        return Finding::note(
            format!(
                "nobody listens at {}: requests that are not ours get 503",
                nobody.join(", ")
            ),
            "start the server, on this address and port or on all; a server that is bound to another device does not count; \
             or `fallback = \"none\"`",
        );
    }
    Finding::fine("there, where a server is to be behind")
}
