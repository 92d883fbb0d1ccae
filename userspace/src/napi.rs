//! A NIC's interrupts, put off while a worker looks at its queue itself (`Documentation/networking/napi.rst`).
//!
//! What is set belongs to the NIC's NAPI instances and outlives whoever set it. So what was there before is put back when
//! this is dropped; after a SIGKILL the next one does so, which knows its own values by a nanosecond that nobody else
//! would write. Until then the NIC works: interrupts come back once polls have found nothing a few times.

use crate::genl::{self, Napi, NapiSettings};
use sidestep_config::Interrupts;
use std::error::Error;

/// Empty polls after which the interrupt comes back. Two are what af_xdp.rst recommends with a worker that polls all the
/// time: it is back half a millisecond after such a worker has died.
const EMPTY_POLLS: u32 = 2;

/// How long after a poll the NIC's queue is looked at by the kernel if nobody else does, in nanoseconds. A worker comes
/// round much sooner; where it does not, frames for the kernel wait no longer than this. The odd one tells ours.
const LOOK_AGAIN: u64 = 200_001;

/// The same for a worker that sleeps: polls go on for twenty milliseconds in vain before the interrupt is wanted again.
const EMPTY_POLLS_SLEEPING: u32 = 100;

/// How long interrupts stay away at most while a worker that polled before it slept has its hands full, in nanoseconds.
/// A batch takes a hundredth of it; the kernel's own connections wait no longer than this if the worker hangs.
const SUSPENDED: u64 = 20_000_000;

/// What is wanted.
fn wanted(interrupts: Interrupts) -> Option<NapiSettings> {
    match interrupts {
        Interrupts::On => None,
        Interrupts::Deferred => Some(NapiSettings {
            defer_hard_irqs: EMPTY_POLLS,
            gro_flush_timeout: LOOK_AGAIN,
            irq_suspend_timeout: 0,
        }),
        Interrupts::Suspended => Some(NapiSettings {
            defer_hard_irqs: EMPTY_POLLS_SLEEPING,
            gro_flush_timeout: LOOK_AGAIN,
            irq_suspend_timeout: SUSPENDED,
        }),
    }
}

/// What to put back: a daemon that was killed leaves its own behind, and took the place of what the kernel begins with.
fn original(settings: NapiSettings) -> NapiSettings {
    if settings.gro_flush_timeout == LOOK_AGAIN {
        NapiSettings::default()
    } else {
        settings
    }
}

/// The interrupts of some queues, put off. Dropping it puts back what was there.
#[derive(Debug)]
pub(crate) struct PutOff {
    before: Vec<(u32, NapiSettings)>,
}

impl PutOff {
    /// Puts off the interrupts of `queues` of the NIC with this index, in the calling thread's network namespace, as
    /// `interrupts` says; of all its queues if the driver does not tell which instance polls which.
    ///
    /// # Errors
    /// The kernel cannot do it, Linux before 6.13 for one; all is then as it was.
    pub fn set(
        ifindex: u32,
        queues: &[u32],
        interrupts: Interrupts,
    ) -> Result<Self, Box<dyn Error>> {
        let mut put_off = Self { before: Vec::new() };
        let Some(wanted) = wanted(interrupts) else {
            return Ok(put_off);
        };
        let mut napis = genl::napis(ifindex)?;
        if napis.is_empty() {
            return Err("the driver tells of no NAPI instance".into());
        }
        let of_queues: Option<Vec<u32>> = queues
            .iter()
            .map(|&queue| genl::napi_of(ifindex, queue))
            .collect();
        if let Some(of_queues) = of_queues {
            napis.retain(|napi| of_queues.contains(&napi.id));
        }
        for Napi { id, settings } in napis {
            let settings = settings.ok_or("it needs Linux 6.13 or newer")?;
            genl::set_napi(id, wanted)?;
            // From here on the drop of an error's way puts it back, too.
            put_off.before.push((id, original(settings)));
        }
        Ok(put_off)
    }
}

impl Drop for PutOff {
    fn drop(&mut self) {
        for &(id, settings) in &self.before {
            // Instances go with their NIC, and with the XDP program on some.
            if let Err(error) = genl::set_napi(id, settings) {
                log::debug!("interrupts of NAPI instance {id}: {error}");
            }
        }
    }
}

/// Instances of a NIC that a daemon which was killed has left as it set them.
pub(crate) fn left_behind(ifindex: u32) -> Result<Vec<u32>, Box<dyn Error>> {
    let ours = |napi: &Napi| {
        let settings = napi.settings;
        settings.is_some_and(|settings| settings.gro_flush_timeout == LOOK_AGAIN)
    };
    let napis = genl::napis(ifindex)?;
    Ok(napis.iter().filter(|n| ours(n)).map(|n| n.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_daemon_left_is_not_taken_for_the_hosts_own() {
        for interrupts in [Interrupts::Deferred, Interrupts::Suspended] {
            let ours = wanted(interrupts).unwrap();
            assert_eq!(original(ours), NapiSettings::default());
        }
        let hosts = NapiSettings {
            defer_hard_irqs: 2,
            gro_flush_timeout: 200_000,
            irq_suspend_timeout: 0,
        };
        assert_eq!(original(hosts), hosts);
        assert_eq!(wanted(Interrupts::On), None);
    }
}
