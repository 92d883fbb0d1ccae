//! sidestep: answers small GETs from AF_XDP and leaves the rest to the kernel.
//!
//! The way of a frame is in [`worker::Pipeline`]; see `ARCHITECTURE.md` for the map of it all.

mod bpf_link;
pub mod cache;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod genl;
pub mod handoff;
pub mod http;
pub mod inject;
pub mod kernel_http;
mod napi;
pub mod net;
pub mod nic;
pub mod reason;
pub mod route;
pub mod steer;
pub mod store;
pub mod sys;
pub mod worker;
pub mod xsk;
