//! `sidestep-link`: the link emulator on the command line.

use clap::Parser;
use sidestep_tests::link::{Burst, Link, Shape, Tally};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// Forwards every frame between two devices of this network namespace and treats it as a bad link would.
///
/// Both directions get the same shape. Runs until Ctrl-C, then prints what it did. Turn checksum and segmentation
/// offloads of the hosts at both ends off (ethtool -K DEV tx off gso off gro off).
#[derive(Parser)]
#[command(name = "sidestep-link", version)]
struct Args {
    /// One end.
    a: String,
    /// The other end.
    b: String,
    /// Share of frames lost one by one, e.g. 1% or 0.01.
    #[arg(long, default_value = "0", value_parser = share)]
    loss: f64,
    /// Share of frames after which a burst of losses starts.
    #[arg(long, default_value = "0", value_parser = share)]
    burst: f64,
    /// Mean length of a burst of losses, in frames.
    #[arg(long, default_value_t = 4.0)]
    burst_length: f64,
    /// Share of frames sent twice.
    #[arg(long, default_value = "0", value_parser = share)]
    duplicate: f64,
    /// Share of frames held back so that others overtake them.
    #[arg(long, default_value = "0", value_parser = share)]
    reorder: f64,
    /// How long they are held back.
    #[arg(long, default_value = "2ms", value_parser = time)]
    reorder_by: Duration,
    /// One-way delay, e.g. 20ms.
    #[arg(long, default_value = "0ms", value_parser = time)]
    delay: Duration,
    /// Largest random addition to the delay.
    #[arg(long, default_value = "0ms", value_parser = time)]
    jitter: Duration,
    /// Bits per second, e.g. 100Mbit; without it there is no limit.
    #[arg(long, value_parser = rate)]
    rate: Option<u64>,
    /// Bytes that may wait for a limited wire.
    #[arg(long, default_value_t = Shape::default().queue)]
    queue: usize,
    /// Probability of each bit to flip, e.g. 1e-6.
    #[arg(long, default_value = "0", value_parser = share)]
    bit_errors: f64,
    /// Seed of the random draws; drawn and printed when left out.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidestep-link: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let shape = Shape {
        loss: args.loss,
        burst: (args.burst > 0.0).then(|| Burst {
            enter: args.burst,
            leave: 1.0 / args.burst_length.max(1.0),
        }),
        duplicate: args.duplicate,
        reorder: args.reorder,
        reorder_by: args.reorder_by,
        delay: args.delay,
        jitter: args.jitter,
        rate: args.rate,
        queue: args.queue,
        bit_errors: args.bit_errors,
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let link = Link::start(&args.a, &args.b, shape.clone(), shape, seed)?;
    println!("ready: {} <-> {}, seed {seed}", args.a, args.b);
    signals.forever().next();
    let [there, back] = link.stop()?;
    report(&args.a, &args.b, &there);
    report(&args.b, &args.a, &back);
    Ok(())
}

fn report(from: &str, to: &str, tally: &Tally) {
    println!(
        "{from} -> {to}: {} in, {} out, {} lost, {} overflowed, {} duplicated, {} reordered, {} corrupted",
        tally.offered,
        tally.delivered,
        tally.lost,
        tally.overflowed,
        tally.duplicated,
        tally.reordered,
        tally.corrupted
    );
}

fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is neither a share like 0.01 nor a percentage like 1%"))?;
    Ok(value * scale)
}

fn time(text: &str) -> Result<Duration, String> {
    scaled(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a time like 500us, 20ms or 1s"))
}

fn rate(text: &str) -> Result<u64, String> {
    scaled(
        text,
        &[("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)],
    )
    .map(|bits| bits as u64)
    .ok_or_else(|| format!("`{text}` is not a rate like 10Mbit or 1Gbit"))
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| text.strip_suffix(unit).map(|number| (number, scale)))?;
    number.trim().parse::<f64>().ok().map(|value| value * scale)
}
