//! `sidestep attach`: the daemon, in the foreground.

use super::{FAILURE, OK, USAGE, fail};
use crate::control::{
    ControlError, ControlServer, DumpServer, Request, Response, SocketError, ask,
};
use crate::daemon::{Daemon, Degraded, Ended, OpenWayBack, Prepared, Reader, Reloader};
use crate::store::Live;
use crossbeam::channel::{Receiver, Sender, bounded, select};
use nix::net::if_::if_nametoindex;
use sd_notify::NotifyState;
use sidestep_config::Config;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often to look after the workers, which are given several times as long, and the NIC's addresses.
const WATCH: Duration = Duration::from_secs(1);

/// Why the daemon is to end.
#[derive(Debug)]
enum Stop {
    Signal,
    Asked,
}

pub(super) fn run(
    interface: Option<String>,
    path: &Path,
    socket: Option<PathBuf>,
    way_back: OpenWayBack,
) -> u8 {
    let mut config = match Config::load(path) {
        Ok(config) => config,
        Err(e) => return fail(&e, USAGE),
    };
    if let Some(socket) = &socket {
        config.control.socket = socket.clone();
    }
    let Some(interface) = interface.or_else(|| config.interface.name.clone()) else {
        return fail(
            &"no interface is named\n  help: `sidestep attach IF`, or `name` in [interface]",
            USAGE,
        );
    };
    let (tell_stop, stop) = bounded(2);
    // Before anything is attached: a signal must never find the default action in place.
    let signals = match Signals::new([SIGHUP, SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(e) => return fail(&format_args!("cannot handle signals: {e}"), FAILURE),
    };
    let (tell_reload, told_to_reload) = bounded(1);
    listen_for_signals(signals, tell_stop.clone(), tell_reload);
    // Before the attach, too: connections that were accepted meanwhile would be reset.
    let before = match ControlServer::may_have(&config.control.socket) {
        Ok(()) => None,
        Err(in_use @ SocketError::InUse(_)) => Some(in_use),
        Err(e) => {
            let wrong = matches!(e, SocketError::NotASocket(_));
            return fail(&e, if wrong { USAGE } else { FAILURE });
        }
    };
    let prepared = match Prepared::new(&config, &interface) {
        Ok(prepared) => prepared,
        Err(e) => return fail(&e, if e.is_usage() { USAGE } else { FAILURE }),
    };
    if let Some(in_use) = before
        && let Err(code) = take_over(&config, &interface, &in_use)
    {
        return code;
    }
    let daemon = match prepared.start(way_back) {
        Ok(daemon) => daemon,
        Err(e) => return fail(&e, if e.is_usage() { USAGE } else { FAILURE }),
    };
    let reader = daemon.reader();
    let reloader = Arc::new(daemon.reloader(path, socket));
    reload_when_told(reloader.clone(), told_to_reload);
    let answer = {
        let asked = Asked {
            reader: reader.clone(),
            reloader: reloader.clone(),
            live: daemon.live(),
            stop: tell_stop,
        };
        move |request, body: &[u8]| asked.respond(request, body)
    };
    // After the attach, so that it answers only for a daemon that serves; a failure detaches.
    let _control = match ControlServer::start(&config.control.socket, answer) {
        Ok(server) => server,
        Err(e) => return fail(&e, FAILURE),
    };
    let _dump = DumpServer::start(&config.control.socket, daemon.taps())
        .inspect_err(|e| log::warn!("`sidestep dump` will not work: {e}"));
    let address = config.control.metrics;
    if let Err(e) = reloader.serve_metrics(address) {
        let why = e.to_string();
        reader.add_trouble(Degraded::NoMetrics { address, why });
    }
    announce(&reader);
    notify(&[NotifyState::Ready]);
    serve(daemon, &interface, &stop)
}

/// Has the daemon that runs on this NIC drain and detach. Until we attach, the kernel's server gets what is new, so
/// all that can be done before is done before. The error is the exit code.
fn take_over(config: &Config, interface: &str, in_use: &SocketError) -> Result<(), u8> {
    let detach = Request::Detach {
        interface: interface.to_owned(),
    };
    match ask(&config.control.socket, &detach) {
        Ok(_) => {
            log::info!("took over from the daemon that ran before");
            Ok(())
        }
        // It ended in between.
        Err(ControlError::Unreachable { .. }) => Ok(()),
        Err(ControlError::Refused(why) | ControlError::Invalid(why)) => {
            Err(fail(&format_args!("{in_use}\n  it says: {why}"), FAILURE))
        }
        Err(e @ ControlError::Garbled { .. }) => Err(fail(&e, FAILURE)),
    }
}

fn serve(mut daemon: Daemon, interface: &str, stop: &Receiver<Stop>) -> u8 {
    loop {
        select! {
            recv(stop) -> why => {
                notify(&[NotifyState::Stopping]);
                log::info!("{}: draining", match why {
                    Ok(Stop::Asked) => "asked to detach",
                    Ok(Stop::Signal) | Err(_) => "signal",
                });
                return drain(daemon);
            }
            recv(daemon.ended()) -> ended => {
                // Dropping the daemon detaches: better the kernel alone than a queue that nobody reads.
                let gone = |e: &io::Error| e.raw_os_error() == Some(libc::ENODEV);
                let why = match ended {
                    Ok(Ended { result: Some(Err(e)), .. }) if gone(&e) => format!("{interface} is gone"),
                    Ok(Ended { queue, result: Some(Err(e)) }) => format!("queue {queue}: {e}"),
                    Ok(Ended { queue, .. }) => format!("the worker of queue {queue} failed"),
                    Err(_) => "all workers ended".to_owned(),
                };
                drop(daemon);
                return fail(&format_args!("{why}; detached"), FAILURE);
            }
            default(WATCH) => {
                if let Err(e) = daemon.look_after() {
                    return fail(&format_args!("{e}; detached"), FAILURE);
                }
            }
        }
    }
}

fn drain(daemon: Daemon) -> u8 {
    match daemon.stop() {
        Ok(status) => {
            log::info!(
                "detached from {} after {} requests",
                status.interface,
                status.total("http", "requests")
            );
            OK
        }
        Err(e) => fail(&e, FAILURE),
    }
}

/// Tells systemd, if it has started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        log::debug!("systemd: {e}");
    }
}

/// Reloads for each signal, on a thread of its own: large trees take seconds.
fn reload_when_told(reloader: Arc<Reloader>, told: Receiver<()>) {
    std::thread::spawn(move || {
        for () in told {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(e) => log::debug!("systemd: {e}"),
            }
            // What is wrong was logged, and is in the status.
            let _ = reloader.reload();
            notify(&[NotifyState::Ready]);
        }
    });
}

fn listen_for_signals(mut signals: Signals, stop: Sender<Stop>, reload: Sender<()>) {
    std::thread::spawn(move || {
        let mut told = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                // Full: one is about to begin, and will see what this one is for.
                let _ = reload.try_send(());
                continue;
            }
            if told {
                // A second Ctrl-C: the person does not want to wait. The kernel detaches for us.
                std::process::exit(FAILURE.into());
            }
            told = true;
            // Full or gone: the daemon is stopping already.
            let _ = stop.try_send(Stop::Signal);
        }
    });
}

/// What the control socket reaches.
struct Asked {
    reader: Reader,
    reloader: Arc<Reloader>,
    live: Arc<Live>,
    stop: Sender<Stop>,
}

impl Asked {
    fn respond(&self, request: Request, body: &[u8]) -> Response {
        match request {
            Request::Status => match serde_json::to_value(self.reader.read()) {
                Ok(status) => Response::Status(status),
                Err(e) => Response::Error(e.to_string()),
            },
            Request::Detach { interface } => {
                let served = self.reader.read().interface;
                if served != interface && !same(&served, &interface) {
                    let why = format!("this daemon serves {served}, not {interface}");
                    return Response::Error(why);
                }
                // Full or gone: it is stopping already.
                let _ = self.stop.try_send(Stop::Asked);
                Response::Detaching
            }
            Request::Reload => match self.reloader.reload() {
                Ok(reload) => Response::Reloaded(reload),
                Err(e) => Response::Invalid(e.to_string()),
            },
            Request::Put { put, .. } => match self.live.put(put, body) {
                Ok(()) => Response::Done,
                Err(e) => Response::Invalid(e.to_string()),
            },
            Request::Purge(purge) => Response::Purged(self.live.purge(&purge)),
        }
    }
}

/// Are both names of one NIC?
fn same(a: &str, b: &str) -> bool {
    let index = |name: &str| if_nametoindex(name).ok();
    index(a).is_some_and(|i| index(b) == Some(i))
}

/// The one line on standard output, for those who wait for it.
fn announce(reader: &Reader) {
    let status = reader.read();
    let listening: Vec<String> = status.listening.iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    // Nobody reading standard output is no reason to stop.
    let _ = writeln!(
        out,
        "ready: {} {} mode{}, {} {}, listening on {}",
        status.interface,
        status.mode,
        if status.hugepages {
            " on hugepages"
        } else {
            ""
        },
        status.workers.len(),
        if status.workers.len() == 1 {
            "queue"
        } else {
            "queues"
        },
        listening.join(" ")
    );
    let _ = out.flush();
}
