//! From a running configuration to another one: what a daemon can change while it runs.

use crate::Config;
use std::fmt;

/// What differs between two configurations, of what can change while a daemon runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sites, their hosts or routes. Trees may have changed in any case.
    pub sites: bool,
    /// Limits of heads, requests and times.
    pub limits: bool,
    /// Memory for learned answers.
    pub cache_memory: bool,
    /// Where the metrics page is.
    pub metrics: bool,
}

/// Keys that differ and that only an attach can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedsAttach(pub Vec<&'static str>);

impl fmt::Display for NeedsAttach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot change while the daemon runs\n  help: it needs a new attach (`sidestep attach` takes over without a gap)",
            self.0.join(", ")
        )
    }
}

impl std::error::Error for NeedsAttach {}

impl Config {
    /// What has to change for a daemon that runs with `self` to run with `new`. `interface` is the NIC that it serves,
    /// whatever `self` says.
    ///
    /// # Errors
    /// Something only an attach can change.
    pub fn changes(&self, new: &Self, interface: &str) -> Result<Changes, NeedsAttach> {
        let Self {
            interface: _,
            listen,
            sites,
            limits,
            control,
        } = self;
        let named = new.interface.name.as_deref();
        let keys = [
            (
                "[interface] name",
                named.is_some_and(|name| name != interface),
            ),
            (
                "[interface] queues",
                self.interface.queues != new.interface.queues,
            ),
            (
                "[interface] mode",
                self.interface.mode != new.interface.mode,
            ),
            (
                "[interface] busy_poll",
                self.interface.busy_poll != new.interface.busy_poll,
            ),
            (
                "[interface] spin",
                self.interface.spin != new.interface.spin,
            ),
            (
                "[interface] interrupts",
                self.interface.interrupts != new.interface.interrupts,
            ),
            (
                "[interface] umem_frames",
                self.interface.umem_frames != new.interface.umem_frames,
            ),
            ("[[listen]]", *listen != new.listen),
            (
                "[limits] connections",
                limits.connections != new.limits.connections,
            ),
            ("[control] socket", control.socket != new.control.socket),
        ];
        let stuck: Vec<_> = keys.iter().filter(|key| key.1).map(|key| key.0).collect();
        if !stuck.is_empty() {
            return Err(NeedsAttach(stuck));
        }
        Ok(Changes {
            sites: *sites != new.sites,
            limits: *limits != new.limits,
            cache_memory: limits.cache_memory != new.limits.cache_memory,
            metrics: control.metrics != new.control.metrics,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, "t").unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn what_can_change_and_what_cannot() {
        let base = "[[listen]]\naddress = \"192.0.2.1\"\nport = 80\n[[site]]\nhosts = [\"*\"]\n\
                    [[site.response]]\npath = \"/a\"\n[limits]\nidle_timeout = \"9s\"\n";
        let old = parse(base);
        let can = |text: &str| old.changes(&parse(text), "eth0");
        let none = Changes::default();
        assert_eq!(can(base), Ok(none));
        let sites = true;
        assert_eq!(
            can(&base.replace("/a", "/b")),
            Ok(Changes { sites, ..none })
        );
        let limits = true;
        assert_eq!(
            can(&base.replace("9s", "8s")),
            Ok(Changes { limits, ..none })
        );
        let changes = Changes {
            limits,
            cache_memory: true,
            ..none
        };
        assert_eq!(can(&format!("{base}cache_memory = \"1MiB\"")), Ok(changes));
        let metrics = true;
        assert_eq!(
            can(&format!("{base}[control]\nmetrics = \"127.0.0.1:1\"")),
            Ok(Changes { metrics, ..none })
        );
        for (text, key) in [
            ("[interface]\nname = \"eth1\"", "[interface] name"),
            ("[interface]\nqueues = [0]", "[interface] queues"),
            ("[interface]\nmode = \"copy\"", "[interface] mode"),
            ("[interface]\nbusy_poll = true", "[interface] busy_poll"),
            ("[interface]\nspin = \"0s\"", "[interface] spin"),
            (
                "[interface]\ninterrupts = \"suspended\"",
                "[interface] interrupts",
            ),
            ("[interface]\numem_frames = 4096", "[interface] umem_frames"),
            ("connections = 10", "[limits] connections"),
            (
                "[[listen]]\naddress = \"192.0.2.1\"\nport = 81",
                "[[listen]]",
            ),
            ("[control]\nsocket = \"/x\"", "[control] socket"),
        ] {
            let refused = can(&format!("{base}{text}")).unwrap_err();
            assert_eq!(refused.0, [key], "{text}");
            assert!(refused.to_string().contains("needs a new attach"));
        }
        // The command line may have named the NIC.
        let unnamed = parse(base);
        assert_eq!(unnamed.changes(&unnamed, "eth7"), Ok(none));
    }
}
