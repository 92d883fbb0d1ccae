//! A wire of software between two hosts: each frame that one device receives is sent by another.
//!
//! Not part of sidestep: an object of its own holds the program (`src/wire_main.rs`), which tests and `sidestep-bench` load.

/// Name of the XDP program.
pub const WIRE_PROGRAM: &str = "wire_xdp";
/// Map of one device: where all frames go.
pub const WIRE_DEVICE: &str = "WIRE_DEVICE";
