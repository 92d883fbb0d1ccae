//! Settings of the network namespace that a handoff depends on.

use super::{Check, Finding, Patient, read};

pub(super) const CHECKS: &[Check] = &[
    ("tcp_syncookies", syncookies),
    ("conntrack", conntrack),
    ("rp_filter", rp_filter),
];

fn syncookies(_: &Patient<'_>) -> Finding {
    match read("/proc/sys/net/ipv4/tcp_syncookies").as_deref() {
        Some("0") => Finding::worse(
            "net.ipv4.tcp_syncookies is 0: connections cannot move to the kernel, a proxy carries them",
            "`sysctl -w net.ipv4.tcp_syncookies=1` (the default)",
        ),
        _ => Finding::fine("on"),
    }
}

fn conntrack(_: &Patient<'_>) -> Finding {
    match read("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").as_deref() {
        None => Finding::fine("not loaded"),
        Some("0") => Finding::worse(
            "nf_conntrack_tcp_loose is 0: a firewall with `ct state invalid drop` drops connections that move to the \
             kernel, since it has not seen their beginning",
            "`sysctl -w net.netfilter.nf_conntrack_tcp_loose=1` (the default), or `notrack` both ways for the ports under \
             [[listen]]",
        ),
        Some(_) => Finding::note(
            "loaded, and takes up connections in the middle",
            "a rule that drops what is `ct state new` without SYN would cut connections that move to the kernel: exempt \
             the ports under [[listen]] from it",
        ),
    }
}

fn rp_filter(patient: &Patient<'_>) -> Finding {
    let value = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        read(&path).and_then(|v| v.parse::<u8>().ok()).unwrap_or(0)
    };
    // The larger one counts (networking/ip-sysctl.rst).
    match value("all").max(value(&patient.nic.name)) {
        1 => Finding::note(
            "strict: the kernel drops what comes in by another way than its answer would go out; the fast path does not ask",
            "nothing to do, unless this host is reached by several ways",
        ),
        value => Finding::fine(format!("{value}")),
    }
}
