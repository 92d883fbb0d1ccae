mod answers;
mod files;
mod forms;
mod variants;

use super::*;
use sidestep_config::Config;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// 1994-11-06 08:49:37 UTC, the example of RFC 9110, 5.6.7.
const DATE: u32 = 784_111_777;

fn snapshot(text: &str) -> Snapshot {
    Snapshot::build(&Config::parse(text, "t.toml").unwrap_or_else(|e| panic!("{e}"))).unwrap()
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), files);
    root
}

fn static_site(root: &TempDir, path: &str) -> String {
    format!(
        "[[site.static]]\npath = {path:?}\nroot = {:?}\n",
        root.path()
    )
}

fn rendering(id: ResponseId) -> Rendering {
    Rendering {
        id,
        date: DATE,
        connection: ConnectionField::None,
        form: Form::Full,
    }
}

fn text(snapshot: &Snapshot, rendering: &Rendering) -> String {
    let mut bytes = vec![0; snapshot.len(rendering) as usize];
    snapshot.fill(rendering, 0, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The answer for `path`: its body, or the location of a redirect, or what else it is.
fn get(snapshot: &Snapshot, path: &str) -> String {
    get_at(snapshot, "h", path)
}

fn get_at(snapshot: &Snapshot, host: &str, path: &str) -> String {
    match snapshot.find(host.as_bytes(), path.as_bytes()).1 {
        Found::Response(id) => {
            let text = text(snapshot, &rendering(id));
            text.split_once("\r\n\r\n").unwrap().1.to_owned()
        }
        Found::Redirect(id) => {
            let text = text(snapshot, &rendering(id));
            assert!(
                text.starts_with("HTTP/1.1 301 Moved Permanently\r\n"),
                "{text}"
            );
            let location = text
                .lines()
                .find_map(|line| line.strip_prefix("Location: "))
                .unwrap();
            format!("-> {location}")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_tree_is_served_with_indices_and_redirects() {
    let root = tree(&[
        ("index.html", "home"),
        ("a b/ä?.css", "css"),
        ("docs/index.html", "docs"),
        ("docs/deep/page.html", "page"),
        ("%41", "percent"),
        ("empty.bin", ""),
        (".hidden", "dot"),
    ]);
    let snapshot = snapshot(&format!("[[site]]\n{}", static_site(&root, "/")));
    let table = [
        ("/", "home"),
        ("/index.html", "home"),
        ("/./x/../index.html", "home"),
        ("/docs/", "docs"),
        ("/docs", "-> /docs/"),
        ("/docs/index.html", "docs"),
        ("/docs/deep/page.html", "page"),
        // Without an index a directory is not there.
        ("/docs/deep", "Missing"),
        ("/docs/deep/", "Missing"),
        ("/a%20b/%C3%A4%3f.css", "css"),
        ("/%41", "Missing"),
        ("/%2541", "percent"),
        ("/empty.bin", ""),
        ("/.hidden", "Missing"),
        ("/index.html/", "Missing"),
        ("/docs//index.html", "Missing"),
        ("/docs%2findex.html", "Missing"),
        ("/docs%5cindex.html", "Missing"),
        ("/docs\\index.html", "Missing"),
        // An overlong slash and an overlong dot (RFC 3629, 10) are bytes like others.
        ("/docs%c0%afindex.html", "Missing"),
        ("/%c0%ae%c0%ae/index.html", "Missing"),
        ("/docs/./%2e%2E/index.html", "home"),
        ("/INDEX.HTML", "Missing"),
        ("/index.html%00", "BadPath"),
        ("/index.html%", "BadPath"),
        ("/%zz", "BadPath"),
    ];
    for (path, expected) in table {
        assert_eq!(get(&snapshot, path), expected, "{path}");
    }
    let types = [
        ("/", "text/html; charset=utf-8"),
        ("/a%20b/%C3%A4%3F.css", "text/css; charset=utf-8"),
        ("/empty.bin", "application/octet-stream"),
    ];
    for (path, kind) in types {
        let (_, Found::Response(id)) = snapshot.find(b"", path.as_bytes()) else {
            panic!("{path}")
        };
        let text = text(&snapshot, &rendering(id));
        assert!(
            text.contains(&format!("\r\nContent-Type: {kind}\r\n")),
            "{text}"
        );
    }
}

#[test]
fn no_path_leaves_its_root() {
    let outside = tree(&[
        ("secret", "secret"),
        ("www/in", "in"),
        ("www/sub/in", "sub"),
        ("www-2/secret", "secret"),
    ]);
    let root = outside.path().join("www");
    symlink("../secret", root.join("out")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink(outside.path(), root.join("absolute")).unwrap();
    symlink("../www-2", root.join("neighbour")).unwrap();
    symlink("nothing", root.join("broken")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("..", root.join("sub/circle")).unwrap();
    symlink("sub", root.join("inner")).unwrap();
    symlink("../in", root.join("sub/file")).unwrap();
    let text = format!("[[site]]\n[[site.static]]\npath = \"/s/\"\nroot = {root:?}\n");
    let snapshot = snapshot(&text);
    for (path, expected) in [
        ("/s/in", "in"),
        ("/s/inner/in", "sub"),
        ("/s/sub/file", "in"),
    ] {
        assert_eq!(get(&snapshot, path), expected, "{path}");
    }
    let ways_out = [
        "/s/out",
        "/s/up/secret",
        "/s/absolute/secret",
        "/s/neighbour/secret",
        "/s/broken",
        "/s/loop",
        "/s/sub/circle/secret",
        "/s/../secret",
        "/s/sub/../../secret",
        "/../secret",
        "/s/%2e%2e/secret",
        "/s/%2e./secret",
        "/s/.%2E/secret",
        "/s/..%2fsecret",
        "/s/%2e%2e%2fsecret",
        "/s/..%5csecret",
        "/s/..\\secret",
        "/s/%252e%252e/secret",
        "/s/..;/secret",
        "/s/.../secret",
        "/s/....//secret",
        "/s/%c0%ae%c0%ae/secret",
        "/s//../../secret",
        "/s/./.././../secret",
        "//s/../../secret",
        "../secret",
        "secret",
        "",
    ];
    for path in ways_out {
        assert_eq!(get(&snapshot, path), "Missing", "{path}");
    }
}

#[test]
fn the_most_specific_route_wins() {
    let root = tree(&[
        ("x", "root x"),
        ("sub/x", "root sub/x"),
        ("sub/y", "root sub/y"),
        ("c/x", "root c/x"),
    ]);
    let sub = tree(&[("x", "sub x"), ("index.html", "sub index"), ("z", "sub z")]);
    let text = format!(
        "[[site]]\n{}{}[[site.response]]\npath = \"/x\"\nbody = \"inline\"\n\
         [[site.response]]\npath = \"/sub/z\"\nbody = \"inline z\"\n\
         [[site.cache]]\npath = \"/c/*\"\norigin = \"http://a\"\n[[site.cache]]\npath = \"/e\"\norigin = \"http://a\"",
        static_site(&root, "/"),
        static_site(&sub, "/sub"),
    );
    let snapshot = snapshot(&text);
    let table = [
        ("/x", "inline"),
        ("/sub/x", "sub x"),
        ("/sub/z", "inline z"),
        // Missing in the longer tree: not looked for in the shorter one.
        ("/sub/y", "Missing"),
        ("/sub/", "sub index"),
        ("/sub", "-> /sub/"),
        ("/subx", "Missing"),
        ("/c/x", "Cached"),
        ("/c/", "Cached"),
        ("/c", "Missing"),
        ("/e", "Cached"),
        ("/e/", "Missing"),
        ("/%65", "Cached"),
    ];
    for (path, expected) in table {
        assert_eq!(get(&snapshot, path), expected, "{path}");
    }
}

#[test]
fn a_root_is_not_redirected_to_over_another_route() {
    let file = tree(&[("sub", "a file")]);
    let sub = tree(&[("index.html", "index")]);
    let (above, below) = (static_site(&file, "/"), static_site(&sub, "/sub"));
    assert_eq!(
        get(&snapshot(&format!("[[site]]\n{above}{below}")), "/sub"),
        "a file"
    );
    assert_eq!(
        get(&snapshot(&format!("[[site]]\n{below}")), "/sub"),
        "-> /sub/"
    );
    let learned = "[[site.cache]]\npath = \"/*\"\norigin = \"http://a\"\n";
    assert_eq!(
        get(&snapshot(&format!("[[site]]\n{learned}{below}")), "/sub"),
        "Cached"
    );
    assert_eq!(
        get(&snapshot(&format!("[[site]]\n{learned}{below}")), "/sub/"),
        "index"
    );
}

#[test]
fn large_files_are_known_but_not_kept() {
    let root = tree(&[
        ("fits", "12345"),
        ("large", "123456"),
        ("d/index.html", "123456"),
    ]);
    let snapshot = snapshot(&format!(
        "[[site]]\n{}max_object = 5",
        static_site(&root, "/")
    ));
    let table = [
        ("/fits", "12345"),
        ("/large", "TooLarge"),
        ("/d/", "TooLarge"),
        ("/d", "-> /d/"),
    ];
    for (path, expected) in table {
        assert_eq!(get(&snapshot, path), expected, "{path}");
    }
    // The refusals, "fits" and the redirect.
    assert_eq!(snapshot.responses(), Status::ALL.len() + 2);
}

#[test]
fn the_most_specific_host_wins() {
    let site = |hosts: &str, body: &str| {
        format!("[[site]]\nhosts = {hosts}\n[[site.response]]\npath = \"/\"\nbody = {body:?}\n")
    };
    let named = site("[\"example.org\", \"[::1]\"]", "exact")
        + &site("[\"*.example.org\"]", "suffix")
        + &site("[\"*.deep.example.org\"]", "deep");
    let all = snapshot(&(named.clone() + &site("[\"*\"]", "any")));
    let some = snapshot(&named);
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{label}.example.org");
    let table = [
        ("example.org", "exact"),
        ("EXAMPLE.org.", "exact"),
        ("[::1]", "exact"),
        ("a.example.org", "suffix"),
        ("a.b.Example.Org", "suffix"),
        ("deep.example.org", "suffix"),
        ("x.deep.example.org", "deep"),
        ("example.org..", ""),
        ("badexample.org", ""),
        (".example.org", ""),
        ("org", ""),
        ("", ""),
        (&long, ""),
    ];
    for (host, expected) in table {
        let or = |other: &str| {
            if expected.is_empty() {
                other.to_owned()
            } else {
                expected.to_owned()
            }
        };
        assert_eq!(get_at(&all, host, "/"), or("any"), "{host}");
        assert_eq!(get_at(&some, host, "/"), or("Missing"), "{host}");
    }
}

#[test]
fn special_files_are_left_out() {
    let root = tree(&[("a", "a")]);
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let snapshot = snapshot(&format!("[[site]]\n{}", static_site(&root, "/")));
    assert_eq!(get(&snapshot, "/a"), "a");
    assert_eq!(get(&snapshot, "/socket"), "Missing");
}

#[test]
fn a_root_that_is_gone_is_an_error() {
    let root = tree(&[]);
    let config = Config::parse(&format!("[[site]]\n{}", static_site(&root, "/")), "t").unwrap();
    drop(root);
    let error = Snapshot::build(&config)
        .err()
        .expect("the root is gone")
        .to_string();
    assert!(
        error.starts_with("cannot read the static root /"),
        "{error}"
    );
}

/// Paths put together at random from what traversal is made of: only what is in the tree is found.
#[test]
fn random_paths_find_nothing_else() {
    let outside = tree(&[
        ("secret", "secret"),
        ("www/a", "a"),
        ("www/b/index.html", "b"),
    ]);
    let root = outside.path().join("www");
    let snapshot = snapshot(&format!(
        "[[site]]\n[[site.static]]\npath = \"/\"\nroot = {root:?}\n"
    ));
    let parts = [
        "/", "/", ".", "..", "%2e", "%2E%2e", "%2f", "%", "%00", "a", "b", "secret", "www", "\\",
        "%5c",
    ];
    for seed in 0..50_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let path: String = (0..random.usize(1..10))
            .map(|_| *random.choice(&parts).expect("not empty"))
            .collect();
        let answer = get(&snapshot, &format!("/{path}"));
        assert!(
            matches!(
                answer.as_str(),
                "a" | "b" | "-> /b/" | "Missing" | "BadPath"
            ),
            "seed {seed}: /{path} gave {answer}"
        );
    }
}
