//! `sidestep doctor`: would the fast path work on a NIC, how well, and what to do about it.
//!
//! Nothing is changed and no traffic is touched: each check only asks. Each is a small function in one of the tables.

mod kernel;
mod listeners;
mod network;
mod nic;

use crate::nic::Nic;
use sidestep_config::Config;
use std::fmt;

/// What is examined.
pub struct Patient<'a> {
    /// The NIC.
    pub nic: &'a Nic,
    /// What is to be served; without it the checks that depend on it assume the defaults.
    pub config: Option<&'a Config>,
}

/// What a check has found. Texts after the first are what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Fine(String),
    /// It could be better, and is good enough.
    Note(String, String),
    /// It works, with something missing.
    Worse(String, String),
    /// It cannot work.
    No(String, String),
}

/// How well it would work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prospect {
    /// As well as it can.
    Well,
    /// Something is missing.
    Degraded,
    /// Not at all.
    Never,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self::Fine(what.into())
    }

    fn note(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Note(what.into(), help.into())
    }

    fn worse(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Worse(what.into(), help.into())
    }

    fn no(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::No(what.into(), help.into())
    }

    fn prospect(&self) -> Prospect {
        match self {
            Self::Fine(_) | Self::Note(..) => Prospect::Well,
            Self::Worse(..) => Prospect::Degraded,
            Self::No(..) => Prospect::Never,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, what, help) = match self {
            Self::Fine(what) => ("ok", what, None),
            Self::Note(what, help) => ("note", what, Some(help)),
            Self::Worse(what, help) => ("worse", what, Some(help)),
            Self::No(what, help) => ("no", what, Some(help)),
        };
        write!(f, "{word:<6}{what}")?;
        match help {
            Some(help) => write!(f, "\n{:22}help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// A check: its name and what it does.
type Check = (&'static str, fn(&Patient<'_>) -> Finding);

/// Examines `patient`, and shows each finding with the check's name.
pub fn examine(patient: &Patient<'_>, see: &mut dyn FnMut(&str, &Finding)) -> Prospect {
    let tables = [
        kernel::CHECKS,
        nic::CHECKS,
        network::CHECKS,
        listeners::CHECKS,
    ];
    let mut prospect = Prospect::Well;
    for (name, check) in tables.into_iter().flatten() {
        let finding = check(patient);
        prospect = prospect.max(finding.prospect());
        see(name, &finding);
    }
    prospect
}

/// A file of /proc or /sys without its line end; `None` when it is not there.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}
