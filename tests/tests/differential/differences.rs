//! The differences that are known, and why they are right.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One thing in which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `status`, `body`, or the name of a field.
    pub what: &'static str,
    /// nginx's.
    pub nginx: String,
    /// `sidestep`'s.
    pub ours: String,
    /// The request's name.
    pub request: String,
}

/// An entry of `tests/differential/differences.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// As its values: one that ends in `*` stands for all that begin so.
    what: String,
    nginx: String,
    ours: String,
    reason: String,
    /// Names of requests; one that ends in `*` stands for all that begin so.
    requests: Vec<String>,
}

impl Listed {
    /// Whether it is about what differs, whatever the request.
    fn fits(&self, difference: &Difference) -> bool {
        fits(&self.what, difference.what)
            && fits(&self.nginx, &difference.nginx)
            && fits(&self.ours, &difference.ours)
    }
}

/// All entries.
///
/// # Panics
/// When the file is wrong.
pub fn listed() -> Vec<Listed> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        difference: Vec<Listed>,
    }
    let file: File = toml::from_str(include_str!("../../differential/differences.toml"))
        .unwrap_or_else(|error| panic!("tests/differential/differences.toml: {error}"));
    for entry in &file.difference {
        assert!(entry.reason.len() > 20, "no reason: {entry:?}");
    }
    file.difference
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// What is not listed, and what is listed and not found; as text, empty if there is neither.
pub fn faults(found: &BTreeSet<Difference>, listed: &[Listed]) -> String {
    let mut text = String::new();
    let mut used = BTreeSet::new();
    for difference in found {
        let mut known = false;
        for (at, entry) in listed.iter().enumerate() {
            let alike = entry.fits(difference);
            let places = entry.requests.iter().enumerate();
            for (place, _) in places.filter(|(_, name)| alike && fits(name, &difference.request)) {
                known = true;
                used.insert((at, place));
            }
        }
        if !known {
            let Difference {
                what,
                nginx,
                ours,
                request,
            } = difference;
            let _ = writeln!(
                text,
                "not listed: {what}: nginx {nginx:?}, ours {ours:?}: {request:?}"
            );
        }
    }
    for (at, entry) in listed.iter().enumerate() {
        for (place, name) in entry.requests.iter().enumerate() {
            if !used.contains(&(at, place)) {
                let _ = writeln!(
                    text,
                    "listed, not found: {}: {name:?} ({})",
                    entry.what, entry.reason
                );
            }
        }
    }
    text
}

/// The table of `docs/differential.md`.
pub fn table(found: &BTreeSet<Difference>, listed: &[Listed]) -> String {
    let mut text =
        String::from("| what | nginx | sidestep | requests | why |\n|---|---|---|---|---|\n");
    for entry in listed {
        let different = found
            .iter()
            .filter(|difference| {
                entry.fits(difference)
                    && entry
                        .requests
                        .iter()
                        .any(|name| fits(name, &difference.request))
            })
            .map(|difference| &difference.request);
        let count = different.collect::<BTreeSet<_>>().len();
        let first = &entry.requests[0].replace('|', "\\|");
        let more = if count > 1 {
            format!("{count}, such as `{first}`")
        } else {
            format!("`{first}`")
        };
        let shown = |value: &str| match value {
            "" => "–".to_owned(),
            "*" => "…".to_owned(),
            value => value.to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {more} | {} |",
            if entry.what == "*" {
                "coding"
            } else {
                &entry.what
            },
            shown(&entry.nginx),
            shown(&entry.ours),
            entry.reason
        );
    }
    text
}
