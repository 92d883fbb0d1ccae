//! The differences between two transcripts, and those that are accepted.

use serde::Deserialize;

const LISTED: &str = include_str!("../../parity/differences.toml");

/// The answers that only one of the two gave, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    #[serde(default)]
    pub linux: Vec<String>,
    #[serde(default)]
    pub ours: Vec<String>,
}

impl Difference {
    pub fn is_none(&self) -> bool {
        self.linux.is_empty() && self.ours.is_empty()
    }
}

/// An accepted difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub exchange: String,
    #[serde(default)]
    linux: Vec<String>,
    #[serde(default)]
    ours: Vec<String>,
    /// Why it is right, or not yet right.
    reason: String,
}

impl Listed {
    pub fn difference(&self) -> Difference {
        Difference {
            linux: self.linux.clone(),
            ours: self.ours.clone(),
        }
    }
}

/// The accepted differences, at most one per exchange.
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
    let file: File = toml::from_str(LISTED)
        .unwrap_or_else(|error| panic!("tests/parity/differences.toml: {error}"));
    for (at, entry) in file.difference.iter().enumerate() {
        let name = &entry.exchange;
        assert!(entry.reason.len() > 20, "{name} is listed without a reason");
        assert!(
            !entry.difference().is_none(),
            "{name} is listed without a difference"
        );
        let twice = file.difference[..at]
            .iter()
            .any(|other| other.exchange == *name);
        assert!(!twice, "{name} is listed twice");
    }
    file.difference
}

/// What is wrong with a difference when another one, or none, is listed.
pub fn fault(found: &Difference, listed: &Difference) -> Option<&'static str> {
    if found == listed {
        None
    } else if found.is_none() {
        Some("is answered alike but listed as different")
    } else if listed.is_none() {
        Some("is answered differently")
    } else {
        Some("is answered differently, and not as listed")
    }
}

/// The lines that are not common to both, by a longest common subsequence.
pub fn between(linux: &[String], ours: &[String]) -> Difference {
    // common[i][j]: length of the longest common subsequence of linux[i..] and ours[j..].
    let mut common = vec![vec![0; ours.len() + 1]; linux.len() + 1];
    for i in (0..linux.len()).rev() {
        for j in (0..ours.len()).rev() {
            common[i][j] = if linux[i] == ours[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut difference = Difference::default();
    let (mut i, mut j) = (0, 0);
    while i < linux.len() || j < ours.len() {
        let both = i < linux.len() && j < ours.len();
        if both && linux[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || both && common[i + 1][j] >= common[i][j + 1] {
            difference.linux.push(linux[i].trim().to_owned());
            i += 1;
        } else {
            difference.ours.push(ours[j].trim().to_owned());
            j += 1;
        }
    }
    difference
}
