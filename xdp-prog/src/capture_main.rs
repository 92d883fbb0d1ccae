//! The BPF program of `sidestep-bench`: takes the frames that its rule names.
//!
//! Built by `cargo xtask bpf` for `bpfel-unknown-none`; on any other target an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, XskMap};
    use aya_ebpf::programs::XdpContext;
    use xdp_prog::{Capture, Cursor};

    // Userspace sets the real size before it loads the object.
    #[map]
    static BENCH_XSKS: XskMap = XskMap::with_max_entries(1, 0);
    #[map]
    static BENCH_RULE: Array<Capture> = Array::with_max_entries(1, 0);

    /// Redirects what the rule names to its queue's socket; the kernel has the rest.
    #[xdp]
    pub fn bench_xdp(ctx: XdpContext) -> u32 {
        let frame = Frame {
            at: ctx.data(),
            end: ctx.data_end(),
        };
        match BENCH_RULE.get(0) {
            Some(rule) if rule.takes(frame) => {
                let pass = u64::from(xdp_action::XDP_PASS);
                match BENCH_XSKS.redirect(ctx.rx_queue_index(), pass) {
                    Ok(action) | Err(action) => action,
                }
            }
            _ => xdp_action::XDP_PASS,
        }
    }

    /// A position in the frame.
    #[derive(Clone, Copy)]
    struct Frame {
        at: usize,
        end: usize,
    }

    impl Frame {
        #[inline(always)]
        fn read<T: Copy>(self) -> Option<T> {
            if self.at + size_of::<T>() > self.end {
                return None;
            }
            // SAFETY: within the frame by the check above, which the verifier wants to see too. The position need not
            // be aligned for `T`, an array of numbers: BPF loads need no alignment where the kernel has efficient
            // unaligned access, and elsewhere the verifier refuses the program.
            Some(unsafe { *(self.at as *const T) })
        }
    }

    impl Cursor for Frame {
        #[inline(always)]
        fn halves<const N: usize>(self) -> Option<[u16; N]> {
            Some(self.read::<[u16; N]>()?.map(u16::from_be))
        }

        #[inline(always)]
        fn words<const N: usize>(self) -> Option<[u32; N]> {
            self.read()
        }

        #[inline(always)]
        fn skip(self, bytes: u32) -> Self {
            Self {
                at: self.at + bytes as usize,
                end: self.end,
            }
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
