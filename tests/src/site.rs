//! The site that tests serve: a few inline responses and a file tree.

use std::fmt::Write as _;
use std::path::Path;
use tempfile::TempDir;

/// The inline response at `/ping`, `application/json`.
pub const PING: &[u8] = br#"{"status":"ok"}"#;
/// The inline response at `/hello`, `text/plain`; 12 bytes.
pub const HELLO: &[u8] = b"Hello world!";
/// The tree's `/index.html`.
pub const INDEX: &[u8] = b"<!doctype html><title>test</title><p>index\n";
/// The tree's `/sub/index.html`.
pub const SUB_INDEX: &[u8] = b"<!doctype html><p>sub\n";
/// Size of the tree's `/large.bin` in bytes: the largest object that is served (`max_object` of the config).
pub const LARGE: usize = 64 << 10;

/// A site on disk; the tree goes when it is dropped.
pub struct Site {
    root: TempDir,
    fallback: &'static str,
    more: String,
}

impl Site {
    /// The site with this `fallback` (`kernel` or `none`), on port 80 of every address of the NIC.
    ///
    /// # Panics
    /// When the tree cannot be written.
    pub fn new(fallback: &'static str) -> Self {
        let root =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let large = large();
        let mut larger = large.clone();
        larger.push(0);
        let tree: [(&str, &[u8]); 6] = [
            ("index.html", INDEX),
            ("sub/index.html", SUB_INDEX),
            ("sub/style.css", b"p { color: navy }\n"),
            ("empty.txt", b""),
            ("large.bin", &large),
            ("too-large.bin", &larger),
        ];
        for (name, content) in tree {
            let path = root.path().join(name);
            path.parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&path, content))
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        }
        Self {
            root,
            fallback,
            more: String::new(),
        }
    }

    /// Adds tables (`[limits]`, `[interface]`) to the config.
    pub fn with(mut self, tables: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.more, "{tables}");
        self
    }

    /// The root of the file tree.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The config, without `[control]`.
    pub fn config(&self) -> String {
        format!(
            r#"{more}
[[listen]]
address = "interface"
port = 80
fallback = "{fallback}"

[[site]]
hosts = ["*"]

[[site.response]]
path = "/ping"
content_type = "application/json"
body = '{ping}'

[[site.response]]
path = "/hello"
content_type = "text/plain"
body = "{hello}"

[[site.static]]
path = "/"
root = "{root}"
max_object = "64KiB"
"#,
            more = self.more,
            fallback = self.fallback,
            ping = String::from_utf8_lossy(PING),
            hello = String::from_utf8_lossy(HELLO),
            root = self.root.path().display(),
        )
    }
}

/// The content of `/large.bin`: no two of its segments are alike.
pub fn large() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(2);
    std::iter::repeat_with(|| rng.u8(..)).take(LARGE).collect()
}
