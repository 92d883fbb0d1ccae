use super::*;
use crate::store::Found;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// Longest that a change may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(root: &Path, more: &str) -> Config {
    let text = format!(
        "[[listen]]\naddress = \"192.0.2.1\"\nport = 80\n[[site]]\nhosts = [\"*\"]\n\
         [[site.response]]\npath = \"/inline\"\nbody = \"inline\"\n\
         [[site.static]]\npath = \"/\"\nroot = {root:?}\nmax_object = \"1KiB\"\n{more}"
    );
    Config::parse(&text, "t").unwrap_or_else(|e| panic!("{e}"))
}

struct Tended {
    root: TempDir,
    config: Config,
    keeper: Arc<Keeper>,
    _running: Running,
}

fn tended(more: impl Fn(&Path) -> String) -> Tended {
    let root = TempDir::new().unwrap();
    let config = config(root.path(), &more(root.path()));
    let keeper = Arc::new(Keeper::open(&config).unwrap());
    tend(root, config, keeper)
}

fn tend(root: TempDir, config: Config, keeper: Arc<Keeper>) -> Tended {
    Tended {
        root,
        config,
        _running: keeper.start(None).unwrap(),
        keeper,
    }
}

/// What every path leads to.
fn all(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, String> {
    let table = &snapshot.base.sites[0];
    let keys = table
        .paths
        .iter()
        .map(|(key, _)| key)
        .chain(snapshot.files.keys(0).map(|(key, _)| &**key));
    keys.filter_map(|key| {
        let text = |id| {
            let response = snapshot.response(id);
            let codings = snapshot.variants(id).len();
            let etag = response.validators().etag.map(<[u8]>::escape_ascii);
            let etag = etag.map(|e| e.to_string()).unwrap_or_default();
            format!(
                "{} {etag} {codings} {}",
                response.status(),
                response.body().escape_ascii()
            )
        };
        let shown = match snapshot.find_key(0, key).1 {
            Found::Response(id) | Found::Redirect(id) => text(id),
            Found::TooLarge => "too large".into(),
            Found::Missing => return None,
            other => format!("{other:?}"),
        };
        Some((key.to_vec(), shown))
    })
    .collect()
}

#[expect(clippy::disallowed_methods, reason = "waits for files, not packets")]
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}

impl Tended {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn body(&self, path: &str) -> Option<String> {
        let snapshot = self.keeper.live().current().get();
        match snapshot.find(b"h", path.as_bytes()).1 {
            Found::Response(id) => {
                Some(String::from_utf8_lossy(snapshot.response(id).body()).into_owned())
            }
            _ => None,
        }
    }

    fn awaits(&self, path: &str, expected: Option<&str>) {
        wait_for(&format!("{path} {expected:?}"), || {
            self.body(path).as_deref() == expected
        });
    }

    /// Waits until what is served is what a fresh start would serve.
    fn settles(&self, what: &str) {
        let expected = all(&Snapshot::build(&self.config).unwrap());
        let mut last = BTreeMap::new();
        #[expect(clippy::disallowed_methods, reason = "waits for files, not packets")]
        let until = Instant::now() + PATIENCE;
        #[expect(clippy::disallowed_methods, reason = "waits for files, not packets")]
        while Instant::now() < until {
            last = all(&self.keeper.live().current().get());
            if last == expected {
                return;
            }
            std::thread::yield_now();
        }
        assert_eq!(last, expected, "{what}");
    }
}

#[test]
fn changes_of_files_are_seen() {
    let t = tended(|_| String::new());
    t.write("a.txt", "one");
    t.awaits("/a.txt", Some("one"));
    t.write("a.txt", "two");
    t.awaits("/a.txt", Some("two"));
    fs::write(t.path(".new"), "three").unwrap();
    fs::rename(t.path(".new"), t.path("a.txt")).unwrap();
    t.awaits("/a.txt", Some("three"));
    fs::rename(t.path("a.txt"), t.path("b.txt")).unwrap();
    t.awaits("/a.txt", None);
    t.awaits("/b.txt", Some("three"));
    fs::hard_link(t.path("b.txt"), t.path("c.txt")).unwrap();
    t.awaits("/c.txt", Some("three"));
    fs::remove_file(t.path("b.txt")).unwrap();
    t.awaits("/b.txt", None);
    t.write("inline", "never");
    t.write("large", &"x".repeat(2000));
    t.settles("an inline answer goes first");
    let summary = t.keeper.live().summary();
    assert_eq!(summary.watching, Watching::default());
    assert!(summary.overlay > 0, "no base was built for it");
}

#[test]
fn directories_come_and_go_with_what_is_in_them() {
    let t = tended(|_| String::new());
    t.write("d/e/index.html", "index");
    t.write("d/e/f.txt", "f");
    t.awaits("/d/e/", Some("index"));
    t.awaits("/d/e/f.txt", Some("f"));
    t.settles("made");
    fs::rename(t.path("d"), t.path("g")).unwrap();
    t.awaits("/g/e/f.txt", Some("f"));
    t.settles("moved");
    // The watches have moved along.
    t.write("g/e/f.txt", "changed");
    t.awaits("/g/e/f.txt", Some("changed"));
    assert_eq!(t.body("/d/e/f.txt"), None);
    fs::remove_file(t.path("g/e/index.html")).unwrap();
    t.awaits("/g/e/", None);
    t.settles("no index");
    let outside = TempDir::new_in(t.root.path().parent().unwrap()).unwrap();
    fs::rename(t.path("g"), outside.path().join("g")).unwrap();
    t.awaits("/g/e/f.txt", None);
    t.settles("gone");
    fs::rename(outside.path().join("g"), t.path("back")).unwrap();
    t.awaits("/back/e/f.txt", Some("changed"));
    fs::remove_dir_all(t.path("back")).unwrap();
    t.settles("removed");
}

/// A file that is being written is served as it was, however slowly that goes.
#[test]
#[expect(clippy::disallowed_methods, reason = "a slow writer")]
fn a_file_is_never_read_in_the_middle_of_a_write() {
    use std::io::Write as _;
    let t = tended(|_| String::new());
    t.write("a.txt", "old old old");
    t.awaits("/a.txt", Some("old old old"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(t.path("a.txt"))
        .unwrap();
    let begun = Instant::now();
    let mut last = begun;
    for part in ["new ", "new ", "new"] {
        file.write_all(part.as_bytes()).unwrap();
        let written = Instant::now();
        let mut seen = t.body("/a.txt");
        while written.elapsed() < QUIET / 4 {
            seen = t.body("/a.txt");
        }
        // A test that was not run for a while is a writer that has paused.
        if written.duration_since(last) < QUIET && written.elapsed() < QUIET {
            assert_eq!(seen.as_deref(), Some("old old old"));
        }
        last = written;
    }
    drop(file);
    t.awaits("/a.txt", Some("new new new"));
}

#[test]
fn what_a_link_leads_to_is_seen() {
    let t = tended(|_| String::new());
    t.write("v1/a.txt", "one");
    t.write("v2/a.txt", "two");
    symlink("v1", t.path("current")).unwrap();
    t.awaits("/current/a.txt", Some("one"));
    symlink("v2", t.path(".current")).unwrap();
    fs::rename(t.path(".current"), t.path("current")).unwrap();
    t.awaits("/current/a.txt", Some("two"));
    t.write("v2/a.txt", "three");
    t.awaits("/current/a.txt", Some("three"));
    t.awaits("/v2/a.txt", Some("three"));
    t.settles("links");
}

#[test]
fn links_out_of_the_root_are_followed_where_they_may() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("a.txt"), "one").unwrap();
    let t = tended(|_| "follow_symlinks = true\n".into());
    symlink(outside.path().join("a.txt"), t.path("link.txt")).unwrap();
    t.awaits("/link.txt", Some("one"));
    fs::write(outside.path().join("a.txt"), "two").unwrap();
    t.awaits("/link.txt", Some("two"));
}

#[test]
fn a_root_that_is_gone_is_served_as_it_was_until_it_is_back() {
    let t = tended(|_| String::new());
    t.write("a.txt", "one");
    t.awaits("/a.txt", Some("one"));
    let away = t.root.path().with_extension("away");
    fs::rename(t.root.path(), &away).unwrap();
    let error = || t.keeper.live().summary().watching.error;
    wait_for("an error", || error().is_some());
    assert_eq!(t.body("/a.txt").as_deref(), Some("one"));
    fs::write(away.join("a.txt"), "two").unwrap();
    fs::rename(&away, t.root.path()).unwrap();
    t.awaits("/a.txt", Some("two"));
    wait_for("no error", || error().is_none());
    t.write("a.txt", "three");
    t.awaits("/a.txt", Some("three"));
}

#[test]
fn codings_beside_a_file_belong_to_it() {
    let t = tended(|_| String::new());
    let text = "0123456789".repeat(50);
    t.write("a.txt", &text);
    t.awaits("/a.txt", Some(&text));
    let codings = || {
        let snapshot = t.keeper.live().current().get();
        match snapshot.find(b"h", b"/a.txt").1 {
            Found::Response(id) => snapshot.variants(id).len(),
            _ => 0,
        }
    };
    assert_eq!(codings(), 0);
    let done = std::process::Command::new("gzip")
        .args(["-k", "-n"])
        .arg(t.path("a.txt"))
        .status();
    assert!(done.is_ok_and(|status| status.success()));
    wait_for("a coding", || codings() == 1);
    t.settles("with a coding");
    fs::remove_file(t.path("a.txt.gz")).unwrap();
    wait_for("no coding", || codings() == 0);
}

#[test]
fn several_routes_see_the_same_change() {
    let t = tended(|root| {
        let sub = root.join("sub");
        fs::create_dir(&sub).unwrap();
        format!("[[site.static]]\npath = \"/other/\"\nroot = {sub:?}\n")
    });
    t.write("sub/a.txt", "one");
    t.awaits("/sub/a.txt", Some("one"));
    t.awaits("/other/a.txt", Some("one"));
    t.write("sub/index.html", "index");
    t.settles("a redirect outside of the route");
    t.write("other", "a file goes before the redirect");
    t.settles("a file with the name of a route");
    fs::remove_file(t.path("other")).unwrap();
    t.settles("no file with the name of a route");
}

#[test]
fn a_change_of_the_configuration_is_one_of_all() {
    let t = tended(|_| String::new());
    t.write("a.txt", "one");
    let second = TempDir::new().unwrap();
    fs::write(second.path().join("b.txt"), "two").unwrap();
    let new = config(second.path(), "");
    t.keeper.change::<StoreError>(|_| Ok(new)).unwrap();
    assert_eq!(t.body("/b.txt").as_deref(), Some("two"));
    assert_eq!(t.body("/a.txt"), None);
    fs::write(second.path().join("b.txt"), "three").unwrap();
    t.awaits("/b.txt", Some("three"));
    let gone = second.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let wrong = config(&gone, "");
    fs::remove_dir(&gone).unwrap();
    assert!(t.keeper.change::<StoreError>(|_| Ok(wrong)).is_err());
    fs::write(second.path().join("b.txt"), "four").unwrap();
    t.awaits("/b.txt", Some("four"));
}

/// Whatever happens to a tree, what is served comes to what a fresh start would serve. A failure names its seed.
#[test]
fn any_changes_come_to_the_same_as_a_fresh_start() {
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let t = tended(|root| {
            let sub = root.join("sub");
            fs::create_dir(&sub).unwrap();
            format!("[[site.static]]\npath = \"/x/\"\nroot = {sub:?}\nindex = \"a\"\n")
        });
        let names = [
            "a",
            "b",
            "index.html",
            "a.gz",
            ".hidden",
            "sub",
            "x",
            "inline",
        ];
        let path = |rng: &mut fastrand::Rng| {
            let depth = rng.usize(1..4);
            let parts: Vec<_> = (0..depth)
                .map(|_| names[rng.usize(0..names.len())])
                .collect();
            t.path(&parts.join("/"))
        };
        for round in 0..8 {
            for _ in 0..rng.usize(1..12) {
                let (one, two) = (path(&mut rng), path(&mut rng));
                if one == t.path("sub") || two == t.path("sub") {
                    continue;
                }
                // Most of it fails now and then: a directory where a file should be, and the like.
                let _ = match rng.u8(0..8) {
                    0..3 => fs::write(&one, rng.u32(..).to_string().repeat(rng.usize(1..150))),
                    3 => fs::create_dir_all(&one),
                    4 => fs::rename(&one, &two),
                    5 => fs::remove_file(&one),
                    6 => fs::remove_dir_all(&one),
                    _ => fs::hard_link(&one, &two),
                };
            }
            t.settles(&format!("seed {seed} round {round}"));
        }
    }
}

#[test]
fn what_cannot_be_watched_is_read_again_from_time_to_time() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("sub")).unwrap();
    let config = config(root.path(), "");
    // The limit of the system (fs.inotify.max_user_watches) is everybody's. One watch is for the root.
    let bounds = Bounds {
        watches: 1,
        rescan: Duration::from_millis(50),
    };
    let keeper = Arc::new(Keeper::open_within(&config, bounds).unwrap());
    let limit = |keeper: &Keeper| keeper.live().summary().watching.limit.unwrap_or_default();
    let says = "fs.inotify.max_user_watches";
    assert!(limit(&keeper).contains(says), "{}", limit(&keeper));
    let t = tend(root, config, keeper);
    for text in ["one", "two"] {
        t.write("sub/a.txt", text);
        t.awaits("/sub/a.txt", Some(text));
        t.write("b.txt", text);
        t.awaits("/b.txt", Some(text));
    }
    t.settles("all is as after a start");
    assert!(limit(&t.keeper).contains(says), "{}", limit(&t.keeper));
}

#[test]
fn changes_that_the_kernel_could_not_tell_are_seen() {
    let root = TempDir::new().unwrap();
    let config = config(root.path(), "");
    let keeper = Arc::new(Keeper::open(&config).unwrap());
    // Nobody reads what is told yet: the queue runs over. Two files in turn, as what is told twice counts once.
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    let open = |name: &str| fs::File::create(root.path().join(name)).unwrap();
    let mut files = [open("a.txt"), open("b.txt")];
    for n in 0..=most {
        std::io::Write::write_all(&mut files[n % 2], b"x").unwrap();
        files[n % 2].set_len(0).unwrap();
    }
    fs::write(root.path().join("late.txt"), "late").unwrap();
    assert!(keeper.lock().rescan.is_none());
    let t = tend(root, config, keeper);
    t.awaits("/late.txt", Some("late"));
    t.settles("all is as after a start");
}
