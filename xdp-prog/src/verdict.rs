//! What can become of a frame.

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// What becomes of a frame, and which counter it goes to. `Pass…` is the kernel's, `Xsk…` the worker's.
        ///
        /// The discriminant is the index in [`COUNTERS`](crate::COUNTERS).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Verdict { $($(#[$doc])* $name,)+ }

        impl Verdict {
            /// Every verdict, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            const LABELS: &[&str] = &[$($label),+];
        }
    };
}

verdicts! {
    /// Rule 0: the daemon injected it; it had its turn.
    PassInjected = "pass_injected",
    /// Rule 1: not Ethernet / IP / TCP, nor an ICMP message about the path MTU.
    PassOther = "pass_other",
    /// Rule 1: cut off in the middle of a header, or a header that contradicts itself. The kernel judges.
    PassMalformed = "pass_malformed",
    /// Rule 1: more VLAN tags or extension headers than are walked, or a route that does not end here.
    PassUnwalked = "pass_unwalked",
    /// Rule 2: to another station than the NIC, or to a group.
    PassOtherStation = "pass_other_station",
    /// Rule 2: not to, or an ICMP message not about, an address and port of ours.
    PassNotService = "pass_not_service",
    /// Rule 4: the kernel has a socket for this very connection.
    PassKernelFlow = "pass_kernel_flow",
    /// Rule 5: a new connection while the gate is closed.
    PassGateClosed = "pass_gate_closed",
    /// Rule 6 and the others that redirect: this queue has no AF_XDP socket.
    PassNoSocket = "pass_no_socket",
    /// Rule 3: a segment of a connection that a worker has registered.
    XskFlow = "xsk_flow",
    /// Rule 6: a segment that the kernel does not know: new, or of a connection that is not registered.
    XskOther = "xsk_other",
    /// A fragment of a TCP packet to an address of ours.
    XskFragment = "xsk_fragment",
    /// An ICMP message about the path MTU of a connection that the kernel does not know.
    XskIcmp = "xsk_icmp",
}

impl Verdict {
    /// How many verdicts there are: the length of the counter array.
    pub const COUNT: usize = Self::ALL.len();

    /// The metric label and log word of the verdict with index `i`, or `"?"` past the last.
    pub const fn label(i: usize) -> &'static str {
        if i < Self::COUNT {
            Self::LABELS[i]
        } else {
            "?"
        }
    }

    /// Whether the frame is to go to the AF_XDP socket of its queue.
    #[inline(always)]
    pub const fn to_worker(self) -> bool {
        self as u32 >= Self::XskFlow as u32
    }
}
