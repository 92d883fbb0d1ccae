//! Project automation: `cargo xtask <task>`.

mod bench;
mod bpf;
mod example;
mod instructions;
mod mutants;
mod servers;
mod setup;
mod step;
mod sweep;
mod tally;
mod test;
mod zc;

use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask <task>

  demo [--once]  set up, build and run the demo; --once: end after its table
  example NAME   set up, build and run one of examples/ behind sidestep; more arguments go to its server
  test           set up, then every check and every test
  soak           the long form: network tests, simulation, mutants
  instructions [--update] [NAME]
                 count the instructions per request; fails when there are more than the committed ones
  mutants        break one rule of TCP at a time: the simulation must notice
  bpf [--check]  rebuild the BPF object; --check: only compare it with the committed one
  bench [...]    sidestep beside other servers, which it installs; the options of `sidestep-bench peers`, e.g. --quick
  setup          install the system packages that are missing
  zc [DRIVER…]   sidestep in zero-copy mode on real NIC drivers, in virtual machines under QEMU
  servers        install the servers that the compatibility test puts behind sidestep
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["test"] => test::run(),
        ["soak"] => test::soak(),
        ["mutants"] => mutate(),
        ["instructions"] => instructions::run(false, ""),
        ["instructions", "--update"] => instructions::run(true, ""),
        ["instructions", "--update", only] => instructions::run(true, only),
        ["instructions", only] => instructions::run(false, only),
        ["setup"] => setup::run().map(|()| ExitCode::SUCCESS),
        ["servers"] => servers::run().map(|()| ExitCode::SUCCESS),
        ["zc", ref drivers @ ..] => zc::run(drivers),
        ["bench", ref rest @ ..] => bench::run(rest),
        ["demo", ref rest @ ..] => demo(rest),
        ["example", name, ref rest @ ..] => example::run(name, rest),
        ["bpf"] => rebuild(false),
        ["bpf", "--check"] => rebuild(true),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("unknown task: {}\n\n{USAGE}", words.join(" "));
            Ok(ExitCode::from(2))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn mutate() -> Result<ExitCode> {
    let outcome = mutants::run(false)?;
    println!("{outcome}");
    Ok(match outcome.missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn rebuild(check: bool) -> Result<ExitCode> {
    let outcome = bpf::run(check)?;
    println!("{outcome}");
    Ok(match outcome {
        bpf::Outcome::Same | bpf::Outcome::Written => ExitCode::SUCCESS,
        bpf::Outcome::NoToolchain(_) => ExitCode::FAILURE,
    })
}

/// Becomes `sidestep demo`, so that its exit code and Ctrl-C are the demo's own.
fn demo(args: &[&str]) -> Result<ExitCode> {
    setup::run()?;
    let build = step::cargo(&["build", "--release", "--package", "sidestep"]);
    if !step::run("build", build)? {
        bail!("the build failed");
    }
    let binary = step::target_dir()?.join("release/sidestep");
    let mut command = step::as_root(&binary);
    let error = command.arg("demo").args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", show(&command)))
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
