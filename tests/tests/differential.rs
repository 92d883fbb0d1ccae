//! The same requests to nginx and to `sidestep`, over the same tree: what differs is listed with its reason.
//!
//! The requests are in `tests/differential/requests.toml`, the differences in `differences.toml` beside it.
//! `docs/differential.md` is written from both. DIFFERENTIAL_ONLY=text picks the requests with that in their names.

#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/nginx.rs"]
mod nginx;
#[path = "differential/requests.rs"]
mod requests;

use differences::Difference;
use nginx::Nginx;
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::{Answer, Client};
use sidestep_tests::net::Net;
use sidestep_tests::process;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

/// When all files were changed last: `Sun, 06 Nov 1994 08:49:37 GMT`.
const MODIFIED: u64 = 784_111_777;

/// Where nginx listens; `sidestep` has port 80.
const NGINX_PORT: u16 = 8080;

/// Fields that are compared where there is a representation.
const FIELDS: [&str; 8] = [
    "content-type",
    "content-length",
    "content-range",
    "content-encoding",
    "accept-ranges",
    "last-modified",
    "etag",
    "vary",
];

fn tree() -> TempDir {
    let root = TempDir::new().expect("a temporary directory");
    let hundred: String = (0..100).map(|n| char::from(b'!' + n % 90)).collect();
    let page = format!("<!doctype html>\n{}", "<p>The same again.\n".repeat(200));
    let mut random = fastrand::Rng::with_seed(3);
    let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(50_000)
        .collect();
    let files: [(&str, &[u8]); 24] = [
        ("index.html", b"<!doctype html><p>index\n"),
        ("a.txt", b"a text\n"),
        ("empty.txt", b""),
        ("hundred.txt", hundred.as_bytes()),
        ("large.bin", &large),
        ("page.html", page.as_bytes()),
        ("script.js", b"let a = 1;\n"),
        ("data.json", b"{}\n"),
        ("image.png", b"\x89PNG\r\n\x1a\n"),
        (
            "image.svg",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n",
        ),
        ("no-extension", b"bytes\n"),
        ("with space.txt", b"space\n"),
        ("ä.txt", b"umlaut\n"),
        ("a+b.txt", b"plus\n"),
        ("semi;colon.txt", b"semicolon\n"),
        ("%.txt", b"percent\n"),
        ("hash#.txt", b"hash\n"),
        ("mark?.txt", b"mark\n"),
        ("~tilde.txt", b"tilde\n"),
        ("a\\b.txt", b"backslash\n"),
        (".hidden", b"hidden\n"),
        ("sub/index.html", b"<!doctype html><p>sub\n"),
        ("sub/style.css", b"p { color: navy }\n"),
        ("bare/x.txt", b"x\n"),
    ];
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("a file is written");
    }
    let mut gzip = Command::new("gzip");
    gzip.args(["--keep", "--no-name"])
        .arg(root.path().join("page.html"));
    process::must(gzip, PATIENCE);
    let names = files.map(|(name, _)| name);
    for name in names.into_iter().chain(["page.html.gz"]) {
        let file = std::fs::File::options()
            .write(true)
            .open(root.path().join(name));
        let at = UNIX_EPOCH + Duration::from_secs(MODIFIED);
        file.and_then(|file| file.set_modified(at))
            .expect("a time is set");
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.path().join(name));
    link("/etc/hostname", "outside.txt").expect("a link");
    link("a.txt", "link.txt").expect("a link");
    root
}

fn config(root: &Path) -> String {
    format!(
        "[[listen]]\naddress = \"interface\"\nport = 80\nfallback = \"none\"\n\
         [[site]]\nhosts = [\"*\"]\n[[site.static]]\npath = \"/\"\nroot = {root:?}\n"
    )
}

/// One of the two servers.
struct Server<'n> {
    net: &'n Net,
    at: SocketAddr,
    /// ETag and Last-Modified, by target and Accept-Encoding.
    validators: BTreeMap<(String, String), (String, String)>,
}

impl<'n> Server<'n> {
    fn new(net: &'n Net, port: u16) -> Self {
        Self {
            net,
            at: net.server.at(port),
            validators: BTreeMap::new(),
        }
    }

    /// The answer; `None` if the connection ends without one.
    fn ask(&self, request: &[u8], head: bool) -> Option<(Answer, Client)> {
        let stream = self
            .net
            .client
            .connect(self.at, PATIENCE)
            .expect("connects");
        let mut client = Client::new(stream);
        // A refusal may come before all is sent.
        let _ = client.send(request);
        let mut read = || {
            if head {
                client.answer_to_head()
            } else {
                client.answer()
            }
        };
        let answer = match read() {
            Ok(interim) if interim.status == 100 => read(),
            other => other,
        };
        match answer {
            Ok(answer) => Some((answer, client)),
            Err(error) => {
                let ends = [
                    ErrorKind::UnexpectedEof,
                    ErrorKind::ConnectionReset,
                    ErrorKind::InvalidData,
                ];
                assert!(
                    ends.contains(&error.kind()),
                    "{}: {error}",
                    request.escape_ascii()
                );
                None
            }
        }
    }

    fn validators(&mut self, target: &str, coding: &str) -> (String, String) {
        let key = (target.to_owned(), coding.to_owned());
        if let Some(known) = self.validators.get(&key) {
            return known.clone();
        }
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: {coding}\r\n\r\n");
        let (answer, _) = self.ask(request.as_bytes(), false).expect("an answer");
        let field = |name| answer.field(name).expect("a validator").to_owned();
        let both = (field("etag"), field("last-modified"));
        self.validators.insert(key, both.clone());
        both
    }

    /// What of the answer to a request is compared.
    fn seen(&mut self, request: &requests::Request) -> BTreeMap<&'static str, String> {
        let bytes = request.form.bytes(|name, target, coding| {
            let (etag, date) = match name {
                "coded" => self.validators(target, "gzip"),
                _ => self.validators(target, coding),
            };
            if name == "date" { date } else { etag }
        });
        let mut seen = BTreeMap::new();
        let Some((answer, mut client)) = self.ask(&bytes, request.form.is_head()) else {
            seen.insert("status", "none".to_owned());
            return seen;
        };
        seen.insert("status", answer.status.to_string());
        let closes = answer
            .field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closes {
            // What is said is done; a reset is for what was sent behind.
            let rest = client.rest().unwrap_or_default();
            assert_eq!(rest, b"", "{}", request.name);
        }
        seen.insert("connection", if closes { "close" } else { "" }.to_owned());
        if let Some(to) = answer.field("location") {
            seen.insert("location", to.to_owned());
        }
        // Of other answers each server has its own text.
        if !matches!(answer.status, 200 | 206 | 304 | 416) {
            return seen;
        }
        for name in FIELDS {
            let own_text = answer.status == 416 && name != "content-range";
            let Some(value) = answer.field(name).filter(|_| !own_text) else {
                continue;
            };
            let value = match name {
                // Its parameter is not nginx's by default.
                "content-type" => value.split(';').next().unwrap_or_default(),
                // Each server makes its own.
                "etag" if value.starts_with("W/") => "weak",
                "etag" => "strong",
                _ => value,
            };
            seen.insert(name, value.to_owned());
        }
        if answer.status != 416 {
            let text = answer.body.escape_ascii().to_string();
            seen.insert("body", text);
        }
        seen
    }
}

#[test]
fn nginx_and_sidestep_answer_alike() {
    let only = std::env::var("DIFFERENTIAL_ONLY").unwrap_or_default();
    let requests = requests::all();
    assert!(requests.len() >= 300, "{} requests", requests.len());
    let (net, root) = (Net::new(), tree());
    let daemon = Daemon::start(&net.server, &config(root.path()));
    let _nginx = Nginx::start(&net.server, NGINX_PORT, root.path());
    let mut nginx = Server::new(&net, NGINX_PORT);
    let mut ours = Server::new(&net, 80);
    let mut found = BTreeSet::new();
    let mut alike = 0;
    for request in requests
        .iter()
        .filter(|request| request.name.contains(&only))
    {
        let (theirs, own) = (nginx.seen(request), ours.seen(request));
        let before = found.len();
        let same_status = theirs["status"] == own["status"];
        let keys: BTreeSet<&'static str> = theirs.keys().chain(own.keys()).copied().collect();
        // Answers with other statuses have other fields.
        for what in keys
            .into_iter()
            .filter(|what| *what == "status" || same_status)
        {
            let [nginx, ours] =
                [&theirs, &own].map(|seen| seen.get(what).cloned().unwrap_or_default());
            if nginx != ours {
                found.insert(Difference {
                    what,
                    nginx: nginx.chars().take(60).collect(),
                    ours: ours.chars().take(60).collect(),
                    request: request.name.clone(),
                });
            }
        }
        alike += usize::from(found.len() == before);
    }
    daemon.stop();
    println!("{} requests, {alike} answered alike", requests.len());
    if only.is_empty() {
        let listed = differences::listed();
        let faults = differences::faults(&found, &listed);
        assert!(faults.is_empty(), "\n{faults}");
        let table = differences::table(&found, &listed);
        write_docs(requests.len(), alike, &table);
    } else {
        println!("{found:#?}");
    }
}

/// Everything behind the marker is written by the test.
fn write_docs(requests: usize, alike: usize, table: &str) {
    const MARKER: &str = "## Result\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differential.md");
    let old = std::fs::read_to_string(&path).expect("docs/differential.md");
    let (kept, _) = old.split_once(MARKER).expect("a marker");
    let text = format!(
        "{kept}{MARKER}{requests} requests: {alike} are answered alike, the others differ as listed.\n\n{table}"
    );
    if text != old {
        std::fs::write(&path, text).expect("docs/differential.md is written");
    }
}
