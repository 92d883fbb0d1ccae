//! The least that can be done with a frame: to send it back.
//!
//! No TCP, no checksum: what `load --frames` measures against it is how many frames the machine carries there and back,
//! which no server here can exceed.

use crate::load::device::{Device, Mode};
use crate::load::drive::{self, Clock, Job};
use crate::load::engine::Sink;
use crate::load::pin;
use anyhow::Result;
use sidestep::nic::Nic;
use std::process::ExitCode;
use xdp_prog::Capture;

/// Which frames to reflect. Runs until it is ended. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The NIC
    #[arg(long)]
    interface: String,
    /// Only TCP segments to this port [default: to any, so beware of the NIC that you are logged in over]
    #[arg(long)]
    port: Option<u16>,
    /// The core to run on
    #[arg(long)]
    core: Option<usize>,
    /// How to open the NIC
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    mode: Mode,
    /// Never sleep
    #[arg(long)]
    spin: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match reflect(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn reflect(options: &Options) -> Result<()> {
    pin(options.core)?;
    let nic = Nic::read(&options.interface)?;
    let mut rule = Capture::default();
    if let Some(port) = options.port {
        let [a, b] = port.to_be_bytes();
        rule.ports = u32::from_ne_bytes([0, 0, a, b]);
        rule.ports_mask = u32::from_ne_bytes([0, 0, 255, 255]);
    }
    let mut device = Device::open(&nic, options.mode, &rule)?;
    println!("ready: {} {} mode", nic.name, device.mode.name());
    drive::run(&mut device, Clock::start(), &mut Mirror, options.spin)?;
    Ok(())
}

struct Mirror;

impl Job for Mirror {
    #[inline]
    fn frame(&mut self, _: u64, frame: &[u8], sink: &mut impl Sink) {
        // One that finds no room is lost, and its sender sends it again.
        sink.send(frame.len(), |back| reflected(frame, back));
    }

    fn turn(&mut self, _: u64, _: &mut impl Sink) -> bool {
        true
    }

    fn next(&self, _: u64) -> u64 {
        u64::MAX
    }

    fn connections(&self) -> usize {
        0
    }

    fn measures(&self) -> bool {
        false
    }
}

/// Writes `frame` to `back` with its Ethernet and IP addresses and ports changed round. Both are of the same length.
pub(crate) fn reflected(frame: &[u8], back: &mut [u8]) {
    back.copy_from_slice(frame);
    swap(back, 0, 6);
    match back.get(12..14) {
        Some([0x08, 0x00]) => {
            swap(back, 26, 4);
            swap(back, 34, 2);
        }
        Some([0x86, 0xdd]) => {
            swap(back, 22, 16);
            swap(back, 54, 2);
        }
        _ => {}
    }
}

/// Lets `len` bytes at `at` and the `len` bytes behind them change places.
fn swap(frame: &mut [u8], at: usize, len: usize) {
    if let Some(both) = frame.get_mut(at..at + 2 * len) {
        let (first, second) = both.split_at_mut(len);
        first.swap_with_slice(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_change_places_and_twice_is_nothing() {
        for ethertype in [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]] {
            for len in [0, 20, 36, 60, 100] {
                let mut frame: Vec<u8> = (0..len).collect();
                if let Some(place) = frame.get_mut(12..14) {
                    place.copy_from_slice(&ethertype);
                }
                let mut back = vec![0; frame.len()];
                reflected(&frame, &mut back);
                if len > 20 {
                    assert_eq!(back[..12], [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]);
                }
                if len > 40 && ethertype == [0x08, 0x00] {
                    assert_eq!(
                        back[26..38],
                        [30, 31, 32, 33, 26, 27, 28, 29, 36, 37, 34, 35]
                    );
                }
                let mut again = vec![0; frame.len()];
                reflected(&back, &mut again);
                assert_eq!(again, frame, "{ethertype:?} {len}");
            }
        }
    }
}
