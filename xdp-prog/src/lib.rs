//! Steering: what the XDP program decides about a frame, how a connection is handed to the kernel, and the ABI of the
//! maps.
//!
//! The rules ([`decide`], [`hand_over`]) are one function, compiled into the BPF program and into the host's tests. What differs is
//! only how bytes are read ([`Cursor`]) and who answers questions about the machine ([`Lookup`], [`Kernel`]).
//! `src/main.rs` holds the BPF programs; their built form is committed and embedded here as [`OBJECT`], so nobody needs
//! a BPF toolchain to build sidestep. `cargo xtask bpf` rebuilds it.
#![no_std]

#[cfg(test)]
extern crate std;
// The frames of the tests are shared with another crate and name this one.
#[cfg(test)]
extern crate self as xdp_prog;

mod abi;
mod capture;
mod cursor;
mod decide;
mod handoff;
mod headers;
mod verdict;
mod wire;

pub use abi::*;
pub use capture::{CAPTURE_PROGRAM, CAPTURE_RULE, CAPTURE_XSKS, Capture};
pub use cursor::Cursor;
pub use decide::{Lookup, decide};
pub use handoff::{
    Attributes, Found, KFUNC_MAGIC, Kernel, Outcome, Ruling, State, Waybill, hand_over,
};
pub use headers::comes_from;
pub use verdict::Verdict;
pub use wire::{WIRE_DEVICE, WIRE_PROGRAM};

/// Bytes at an address that ELF readers may cast headers at.
#[cfg(not(target_arch = "bpf"))]
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

#[cfg(not(target_arch = "bpf"))]
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../object/sidestep.bpf.o"));

/// The programs [`XDP_PROGRAM`], [`INJECT_PROGRAM`] and [`HANDOFF_PROGRAM`] with their maps, as an ELF object aligned to 8 bytes.
#[cfg(not(target_arch = "bpf"))]
pub static OBJECT: &[u8] = &EMBEDDED.0;

#[cfg(not(target_arch = "bpf"))]
static CAPTURE_EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../object/capture.bpf.o"));

/// The same for [`CAPTURE_PROGRAM`], which only `sidestep-bench` loads.
#[cfg(not(target_arch = "bpf"))]
pub static CAPTURE_OBJECT: &[u8] = &CAPTURE_EMBEDDED.0;

#[cfg(not(target_arch = "bpf"))]
static WIRE_EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../object/wire.bpf.o"));

/// The same for [`WIRE_PROGRAM`], which only tests and `sidestep-bench` load.
#[cfg(not(target_arch = "bpf"))]
pub static WIRE_OBJECT: &[u8] = &WIRE_EMBEDDED.0;
