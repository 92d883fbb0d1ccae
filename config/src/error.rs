//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::ops::Range;

/// A place in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The position of byte `offset` in `text`; an offset behind the end is the end.
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when the file as a whole is meant.
    pub at: Option<Position>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

/// Everything found wrong in one configuration, in the order of the file.
///
/// Displayed as `file:line:column: what`, with a line `  help: fix` below it, for each problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    source: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem of the file as a whole.
    pub(crate) fn of_file(source: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            source: source.to_owned(),
            problems: vec![Problem {
                at: None,
                what: what.into(),
                help: help.into(),
            }],
        }
    }

    /// The problems, in the order of the file; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.source)?;
            if let Some(Position { line, column }) = problem.at {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}\n  help: {}", problem.what, problem.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems while a file is checked, so that all are reported at once.
pub(crate) struct Report<'t> {
    source: &'t str,
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(source: &'t str, text: &'t str) -> Self {
        Self {
            source,
            text,
            problems: Vec::new(),
        }
    }

    /// Notes a problem at the bytes `span` of the text.
    pub(crate) fn add(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        let at = Some(self.position(&span));
        self.problems.push(Problem {
            at,
            what: what.into(),
            help: help.into(),
        });
    }

    pub(crate) fn position(&self, span: &Range<usize>) -> Position {
        Position::of(self.text, span.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The error made of what was noted.
    pub(crate) fn into_error(mut self) -> ConfigError {
        // Values are checked in the order of the schema; a person reads in the order of the file.
        self.problems.sort_by_key(|problem| problem.at);
        ConfigError {
            source: self.source.to_owned(),
            problems: self.problems,
        }
    }
}
