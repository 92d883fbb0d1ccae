//! Load generators, by their own counts.

use crate::page::{self, Page};
use crate::run;
use sidestep_tests::clock::lasting;
use sidestep_tests::net::Net;
use sidestep_tests::wrk::Wrk;
use std::net::SocketAddr;
use std::time::Duration;

/// Requests that each is told to make; wrk takes a time instead.
const REQUESTS: &str = "1000";
const CONNECTIONS: &str = "10";

/// ab, hey, h2load and wrk, one after the other.
pub fn all(net: &Net, to: SocketAddr, page: &Page) {
    for path in [page.hit(), page.miss()] {
        let url = format!("http://{to}{path}");
        ab(net, &url);
        hey(net, &url);
        let body = std::fs::read(page.all().join(&path[1..])).expect("read");
        let wrk = Wrk {
            to,
            path: &path,
            body: &body,
            connections: 10,
            pipeline: 1,
            duration: lasting(Duration::from_secs(1), Duration::from_secs(10)),
            timeout: Duration::from_secs(10),
        };
        wrk.run(&net.client).assert_clean(100);
    }
    // h2load 1.52 leaves the brackets of an IPv6 address out of its Host field, which is no authority (RFC 3986 3.2.2).
    if to.is_ipv4() {
        h2load(net, to, page);
    }
}

fn ab(net: &Net, url: &str) {
    let done = run(
        net,
        &["ab", "-q", "-k", "-n", REQUESTS, "-c", CONNECTIONS, url],
    );
    let count = |label: &str| {
        let line = done
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(label));
        line.map(|rest| rest.trim().to_owned())
    };
    let (complete, failed) = (count("Complete requests:"), count("Failed requests:"));
    assert!(
        complete.as_deref() == Some(REQUESTS)
            && failed.as_deref() == Some("0")
            && count("Non-2xx responses:").is_none(),
        "ab {url}: {}",
        done.stdout
    );
}

fn hey(net: &Net, url: &str) {
    let done = run(net, &["hey", "-n", REQUESTS, "-c", CONNECTIONS, url]);
    let all = format!("[200]\t{REQUESTS} responses");
    assert!(
        done.stdout.contains(&all) && !done.stdout.contains("Error distribution"),
        "hey {url}: {}",
        done.stdout
    );
}

/// Every file of the page in turn, on each connection.
fn h2load(net: &Net, to: SocketAddr, page: &Page) {
    let list = tempfile::NamedTempFile::new().expect("a file");
    let urls: String = page::paths(page.all())
        .iter()
        .map(|path| format!("http://{to}{path}\n"))
        .collect();
    std::fs::write(list.path(), urls).expect("written");
    let list = list.path().display().to_string();
    let done = run(
        net,
        &[
            "h2load",
            "--h1",
            "-n",
            REQUESTS,
            "-c",
            CONNECTIONS,
            "-i",
            &list,
        ],
    );
    let all = format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    let codes = format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx");
    assert!(
        done.stdout.contains(&all) && done.stdout.contains(&codes),
        "h2load: {}",
        done.stdout
    );
}
