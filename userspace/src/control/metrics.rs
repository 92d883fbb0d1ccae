//! The metrics page: the Prometheus text format (version 0.0.4) over HTTP, on a kernel socket.

use crate::daemon::{CacheStatus, Reader, RouteStatus, Status};
use crate::kernel_http::KernelServer;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use tiny_http::{Header, Method, Response};

/// Serves `GET /metrics` at `address` until the server is dropped.
///
/// # Errors
/// See [`KernelServer::start`].
pub fn serve_metrics(address: SocketAddr, reader: Reader) -> io::Result<KernelServer> {
    KernelServer::start(address, "metrics", move |request| {
        if request.method() == &Method::Get && request.url() == "/metrics" {
            Response::from_string(render(&reader.read())).with_header(content_type())
        } else {
            Response::from_string("see /metrics\n").with_status_code(404)
        }
    })
}

fn content_type() -> Header {
    "Content-Type: text/plain; version=0.0.4"
        .parse()
        .expect("a valid field")
}

/// Every counter as `sidestep_NAME{queue,label}`, what became of a route's requests as
/// `sidestep_route{site,route,kind}`, how proxied connections have ended as `sidestep_proxied{end}`, the XDP verdicts as `sidestep_xdp_frames{verdict}`.
fn render(status: &Status) -> String {
    let mut names: Vec<&str> = status
        .workers
        .iter()
        .flat_map(|w| w.counters.keys().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut page = String::new();
    for name in names {
        let kind = match name {
            "connections" | "snapshots" => "gauge",
            _ => "counter",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# TYPE sidestep_{name} {kind}");
        for worker in &status.workers {
            for (label, value) in worker.counters.get(name).into_iter().flatten() {
                let _ = writeln!(
                    page,
                    "sidestep_{name}{{queue=\"{}\",kind=\"{label}\"}} {value}",
                    worker.queue
                );
            }
        }
    }
    page.push_str("# TYPE sidestep_queue_frames gauge\n");
    for worker in &status.workers {
        for (place, count) in &worker.frames {
            let _ = writeln!(
                page,
                "sidestep_queue_frames{{queue=\"{}\",place=\"{place}\"}} {count}",
                worker.queue
            );
        }
    }
    page.push_str("# TYPE sidestep_route counter\n");
    for RouteStatus {
        site,
        route,
        counts,
    } in &status.routes
    {
        for (kind, count) in counts {
            // Neither name has a character that would have to be escaped: hosts are names, paths are percent-encoded.
            let _ = writeln!(
                page,
                "sidestep_route{{site=\"{site}\",route=\"{route}\",kind=\"{kind}\"}} {count}"
            );
        }
    }
    page.push_str("# TYPE sidestep_cache counter\n");
    for cache in &status.cache {
        let CacheStatus { site, route, .. } = cache;
        for (kind, count) in &cache.counts {
            let _ = writeln!(
                page,
                "sidestep_cache{{site=\"{site}\",route=\"{route}\",kind=\"{kind}\"}} {count}"
            );
        }
    }
    page.push_str("# TYPE sidestep_cache_held gauge\n");
    for cache in &status.cache {
        let CacheStatus { site, route, .. } = cache;
        for (unit, value) in [("entries", cache.entries), ("bytes", cache.bytes)] {
            let _ = writeln!(
                page,
                "sidestep_cache_held{{site=\"{site}\",route=\"{route}\",unit=\"{unit}\"}} {value}"
            );
        }
    }
    let _ = writeln!(
        page,
        "# TYPE sidestep_proxied_open gauge\nsidestep_proxied_open {}\n# TYPE sidestep_proxied counter",
        status.proxied.open
    );
    for (end, count) in &status.proxied.ended {
        let _ = writeln!(page, "sidestep_proxied{{end=\"{end}\"}} {count}");
    }
    page.push_str("# TYPE sidestep_degraded gauge\n");
    let mut degraded = BTreeMap::<_, u64>::new();
    for trouble in &status.degraded {
        *degraded.entry(trouble.label()).or_default() += 1;
    }
    for (reason, count) in degraded {
        let _ = writeln!(page, "sidestep_degraded{{reason=\"{reason}\"}} {count}");
    }
    page.push_str("# TYPE sidestep_xdp_frames counter\n");
    for (verdict, count) in &status.xdp {
        let _ = writeln!(page, "sidestep_xdp_frames{{verdict=\"{verdict}\"}} {count}");
    }
    page
}
