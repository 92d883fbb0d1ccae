//! `sidestep attach`: the daemon, in the foreground.

use super::{FAILURE, OK, USAGE, fail};
use crate::control::{ControlServer, Request, Response, SocketError, serve_metrics};
use crate::daemon::{Daemon, Ended, Reader};
use crossbeam::channel::{Receiver, Sender, bounded, select};
use nix::net::if_::if_nametoindex;
use sidestep_config::Config;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::path::Path;

/// Why the daemon is to end.
#[derive(Debug)]
enum Stop {
    Signal,
    Asked,
}

pub(super) fn run(interface: Option<String>, config: &Path) -> u8 {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(e) => return fail(&e, USAGE),
    };
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
    if let Err(e) = ControlServer::may_have(&config.control.socket) {
        let wrong = matches!(e, SocketError::NotASocket(_));
        return fail(&e, if wrong { USAGE } else { FAILURE });
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
    let _metrics = serve_metrics(config.control.metrics, reader.clone())
        .inspect_err(|e| log::warn!("no metrics on {}: {e}", config.control.metrics));
    warn_of_what_is_not_served(&config);
    announce(&reader);
    serve(daemon, &stop)
}

fn serve(daemon: Daemon, stop: &Receiver<Stop>) -> u8 {
    select! {
        recv(stop) -> why => {
            log::info!("{}: draining", match why {
                Ok(Stop::Asked) => "asked to detach",
                Ok(Stop::Signal) | Err(_) => "signal",
            });
            match daemon.stop() {
                Ok(status) => {
                    log::info!("detached from {} after {} requests", status.interface, status.total("http", "requests"));
                    OK
                }
                Err(e) => fail(&e, FAILURE),
            }
        }
        recv(daemon.ended()) -> ended => {
            // Dropping the daemon detaches: better the kernel alone than a queue that nobody reads.
            let why = match ended {
                Ok(Ended { queue, result: Some(Err(e)) }) => format!("queue {queue}: {e}"),
                Ok(Ended { queue, .. }) => format!("the worker of queue {queue} failed"),
                Err(_) => "all workers ended".to_owned(),
            };
            drop(daemon);
            fail(&format_args!("{why}; detached"), FAILURE)
        }
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

fn warn_of_what_is_not_served(config: &Config) {
    if config
        .listen
        .iter()
        .any(|l| l.fallback == sidestep_config::Fallback::Kernel)
    {
        log::warn!(
            "fallback = \"kernel\": requests are not handed to the kernel yet; what the fast path cannot serve is answered with an error status"
        );
    }
    if config.sites.iter().any(|s| !s.caches.is_empty()) {
        log::warn!("[[site.cache]] routes are not learned yet");
    }
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
