//! What the two NICs do for the kernels behind them: a condition of all tables, since it is not the same help for everybody.

use serde::Serialize;
use sidestep_tests::net::Net;

/// How much. Frames of AF_XDP get none of it, whichever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Offloads {
    /// Nothing: segments and checksums in software, each segment received by itself
    #[default]
    None,
    /// The client's NIC merges segments as they come (GRO), as those of real ones do
    Receive,
    /// That, and the server's makes segments and checksums (TSO): over a veth, packets of 64 KiB that no wire carries
    Full,
}

impl Offloads {
    /// In words, for the head of a report.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::None => {
                "Offloads: none (segments and checksums in software, each segment received by itself)."
            }
            Self::Receive => "Offloads: GRO at the client.",
            Self::Full => "Offloads: GRO at the client; TSO and checksums at the server.",
        }
    }

    /// Sets them on a pair of hosts that has none.
    pub(super) fn set(self, net: &Net) {
        if self == Self::None {
            return;
        }
        let client = &net.client;
        client.must(&["ethtool", "-K", client.device, "gro", "on"]);
        if self == Self::Full {
            let server = &net.server;
            // Segmentation needs the checksums, so they come first.
            for feature in ["tx", "tso", "gso"] {
                server.must(&["ethtool", "-K", server.device, feature, "on"]);
            }
        }
    }
}
