//! What every server serves: one tree, all of it text, and what each path of it has to answer.

use sidestep_tests::server::user::records;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The answer of 12 bytes.
pub(super) const HELLO: &str = "/hello";
/// The same bytes, but not served by sidestep: it hands the connection over to the server behind it.
pub(super) const MISS: &str = "/miss";
pub(super) const ONE: &str = "/files/1k";
pub(super) const TEN: &str = "/files/10k";
pub(super) const SIXTY_FOUR: &str = "/files/64k";

const TWELVE: &[u8] = b"Hello world!";

/// Files of the mixed workload.
const MIXED: usize = 20;

/// The tree on disk.
pub(super) struct Site {
    root: TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        let root = TempDir::new().expect("a temporary directory");
        fs::create_dir(root.path().join("files")).expect("a directory");
        let fixed = [HELLO, MISS, ONE, TEN, SIXTY_FOUR].map(str::to_owned);
        for path in fixed.into_iter().chain(mixed()) {
            let file = root.path().join(&path[1..]);
            fs::write(file, body(&path)).expect("a file");
        }
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }
}

/// The paths of the mixed workload: 20 files of 256 bytes to 16 KiB.
pub(super) fn mixed() -> Vec<String> {
    (0..MIXED).map(|n| format!("/files/mixed-{n}")).collect()
}

/// What `GET path` has to give.
pub(super) fn body(path: &str) -> Vec<u8> {
    let mixed = path.strip_prefix("/files/mixed-");
    match (path, mixed.and_then(|n| n.parse::<usize>().ok())) {
        (HELLO | MISS, _) => TWELVE.to_vec(),
        (ONE, _) => records(1 << 10),
        (TEN, _) => records(10 << 10),
        (SIXTY_FOUR, _) => records(64 << 10),
        (_, Some(n)) => records(256 << (n % 7)),
        _ => unreachable!("no such path: {path}"),
    }
}
