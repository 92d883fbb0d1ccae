//! `HTTP.md` against the source.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

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
    sources(&root.join("../tests"), &mut files);
    let texts: Vec<String> = files
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    let known: HashSet<&str> = texts.iter().flat_map(|text| tests(text)).collect();
    let document = fs::read_to_string(root.join("HTTP.md")).expect("HTTP.md");
    let mut rows = 0;
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [clause, _, code, shown] = cells[..] else {
            panic!("not four cells: {line}");
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
                ".."
            } else {
                "src"
            };
            let there = root.join(base).join(path).is_file();
            assert!(there, "{clause}: no file {path}");
        }
        for name in shown {
            assert!(known.contains(name), "{clause}: no test {name}");
        }
    }
    assert!(
        rows > 50,
        "{rows} rows: has the form of the tables changed?"
    );
}
