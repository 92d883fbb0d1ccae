//! Clients that people use, unmodified: against a static tree alone, and with a server behind that has the other half.
//!
//! `cargo xtask servers` installs them.

#[path = "clients/browser.rs"]
mod browser;
#[path = "clients/load.rs"]
mod load;
#[path = "clients/page.rs"]
mod page;

use page::Page;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::process::{self, Finished};
use sidestep_tests::server::{Nginx, user};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Longest run of one client; the slowest, Chromium, takes two seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A client, run on `net.client` against `to`; `root` has what it has to get.
type Run = fn(&Net, SocketAddr, &Path);

const CLIENTS: [(&str, Run); 7] = [
    ("curl", curl),
    ("wget", wget),
    ("Python requests", |net, to, root| {
        python("requests", net, to, root)
    }),
    ("Python httpx", |net, to, root| {
        python("httpx", net, to, root)
    }),
    ("Python aiohttp", |net, to, root| {
        python("aiohttp", net, to, root)
    }),
    ("Node fetch", node),
    ("Go net/http", go),
];

#[test]
fn clients_get_a_whole_tree_from_the_fast_path() {
    let (net, page) = (Net::new(), Page::new());
    let daemon = Daemon::start(&net.server, &page.config(page.all(), "none"));
    for to in net.server.addresses(80) {
        for (name, run) in CLIENTS {
            eprintln!("{name} to {to}");
            run(&net, to, page.all());
        }
    }
    assert_eq!(daemon.drops(), 0, "{:#}", daemon.status());
}

#[test]
fn clients_get_a_whole_tree_from_the_fast_path_and_a_server() {
    let (net, page) = (Net::new(), Page::new());
    let files = page.files();
    let tree: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), &b[..])).collect();
    let _nginx = Nginx::start(&net.server, 80, &tree);
    let daemon = Daemon::start(&net.server, &page.config(page.half(), "kernel"));
    for to in net.server.addresses(80) {
        for (name, run) in CLIENTS {
            eprintln!("{name} to {to}");
            let before = daemon.requests();
            run(&net, to, page.all());
            assert!(daemon.requests() > before, "{name} had no hit");
        }
    }
}

#[test]
fn a_browser_loads_a_page_with_60_assets() {
    let (net, page) = (Net::new(), Page::new());
    let daemon = Daemon::start(&net.server, &page.config(page.all(), "none"));
    for to in net.server.addresses(80) {
        browser::loads_all(&net, to);
    }
    let asked: u64 = daemon.requests().iter().sum();
    assert!(asked >= 2 * (1 + page::ASSETS as u64), "{asked} requests");
}

#[test]
fn a_browser_loads_a_page_of_which_a_server_has_half() {
    let (net, page) = (Net::new(), Page::new());
    let files = page.files();
    let tree: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), &b[..])).collect();
    let _nginx = Nginx::start(&net.server, 80, &tree);
    let daemon = Daemon::start(&net.server, &page.config(page.half(), "kernel"));
    for to in net.server.addresses(80) {
        let before = daemon.requests();
        browser::loads_all(&net, to);
        assert!(daemon.requests() > before, "no hit");
    }
}

#[test]
fn load_generators_see_no_failure() {
    let (net, page) = (Net::new(), Page::new());
    let daemon = Daemon::start(&net.server, &page.config(page.all(), "none"));
    for to in net.server.addresses(80) {
        load::all(&net, to, &page);
    }
    assert_eq!(daemon.drops(), 0, "{:#}", daemon.status());
}

#[test]
fn load_generators_see_no_failure_with_a_server_behind() {
    let (net, page) = (Net::new(), Page::new());
    let files = page.files();
    let tree: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), &b[..])).collect();
    let _nginx = Nginx::start(&net.server, 80, &tree);
    let daemon = Daemon::start(&net.server, &page.config(page.half(), "kernel"));
    for to in net.server.addresses(80) {
        let before = daemon.requests();
        load::all(&net, to, &page);
        assert!(daemon.requests() > before, "no hit");
    }
}

fn run(net: &Net, argv: &[&str]) -> Finished {
    let done = process::run(net.client.command(argv), LIMIT);
    assert_eq!(done.code(), 0, "{argv:?}: {}{}", done.stdout, done.stderr);
    done
}

/// All of them on one connection, then on eight at a time.
fn curl(net: &Net, to: SocketAddr, root: &Path) {
    for at_once in [&[][..], &["--parallel", "--parallel-max", "8"]] {
        let got = tempfile::tempdir().expect("a directory");
        let mut argv = vec![
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "20",
        ];
        argv.extend(at_once);
        let into = got.path().display();
        let pairs: Vec<[String; 2]> = page::paths(root)
            .iter()
            .map(|path| [format!("{into}{path}"), format!("http://{to}{path}")])
            .collect();
        argv.push("--create-dirs");
        for [file, url] in &pairs {
            argv.extend(["--output", file, url]);
        }
        run(net, &argv);
        page::assert_same(root, got.path());
    }
}

fn wget(net: &Net, to: SocketAddr, root: &Path) {
    let got = tempfile::tempdir().expect("a directory");
    let list = tempfile::NamedTempFile::new().expect("a file");
    let urls: String = page::paths(root)
        .iter()
        .map(|path| format!("http://{to}{path}\n"))
        .collect();
    std::fs::write(list.path(), urls).expect("written");
    let (into, list) = (got.path().display(), list.path().display());
    run(
        net,
        &[
            "wget",
            "--no-verbose",
            "--tries=1",
            "--timeout=20",
            "--force-directories",
            "--no-host-directories",
            &format!("--directory-prefix={into}"),
            &format!("--input-file={list}"),
        ],
    );
    page::assert_same(root, got.path());
}

fn python(client: &str, net: &Net, to: SocketAddr, root: &Path) {
    let python = user::installed().join("python/bin/python");
    let script = source("fetch.py");
    let python = python.display().to_string();
    says_right(net, to, root, &[&python, &script, client]);
}

fn node(net: &Net, to: SocketAddr, root: &Path) {
    says_right(net, to, root, &["node", &source("fetch.mjs")]);
}

fn go(net: &Net, to: SocketAddr, root: &Path) {
    let program = user::installed().join("go-client").display().to_string();
    says_right(net, to, root, &[&program]);
}

/// Runs a program of `tests/clients/`, which fetches each file twice and says how many were right.
fn says_right(net: &Net, to: SocketAddr, root: &Path, argv: &[&str]) {
    let (base, dir) = (format!("http://{to}"), root.display().to_string());
    let done = run(net, &[argv, &[&base, &dir]].concat());
    let wanted = format!("{} right\n", 2 * page::paths(root).len());
    assert_eq!(done.stdout, wanted, "{}", done.stderr);
}

fn source(name: &str) -> String {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    clients.join(name).display().to_string()
}
