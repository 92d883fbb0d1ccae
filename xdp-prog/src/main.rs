//! The BPF programs: `decide()` and `hand_over()` between the frame and the maps, and the injector's redirect.
//!
//! Built by `cargo xtask bpf` for `bpfel-unknown-none`; on any other target an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::bindings::{
        __sk_buff, BPF_F_CURRENT_NETNS, BPF_F_INGRESS, BPF_F_MMAPABLE, BPF_TCP_LISTEN, TC_ACT_SHOT,
        TC_ACT_UNSPEC, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        xdp_action,
    };
    use aya_ebpf::helpers::generated::{
        bpf_clone_redirect, bpf_redirect, bpf_sk_release, bpf_skb_load_bytes, bpf_skc_lookup_tcp,
        bpf_skc_to_tcp_sock, bpf_tcp_gen_syncookie,
    };
    use aya_ebpf::macros::{classifier, map, xdp};
    use aya_ebpf::maps::{Array, HashMap, PerCpuArray, XskMap};
    use aya_ebpf::programs::{TcContext, XdpContext};
    use core::ffi::c_void;
    use core::mem::MaybeUninit;
    use xdp_prog::{
        Attributes, CARRIER_MAC, CARRIER_MARK, Cursor, FlowKey, Found, KFUNC_MAGIC, Kernel, Lookup,
        MAX_SERVICES, Ruling, ServiceKey, Station, Verdict, Waybill, comes_from, decide, hand_over,
    };

    #[map]
    static SERVICES: HashMap<ServiceKey, u32> = HashMap::with_max_entries(MAX_SERVICES, 0);
    // Userspace sets the real sizes of FLOWS, XSKS and OUTCOMES before it loads the object.
    #[map]
    static FLOWS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    #[map]
    static XSKS: XskMap = XskMap::with_max_entries(1, 0);
    #[map]
    static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
    #[map]
    static GATE: Array<u32> = Array::with_max_entries(1, 0);
    #[map]
    static STATION: Array<u64> = Array::with_max_entries(1, 0);
    #[map]
    static OUTCOMES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    #[unsafe(no_mangle)]
    static NIC_IFINDEX: u32 = 0;
    #[unsafe(no_mangle)]
    static PLACES: u32 = 0;

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
    pub fn sidestep_inject(ctx: TcContext) -> i32 {
        // SAFETY: userspace rewrites this read-only global before loading; volatile keeps the load.
        let nic = unsafe { core::ptr::read_volatile(&raw const NIC_IFINDEX) };
        if nic == 0 {
            return TC_ACT_SHOT as i32;
        }
        let frame = Frame {
            at: ctx.data(),
            end: ctx.data_end(),
        };
        if comes_from(frame, CARRIER_MAC) {
            // SAFETY: the context is the program's own.
            unsafe { (*ctx.skb.skb).mark = CARRIER_MARK };
        }
        // SAFETY: a helper that takes plain values.
        unsafe { bpf_redirect(nic, u64::from(BPF_F_INGRESS)) as i32 }
    }

    /// Makes the kernel take connections over from userspace.
    #[classifier]
    pub fn sidestep_handoff(ctx: TcContext) -> i32 {
        match hand_over(&Ingress { ctx: &ctx }) {
            // Whatever else is attached here sees what passes.
            Ruling::NotOurs => TC_ACT_UNSPEC,
            Ruling::Deliver => {
                // The mark has done its part; the host may have rules for marks.
                // SAFETY: the context is the program's own.
                unsafe { (*ctx.skb.skb).mark = 0 };
                TC_ACT_UNSPEC
            }
            Ruling::Drop => TC_ACT_SHOT as i32,
        }
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
            let mark = key.mark();
            // SAFETY: userspace rewrites this read-only global before loading; volatile keeps the load.
            let places = unsafe { core::ptr::read_volatile(&raw const PLACES) };
            let first = self.ctx.rx_queue_index() * places;
            FLOWS
                .get_ptr(first + FlowKey::place(mark, places))
                .is_some_and(|word| {
                    // SAFETY: a value of the map, which the verifier checked. Userspace writes whole words.
                    unsafe { word.read_volatile() == mark }
                })
        }

        #[inline(always)]
        fn is_kernel_flow(&self, key: &FlowKey) -> bool {
            with_socket(self.ctx.ctx.cast(), key, false, |socket| !listens(socket))
        }

        #[inline(always)]
        fn gate_is_open(&self) -> bool {
            GATE.get(0).is_some_and(|open| *open != 0)
        }
    }

    /// A frame on the NIC's ingress, and what is known of its connection.
    struct Ingress<'a> {
        ctx: &'a TcContext,
    }

    impl Kernel for Ingress<'_> {
        type Place = *mut u64;

        #[inline(always)]
        fn waybill(&self) -> Option<Waybill> {
            let skb = self.ctx.skb.skb;
            // SAFETY: the context is the program's own.
            let (mark, len) = unsafe { ((*skb).mark, (*skb).len) };
            if mark != CARRIER_MARK {
                return None;
            }
            let at = len.checked_sub(Waybill::LEN as u32)?;
            let mut waybill = MaybeUninit::<Waybill>::uninit();
            // SAFETY: the helper writes so many bytes, or zeroes if it fails; a waybill is plain numbers.
            unsafe {
                let to = waybill.as_mut_ptr().cast();
                let failed = bpf_skb_load_bytes(skb.cast(), at, to, Waybill::LEN as u32);
                (failed == 0).then_some(waybill.assume_init())
            }
        }

        #[inline(always)]
        fn word(&self, place: u32) -> Option<(*mut u64, u64)> {
            let word = OUTCOMES.get_ptr_mut(place)?;
            // SAFETY: a value of the map, which the verifier checked.
            Some((word, unsafe { word.read_volatile() }))
        }

        #[inline(always)]
        fn set(&self, place: *mut u64, word: u64) {
            // SAFETY: as above. Userspace reads and writes whole words.
            unsafe { place.write_volatile(word) };
        }

        #[inline(always)]
        fn find(&self, flow: &FlowKey, attributes: Option<&Attributes>) -> (Found, i32) {
            let skb = self.ctx.skb.skb;
            with_socket(skb.cast(), flow, (Found::Nobody, 0), |socket| {
                if !listens(socket) {
                    (Found::Flow, 0)
                } else if let Some(attributes) = attributes {
                    (Found::Listener, assign(socket, skb, attributes))
                } else {
                    (Found::Listener, 0)
                }
            })
        }

        #[inline(always)]
        fn repeat(&self) {
            let skb = self.ctx.skb.skb;
            // Lost when the queue is full; then the carrier that userspace injects next has this one's part.
            // SAFETY: the context is the program's own, and no pointer into the packet is used after the call.
            unsafe { bpf_clone_redirect(skb, (*skb).ifindex, u64::from(BPF_F_INGRESS)) };
        }
    }

    /// What `look` says about the socket that a segment of the flow would reach; `nobody` if there is none.
    ///
    /// Each IP version has a lookup of its own: behind a common one the compiler joins the ways out, and the verifier
    /// sees a release of what may be null.
    #[inline(always)]
    fn with_socket<T>(
        ctx: *mut c_void,
        flow: &FlowKey,
        nobody: T,
        look: impl FnOnce(*mut bpf_sock) -> T,
    ) -> T {
        let [.., sport_dport] = flow.words();
        let [a, b, c, d] = sport_dport.to_ne_bytes();
        if flow.local.is_v4() {
            let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                saddr: flow.remote.0[3],
                daddr: flow.local.0[3],
                sport: u16::from_ne_bytes([a, b]),
                dport: u16::from_ne_bytes([c, d]),
            };
            lookup(
                ctx,
                (&raw const ipv4).cast(),
                size_of_val(&ipv4),
                nobody,
                look,
            )
        } else {
            // A flow key is laid out like the IPv6 arm of the tuple.
            lookup(
                ctx,
                (&raw const *flow).cast(),
                size_of::<FlowKey>(),
                nobody,
                look,
            )
        }
    }

    /// The same for a tuple of `size` bytes.
    #[inline(always)]
    fn lookup<T>(
        ctx: *mut c_void,
        tuple: *const bpf_sock_tuple,
        size: usize,
        nobody: T,
        look: impl FnOnce(*mut bpf_sock) -> T,
    ) -> T {
        let netns = BPF_F_CURRENT_NETNS as i32 as u64;
        // SAFETY: `tuple` points to `size` readable bytes on the stack; the context is the program's own.
        let socket = unsafe { bpf_skc_lookup_tcp(ctx, tuple.cast_mut(), size as u32, netns, 0) };
        if socket.is_null() {
            return nobody;
        }
        let seen = look(socket);
        // SAFETY: referenced by the lookup, and not used any more.
        unsafe { bpf_sk_release(socket.cast()) };
        seen
    }

    /// Whether `socket`, which is referenced, is a listener.
    #[inline(always)]
    fn listens(socket: *mut bpf_sock) -> bool {
        // SAFETY: not null, and referenced.
        unsafe { (*socket).state == BPF_TCP_LISTEN }
    }

    /// Makes `socket`, a referenced listener, take the segment for the end of a handshake. Returns 0 or a negative
    /// `errno`; `ENOENT` if SYN cookies are off, when the kernel would answer the segment with a reset.
    #[inline(always)]
    fn assign(socket: *mut bpf_sock, skb: *mut __sk_buff, attributes: &Attributes) -> i32 {
        type Assign =
            unsafe extern "C" fn(*mut __sk_buff, *mut c_void, *const Attributes, u32) -> i32;
        // No cookie is wanted: that there are none is what this helper says before it sees that this is no SYN. The TCP
        // header has to give its own length, five words.
        let header = [0, 0, 0, (5_u32 << 28).to_be(), 0];
        let bytes = size_of_val(&header) as u32;
        let at = header.as_ptr().cast_mut().cast();
        // SAFETY: the socket is referenced, and both pointers are to so many bytes on the stack.
        let cookie = unsafe { bpf_tcp_gen_syncookie(socket.cast(), at, bytes, at.cast(), bytes) };
        if cookie == -i64::from(ENOENT) {
            return -ENOENT;
        }
        // SAFETY: the number of a helper, as all helpers are called. Userspace has put the kernel function's in its
        // place, or does not load this program.
        let bpf_sk_assign_tcp_reqsk =
            unsafe { core::mem::transmute::<usize, Assign>(KFUNC_MAGIC as usize) };
        // SAFETY: referenced; null if it is no TCP socket.
        let socket = unsafe { bpf_skc_to_tcp_sock(socket.cast()) };
        if socket.is_null() {
            return -EINVAL;
        }
        let size = size_of::<Attributes>() as u32;
        // SAFETY: the context is the program's own, the socket is referenced, and the attributes have this size.
        unsafe { bpf_sk_assign_tcp_reqsk(skb, socket.cast(), attributes, size) }
    }

    /// What the kernel function answers if the listener cannot take the connection.
    const EINVAL: i32 = 22;
    /// What [`assign`] answers without SYN cookies.
    const ENOENT: i32 = 2;

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
