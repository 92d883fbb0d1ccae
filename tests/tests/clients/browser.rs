//! Chromium without a screen.

use crate::{LIMIT, page};
use sidestep_tests::net::Net;
use sidestep_tests::process;
use std::net::SocketAddr;
use std::path::Path;

/// Other builds of Chromium may stand in; this one is named by the environment.
const VARIABLE: &str = "CHROMIUM";
const NAMES: [&str; 4] = [
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "google-chrome",
];

/// Loads the page; its own script has counted what came and what did not.
pub fn loads_all(net: &Net, to: SocketAddr) {
    let browser = browser();
    let files = tempfile::tempdir().expect("a directory");
    let profile = format!("--user-data-dir={}", files.path().display());
    let picture = files.path().join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    let argv = [
        &browser,
        "--headless",
        // The namespace is its box; root cannot have another.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        &profile,
        &screenshot,
        "--dump-dom",
        // Its clock stands still while a request is under way, so that this is not time on the wall.
        "--virtual-time-budget=10000",
        &format!("http://{to}/"),
    ];
    let done = process::run(net.client.command(&argv), LIMIT);
    let wanted = format!("<title>{} loaded, 0 failed</title>", page::ASSETS);
    let title = done.stdout.lines().find(|line| line.contains("<title>"));
    assert!(
        done.code() == 0 && done.stdout.contains(&wanted),
        "{title:?}, not {wanted}: {} {}",
        done.status,
        done.stderr
    );
    let drawn = std::fs::read(picture).expect("a screenshot");
    assert!(drawn.starts_with(b"\x89PNG"), "{} bytes", drawn.len());
}

fn browser() -> String {
    let named = std::env::var(VARIABLE).ok();
    let path = std::env::var("PATH").unwrap_or_default();
    let there = |name: &&str| {
        path.split(':')
            .any(|dir| Path::new(dir).join(name).exists())
    };
    named
        .or_else(|| NAMES.into_iter().find(there).map(str::to_owned))
        .unwrap_or_else(|| {
            panic!(
                "no {} and no ${VARIABLE}; run `cargo xtask servers`",
                NAMES[0]
            )
        })
}
