//! Network namespaces that dead test or demo processes left behind.

use crate::step;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Namespaces of the tests and of the demo are called one of these, then `<owner's process id>-…`.
const PREFIXES: [&str; 2] = ["ss-", "sidestep-demo-"];

/// Removes every namespace of ours whose owner is dead and returns their names.
///
/// # Errors
/// `ip netns` cannot be run.
pub fn sweep() -> Result<Vec<String>> {
    let listed = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .context("cannot run ip netns list")?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let orphans: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| owner(name).is_some_and(|id| !alive(id)))
        .map(str::to_owned)
        .collect();
    for name in &orphans {
        step::as_root("ip")
            .args(["netns", "del", name])
            .status()
            .with_context(|| format!("cannot remove namespace {name}"))?;
    }
    Ok(orphans)
}

/// The owner's process id in a name of ours.
fn owner(name: &str) -> Option<u32> {
    let rest = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split('-').next()?.parse().ok()
}

fn alive(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::{alive, owner};

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("ss-123-0-s"), Some(123));
        assert_eq!(owner("sidestep-demo-77-host"), Some(77));
        assert_eq!(owner("ss-demo"), None);
        assert_eq!(owner("kubelet-123"), None);
    }

    #[test]
    fn this_process_is_alive() {
        assert!(alive(std::process::id()));
        assert!(!alive(u32::MAX));
    }
}
