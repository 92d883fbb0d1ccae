//! sidestep's own benchmarks.

mod apps;
mod crowd;
mod goodput;
mod handoff;
mod load;
mod mem;
mod peers;
mod reflect;
mod store;
mod xdp;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Counts what the data path allocates, which has to be nothing.
#[global_allocator]
static ALLOCATOR: mem::Counted = mem::Counted;

/// Measures sidestep.
#[derive(Debug, Parser)]
#[command(name = "sidestep-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole data path, frame to frame, on a queue in memory; fails when it allocates
    Mem(mem::Options),
    /// Goodput over bad links beside nginx on Linux's TCP, as a table; needs root
    Goodput(goodput::Options),
    /// The examples' requests per second, straight from their servers and through sidestep; needs root
    Apps(apps::Options),
    /// What a store of many files costs: memory, time to start, to reload, and until a change is seen
    Store(store::Options),
    /// What a handoff costs, beside the server alone; needs root
    Handoff(handoff::Options),
    /// Requests over AF_XDP with a TCP of its own: 1 to 10,000,000 connections; needs root
    Load(Box<load::Options>),
    /// Millions of open connections of which few ask; needs root
    Crowd(crowd::Options),
    /// Sends each frame back as it came: the limit of what a server could do, for `load --frames`; needs root
    Reflect(reflect::Options),
    /// sidestep beside other servers under the same load; `cargo xtask bench` installs them; needs root
    Peers(peers::Options),
    /// What of a request's processor time is the server's, to the nanosecond, with all on one core; needs root
    Account(peers::account::Options),
    /// What the XDP program takes for each kind of frame; needs root
    Xdp(xdp::Options),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Mem(options) => mem::run(&options),
        Command::Goodput(options) => goodput::run(&options),
        Command::Apps(options) => apps::run(&options),
        Command::Store(options) => store::run(&options),
        Command::Handoff(options) => handoff::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Crowd(options) => crowd::run(&options),
        Command::Reflect(options) => reflect::run(&options),
        Command::Peers(options) => peers::run(&options),
        Command::Account(options) => peers::account::run(&options),
        Command::Xdp(options) => xdp::run(&options),
    }
}
