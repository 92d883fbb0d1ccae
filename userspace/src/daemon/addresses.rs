//! The addresses and ports that are served. With `address = "interface"` they are those of the NIC at any time.

use crate::nic::Nic;
use crate::steer::{SteerError, Steering};
use sidestep_config::{Config, ListenAddress};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is served now, for all threads.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// Served whatever the NIC has.
    fixed: BTreeSet<SocketAddr>,
    /// Ports of `address = "interface"`.
    ports: Vec<u16>,
    served: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

impl Addresses {
    /// Those of `config`, of which `served` are served already.
    pub fn new(config: &Config, served: impl IntoIterator<Item = SocketAddr>) -> Self {
        let (mut fixed, mut ports) = (BTreeSet::new(), Vec::new());
        for listen in &config.listen {
            match listen.address {
                ListenAddress::Ip(ip) => {
                    fixed.insert(SocketAddr::new(ip, listen.port));
                }
                ListenAddress::Interface => ports.push(listen.port),
            }
        }
        Self {
            fixed,
            ports,
            served: Arc::new(Mutex::new(served.into_iter().collect())),
        }
    }

    /// What is served now.
    pub fn served(&self) -> Vec<SocketAddr> {
        self.lock().iter().copied().collect()
    }

    /// Serves the addresses that the NIC called `interface` has got, and no longer those that it has lost: another host
    /// may have them, or this one may have to forward to it. A NIC that cannot be asked is taken to have what it had.
    ///
    /// # Errors
    /// The XDP program's map could not be changed.
    pub fn follow(&self, interface: &str, steering: &mut Steering) -> Result<(), SteerError> {
        if self.ports.is_empty() {
            return Ok(());
        }
        let Ok(nic) = Nic::read(interface) else {
            return Ok(());
        };
        let wanted = self.wanted(&nic);
        let mut served = self.lock();
        for new in wanted.difference(&served) {
            steering.add_service(new.ip(), new.port())?;
            log::info!("{interface} has a new address: serving {new}");
        }
        for gone in served.difference(&wanted) {
            let last = wanted.iter().all(|at| at.ip() != gone.ip());
            steering.remove_service(gone.ip(), gone.port(), last)?;
            log::info!("{interface} has lost an address: not serving {gone} any more");
        }
        *served = wanted;
        Ok(())
    }

    fn wanted(&self, nic: &Nic) -> BTreeSet<SocketAddr> {
        let on = |&port: &u16| {
            nic.addresses
                .iter()
                .map(move |&ip| SocketAddr::new(ip, port))
        };
        let interface = self.ports.iter().flat_map(on);
        self.fixed.iter().copied().chain(interface).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        // It is only ever replaced whole.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
