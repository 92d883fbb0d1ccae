//! What the kernel and the process's privileges have to give.

use super::{Check, Finding, Patient, read};
use crate::xsk::{BindMode, chunk};
use crate::{genl, handoff, sys};
use nix::sys::resource::{Resource, getrlimit};
use sidestep_config::Mode;
use std::fs::OpenOptions;
use std::io;

pub(super) const CHECKS: &[Check] = &[
    ("privilege", privilege),
    ("kernel", version),
    ("af_xdp", af_xdp),
    ("handoff", kfunc),
    ("tun", tun),
    ("memlock", memlock),
    ("hugepages", hugepages),
];

/// The oldest kernel that has what every attach needs (tcx among it).
const OLDEST: (u32, u32) = (6, 6);

/// Bits of the capability sets (linux/capability.h).
const NEEDED: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];
const CAP_IPC_LOCK: u32 = 14;

/// The effective capabilities (`CapEff` of proc_pid_status(5)).
fn capabilities() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn privilege(_: &Patient<'_>) -> Finding {
    let all = capabilities();
    let missing = NEEDED.iter().filter(|(bit, _)| all & (1 << bit) == 0);
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Finding::fine("may load BPF programs and change the NIC");
    }
    Finding::no(
        format!("without {}", missing.join(", ")),
        "run as root, or with these capabilities",
    )
}

fn version(_: &Patient<'_>) -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        return Finding::fine(format!("Linux {release}"));
    }
    let (major, minor) = OLDEST;
    Finding::no(
        format!("Linux {release}"),
        format!("boot Linux {major}.{minor} or later; 6.9 or later to hand connections over"),
    )
}

fn af_xdp(_: &Patient<'_>) -> Finding {
    match sys::xdp_socket() {
        Ok(_) => Finding::fine("AF_XDP sockets"),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Finding::no("AF_XDP sockets need CAP_NET_RAW", "run as root")
        }
        Err(e) => Finding::no(
            format!("no AF_XDP sockets: {e}"),
            "boot a kernel with CONFIG_XDP_SOCKETS",
        ),
    }
}

fn kfunc(_: &Patient<'_>) -> Finding {
    if handoff::kernel_takes_connections() {
        return Finding::fine("connections can move to the kernel");
    }
    Finding::worse(
        "connections cannot move to the kernel: a proxy carries them to the server behind, which sees this host as its \
         client",
        "boot Linux 6.9 or later with CONFIG_DEBUG_INFO_BTF and CONFIG_SYN_COOKIES",
    )
}

fn tun(_: &Patient<'_>) -> Finding {
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(_) => Finding::fine("/dev/net/tun"),
        Err(e) => Finding::worse(
            format!(
                "/dev/net/tun: {e}; connections cannot move to the kernel, and segments that are not ours are lost"
            ),
            "`modprobe tun`; in a container, pass the device through",
        ),
    }
}

/// How the queues would be bound, as far as the driver tells.
fn bind_mode(patient: &Patient<'_>) -> BindMode {
    let asked = patient.config.map_or(Mode::Auto, |c| c.interface.mode);
    let zero_copy = match asked {
        Mode::ZeroCopy => true,
        Mode::Copy | Mode::Generic => false,
        Mode::Auto => genl::xdp_features(patient.nic.index).is_ok_and(|has| has.zero_copy()),
    };
    match zero_copy {
        true => BindMode::ZeroCopy,
        false => BindMode::Copy,
    }
}

/// Bytes of a queue's frames.
fn queue_bytes(patient: &Patient<'_>) -> u64 {
    let frames = patient.config.map_or(8192, |c| c.interface.umem_frames);
    // Above the largest MTU nothing is attached at all.
    let chunk = chunk(patient.nic.mtu, bind_mode(patient)).unwrap_or_default();
    u64::from(frames) * chunk as u64
}

fn memlock(patient: &Patient<'_>) -> Finding {
    if capabilities() & (1 << CAP_IPC_LOCK) != 0 {
        return Finding::fine("no limit on locked memory");
    }
    let need = queue_bytes(patient) * u64::from(patient.nic.queues);
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((limit, _)) if limit < need => Finding::no(
            format!(
                "{} KiB may be locked, {} KiB are needed",
                limit >> 10,
                need >> 10
            ),
            "`ulimit -l unlimited`, or `LimitMEMLOCK=infinity` in the unit, or CAP_IPC_LOCK",
        ),
        Ok(_) | Err(_) => Finding::fine("enough memory may be locked"),
    }
}

fn hugepages(patient: &Patient<'_>) -> Finding {
    let info = read("/proc/meminfo").unwrap_or_default();
    let free = info.lines().find_map(|l| l.strip_prefix("HugePages_Free:"));
    let free: u64 = free.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let need = queue_bytes(patient).div_ceil(2 << 20) * u64::from(patient.nic.queues);
    if free >= need {
        return Finding::fine(format!("{free} hugepages are free, {need} are needed"));
    }
    Finding::note(
        format!("{free} hugepages are free, {need} would be used: small pages do, a little slower"),
        format!("`sysctl -w vm.nr_hugepages={need}` before other programs fill the memory"),
    )
}
