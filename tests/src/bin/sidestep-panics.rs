//! `sidestep` with a fault: its way back into the kernel panics with the first frame.

use sidestep::worker::Stranger;
use std::io;
use std::process::ExitCode;

struct Panics;

impl Stranger for Panics {
    fn inject(&mut self, _: &mut [u8]) -> io::Result<()> {
        panic!("the fault of this build")
    }

    fn carry(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.inject(frame)
    }
}

fn main() -> ExitCode {
    sidestep::cli::main_with(|_| Ok(Box::new(Panics)))
}
