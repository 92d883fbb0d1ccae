//! sidestep: answers small GETs from AF_XDP and leaves the rest to the kernel.

pub mod http;
pub mod inject;
pub mod reason;
pub mod route;
pub mod steer;
pub mod store;
