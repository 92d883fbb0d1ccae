//! The kernel as one worker sees it: the XDP program's flow table, the way back to the receive path, and the ways of whole
//! connections into it.

use super::degraded::{Degraded, Troubles};
use crate::handoff::{Books, Gateway, Handoff, Proxy, Standing, Ticket, Ways};
use crate::inject::{InjectError, Injector};
use crate::nic::Nic;
use crate::steer::{self, FlowKey, FlowTable};
use crate::worker::{FlowIndex, Stranger};
use sidestep_config::{Config, Fallback, FallbackMode, ListenAddress};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tcp_lite::{Endpoint, Flow};

/// A queue's flows, by TCP's name for them.
pub(super) struct QueueFlows(pub FlowTable);

fn key(flow: &Flow) -> FlowKey {
    // IPv4 is v4-mapped in both.
    let ip = |end: &Endpoint| steer::Addr::v6(*end.addr.octets());
    FlowKey::new(
        ip(&flow.local),
        flow.local.port,
        ip(&flow.remote),
        flow.remote.port,
    )
}

impl FlowIndex for QueueFlows {
    fn insert(&mut self, flow: &Flow) {
        self.0.insert(&key(flow));
    }

    fn remove(&mut self, flow: &Flow) {
        self.0.remove(&key(flow));
    }
}

impl Stranger for Injector {
    fn inject(&mut self, frame: &mut [u8]) -> io::Result<()> {
        Injector::inject(self, frame)
    }

    fn carry(&mut self, frame: &mut [u8]) -> io::Result<()> {
        Injector::carry(self, frame)
    }
}

/// Opens a worker's way back into the kernel's receive path of a NIC.
pub type OpenWayBack = fn(&Nic) -> Result<Box<dyn Stranger + Send>, InjectError>;

/// The way that there is: an [`Injector`].
///
/// # Errors
/// Those of [`Injector::open`].
pub fn open_way_back(nic: &Nic) -> Result<Box<dyn Stranger + Send>, InjectError> {
    Injector::open(nic.index).map(|injector| Box::new(injector) as _)
}

/// What connections need to leave for the kernel, as far as the configuration asks for it and the kernel has it.
#[derive(Debug)]
pub(super) struct KernelSide {
    gateway: Option<Gateway>,
    proxy: Option<Proxy>,
    troubles: Troubles,
    way_back: OpenWayBack,
}

impl KernelSide {
    /// Opens it for the listeners that have a server behind them. What cannot be had is one of `troubles`: new connections
    /// of those listeners and those that the kernel has are served all the same.
    pub fn open(config: &Config, nic: &Nic, troubles: &Troubles, way_back: OpenWayBack) -> Self {
        let wanted = |mode| {
            let mut listeners = config.listen.iter();
            listeners.any(|l| l.fallback == Fallback::Kernel && l.fallback_mode == mode)
        };
        let (auto, handoff) = (wanted(FallbackMode::Auto), wanted(FallbackMode::Handoff));
        let mut side = Self {
            gateway: None,
            proxy: None,
            troubles: troubles.clone(),
            way_back,
        };
        if auto || wanted(FallbackMode::Proxy) {
            side.proxy = Proxy::start(nic.index, nic.queues)
                .inspect_err(|e| troubles.add(Degraded::NoProxy(e.to_string())))
                .ok();
        }
        if auto || handoff {
            let instead = if auto { "by a proxy" } else { "503" };
            let no_handoff = |why: &dyn fmt::Display| {
                let why = why.to_string();
                troubles.add(Degraded::NoHandoff { instead, why });
            };
            let handles = nic.queues * config.listen.len() as u32;
            side.gateway = Gateway::attach(nic.index, handles)
                .inspect_err(|e| no_handoff(e))
                .ok();
        }
        side
    }

    /// What becomes of proxied connections, if there can be any.
    pub fn books(&self) -> Option<Arc<Books>> {
        self.proxy.as_ref().map(Proxy::books)
    }

    /// Begins to end proxied connections in order; see [`Proxy::drain`].
    pub fn drain(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.drain();
        }
    }

    /// Closes proxied connections at once that are between two exchanges.
    pub fn close(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.close();
        }
    }

    /// Waits until there is no proxied connection, at most until `deadline`.
    pub fn await_end(&self, deadline: Instant) {
        if let Some(proxy) = &self.proxy {
            proxy.await_end(deadline);
        }
    }

    /// One worker's way back to the kernel. A host without TUN is served all the same: only what such a device would
    /// carry is lost.
    pub fn way_back(&self, nic: &Nic) -> Option<Box<dyn Stranger + Send>> {
        (self.way_back)(nic)
            .inspect_err(|e| self.troubles.add(Degraded::NoInjector(e.to_string())))
            .ok()
    }

    /// One worker's ways.
    pub fn way_in(&self, config: &Config) -> Option<Box<dyn Handoff>> {
        let gateway = || {
            let no_handoff = |e: &dyn fmt::Display| Degraded::NoHandoff {
                instead: "by a proxy if there is one",
                why: e.to_string(),
            };
            self.gateway
                .as_ref()?
                .handle()
                .inspect_err(|e| self.troubles.add(no_handoff(e)))
                .ok()
        };
        let no_proxy = |e: &io::Error| self.troubles.add(Degraded::NoProxy(e.to_string()));
        let mut listeners = Vec::new();
        for listen in &config.listen {
            let proxy = || {
                let handle = self.proxy.as_ref()?.handle(listen.proxy_protocol);
                handle.inspect_err(no_proxy).ok()
            };
            let way: Option<Box<dyn Handoff>> = match (listen.fallback, listen.fallback_mode) {
                (Fallback::None, _) => continue,
                (Fallback::Kernel, FallbackMode::Handoff) => {
                    gateway().map(|way| Box::new(way) as _)
                }
                (Fallback::Kernel, FallbackMode::Proxy) => proxy().map(|way| Box::new(way) as _),
                (Fallback::Kernel, FallbackMode::Auto) => match (gateway(), proxy()) {
                    (Some(gateway), Some(proxy)) => Some(Box::new(Ways::new(gateway, proxy))),
                    (Some(gateway), None) => Some(Box::new(gateway)),
                    (None, proxy) => proxy.map(|way| Box::new(way) as _),
                },
            };
            let Some(way) = way else { continue };
            listeners.push((listen.address, listen.port, way));
        }
        (!listeners.is_empty()).then(|| Box::new(ByListener(listeners)) as _)
    }
}

/// Each listener's way.
struct ByListener(Vec<(ListenAddress, u16, Box<dyn Handoff>)>);

impl ByListener {
    fn at(&self, local: &Endpoint) -> Option<usize> {
        let ip = std::net::IpAddr::from(local.addr);
        let find = |address| {
            let mut listeners = self.0.iter();
            listeners.position(|l| l.1 == local.port && l.0 == address)
        };
        find(ListenAddress::Ip(ip)).or_else(|| find(ListenAddress::Interface))
    }

    fn way(&mut self, local: &Endpoint) -> Option<&mut Box<dyn Handoff>> {
        let at = self.at(local)?;
        self.0.get_mut(at).map(|l| &mut l.2)
    }
}

impl Handoff for ByListener {
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        match self.way(&ticket.flow.local) {
            Some(way) => way.offer(ticket),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn label(&self, ticket: &Ticket, carrier: &mut Vec<u8>) {
        let way = self.at(&ticket.flow.local).and_then(|at| self.0.get(at));
        if let Some(listener) = way {
            listener.2.label(ticket, carrier);
        }
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        self.way(&flow.local)
            .map_or(Standing::NoListener, |way| way.standing(flow))
    }

    fn forget(&mut self, flow: &Flow) {
        if let Some(way) = self.way(&flow.local) {
            way.forget(flow);
        }
    }

    fn listens(&mut self, local: &Endpoint) -> bool {
        self.way(local).is_some_and(|way| way.listens(local))
    }

    fn outlives_us(&self, local: &Endpoint) -> bool {
        let way = self.at(local).and_then(|at| self.0.get(at));
        way.is_none_or(|l| l.2.outlives_us(local))
    }
}
