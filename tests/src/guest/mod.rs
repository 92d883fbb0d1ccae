//! `sidestep` in a virtual machine under QEMU, for real NIC drivers without the hardware.
//!
//! ```text
//!   namespace ss-<pid>-<n>-t                 QEMU (software emulation)
//!   ┌───────────────────────┐                ┌──────────────────────────────────────┐
//!   │ clients ──── ss-tap ──╪── TAP device ──╪── igb, virtio-net … ── eth0          │
//!   │                       │                │   Debian's kernel, sidestep, httpd   │
//!   │ this process ─────────╪── Unix socket ─╪── virtio port ── /init               │
//!   └───────────────────────┘                └──────────────────────────────────────┘
//! ```
//! `tests/zc/init` is what runs in the machine. `cargo xtask zc` fetches the packages and runs the binary `sidestep-zc`.

mod case;
mod clients;
mod image;
mod machine;
mod report;
mod shell;
mod told;
mod trial;
mod tsc;

pub use case::{Case, DRIVERS};
pub use image::{Image, Packages};
pub use machine::Machine;
pub use report::Report;
pub use trial::{message, run};
