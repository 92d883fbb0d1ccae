//! `RFC.md` against the source, and clauses that have no better place.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::CloseReason;
use crate::testing::{Jar, answer, seg};
use crate::wire::{Flags, Options};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

/// Names of functions behind `#[test]`.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[test]").skip(1).filter_map(|rest| {
        let name = rest.trim_start().strip_prefix("fn ")?;
        name.split('(').next()
    })
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_names_code_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let texts: Vec<String> = files
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    let known: HashSet<&str> = texts.iter().flat_map(|text| tests(text)).collect();
    let document = fs::read_to_string(root.join("RFC.md")).expect("RFC.md");
    let mut rows = 0;
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [clause, _, code, shown] = cells[..] else {
            continue;
        };
        if clause == "Clause" {
            continue;
        }
        rows += 1;
        let (code, shown) = (quoted(code), quoted(shown));
        assert!(
            !code.is_empty() && !shown.is_empty(),
            "{clause}: empty cell"
        );
        for path in code {
            let base = if path.starts_with("tests/") {
                ""
            } else {
                "src"
            };
            assert!(
                root.join(base).join(path).is_file(),
                "{clause}: no file {path}"
            );
        }
        for name in shown {
            assert!(known.contains(name), "{clause}: no test {name}");
        }
    }
    assert!(
        rows > 60,
        "{rows} rows: has the form of the tables changed?"
    );
    for name in quoted(&document) {
        let word = name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(!word || known.contains(name), "no test {name}");
    }
}

/// MUST-5: known ones out of place and unknown ones alike.
#[test]
fn options_come_in_any_segment() {
    let mut jar = Jar::established(|_| {});
    let mut request = seg("PA", 1, 1).data("GET 3\n");
    request.options = Options {
        mss: Some(9),
        window_scale: Some(3),
        sack_permitted: true,
        ..Options::default()
    };
    jar.send(request);
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

/// MUST-34: what is past the edge waits, what is before it is sent again, and all of it arrives.
#[test]
fn a_shrinking_window_is_survived() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 20000\n"));
    assert_eq!(jar.sent().len(), 10);
    jar.send(seg("A", 11, 2001).win(1500));
    jar.expect(&[]);
    jar.pass_ms(5_000);
    let sent = jar.sent();
    assert!(!sent.is_empty());
    let past = |s: &crate::testing::Seg| s.seq + s.data.len() as u32 > 2001 + 1500;
    assert!(!sent.iter().any(past), "{sent:?}");
    let mut next = 2001;
    for _ in 0..200 {
        jar.send(seg("A", 11, next));
        for s in jar.sent() {
            if s.seq <= next {
                next = next.max(s.seq + s.data.len() as u32);
            }
        }
        jar.pass_ms(10);
    }
    assert_eq!((next, jar.app.held), (20_001, 0));
}

/// MUST-66
#[test]
fn reset_counts_at_a_closed_window() {
    let mut jar = Jar::established(|config| config.receive_window = 10);
    jar.app.deaf = true;
    jar.send(seg("PA", 1, 1).data("0123456789"));
    jar.pass_ms(50);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.win), (11, 0));
    jar.send(seg("R", 11, 0));
    assert_eq!(jar.stack.counters().closed(CloseReason::PeerReset), 1);
}

#[test]
fn urgent_data_is_read_in_line() {
    let mut jar = Jar::established(|_| {});
    let mut request = seg("PA", 1, 1).data("GET 3\n");
    request.flags = request.flags.with(Flags(0x20));
    jar.send(request);
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}
