//! The command line of `peers`.

use super::offloads::Offloads;
use std::path::PathBuf;

/// What to run; `cargo xtask bench` installs the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Workloads, by name; all of them if there is none
    #[arg(long, value_delimiter = ',')]
    pub(super) workload: Vec<String>,
    /// Servers, by name; all that are installed if there is none
    #[arg(long, value_delimiter = ',')]
    pub(super) peer: Vec<String>,
    /// Who shares a core with whom
    #[arg(long, value_enum, default_value_t = Layouts::Both)]
    pub(super) layout: Layouts,
    /// Who asks
    #[arg(long, value_enum, default_value_t = Generators::Both)]
    pub(super) generator: Generators,
    /// What the NICs do for the kernels behind them
    #[arg(long, value_enum, default_value_t = Offloads::None)]
    pub(super) offloads: Offloads,
    /// Seconds of each measurement [default: 3; 2 with --must-show]
    #[arg(long)]
    pub(super) seconds: Option<u64>,
    /// Interleaved runs, each with fresh hosts; medians count [default: 10; 5 with --must-show]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) runs: Option<u32>,
    /// Only what the lines of "Must show" need
    #[arg(long, conflicts_with = "quick")]
    pub(super) must_show: bool,
    /// One run of a second each, few servers and workloads: to see that it works
    #[arg(long)]
    pub(super) quick: bool,
    /// The server's core and the generator's
    #[arg(long, value_delimiter = ',', default_value = "0,1", num_args = 2)]
    pub(super) cores: Vec<usize>,
    /// Only names the servers that would be measured
    #[arg(long)]
    pub(super) list: bool,
    /// Where results.json and plot.svg go
    #[arg(long, default_value = "target/bench")]
    pub(super) out: PathBuf,
    /// Writes the tables as a Markdown document
    #[arg(long)]
    pub(super) doc: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Layouts {
    Same,
    Two,
    Both,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Generators {
    Wrk,
    Own,
    Both,
}
