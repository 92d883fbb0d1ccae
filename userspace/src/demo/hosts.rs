//! Two hosts, each a network namespace, and the cable between them.

use super::DemoError;
use crate::sys;
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;

pub(super) const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(super) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// The host's end of the cable: the NIC that sidestep attaches to.
pub(super) const HOST_DEVICE: &str = "nic0";
const CLIENT_DEVICE: &str = "eth0";

/// What every demo's namespaces are called, a process number following.
const PREFIX: &str = "sidestep-demo-";

/// See the module. Dropping it removes both namespaces, and with them the cable.
#[derive(Debug)]
pub(super) struct Hosts {
    pub name: String,
}

impl Hosts {
    pub fn make() -> Result<Self, DemoError> {
        remove_abandoned();
        let hosts = Self {
            name: format!("{PREFIX}{}", std::process::id()),
        };
        let (host, client) = (hosts.host(), hosts.client());
        ip(&["netns", "add", &host])?;
        ip(&["netns", "add", &client])?;
        ip(&[
            "link",
            "add",
            HOST_DEVICE,
            "netns",
            &host,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_DEVICE,
            "netns",
            &client,
        ])?;
        for (namespace, device, v4, v6) in [
            (&host, HOST_DEVICE, HOST_V4, HOST_V6),
            (&client, CLIENT_DEVICE, CLIENT_V4, CLIENT_V6),
        ] {
            let (v4, v6) = (format!("{v4}/24"), format!("{v6}/64"));
            ip(&["-n", namespace, "address", "add", &v4, "dev", device])?;
            // Without duplicate address detection, which would take two seconds.
            ip(&[
                "-n", namespace, "address", "add", &v6, "dev", device, "nodad",
            ])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        // Over a veth, frames come as the sender made them. A NIC would have put the checksums in.
        hosts.in_client(|| sys::disable_tx_checksum(CLIENT_DEVICE))??;
        Ok(hosts)
    }

    fn host(&self) -> String {
        format!("{}-host", self.name)
    }

    pub fn client(&self) -> String {
        format!("{}-client", self.name)
    }

    /// Runs `work` in the host's namespace.
    pub fn in_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, DemoError> {
        inside(&self.host(), work)
    }

    /// A command line in the host's namespace, which is killed when the calling thread ends.
    pub fn child(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.host()]);
        command.args(words);
        command
    }

    /// Runs `work` in the client's namespace.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, DemoError> {
        inside(&self.client(), work)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for namespace in [self.host(), self.client()] {
            if let Err(e) = ip(&["netns", "delete", &namespace]) {
                log::warn!("{e}");
            }
        }
    }
}

/// A namespace belongs to the thread that enters it, so that each piece of work gets a thread.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, DemoError> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Ok::<T, nix::Error>(work())
        });
        match worker.join() {
            Ok(result) => result.map_err(|e| DemoError::Io(e.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Namespaces of demos that were killed.
fn remove_abandoned() {
    let Ok(all) = fs::read_dir("/run/netns") else {
        return;
    };
    for entry in all.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(pid) = pid
            && !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
            && let Err(e) = ip(&["netns", "delete", &name])
        {
            log::warn!("{e}");
        }
    }
}

fn ip(args: &[&str]) -> Result<(), DemoError> {
    let what = format!("`ip {}`", args.join(" "));
    match Command::new("ip").args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(DemoError::Host {
            what,
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(e) => Err(DemoError::Host {
            what,
            why: e.to_string(),
        }),
    }
}
