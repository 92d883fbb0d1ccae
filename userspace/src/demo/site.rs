//! The built-in site and the configuration that serves it.

use super::PORT;
use super::hosts::{HOST_V4, HOST_V6};
use sidestep_config::Config;
use std::fs;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// The files of the site: name, bytes.
pub(super) const FILES: [(&str, &[u8]); 3] = [
    ("index.html", include_bytes!("site/index.html")),
    ("style.css", include_bytes!("site/style.css")),
    ("logo.svg", include_bytes!("site/logo.svg")),
];

pub(super) const PING: &str = r#"{"status":"ok"}"#;
pub(super) const HELLO: &str = "Hello from the fast path.\n";

/// Writes the site to a directory that goes with the value.
pub(super) fn write(name: &str) -> io::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix(name).tempdir()?;
    for (file, bytes) in FILES {
        fs::write(dir.path().join(file), bytes)?;
    }
    Ok(dir)
}

/// The configuration as a person would write it.
pub(super) fn config(root: &Path, name: &str) -> Config {
    let text = format!(
        r#"
[[listen]]
address = "{HOST_V4}"
port = {PORT}
fallback = "kernel"

[[listen]]
address = "{HOST_V6}"
port = {PORT}
fallback = "kernel"

[[site]]
hosts = ["*"]

[[site.static]]
path = "/"
root = "{root}"

[[site.response]]
path = "/ping"
content_type = "application/json"
body = '{PING}'

[[site.response]]
path = "/hello"
content_type = "text/plain"
body = {HELLO:?}

[limits]
connections = 10_000
"#,
        root = root.display()
    );
    Config::parse(&text, name).expect("the built-in configuration is valid")
}
