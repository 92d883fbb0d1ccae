//! The XDP program in the kernel: same verdicts as on the host, attaches or says why not; the injector delivers.

#[path = "steering/attach.rs"]
mod attach;
#[path = "../../xdp-prog/src/decide/tests/frames.rs"]
mod frames;
#[path = "steering/inject.rs"]
mod inject;
#[path = "steering/net.rs"]
mod net;
#[path = "steering/verdicts.rs"]
mod verdicts;
