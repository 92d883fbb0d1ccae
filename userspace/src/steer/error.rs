//! Why steering failed, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;

use aya::maps::MapError;

use super::{AttachMode, Occupant};

/// Why the XDP program could not be loaded, attached or told something. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The process may not use BPF or change the NIC (EPERM, EACCES).
    #[error(
        "no permission to {what}; run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and \
         CAP_PERFMON"
    )]
    NoPermission {
        /// What was refused.
        what: &'static str,
    },
    /// The kernel cannot run the program.
    #[error("the kernel refused the XDP program: {}; sidestep needs Linux 6.6 or newer with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS", chain(&**.0))]
    Load(Box<dyn Error + Send + Sync>),
    /// ENODEV: no such NIC in this network namespace.
    #[error("there is no network interface `{ifname}` here; `ip -br link` lists them")]
    NoInterface {
        /// The name asked for.
        ifname: String,
    },
    /// EBUSY or EEXIST: the NIC runs another XDP program.
    #[error("{ifname} already runs {}", Occupied(.occupant.as_ref(), ifname))]
    Busy {
        /// The NIC.
        ifname: String,
        /// The program that is there, if it could be found out.
        occupant: Option<Occupant>,
    },
    /// ERANGE: the MTU is too large for a frame in one buffer, as the driver has it.
    #[error(
        "the driver of {ifname} runs no XDP program at this MTU; lower it: `ip link set dev {ifname} mtu 1500`"
    )]
    Mtu {
        /// The NIC.
        ifname: String,
    },
    /// EOPNOTSUPP: the driver has no support for this mode.
    #[error(
        "the driver of {ifname} has no {mode} XDP; use another mode (`mode = \"auto\"` finds one)"
    )]
    Unsupported {
        /// The NIC.
        ifname: String,
        /// The mode it does not have.
        mode: AttachMode,
    },
    /// The driver refused for a reason of its own, which it writes to the kernel's log or a tracepoint only.
    #[error(
        "the driver of {ifname} refused {mode} XDP: {error}; `dmesg` or the tracepoint xdp:bpf_xdp_link_attach_failed \
         may say why (too few free queues, LRO or header split on, …); `mode = \"generic\"` works on every driver"
    )]
    Refused {
        /// The NIC.
        ifname: String,
        /// The mode asked for.
        mode: AttachMode,
        /// The driver's answer.
        error: io::Error,
    },
    /// A map could not be read or written.
    #[error("BPF map {name}: {}", chain(.error))]
    Map {
        /// The map.
        name: &'static str,
        /// The kernel's answer.
        error: MapError,
    },
    /// The table of flows could not be mapped.
    #[error("cannot map the table of flows: {0}; raise the limit on address space (`ulimit -v`)")]
    Flows(io::Error),
    /// The embedded object lacks a program or map.
    #[error(
        "the embedded BPF object has no `{0}`; it was not built from this source: run `cargo xtask bpf`"
    )]
    NoSuchPart(&'static str),
}

impl SteerError {
    /// Whether attaching in another mode may work where this error came up.
    pub fn other_mode_may_work(&self) -> bool {
        match self {
            Self::Mtu { .. } | Self::Unsupported { .. } | Self::Refused { .. } => true,
            Self::NoPermission { .. }
            | Self::Load(_)
            | Self::NoInterface { .. }
            | Self::Busy { .. }
            | Self::Map { .. }
            | Self::Flows(_)
            | Self::NoSuchPart(_) => false,
        }
    }

    pub(super) fn load(error: impl Error + Send + Sync + 'static) -> Self {
        match errno(&error) {
            Some(libc::EPERM | libc::EACCES) if !has_verifier_log(&error) => Self::NoPermission {
                what: "load BPF programs",
            },
            _ => Self::Load(Box::new(error)),
        }
    }

    pub(super) fn map(name: &'static str) -> impl Fn(MapError) -> Self {
        move |error| Self::Map { name, error }
    }
}

/// The error number at the root of `error`.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The verifier answers EACCES, too, but with a reason.
fn has_verifier_log(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref())
        .any(|cause| match cause {
            aya::programs::ProgramError::LoadError { verifier_log, .. } => {
                !verifier_log.to_string().is_empty()
            }
            _ => false,
        })
}

/// `error` with its causes, in one line each only once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// "another XDP program …; fix".
struct Occupied<'a>(Option<&'a Occupant>, &'a str);

impl fmt::Display for Occupied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(occupant, ifname) = self;
        let Some(occupant) = occupant else {
            return write!(
                f,
                "another XDP program; `ip -d link show dev {ifname}` names it: stop what attached it"
            );
        };
        write!(
            f,
            "another XDP program, `{}` (id {})",
            occupant.name, occupant.id
        )?;
        if !occupant.holders.is_empty() {
            write!(f, " of {}", occupant.holders.join(", "))?;
        }
        if occupant.name == xdp_prog::XDP_PROGRAM {
            write!(
                f,
                ": another sidestep; end it with `sidestep detach {ifname}`"
            )
        } else if occupant.linked {
            write!(
                f,
                ", kept by a bpf_link; stop its owner, or detach the link that `bpftool link` shows"
            )
        } else {
            let flag = occupant.flag;
            write!(
                f,
                "; stop its owner, or remove it with `ip link set dev {ifname} {flag} off`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(name: &str, linked: bool, holders: &[&str]) -> String {
        let occupant = Occupant {
            id: 7,
            name: name.to_owned(),
            linked,
            holders: holders.iter().map(|&holder| holder.to_owned()).collect(),
            flag: "xdpgeneric",
        };
        let ifname = "eth0".to_owned();
        let occupant = Some(occupant);
        SteerError::Busy { ifname, occupant }.to_string()
    }

    #[test]
    fn who_sits_on_the_nic_is_named_with_the_way_to_remove_it() {
        let rows = [
            (
                busy("xdp_filter", false, &[]),
                "`xdp_filter` (id 7); stop its owner, or remove it with `ip link set dev eth0 xdpgeneric off`",
            ),
            (
                busy("cil_xdp_entry", true, &["cilium-agent (pid 12)"]),
                "`cil_xdp_entry` (id 7) of cilium-agent (pid 12), kept by a bpf_link; stop its owner, or detach the \
                 link that `bpftool link` shows",
            ),
            (
                busy("sidestep_xdp", true, &["sidestep (pid 3)"]),
                "`sidestep_xdp` (id 7) of sidestep (pid 3): another sidestep; end it with `sidestep detach eth0`",
            ),
        ];
        for (message, end) in rows {
            assert_eq!(
                message,
                format!("eth0 already runs another XDP program, {end}")
            );
        }
    }

    #[test]
    fn a_refused_map_or_program_is_a_matter_of_permission_only_without_a_verifier_log() {
        let denied = || io::Error::from_raw_os_error(libc::EPERM);
        assert!(matches!(
            SteerError::load(denied()),
            SteerError::NoPermission { .. }
        ));
        let invalid = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(matches!(SteerError::load(invalid), SteerError::Load(_)));
        assert_eq!(errno(&denied()), Some(libc::EPERM));
    }
}
