//! The BPF programs: `decide()` between the frame and the maps, and the injector's redirect.
//!
//! Built by `cargo xtask bpf` for `bpfel-unknown-none`; on any other target an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::bindings::{
        BPF_F_CURRENT_NETNS, BPF_F_INGRESS, BPF_TCP_LISTEN, TC_ACT_SHOT, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, xdp_action,
    };
    use aya_ebpf::helpers::generated::{bpf_redirect, bpf_sk_release, bpf_skc_lookup_tcp};
    use aya_ebpf::macros::{classifier, map, xdp};
    use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, XskMap};
    use aya_ebpf::programs::{TcContext, XdpContext};
    use xdp_prog::{Cursor, FlowKey, Lookup, MAX_SERVICES, ServiceKey, Station, Verdict, decide};

    #[map]
    static SERVICES: HashMap<ServiceKey, u32> = HashMap::with_max_entries(MAX_SERVICES, 0);
    // Userspace sets the real sizes of FLOWS and XSKS before it loads the object.
    #[map]
    static FLOWS: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(1, 0);
    #[map]
    static XSKS: XskMap = XskMap::with_max_entries(1, 0);
    #[map]
    static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
    #[map]
    static GATE: Array<u32> = Array::with_max_entries(1, 0);
    #[map]
    static STATION: Array<u64> = Array::with_max_entries(1, 0);
    #[unsafe(no_mangle)]
    static NIC_IFINDEX: u32 = 0;

    /// Steers one frame.
    #[xdp]
    pub fn sidestep_xdp(ctx: XdpContext) -> u32 {
        let frame = Frame {
            at: ctx.data(),
            end: ctx.data_end(),
        };
        let mut verdict = decide(frame, &Machine { ctx: &ctx });
        let mut action = xdp_action::XDP_PASS;
        if verdict.to_worker() {
            // The flag is what the helper answers if the queue has no socket.
            action = match XSKS.redirect(ctx.rx_queue_index(), u64::from(xdp_action::XDP_PASS)) {
                Ok(action) | Err(action) => action,
            };
            if action != xdp_action::XDP_REDIRECT {
                verdict = Verdict::PassNoSocket;
            }
        }
        if let Some(counter) = COUNTERS.get_ptr_mut(verdict as u32) {
            // SAFETY: a pointer to this CPU's slot, which the verifier checked; XDP programs do not nest on a CPU.
            unsafe { *counter += 1 };
        }
        action
    }

    /// Makes a frame from the injector device arrive on the NIC.
    #[classifier]
    pub fn sidestep_inject(_: TcContext) -> i32 {
        // SAFETY: userspace rewrites this read-only global before loading; volatile keeps the load.
        let nic = unsafe { core::ptr::read_volatile(&raw const NIC_IFINDEX) };
        if nic == 0 {
            return TC_ACT_SHOT as i32;
        }
        // SAFETY: a helper that takes plain values.
        unsafe { bpf_redirect(nic, u64::from(BPF_F_INGRESS)) as i32 }
    }

    /// A position in the frame of the packet being judged.
    #[derive(Clone, Copy)]
    struct Frame {
        at: usize,
        end: usize,
    }

    impl Frame {
        /// The next bytes as a `T`, which is an array of numbers.
        #[inline(always)]
        fn read<T: Copy>(self) -> Option<T> {
            if self.at + size_of::<T>() > self.end {
                return None;
            }
            // SAFETY: within the frame by the check above, which the verifier wants to see too. The position need not
            // be aligned for `T`: BPF loads need no alignment where the kernel has efficient unaligned access, and
            // elsewhere the verifier refuses the program.
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

    /// The maps and the kernel's socket table.
    struct Machine<'a> {
        ctx: &'a XdpContext,
    }

    impl Lookup for Machine<'_> {
        #[inline(always)]
        fn is_station(&self, station: Station) -> bool {
            STATION.get(0).is_some_and(|own| *own == station.0)
        }

        #[inline(always)]
        fn is_service(&self, key: &ServiceKey) -> bool {
            SERVICES.get_ptr(key).is_some()
        }

        #[inline(always)]
        fn is_own_flow(&self, key: &FlowKey) -> bool {
            FLOWS.get_ptr(key).is_some()
        }

        #[inline(always)]
        fn is_kernel_flow(&self, key: &FlowKey) -> bool {
            let [.., sport_dport] = key.words();
            let [a, b, c, d] = sport_dport.to_ne_bytes();
            if key.local.is_v4() {
                let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: key.remote.0[3],
                    daddr: key.local.0[3],
                    sport: u16::from_ne_bytes([a, b]),
                    dport: u16::from_ne_bytes([c, d]),
                };
                self.has_socket((&raw const ipv4).cast(), size_of_val(&ipv4))
            } else {
                // A flow key is laid out like the IPv6 arm of the tuple.
                self.has_socket((&raw const *key).cast(), size_of::<FlowKey>())
            }
        }

        #[inline(always)]
        fn gate_is_open(&self) -> bool {
            GATE.get(0).is_some_and(|open| *open != 0)
        }
    }

    impl Machine<'_> {
        /// Whether the kernel has a socket other than a listener for the tuple of `size` bytes.
        #[inline(always)]
        fn has_socket(&self, tuple: *const bpf_sock_tuple, size: usize) -> bool {
            // SAFETY: `tuple` points to `size` readable bytes on the stack; the context is the program's own.
            let socket = unsafe {
                bpf_skc_lookup_tcp(
                    self.ctx.ctx.cast(),
                    tuple.cast_mut(),
                    size as u32,
                    BPF_F_CURRENT_NETNS as i32 as u64,
                    0,
                )
            };
            if socket.is_null() {
                return false;
            }
            // SAFETY: not null, and referenced until the release, after which it is not used.
            unsafe {
                let state = (*socket).state;
                bpf_sk_release(socket.cast());
                state != BPF_TCP_LISTEN
            }
        }
    }

    /// Said to the kernel, which allows some helpers only to compatible licences.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Never reached: the programs contain nothing that panics, and the verifier would refuse the loop.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}
