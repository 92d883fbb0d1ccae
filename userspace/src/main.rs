//! The command `sidestep`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidestep::cli::main()
}
