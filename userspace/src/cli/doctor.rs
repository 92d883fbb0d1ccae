//! `sidestep doctor`.

use super::{DEGRADED, FAILURE, OK, USAGE, fail};
use crate::doctor::{Patient, Prospect, examine};
use crate::nic::{Nic, NicError};
use sidestep_config::Config;
use std::path::Path;

pub(super) fn run(interface: Option<String>, config: Option<&Path>) -> u8 {
    let config = match config.map(Config::load).transpose() {
        Ok(config) => config,
        Err(e) => return fail(&e, USAGE),
    };
    let named = || config.as_ref().and_then(|c| c.interface.name.clone());
    let Some(interface) = interface.or_else(named) else {
        return fail(
            &"no interface is named\n  help: `sidestep doctor IF`, or `name` in [interface]",
            USAGE,
        );
    };
    let nic = match Nic::read(&interface) {
        Ok(nic) => nic,
        Err(e @ NicError::Missing { .. }) => return fail(&e, USAGE),
        Err(e @ NicError::Unreadable { .. }) => return fail(&e, FAILURE),
    };
    let patient = Patient {
        nic: &nic,
        config: config.as_ref(),
    };
    let prospect = examine(&patient, &mut |name, finding| {
        println!("{name:<16}{finding}")
    });
    match prospect {
        Prospect::Well => OK,
        Prospect::Degraded => DEGRADED,
        Prospect::Never => FAILURE,
    }
}
