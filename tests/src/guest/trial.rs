//! What is tried on each driver.

use super::clients::{Clients, PATIENCE, Way};
use super::image::{DOWNLOAD, PAGE};
use super::report::{Outcome, QueueOutcome};
use super::told::{degraded, sum, umem};
use super::{Case, Image, Machine, Packages};
use crate::clock::{now, poll_for};
use crate::net::{Host, SERVER_V4, SERVER_V6, server_addresses};
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, Error};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Connections handed over for each address.
const HANDOFFS: usize = 12;
/// Clients at work while the daemon comes and goes.
const CROWD: usize = 4;
/// Right answers of the crowd to wait for between two changes.
const BETWEEN: u64 = 20;
/// Longest that they may take: each client waits for one of its answers at most for [`PATIENCE`].
const BETWEEN_LIMIT: Duration = Duration::from_secs(600);

/// Commands of 700 bytes sent to the machine's shell while processes in it end.
const SENTENCES: usize = 10;

/// What the daemons of one machine did.
#[derive(Default)]
struct Sums {
    requests: u64,
    handoffs: u64,
    proxied: u64,
}

struct Trial<'a> {
    machine: Machine,
    clients: Clients<'a>,
    case: &'a Case,
    sums: Sums,
    degraded: Vec<String>,
    suspended: Vec<String>,
    queues: Vec<QueueOutcome>,
    rate: f64,
    resets: u64,
}

/// Tries `case` in a machine of its own; `short`: without what another step shows as well.
///
/// # Errors
/// The machine does not do what it is told.
///
/// # Panics
/// When sidestep does not do what it has to.
pub fn run(packages: &Packages, image: &Image, case: &Case, short: bool) -> io::Result<Outcome> {
    let start = now();
    let client = Host::behind_tap(case.tap_queues);
    let mtu = case.mtu.to_string();
    client.must(&["ip", "link", "set", client.device, "mtu", &mtu]);
    let machine = Machine::boot(packages, image, &client, case)?;
    let booted = now() - start;
    let mut trial = Trial {
        machine,
        clients: Clients {
            host: &client,
            image,
        },
        case,
        sums: Sums::default(),
        degraded: Vec::new(),
        suspended: Vec::new(),
        queues: Vec::new(),
        rate: 0.0,
        resets: 0,
    };
    for (name, form, step) in STEPS {
        if short && *form == Form::Long {
            continue;
        }
        let start = now();
        trial.step(name, *step)?;
        println!("  {name}: {:.1} s", (now() - start).as_secs_f64());
    }
    let release = trial.machine.release.clone();
    trial.machine.power_off()?;
    Ok(Outcome {
        name: case.name,
        device: case.device,
        release,
        mode: case.mode,
        degraded: trial.degraded,
        suspended: trial.suspended,
        queues: trial.queues,
        requests: trial.sums.requests,
        handoffs: trial.sums.handoffs,
        proxied: trial.sums.proxied,
        rate: trial.rate,
        resets: trial.resets,
        booted,
        took: now() - start,
    })
}

type Step = fn(&mut Trial<'_>) -> io::Result<()>;

/// Whether a step is part of the short form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Both,
    Long,
}

/// In this order; each begins where the one before ended.
const STEPS: &[(&str, Form, Step)] = &[
    ("shell", Form::Both, |t| t.shell()),
    ("set-up", Form::Both, |t| t.set_up()),
    ("attach", Form::Both, |t| t.attach()),
    ("ladder", Form::Both, |t| t.ladder()),
    ("serve", Form::Both, |t| t.serve()),
    ("spread", Form::Both, |t| t.spread()),
    ("hand over", Form::Both, |t| t.hand_over()),
    ("beside", Form::Both, |t| t.beside()),
    ("come and go", Form::Both, |t| t.come_and_go()),
    ("crash", Form::Long, |t| t.crash()),
    ("one queue", Form::Long, |t| t.one_queue()),
    ("suspended", Form::Long, |t| t.suspended()),
    ("rest", Form::Both, |t| t.rest()),
    ("kernel", Form::Both, |t| t.kernel()),
];

impl Trial<'_> {
    /// Runs one step. What goes wrong in it is told with what the machine knows.
    fn step(&mut self, name: &str, step: Step) -> io::Result<()> {
        // A check that fails panics; nothing of the trial is used after that but the machine's shell.
        let why = match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => message(&*panic),
        };
        let mut look = |command| match self.machine.ask(command) {
            Ok(answer) => answer.said,
            Err(error) => error.to_string(),
        };
        let (status, log) = (look("sidestep status"), look("tail -n 40 /run/log"));
        let machine = look("uptime; ss --xdp -e; ip -s link show eth0; cat /proc/interrupts; ps");
        Err(Error::other(format!(
            "{name}: {why}\n--- status\n{status}\n--- log\n{log}\n--- machine\n{machine}\n--- console\n{}",
            self.machine.console()
        )))
    }

    /// Long commands arrive whole while processes in the machine end. (They once did not: see `serve` in `tests/zc/init`.)
    fn shell(&mut self) -> io::Result<()> {
        let ends = "for ms in $(seq 5 5 400); do usleep ${ms}000 & done";
        self.machine.must(ends)?;
        for _ in 0..SENTENCES {
            let sentence = "it's \\ \"whole\"; ".repeat(40);
            let quoted = sentence.replace('\'', r"'\''");
            let said = self.machine.must(&format!("echo '{quoted}.'"))?;
            assert_eq!(said, format!("{sentence}."));
        }
        Ok(())
    }

    fn set_up(&mut self) -> io::Result<()> {
        let mtu = self.case.mtu;
        let set_up =
            format!("ip link set eth0 mtu {mtu} && network {SERVER_V4} {SERVER_V6} && server");
        self.machine.must(&set_up)?;
        self.configure("\"all\"", "on")
    }

    /// No client is to be given up for being slow: the machine is.
    fn configure(&mut self, queues: &str, interrupts: &str) -> io::Result<()> {
        let config = format!(
            "[interface]\nmode = \"auto\"\nqueues = {queues}\numem_frames = 2048\ninterrupts = \"{interrupts}\"\n\
             [limits]\nheader_timeout = \"10m\"\nidle_timeout = \"10m\"\n\
             [[listen]]\naddress = \"interface\"\n[[site]]\n[[site.static]]\npath = \"/\"\nroot = \"/site\"\n"
        );
        self.machine.write("/run/config.toml", &config)
    }

    /// Attaches to all queues.
    fn attach(&mut self) -> io::Result<()> {
        self.attach_to(self.case.queues)
    }

    /// Attaches; the ready line has to tell the mode and the number of queues.
    fn attach_to(&mut self, queues: u32) -> io::Result<()> {
        let ready = self.machine.must("attach")?;
        let mode = self.case.mode;
        let plural = if queues == 1 { "queue" } else { "queues" };
        let expected = format!("ready: eth0 {mode} mode, {queues} {plural}, ");
        let hugepages = format!("ready: eth0 {mode} mode on hugepages, {queues} {plural}, ");
        assert!(
            ready.starts_with(&expected) || ready.starts_with(&hugepages),
            "not {expected:?}: {ready}\n{}",
            self.machine.must("cat /run/log")?
        );
        self.asked_kernel(queues)
    }

    /// What the guest's kernel says of the AF_XDP sockets, which is not what sidestep says of itself: each queue has one, and zero-copy
    /// is on or off as the mode wants it.
    fn asked_kernel(&mut self, queues: u32) -> io::Result<()> {
        let said = self.machine.must("ss --xdp -e")?;
        let sockets: BTreeSet<(u32, bool)> = said.lines().filter_map(umem).collect();
        let zero_copy = self.case.mode == "zero-copy";
        let expected = (0..queues).map(|queue| (queue, zero_copy));
        assert_eq!(sockets, expected.collect(), "{said}");
        Ok(())
    }

    /// Every queue has to be in the mode.
    fn ladder(&mut self) -> io::Result<()> {
        let mode = self.case.mode;
        // Generic mode is the last resort, and says so; nothing else may be wrong.
        let expected: &[&str] = if mode == "generic" {
            &["lower_mode"]
        } else {
            &[]
        };
        let mut status = Value::Null;
        // On a starved machine a worker may seem to hang for a while.
        let settled = poll_for(PATIENCE, || {
            status = self.machine.status().unwrap_or_else(told);
            (degraded(&status) == expected).then_some(())
        });
        assert!(settled.is_some(), "not {expected:?}: {status:#}");
        assert_eq!(status["mode"], mode, "{status:#}");
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        assert_eq!(workers.len(), self.case.queues as usize, "{status:#}");
        assert!(
            workers.iter().all(|worker| worker["mode"] == mode),
            "{status:#}"
        );
        self.degraded = degraded(&status);
        Ok(())
    }

    /// curl, one connection with many requests, and many connections at once, over both versions of IP.
    fn serve(&mut self) -> io::Result<()> {
        let mut rate = 0.0;
        for to in server_addresses(80) {
            self.clients.curl(to, PAGE, &self.clients.image.page);
            self.clients.keep_alive(to)?;
            rate += self.clients.load(to)?;
        }
        self.rate = rate / 2.0;
        Ok(())
    }

    /// Each queue must have had requests that QEMU gives any.
    fn spread(&mut self) -> io::Result<()> {
        let status = self.machine.status()?;
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        for worker in &workers {
            let queue = QueueOutcome {
                queue: worker["queue"].as_u64().unwrap_or(u64::MAX),
                mode: worker["mode"].as_str().unwrap_or("?").to_owned(),
                requests: worker["requests"].as_u64().unwrap_or(0),
            };
            self.queues.push(queue);
        }
        let busy = self.queues.iter().filter(|queue| queue.requests > 0);
        assert_eq!(busy.count(), self.case.spread, "{status:#}");
        Ok(())
    }

    /// Connections that the server has to take over, in every way.
    fn hand_over(&mut self) -> io::Result<()> {
        for to in server_addresses(80) {
            for n in 0..HANDOFFS {
                self.clients.hand_over(to, Way::ALL[n % Way::ALL.len()])?;
            }
        }
        let status = self.machine.status()?;
        let taken = sum(&status, "handoff", "taken");
        assert!(taken >= 2 * HANDOFFS as u64, "{taken} handoffs: {status:#}");
        assert_eq!(sum(&status, "http_status", "5xx"), 0, "{status:#}");
        Ok(())
    }

    /// A port that is none of sidestep's: the kernel's sockets beside it, through the same queues.
    fn beside(&mut self) -> io::Result<()> {
        for to in server_addresses(8080) {
            self.clients
                .curl(to, DOWNLOAD, &self.clients.image.download);
        }
        Ok(())
    }

    /// Clients go on while the daemon detaches, attaches, and is replaced by another; none may lose a connection or an answer.
    fn come_and_go(&mut self) -> io::Result<()> {
        let (stop, right) = (&AtomicBool::new(false), &AtomicU64::new(0));
        let clients = self.clients;
        let to = server_addresses(80);
        std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..CROWD)
                .map(|n| {
                    let to = to[n % to.len()];
                    scope.spawn(move || clients.visit(to, stop, right))
                })
                .collect();
            let changed = self.change(right, &crowd);
            stop.store(true, Ordering::Relaxed);
            for one in crowd {
                let ended: io::Result<()> = one
                    .join()
                    .unwrap_or_else(|_| Err(Error::other("a client panicked")));
                assert!(
                    ended.is_ok(),
                    "a client: {ended:?}, after {changed:?}; sidestep's log:\n{}",
                    self.machine.must("tail -n 30 /run/log").unwrap_or_default()
                );
            }
            changed
        })
    }

    fn change(
        &mut self,
        right: &AtomicU64,
        crowd: &[std::thread::ScopedJoinHandle<'_, io::Result<()>>],
    ) -> io::Result<()> {
        let progress = || {
            let from = right.load(Ordering::Relaxed);
            let more = poll_for(BETWEEN_LIMIT, || {
                let ended = crowd.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (ended || right.load(Ordering::Relaxed) >= from + BETWEEN).then_some(ended)
            });
            match more {
                Some(false) => Ok(()),
                Some(true) => Err(Error::other("a client has ended")),
                None => Err(Error::other("the clients get no answers")),
            }
        };
        progress()?;
        self.add_up()?;
        self.machine.must("detach")?;
        progress()?;
        self.attach()?;
        progress()?;
        self.add_up()?;
        // A second one takes over from the first.
        self.attach()?;
        progress()
    }

    /// After a crash the kernel's server is there at once, and another attach works.
    fn crash(&mut self) -> io::Result<()> {
        self.add_up()?;
        self.machine.must("crash")?;
        for to in server_addresses(80) {
            self.clients.curl(to, PAGE, &self.clients.image.page);
        }
        self.attach()?;
        for to in server_addresses(80) {
            self.clients.curl(to, PAGE, &self.clients.image.page);
        }
        Ok(())
    }

    /// sidestep has the first queue only, and the kernel's server answers what comes on the others: no client can tell.
    fn one_queue(&mut self) -> io::Result<()> {
        self.add_up()?;
        self.machine.must("detach")?;
        self.configure("[0]", "on")?;
        self.attach_to(1)?;
        for to in server_addresses(80) {
            self.clients.load(to)?;
        }
        let status = self.machine.status()?;
        assert!(sum(&status, "http", "requests") > 0, "{status:#}");
        let to_others = status["xdp"]["pass_no_socket"].as_u64();
        assert_eq!(to_others > Some(0), self.case.spread > 1, "{status:#}");
        Ok(())
    }

    /// With interrupts put off while a worker is busy: nothing stalls. What of it the driver cannot do is told.
    fn suspended(&mut self) -> io::Result<()> {
        self.add_up()?;
        self.machine.must("detach")?;
        self.configure("\"all\"", "suspended")?;
        self.attach()?;
        for to in server_addresses(80) {
            self.clients.load(to)?;
        }
        let status = self.machine.status()?;
        self.suspended = degraded(&status);
        for to in server_addresses(8080) {
            self.clients
                .curl(to, DOWNLOAD, &self.clients.image.download);
        }
        Ok(())
    }

    /// Every frame is where it has to be when nothing is under way, and a drain ends it well.
    fn rest(&mut self) -> io::Result<()> {
        let mut status = Value::Null;
        let at_rest = poll_for(PATIENCE, || {
            status = self.machine.status().unwrap_or_else(told);
            let workers = status["workers"].as_array()?;
            workers
                .iter()
                .all(|worker| {
                    let frames = &worker["frames"];
                    let count = |name: &str| frames[name].as_u64().unwrap_or(u64::MAX);
                    let (free, in_rx) = (count("free"), count("in_rx"));
                    // How many are for receiving follows the traffic; half at most.
                    (1..=free).contains(&in_rx) && free + in_rx == count("total")
                })
                .then_some(())
        });
        assert!(at_rest.is_some(), "frames are missing: {status:#}");
        self.add_up()?;
        self.machine.must("detach")?;
        Ok(())
    }

    /// The guest's kernel must not have complained.
    fn kernel(&mut self) -> io::Result<()> {
        let complaints = "WARNING:|BUG:|Oops|Call Trace";
        let answer = self
            .machine
            .ask(&format!("dmesg | grep -E '{complaints}'"))?;
        if answer.code != 1 {
            let said = answer.said;
            return Err(Error::other(format!("the kernel complains: {said}")));
        }
        // A frame of the kernel's own that is not sent within five seconds. Seen once, behind a link that had just come up: the
        // emulated NIC's or its driver's doing, and over with the reset. It is told, so that it does not go unnoticed.
        let resets = self.machine.ask("dmesg | grep -c 'NETDEV WATCHDOG'")?;
        let resets = resets.said;
        self.resets = resets
            .trim()
            .parse()
            .map_err(|e| Error::other(format!("{e}: {resets}")))?;
        Ok(())
    }

    /// Adds what the running daemon has done to the sums: once for each, before it ends.
    fn add_up(&mut self) -> io::Result<()> {
        let status = self.machine.status()?;
        self.sums.requests += sum(&status, "http", "requests");
        self.sums.handoffs += sum(&status, "handoff", "taken");
        let ended = status["proxied"]["ended"].as_object().into_iter().flatten();
        self.sums.proxied += ended.filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        Ok(())
    }
}

/// An error in the place of a status.
fn told(error: Error) -> Value {
    Value::String(error.to_string())
}

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
