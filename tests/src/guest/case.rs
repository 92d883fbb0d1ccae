//! The drivers, and what is expected of each.

/// One NIC of a virtual machine, and how sidestep has to end up on it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line and in the table.
    pub name: &'static str,
    /// QEMU's device, with its options.
    pub device: &'static str,
    /// Queues of the TAP device: more than one only where QEMU's device takes as many.
    pub tap_queues: u32,
    /// The NIC's queues in the machine, one worker each.
    pub queues: u32,
    /// Queues that QEMU spreads connections over; the others get nothing.
    pub spread: usize,
    /// The mode that `mode = "auto"` has to end in.
    pub mode: &'static str,
    /// Part of `cargo xtask test`.
    pub short: bool,
    /// The NIC's MTU in bytes.
    pub mtu: u32,
}

const ETHERNET_MTU: u32 = 1500;

/// All of them, those of the short form first.
pub const DRIVERS: [Case; 7] = [
    Case {
        name: "igb",
        device: "igb",
        tap_queues: 1,
        queues: 2,
        spread: 2,
        mode: "zero-copy",
        short: true,
        mtu: ETHERNET_MTU,
    },
    Case {
        name: "virtio-net",
        device: "virtio-net-pci,mq=on,vectors=6,iommu_platform=on,disable-legacy=on",
        tap_queues: 2,
        queues: 2,
        spread: 2,
        mode: "zero-copy",
        short: true,
        mtu: ETHERNET_MTU,
    },
    // Without an IOMMU's addresses the driver does not map the UMEM for DMA, and refuses to use it.
    Case {
        name: "virtio-net-plain",
        device: "virtio-net-pci,mq=on,vectors=6",
        tap_queues: 2,
        queues: 2,
        spread: 2,
        mode: "copy",
        short: false,
        mtu: ETHERNET_MTU,
    },
    Case {
        name: "vmxnet3",
        device: "vmxnet3",
        tap_queues: 1,
        queues: 2,
        spread: 1,
        mode: "copy",
        short: false,
        mtu: ETHERNET_MTU,
    },
    Case {
        name: "e1000e",
        device: "e1000e",
        tap_queues: 1,
        queues: 1,
        spread: 1,
        mode: "generic",
        short: false,
        mtu: ETHERNET_MTU,
    },
    // Frames that fit the driver's large buffers, with room for the tags and the checksum.
    Case {
        name: "igb-mtu-3000",
        device: "igb",
        tap_queues: 1,
        queues: 2,
        spread: 2,
        mode: "zero-copy",
        short: false,
        mtu: 3000,
    },
    // Those that do not: the driver refuses every native XDP program.
    Case {
        name: "igb-mtu-3400",
        device: "igb",
        tap_queues: 1,
        queues: 2,
        spread: 2,
        mode: "generic",
        short: false,
        mtu: 3400,
    },
];
