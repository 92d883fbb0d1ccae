//! The BPF program of a wire between test hosts: sends each frame on by another device, as it came.
//!
//! Built by `cargo xtask bpf` for `bpfel-unknown-none`; on any other target an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::DevMap;
    use aya_ebpf::programs::XdpContext;

    #[map]
    static WIRE_DEVICE: DevMap = DevMap::with_max_entries(1, 0);

    /// Redirects everything. Without a device nothing goes on: a test has to see that, so it must not be the kernel's.
    #[xdp]
    pub fn wire_xdp(_: XdpContext) -> u32 {
        match WIRE_DEVICE.redirect(0, u64::from(xdp_action::XDP_DROP)) {
            Ok(action) | Err(action) => action,
        }
    }

    /// Said to the kernel, which allows some helpers only to compatible licences.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Never reached: the program contains nothing that panics, and the verifier would refuse the loop.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}
