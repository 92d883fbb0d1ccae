//! `sidestep attach`: the daemon, in the foreground.

use super::{FAILURE, OK, USAGE, fail};
use crate::control::{
    ControlError, ControlServer, DumpServer, Request, Response, SocketError, ask, serve_metrics,
};
use crate::daemon::{Daemon, Degraded, Ended, Reader};
use crossbeam::channel::{Receiver, Sender, bounded, select};
use nix::net::if_::if_nametoindex;
use sidestep_config::Config;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often to look after the workers. They are given several times as long.
const WATCH: Duration = Duration::from_secs(1);

/// Why the daemon is to end.
#[derive(Debug)]
enum Stop {
    Signal,
    Asked,
}

pub(super) fn run(interface: Option<String>, config: &Path, socket: Option<PathBuf>) -> u8 {
    let mut config = match Config::load(config) {
        Ok(config) => config,
        Err(e) => return fail(&e, USAGE),
    };
    if let Some(socket) = socket {
        config.control.socket = socket;
    }
    let Some(interface) = interface.or_else(|| config.interface.name.clone()) else {
        return fail(
            &"no interface is named\n  help: `sidestep attach IF`, or `name` in [interface]",
            USAGE,
        );
    };
    let (tell_stop, stop) = bounded(2);
    // Before anything is attached: a signal must never find the default action in place.
    let signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(e) => return fail(&format_args!("cannot handle signals: {e}"), FAILURE),
    };
    listen_for_signals(signals, tell_stop.clone());
    // Before the attach, too: connections that were accepted meanwhile would be reset.
    match ControlServer::may_have(&config.control.socket) {
        Ok(()) => {}
        Err(in_use @ SocketError::InUse(_)) => {
            if let Err(code) = take_over(&config, &interface, &in_use) {
                return code;
            }
        }
        Err(e) => {
            let wrong = matches!(e, SocketError::NotASocket(_));
            return fail(&e, if wrong { USAGE } else { FAILURE });
        }
    }
    let daemon = match Daemon::start(&config, &interface) {
        Ok(daemon) => daemon,
        Err(e) => return fail(&e, if e.is_usage() { USAGE } else { FAILURE }),
    };
    let reader = daemon.reader();
    let answer = {
        let reader = reader.clone();
        move |request| respond(request, &reader, &tell_stop)
    };
    // After the attach, so that it answers only for a daemon that serves; a failure detaches.
    let _control = match ControlServer::start(&config.control.socket, answer) {
        Ok(server) => server,
        Err(e) => return fail(&e, FAILURE),
    };
    let _dump = DumpServer::start(&config.control.socket, daemon.taps())
        .inspect_err(|e| log::warn!("`sidestep dump` will not work: {e}"));
    let address = config.control.metrics;
    let _metrics = serve_metrics(address, reader.clone()).inspect_err(|e| {
        let why = e.to_string();
        reader.add_trouble(Degraded::NoMetrics { address, why });
    });
    announce(&reader);
    serve(daemon, &interface, &stop)
}

/// Has the daemon that runs on this NIC drain and detach. Until we attach, the kernel's server gets what is new, so
/// that only a configuration that can be served is worth it. The error is the exit code.
fn take_over(config: &Config, interface: &str, in_use: &SocketError) -> Result<(), u8> {
    Daemon::check(config, interface)
        .map_err(|e| fail(&e, if e.is_usage() { USAGE } else { FAILURE }))?;
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
        Err(ControlError::Refused(why)) => {
            Err(fail(&format_args!("{in_use}\n  it says: {why}"), FAILURE))
        }
        Err(e @ ControlError::Garbled { .. }) => Err(fail(&e, FAILURE)),
    }
}

fn serve(mut daemon: Daemon, interface: &str, stop: &Receiver<Stop>) -> u8 {
    loop {
        select! {
            recv(stop) -> why => {
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
                if let Err(e) = daemon.look_after_workers() {
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

fn listen_for_signals(mut signals: Signals, stop: Sender<Stop>) {
    std::thread::spawn(move || {
        let mut told = false;
        for _ in signals.forever() {
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

fn respond(request: Request, reader: &Reader, stop: &Sender<Stop>) -> Response {
    match request {
        Request::Status => match serde_json::to_value(reader.read()) {
            Ok(status) => Response::Status(status),
            Err(e) => Response::Error(e.to_string()),
        },
        Request::Detach { interface } => {
            let served = reader.read().interface;
            if served != interface && !same(&served, &interface) {
                return Response::Error(format!("this daemon serves {served}, not {interface}"));
            }
            // Full or gone: it is stopping already.
            let _ = stop.try_send(Stop::Asked);
            Response::Detaching
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
