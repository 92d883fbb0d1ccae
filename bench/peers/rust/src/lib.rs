//! Every file of a tree in memory, by its path in a URL.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Never freed: a server runs until it is killed.
pub type Files = &'static HashMap<String, &'static str>;

/// `PROGRAM ROOT PORT`: the tree and the port.
pub fn arguments() -> (Files, u16) {
    let mut args = std::env::args().skip(1);
    let root = args.next().expect("ROOT");
    let port = args.next().expect("PORT").parse().expect("a port");
    let mut files = HashMap::new();
    add(Path::new(&root), "", &mut files);
    (Box::leak(Box::new(files)), port)
}

fn add(dir: &Path, at: &str, files: &mut HashMap<String, &'static str>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{at}/{}", entry.file_name().to_str().expect("a name"));
        if entry.path().is_dir() {
            add(&entry.path(), &name, files);
        } else {
            let text = fs::read_to_string(entry.path()).expect("a file of text");
            files.insert(name, text.leak());
        }
    }
}
