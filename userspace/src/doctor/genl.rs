//! Questions to families of generic netlink.

use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::nl::NlPayload;
use neli::router::synchronous::NlRouter;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Attributes = GenlBuffer<u16, Buffer>;
type Nlattr = neli::genl::Nlattr<u16, Buffer>;

/// `netdev`, <linux/netdev.h>.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// `ethtool`, <linux/ethtool_netlink.h>.
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// What a driver's native XDP can do (`enum netdev_xdp_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures(u64);

impl XdpFeatures {
    /// Programs run in the driver, and may redirect.
    pub fn native(self) -> bool {
        self.0 & 0b11 == 0b11
    }

    /// AF_XDP sockets share their memory with the NIC.
    pub fn zero_copy(self) -> bool {
        self.0 & 0b1000 != 0
    }
}

/// What the driver says of its XDP; the kernel tells since 6.3.
pub(super) fn xdp_features(ifindex: u32) -> Result<XdpFeatures> {
    let attributes = [attribute(NETDEV_A_DEV_IFINDEX, ifindex)?];
    let answer = ask("netdev", NETDEV_CMD_DEV_GET, attributes)?;
    let attributes = answer.attrs().get_attr_handle();
    let features = attributes.get_attr_payload_as::<u64>(NETDEV_A_DEV_XDP_FEATURES)?;
    Ok(XdpFeatures(features))
}

/// Names of the features that are on, as `ethtool -k` has them in its sources: `rx-lro`, `rx-gro-hw` ….
pub(super) fn offloads(ifindex: u32) -> Result<Vec<String>> {
    let header = attribute(ETHTOOL_A_FEATURES_HEADER, ())?;
    let header = header.nest(&attribute(ETHTOOL_A_HEADER_DEV_INDEX, ifindex)?)?;
    let answer = ask("ethtool", ETHTOOL_MSG_FEATURES_GET, [header])?;
    let attributes = answer.attrs().get_attr_handle();
    let active = attributes.get_nested_attributes::<u16>(ETHTOOL_A_FEATURES_ACTIVE)?;
    let bits = active.get_nested_attributes::<u16>(ETHTOOL_A_BITSET_BITS)?;
    let mut names = Vec::new();
    for bit in bits.iter() {
        if *bit.nla_type().nla_type() == ETHTOOL_A_BITSET_BITS_BIT {
            let bit = bit.get_attr_handle::<u16>()?;
            names.push(bit.get_attr_payload_as_with_len::<String>(ETHTOOL_A_BITSET_BIT_NAME)?);
        }
    }
    Ok(names)
}

fn attribute<P: neli::Size + neli::ToBytes>(kind: u16, payload: P) -> Result<Nlattr> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build()?;
    let builder = NlattrBuilder::default().nla_type(kind);
    Ok(builder.nla_payload(payload).build()?)
}

/// The first answer.
fn ask(
    family: &str,
    command: u8,
    attributes: impl IntoIterator<Item = Nlattr>,
) -> Result<Genlmsghdr<u8, u16>> {
    let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty())?;
    let family = router.resolve_genl_family(family)?;
    let message = GenlmsghdrBuilder::default()
        .cmd(command)
        .version(1)
        .attrs(attributes.into_iter().collect::<Attributes>())
        .build()?;
    let answers = router.send::<_, _, u16, Genlmsghdr<u8, u16>>(
        family,
        NlmF::ACK,
        NlPayload::Payload(message),
    )?;
    for answer in answers {
        if let NlPayload::Payload(answer) = answer?.nl_payload() {
            return Ok(answer.clone());
        }
    }
    Err("no answer".into())
}
