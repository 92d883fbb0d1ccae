//! Counting tests by reading what the test programs print.

use std::fmt;

/// Results of all test programs of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and one for each program that ended without a result.
    pub failed: u64,
    /// Tests that were ignored or filtered out.
    pub skipped: u64,
    open: bool,
}

impl Tally {
    /// Takes one line of output.
    pub fn line(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.close();
            self.open = true;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.open = false;
            for part in result.split(['.', ';']) {
                match part.trim().split_once(' ') {
                    Some((count, "passed")) => self.passed += number(count),
                    Some((count, "failed")) => self.failed += number(count),
                    Some((count, "ignored" | "filtered out")) => self.skipped += number(count),
                    _ => {}
                }
            }
        }
    }

    /// A program that said how many tests it runs and then gave no result has crashed.
    pub fn close(&mut self) {
        if self.open {
            self.open = false;
            self.failed += 1;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn count(output: &str) -> String {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.close();
        tally.to_string()
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let output = "\nrunning 2 tests\ntest a ... ok\ntest b ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            running 1 test\n\
            test result: FAILED. 0 passed; 1 failed; 3 ignored; 0 measured; 4 filtered out; finished in 1.25s\n";
        assert_eq!(count(output), "2 passed, 1 failed, 7 skipped");
    }

    #[test]
    fn a_crashed_program_is_a_failure() {
        let output = "running 5 tests\ntest a ... ok\nrunning 1 test\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(count(output), "1 passed, 1 failed, 0 skipped");
        assert_eq!(count("running 5 tests\n"), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(
            count("running late\n5 passed; 1 failed\n"),
            "0 passed, 0 failed, 0 skipped"
        );
    }
}
