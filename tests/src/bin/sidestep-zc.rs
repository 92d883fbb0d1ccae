//! `sidestep-zc`: the drivers of `cargo xtask zc`, one virtual machine each.

use clap::Parser;
use sidestep_tests::guest::{self, Case, DRIVERS, Image, Packages, Report};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

/// Boots a virtual machine for each driver and has sidestep serve in it.
#[derive(Parser)]
#[command(name = "sidestep-zc", version)]
struct Args {
    /// The directory of the packages that `cargo xtask zc` has fetched.
    #[arg(long)]
    packages: PathBuf,
    /// Only those of `cargo xtask test`.
    #[arg(long)]
    short: bool,
    /// Where to write the outcome as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The drivers; all when none is named.
    drivers: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidestep-zc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let cases = cases(args)?;
    let packages = Packages::new(args.packages.clone());
    let image = Image::build(&packages)?;
    println!("kernel {}, mode = \"auto\"", packages.release()?);
    let mut report = Report::default();
    for case in cases {
        println!(
            "{}: {}, expecting {} mode on {} queues",
            case.name, case.device, case.mode, case.queues
        );
        // A failed check panics; the machine and the namespace are gone by the time it is caught.
        let tried = catch_unwind(AssertUnwindSafe(|| {
            guest::run(&packages, &image, case, args.short)
        }));
        let why = match tried {
            Ok(Ok(outcome)) => {
                report.passed.push(outcome);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => guest::message(&*panic),
        };
        println!("  FAILED: {}", why.lines().next().unwrap_or_default());
        report.failed.push((case.name, why));
    }
    println!("\n{report}");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())?)?;
    }
    Ok(match report.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn cases(args: &Args) -> Result<Vec<&'static Case>, String> {
    let known = |name: &String| {
        let found = DRIVERS.iter().find(|case| case.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = DRIVERS.iter().map(|case| case.name).collect();
            format!("no driver {name}; there are: {}", names.join(", "))
        })
    };
    if !args.drivers.is_empty() {
        return args.drivers.iter().map(known).collect();
    }
    Ok(DRIVERS
        .iter()
        .filter(|case| case.short || !args.short)
        .collect())
}
