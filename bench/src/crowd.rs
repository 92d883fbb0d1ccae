//! A crowd of connections of which few ask: whether they are served, how fast, and what each costs.
//!
//! sidestep and the load generator are each in a network namespace of their own, joined by a veth pair.

use nix::sys::resource::{UsageWho, getrusage};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::{Net, SERVER_MAC};
use std::process::ExitCode;
use std::time::Duration;

/// Addresses that the crowd comes from: more than ten million connections need.
const SOURCES: &str = "10.128.0.0/9";

/// Room in sidestep's table beside the crowd.
const SPARE: u32 = 1000;

/// Longest that opening one connection may take on average, only against hanging.
const EACH: Duration = Duration::from_micros(500);

/// How large a crowd; needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections
    #[arg(long, default_value_t = 10_000_000)]
    connections: u32,
    /// Per cent of them that ask
    #[arg(long, default_value_t = 1.0)]
    active: f64,
    /// Requests per second over all [default: each as soon as the last one is answered]
    #[arg(long)]
    rate: Option<f64>,
    /// How long they ask
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// sidestep's core and the generator's [default: wherever the kernel puts them]
    #[arg(long, value_delimiter = ',', num_args = 2)]
    cores: Vec<usize>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let net = Net::new();
    let config = format!(
        "[[listen]]\naddress = \"interface\"\nport = 80\nfallback = \"none\"\n\
         [[site]]\nhosts = [\"*\"]\n\
         [[site.response]]\npath = \"/\"\ncontent_type = \"text/plain\"\nbody = \"Hello, world\"\n\
         [limits]\nconnections = {}\nidle_timeout = \"24h\"\nheader_timeout = \"24h\"\n",
        options.connections + SPARE
    );
    let core = options.cores.first().map(usize::to_string);
    let daemon = match &core {
        Some(core) => Daemon::start_by(&["taskset", "-c", core], &net.server, &config),
        None => Daemon::start(&net.server, &config),
    };
    let before = daemon.resident();
    let limit = Duration::from_secs(120 + u64::from(options.seconds)) + EACH * options.connections;
    let asked = net.client.run(&command(options, &net), limit);
    eprint!("{}", asked.stderr);
    let result: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap_or_default();
    let served = daemon.resident();
    let open: u64 = daemon.connections().iter().sum();
    println!("{result:#}");
    let count = u64::from(options.connections);
    let each = (served - before) / count;
    println!(
        "sidestep: {open} connections, {} MiB resident, {each} bytes a connection (and {} MiB before there was any)",
        served >> 20,
        before >> 20
    );
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) {
        println!(
            "generator: {} MiB resident at the most",
            usage.max_rss() >> 10
        );
    }
    // Nobody would answer its goodbyes.
    daemon.kill9();
    let all_served = asked.code() == 0
        && open >= count
        && result["connections"] == options.connections
        && result["failed"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty);
    if all_served {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: not all of them were open and served");
        ExitCode::FAILURE
    }
}

/// The generator's command line.
fn command(options: &Options, net: &Net) -> Vec<String> {
    let bench = std::env::current_exe()
        .map_or_else(|_| "sidestep-bench".into(), |exe| exe.display().to_string());
    let mac = SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let words = [
        ("--interface", net.client.device.to_owned()),
        ("--target", net.server.at(80).to_string()),
        ("--target-mac", mac),
        ("--sources", SOURCES.to_owned()),
        ("--connections", options.connections.to_string()),
        ("--active", options.active.to_string()),
        ("--seconds", options.seconds.to_string()),
        ("--warm-up", "2".to_owned()),
    ];
    let mut argv = vec![bench, "load".into(), "--json".into(), "--abandon".into()];
    argv.extend(
        words
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]),
    );
    if let Some(rate) = options.rate {
        argv.extend(["--rate".to_owned(), rate.to_string()]);
    }
    if let Some(core) = options.cores.get(1) {
        argv.extend(["--core".to_owned(), core.to_string()]);
    }
    argv
}
