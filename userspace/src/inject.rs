//! Puts segments that are not ours back on the kernel's receive path of the NIC.
//!
//! A frame is written to a TAP device of our own. A tc program on that device's ingress turns it into an arrival on the
//! NIC, so that the kernel sees it come from where it came from: routing, rp_filter, tc and tcpdump on the NIC are as
//! if sidestep were not there. The device is gone with the process, so a crash leaves nothing behind.

mod tap;

use std::io::{self, Write};

use aya::programs::LinkOrder;
use aya::programs::tc::{self, NlOptions, SchedClassifier, TcAttachOptions, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use xdp_prog::{CARRIER_MAC, INJECT_MAC, INJECT_PROGRAM, NIC_IFINDEX, OBJECT};

use tap::Tap;

/// Length of an Ethernet header without tags, bytes.
const ETHERNET: usize = 14;

/// A way into the kernel's receive path of one NIC. Each worker may have its own.
#[derive(Debug)]
pub struct Injector {
    tap: Tap,
    // Holds the program on the device; nothing else reads it.
    _ebpf: Ebpf,
}

/// Why there is no way into the kernel's receive path. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The TAP device could not be made.
    #[error(
        "cannot make the injector's TAP device ({step}): {error}; it needs CAP_NET_ADMIN and /dev/net/tun \
         (`modprobe tun`)"
    )]
    Tap {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The tc program could not be loaded or attached.
    #[error(
        "cannot run the injector's tc program: {0}; it needs CAP_BPF and CAP_NET_ADMIN, and CONFIG_NET_CLS_BPF and \
         CONFIG_NET_CLS_ACT in the kernel"
    )]
    Program(#[from] aya::EbpfError),
    /// The device does not take tc programs.
    #[error(
        "cannot run a tc program on the injector's device: {0}; the kernel needs CONFIG_NET_SCH_INGRESS"
    )]
    Tc(tc::TcError),
    /// The embedded object lacks the tc program.
    #[error(
        "the embedded BPF object has no `{INJECT_PROGRAM}`; it was not built from this source: run `cargo xtask bpf`"
    )]
    NoProgram,
}

impl Injector {
    /// Makes the device, in the network namespace of the calling thread, for the NIC with index `nic_ifindex` there.
    ///
    /// # Errors
    /// See [`InjectError`]. Nothing is left behind.
    pub fn open(nic_ifindex: u32) -> Result<Self, InjectError> {
        let tap = Tap::open().map_err(|(step, error)| InjectError::Tap { step, error })?;
        let mut ebpf = EbpfLoader::new()
            .override_global(NIC_IFINDEX, &nic_ifindex, true)
            .load(OBJECT)?;
        let program = ebpf
            .program_mut(INJECT_PROGRAM)
            .ok_or(InjectError::NoProgram)?;
        let program: &mut SchedClassifier = program.try_into().map_err(aya::EbpfError::from)?;
        program.load().map_err(aya::EbpfError::from)?;
        let tcx = TcAttachOptions::TcxOrder(LinkOrder::default());
        if program
            .attach_with_options(tap.name(), TcAttachType::Ingress, tcx)
            .is_err()
        {
            // Linux before 6.6 has no tcx. Attached by netlink the program lives as long as its device: no longer
            // than we do.
            tc::qdisc_add_clsact(tap.name()).map_err(InjectError::Tc)?;
            let netlink = TcAttachOptions::Netlink(NlOptions::default());
            program
                .attach_with_options(tap.name(), TcAttachType::Ingress, netlink)
                .map_err(aya::EbpfError::from)?;
        }
        Ok(Self { tap, _ebpf: ebpf })
    }

    /// Makes `frame`, an Ethernet frame as it was received on the NIC, arrive there again, for the kernel this time.
    ///
    /// The kernel checks it like any other: the destination address must still be the NIC's and the checksums right. Its
    /// source address is replaced by [`INJECT_MAC`]. Never blocks.
    ///
    /// # Errors
    /// Nothing was injected: [`io::ErrorKind::InvalidInput`] for less than an Ethernet header,
    /// [`io::ErrorKind::WouldBlock`] and others as the kernel says. A sender repeats what is lost, so counting is
    /// enough.
    pub fn inject(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.write(frame, INJECT_MAC)
    }

    /// The same for a frame that [`crate::handoff::Handoff::label`] has labelled: its source address becomes
    /// [`CARRIER_MAC`].
    ///
    /// # Errors
    /// As [`Injector::inject`].
    pub fn carry(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.write(frame, CARRIER_MAC)
    }

    fn write(&mut self, frame: &mut [u8], source: [u8; 6]) -> io::Result<()> {
        let Some(header) = frame.first_chunk_mut::<ETHERNET>() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        header[6..12].copy_from_slice(&source);
        // One write is one frame: the device takes all of it or none.
        self.tap.write(frame).map(drop)
    }

    /// Name of the TAP device, for messages.
    pub fn device(&self) -> &str {
        self.tap.name()
    }
}
