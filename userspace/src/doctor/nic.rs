//! The NIC and its driver.

use super::{Check, Finding, Patient, read};
use crate::steer::Occupant;
use crate::{genl, napi, sys};
use sidestep_config::{Config, Interrupts, Mode};
use std::thread::available_parallelism;

pub(super) const CHECKS: &[Check] = &[
    ("link", link),
    ("xdp", xdp),
    ("program", program),
    ("queues", queues),
    ("mtu", mtu),
    ("lro", lro),
    ("vlan", vlan),
    ("interrupts", interrupts),
];

/// Above this most drivers refuse native XDP: a page less its headroom and the tail that the kernel keeps.
const NATIVE_MTU: usize = 3498;

/// Above this a frame fits no buffer of AF_XDP, in any mode.
const LARGEST_MTU: usize = crate::xsk::MAX_MTU;

fn link(patient: &Patient<'_>) -> Finding {
    let nic = patient.nic;
    match nic.up {
        true => Finding::fine(format!("{} is up", nic.name)),
        false => Finding::worse(
            format!("{} is down", nic.name),
            format!("`ip link set {} up`", nic.name),
        ),
    }
}

/// The mode that the configuration asks for.
fn mode(config: Option<&Config>) -> Mode {
    config.map_or(Mode::Auto, |config| config.interface.mode)
}

fn xdp(patient: &Patient<'_>) -> Finding {
    let driver = std::fs::read_link(format!("/sys/class/net/{}/device/driver", patient.nic.name));
    let driver = driver
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let driver = driver.map_or_else(|| "the driver".to_owned(), |name| format!("driver {name}"));
    let features = match genl::xdp_features(patient.nic.index) {
        Ok(features) => features,
        Err(e) => {
            return Finding::note(
                format!("the kernel does not tell what XDP {driver} has: {e}"),
                "`sidestep attach` finds out by trying",
            );
        }
    };
    let asked = mode(patient.config);
    match (features.native(), features.zero_copy()) {
        (true, true) => Finding::fine(format!("{driver}: native, zero-copy")),
        (true, false) if asked == Mode::ZeroCopy => Finding::no(
            format!("{driver} has no zero-copy, which the configuration asks for"),
            "write `mode = \"copy\"` or \"auto\"",
        ),
        (true, false) => Finding::fine(format!("{driver}: native, no zero-copy")),
        (false, _) => match asked {
            Mode::Generic => Finding::fine(format!(
                "{driver}: generic only, as the configuration asks for"
            )),
            Mode::ZeroCopy | Mode::Copy => Finding::no(
                format!("{driver} has no native XDP now, which the configuration asks for"),
                "write `mode = \"generic\"` or \"auto\"",
            ),
            Mode::Auto => Finding::worse(
                format!("{driver} has no native XDP now: generic mode works, and is slower"),
                "use a NIC whose driver has it, or write `mode = \"generic\"` if it is as it should be",
            ),
        },
    }
}

fn program(patient: &Patient<'_>) -> Finding {
    let name = &patient.nic.name;
    match Occupant::of(patient.nic.index) {
        None => Finding::fine("none on the NIC"),
        Some(occupant) if occupant.name == xdp_prog::XDP_PROGRAM => Finding::note(
            "a sidestep runs here",
            "`sidestep attach` with the same control socket takes over from it",
        ),
        Some(occupant) => Finding::no(
            format!(
                "another XDP program is on {name}: `{}` (id {})",
                occupant.name, occupant.id
            ),
            match occupant.linked {
                true => "stop its owner, or detach the link that `bpftool link` shows".to_owned(),
                false => format!(
                    "stop its owner, or `ip link set dev {name} {} off`",
                    occupant.flag
                ),
            },
        ),
    }
}

fn queues(patient: &Patient<'_>) -> Finding {
    let (name, queues) = (&patient.nic.name, patient.nic.queues);
    let cores = available_parallelism().map_or(1, |n| n.get() as u32);
    let most = sys::channels(name).map_or(queues, |(_, most)| most.max(queues));
    let text = format!("{queues} of {most}, {cores} cores");
    if queues > cores {
        let combined =
            format!("`ethtool -L {name} combined {cores}` (or rx and tx), before the attach");
        return Finding::note(format!("{text}: workers share cores"), combined);
    }
    if queues < cores.min(most) {
        let more = cores.min(most);
        let combined = format!(
            "`ethtool -L {name} combined {more}` (or rx and tx) for more workers, before the attach"
        );
        return Finding::note(text, combined);
    }
    Finding::fine(text)
}

fn mtu(patient: &Patient<'_>) -> Finding {
    let (name, mtu) = (&patient.nic.name, patient.nic.mtu);
    let lower = |to| format!("`ip link set dev {name} mtu {to}` or less");
    if mtu > LARGEST_MTU {
        return Finding::no(
            format!("{mtu} bytes: frames fit no AF_XDP buffer above {LARGEST_MTU}"),
            lower(LARGEST_MTU),
        );
    }
    if mtu > NATIVE_MTU && mode(patient.config) != Mode::Generic {
        return Finding::worse(
            format!("{mtu} bytes: most drivers have no native XDP above {NATIVE_MTU}"),
            lower(NATIVE_MTU),
        );
    }
    Finding::fine(format!("{mtu} bytes"))
}

fn lro(patient: &Patient<'_>) -> Finding {
    let name = &patient.nic.name;
    let Ok(on) = genl::offloads(patient.nic.index) else {
        return Finding::note(
            "the kernel does not tell of offloads",
            format!("see `ethtool -k {name}`"),
        );
    };
    let merging: Vec<&str> = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")]
        .into_iter()
        .filter_map(|(feature, word)| on.iter().any(|f| f == feature).then_some(word))
        .collect();
    if merging.is_empty() {
        return Finding::fine("the NIC merges no segments");
    }
    let off: Vec<String> = merging.iter().map(|word| format!("{word} off")).collect();
    Finding::worse(
        format!(
            "{} is on: many drivers then refuse native XDP",
            merging.join(", ")
        ),
        format!("`ethtool -K {name} {}`", off.join(" ")),
    )
}

fn vlan(patient: &Patient<'_>) -> Finding {
    let name = &patient.nic.name;
    let vlans = read("/proc/net/vlan/config").unwrap_or_default();
    if !has_vlan(&vlans, name) {
        return Finding::fine("no VLAN on the NIC");
    }
    let strips = genl::offloads(patient.nic.index)
        .is_ok_and(|on| on.iter().any(|f| f == "rx-vlan-hw-parse"));
    if !strips {
        return Finding::fine("tags are left in the frames");
    }
    Finding::worse(
        "the NIC strips VLAN tags before XDP sees them: services that are reached through a VLAN are not answered there",
        format!("`ethtool -K {name} rxvlan off`"),
    )
}

fn interrupts(patient: &Patient<'_>) -> Finding {
    let (nic, config) = (patient.nic, patient.config);
    let asked = config.map_or(Interrupts::On, |config| config.interface.interrupts);
    let napis = genl::napis(nic.index).unwrap_or_default();
    let can = napis.iter().any(|napi| napi.settings.is_some());
    if asked != Interrupts::On {
        // A driver may have instances only while it is up, or while a program is on it.
        return match (napis.is_empty(), can) {
            (_, true) => Finding::fine("can be put off, queue by queue"),
            (true, false) => Finding::note(
                "the kernel shows nothing that polls this NIC now",
                "`sidestep attach` finds out by trying",
            ),
            (false, false) => Finding::worse(
                "this kernel cannot put them off for single queues, which the configuration asks for",
                "boot Linux 6.13 or later, or write `interrupts = \"on\"`",
            ),
        };
    }
    let running = Occupant::of(nic.index).is_some_and(|o| o.name == xdp_prog::XDP_PROGRAM);
    match napi::left_behind(nic.index) {
        Ok(left) if !left.is_empty() && !running => Finding::note(
            "a daemon that was killed has left them put off",
            "`sidestep attach` with the same `interrupts`, and end it in order",
        ),
        Ok(_) | Err(_) => Finding::fine("as the driver has them"),
    }
}

/// Is there a VLAN on `nic` in this list of all? A line is its name, its id and its NIC.
fn has_vlan(list: &str, nic: &str) -> bool {
    let mut nics = list.lines().filter_map(|line| line.split('|').nth(2));
    nics.any(|name| name.trim() == nic)
}

#[cfg(test)]
mod tests {
    use super::has_vlan;

    #[test]
    fn a_vlan_is_found_by_the_nic_it_is_on() {
        let list = "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    eth1.5         | 5  | eth1\n";
        assert!(has_vlan(list, "eth1"));
        assert!(!has_vlan(list, "eth1.5") && !has_vlan(list, "eth0") && !has_vlan("", "eth1"));
    }
}
