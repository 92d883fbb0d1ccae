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
type Answer = Genlmsghdr<u8, u16>;
type Nlattr = neli::genl::Nlattr<u16, Buffer>;

/// `netdev`, <linux/netdev.h>.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_CMD_QUEUE_GET: u8 = 10;
const NETDEV_A_QUEUE_ID: u16 = 1;
const NETDEV_A_QUEUE_IFINDEX: u16 = 2;
const NETDEV_A_QUEUE_TYPE: u16 = 3;
const NETDEV_A_QUEUE_NAPI_ID: u16 = 4;
const NETDEV_QUEUE_TYPE_RX: u32 = 0;
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_CMD_NAPI_SET: u8 = 14;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;

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
pub struct XdpFeatures(u64);

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
pub fn xdp_features(ifindex: u32) -> Result<XdpFeatures> {
    let attributes = [attribute(NETDEV_A_DEV_IFINDEX, ifindex)?];
    let answer = first("netdev", NETDEV_CMD_DEV_GET, attributes)?;
    let attributes = answer.attrs().get_attr_handle();
    let features = attributes.get_attr_payload_as::<u64>(NETDEV_A_DEV_XDP_FEATURES)?;
    Ok(XdpFeatures(features))
}

/// Names of the features that are on, as `ethtool -k` has them in its sources: `rx-lro`, `rx-gro-hw` ….
pub fn offloads(ifindex: u32) -> Result<Vec<String>> {
    let header = attribute(ETHTOOL_A_FEATURES_HEADER, ())?;
    let header = header.nest(&attribute(ETHTOOL_A_HEADER_DEV_INDEX, ifindex)?)?;
    let answer = first("ethtool", ETHTOOL_MSG_FEATURES_GET, [header])?;
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

/// One of a NIC's instances of NAPI: it polls a queue, or some.
#[derive(Clone, Copy, Debug)]
pub struct Napi {
    /// Its number, of the network namespace.
    pub id: u32,
    /// `None`: the kernel has them for the whole NIC only (before Linux 6.13).
    pub settings: Option<NapiSettings>,
}

/// When an instance's interrupt is unmasked again. All zero, the default: as soon as a poll finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NapiSettings {
    /// After so many polls in vain.
    pub defer_hard_irqs: u32,
    /// Nanoseconds between them.
    pub gro_flush_timeout: u64,
    /// Nanoseconds for which a busy-polling epoll_wait(2) that has found something keeps all of it away.
    pub irq_suspend_timeout: u64,
}

/// A NIC's instances.
pub fn napis(ifindex: u32) -> Result<Vec<Napi>> {
    let attributes = [attribute(NETDEV_A_NAPI_IFINDEX, ifindex)?];
    let answers = ask("netdev", NETDEV_CMD_NAPI_GET, NlmF::DUMP, attributes)?;
    let napi = |answer: &Answer| {
        Some(Napi {
            id: number(answer, NETDEV_A_NAPI_ID)? as u32,
            settings: settings(answer),
        })
    };
    Ok(answers.iter().filter_map(napi).collect())
}

fn settings(answer: &Answer) -> Option<NapiSettings> {
    Some(NapiSettings {
        defer_hard_irqs: number(answer, NETDEV_A_NAPI_DEFER_HARD_IRQS)? as u32,
        gro_flush_timeout: number(answer, NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT)?,
        irq_suspend_timeout: number(answer, NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT)?,
    })
}

/// The instance that polls receive queue `queue`, if the driver tells.
pub fn napi_of(ifindex: u32, queue: u32) -> Option<u32> {
    let attributes = [
        attribute(NETDEV_A_QUEUE_IFINDEX, ifindex).ok()?,
        attribute(NETDEV_A_QUEUE_ID, queue).ok()?,
        attribute(NETDEV_A_QUEUE_TYPE, NETDEV_QUEUE_TYPE_RX).ok()?,
    ];
    let answers = ask("netdev", NETDEV_CMD_QUEUE_GET, NlmF::ACK, attributes).ok()?;
    let id = number(answers.first()?, NETDEV_A_QUEUE_NAPI_ID)?;
    Some(id as u32)
}

/// Changes an instance.
pub fn set_napi(id: u32, to: NapiSettings) -> Result<()> {
    let attributes = [
        attribute(NETDEV_A_NAPI_ID, id)?,
        attribute(NETDEV_A_NAPI_DEFER_HARD_IRQS, to.defer_hard_irqs)?,
        attribute(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT, to.gro_flush_timeout)?,
        attribute(NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT, to.irq_suspend_timeout)?,
    ];
    ask("netdev", NETDEV_CMD_NAPI_SET, NlmF::ACK, attributes).map(drop)
}

/// An attribute of the netlink type `uint`: 4 or 8 bytes, as the value needs.
fn number(answer: &Answer, kind: u16) -> Option<u64> {
    let attributes = answer.attrs().get_attr_handle();
    let payload = attributes.get_attribute(kind)?.nla_payload().as_ref();
    match *payload {
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

fn attribute<P: neli::Size + neli::ToBytes>(kind: u16, payload: P) -> Result<Nlattr> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build()?;
    let builder = NlattrBuilder::default().nla_type(kind);
    Ok(builder.nla_payload(payload).build()?)
}

/// The first answer.
fn first(
    family: &str,
    command: u8,
    attributes: impl IntoIterator<Item = Nlattr>,
) -> Result<Answer> {
    let answers = ask(family, command, NlmF::ACK, attributes)?;
    Ok(answers.into_iter().next().ok_or("no answer")?)
}

/// All answers.
fn ask(
    family: &str,
    command: u8,
    how: NlmF,
    attributes: impl IntoIterator<Item = Nlattr>,
) -> Result<Vec<Answer>> {
    let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty())?;
    let family = router.resolve_genl_family(family)?;
    let message = GenlmsghdrBuilder::default()
        .cmd(command)
        .version(1)
        .attrs(attributes.into_iter().collect::<Attributes>())
        .build()?;
    let answers = router.send::<_, _, u16, Answer>(family, how, NlPayload::Payload(message))?;
    let mut all = Vec::new();
    for answer in answers {
        if let NlPayload::Payload(answer) = answer?.nl_payload() {
            all.push(answer.clone());
        }
    }
    Ok(all)
}
