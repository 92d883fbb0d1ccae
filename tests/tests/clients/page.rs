//! A page with 60 assets of four kinds and many sizes, which counts what it got, and the same with every second asset
//! left out.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Assets of the page.
pub const ASSETS: usize = 60;

/// What an asset is.
#[derive(Clone, Copy)]
enum Kind {
    Image,
    Style,
    Script,
    Data,
}

const KINDS: [Kind; 4] = [Kind::Image, Kind::Style, Kind::Script, Kind::Data];

/// Both trees on disk.
pub struct Page {
    all: TempDir,
    half: TempDir,
}

impl Page {
    pub fn new() -> Self {
        let [all, half] = [(); 2].map(|()| TempDir::new().expect("a directory"));
        for (number, (path, content)) in files().into_iter().enumerate() {
            write(all.path(), &path, &content);
            // The page itself, and two of each four assets: two kinds would do, but not every client wants all kinds.
            if number == 0 || (number / KINDS.len()).is_multiple_of(2) {
                write(half.path(), &path, &content);
            }
        }
        Self { all, half }
    }

    /// The tree with every file.
    pub fn all(&self) -> &Path {
        self.all.path()
    }

    /// The tree with about half of them, the page among them.
    pub fn half(&self) -> &Path {
        self.half.path()
    }

    /// Every file: path and content.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        files()
    }

    /// The path of an asset that both trees have.
    pub fn hit(&self) -> String {
        self.asset(|path| self.half().join(&path[1..]).exists())
    }

    /// The path of an asset that only the whole tree has.
    pub fn miss(&self) -> String {
        self.asset(|path| !self.half().join(&path[1..]).exists())
    }

    fn asset(&self, wanted: impl Fn(&str) -> bool) -> String {
        let paths = paths(self.all());
        let found = paths
            .into_iter()
            .find(|path| path.starts_with("/assets/") && wanted(path));
        found.expect("the page has such an asset")
    }

    /// A config that serves `root`, without `[control]`.
    pub fn config(&self, root: &Path, fallback: &str) -> String {
        format!(
            "[[listen]]\naddress = \"interface\"\nport = 80\nfallback = \"{fallback}\"\n\n\
             [[site]]\nhosts = [\"*\"]\n\n[[site.static]]\npath = \"/\"\nroot = \"{}\"\n",
            root.display()
        )
    }
}

/// The paths of all files under `root`, in order.
pub fn paths(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(root).expect("under the root");
                found.push(format!("/{}", path.display()));
            }
        }
    }
    found.sort();
    found
}

/// Both directories hold the same files with the same content.
pub fn assert_same(wanted: &Path, got: &Path) {
    assert_eq!(paths(wanted), paths(got));
    for path in paths(wanted) {
        let [wanted, got] = [wanted, got].map(|dir| fs::read(dir.join(&path[1..])).expect("read"));
        assert!(
            wanted == got,
            "{path}: {} bytes, not {}",
            got.len(),
            wanted.len()
        );
    }
}

fn write(root: &Path, path: &str, content: &[u8]) {
    let file = root.join(&path[1..]);
    fs::create_dir_all(file.parent().expect("a directory")).expect("made");
    fs::write(file, content).expect("written");
}

/// The page, then its assets.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut tags = String::new();
    let mut data = Vec::new();
    let mut assets = Vec::new();
    for number in 0..ASSETS {
        let counted = "onload=\"loaded++\" onerror=\"failed++\"";
        // From nothing to 35 KiB: in one segment, in one window, and in more.
        let filler =
            format!("{number} ").repeat(number * number * 10 / if number < 10 { 1 } else { 3 });
        let (name, content) = match KINDS[number % KINDS.len()] {
            Kind::Image => {
                let name = format!("/assets/{number}.svg");
                // Writing to a String cannot fail.
                let _ = writeln!(tags, "<img src=\"{name}\" alt=\"\" {counted}>");
                let shape = format!(
                    "<rect width=\"9\" height=\"9\" fill=\"hsl({},80%,50%)\"/>",
                    number * 6
                );
                let open = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"20\" height=\"20\">";
                (name, format!("{open}{shape}<!-- {filler}--></svg>\n"))
            }
            Kind::Style => {
                let name = format!("/assets/{number}.css");
                let _ = writeln!(tags, "<link rel=\"stylesheet\" href=\"{name}\" {counted}>");
                (
                    name,
                    format!("/* {filler}*/\n#s{number} {{ color: navy }}\n"),
                )
            }
            Kind::Script => {
                let name = format!("/assets/{number}.js");
                let _ = writeln!(tags, "<script src=\"{name}\" {counted}></script>");
                (name, format!("// {filler}\nran++;\n"))
            }
            Kind::Data => {
                let name = format!("/assets/{number}.json");
                data.push(format!("\"{name}\""));
                (
                    name,
                    format!("{{\"number\": {number}, \"filler\": \"{filler}\"}}\n"),
                )
            }
        };
        assets.push((name, content.into_bytes()));
    }
    let (data, scripts) = (data.join(", "), ASSETS / KINDS.len());
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>loading</title>
<link rel="icon" href="data:,">
<script>
let loaded = 0, failed = 0, ran = 0;
</script>
{tags}<script>
const fetched = [{data}].map(async (path) => {{
  try {{
    const data = await (await fetch(path)).json();
    path.endsWith(`/${{data.number}}.json`) ? loaded++ : failed++;
  }} catch {{
    failed++;
  }}
}});
addEventListener("load", async () => {{
  await Promise.all(fetched);
  // A script that was cut short would not have run; one that was not, once.
  if (ran !== {scripts}) failed++;
  document.title = `${{loaded}} loaded, ${{failed}} failed`;
}});
</script>
</html>
"#
    );
    let mut all = vec![("/index.html".to_owned(), page.into_bytes())];
    all.extend(assets);
    all
}
