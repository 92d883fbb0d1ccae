//! What a file is served as: its fields, its names, its page of a 404.

use super::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The answer for `path`, head and body.
fn answer(snapshot: &Snapshot, path: &str) -> String {
    match snapshot.find(b"h", path.as_bytes()).1 {
        Found::Response(id) => text(snapshot, &rendering(id)),
        other => panic!("{path}: {other:?}"),
    }
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn stamp(root: &TempDir, name: &str, at: SystemTime) {
    let file = fs::File::options()
        .append(true)
        .open(root.path().join(name))
        .unwrap();
    file.set_modified(at).unwrap();
}

#[test]
fn a_tag_names_the_content_and_its_type() {
    let root = tree(&[
        ("a.txt", "one"),
        ("b.txt", "one"),
        ("a.html", "one"),
        ("c.txt", "two"),
        ("empty.txt", ""),
    ]);
    let site = format!("[[site]]\n{}", static_site(&root, "/"));
    let built = snapshot(&site);
    let tag = |snapshot: &Snapshot, path: &str| {
        let answer = answer(snapshot, path);
        field(&answer, "ETag").unwrap().to_owned()
    };
    let one = tag(&built, "/a.txt");
    assert!(one.starts_with('"') && one.ends_with('"') && one.len() == 24);
    assert_eq!(one, tag(&built, "/b.txt"));
    for other in ["/a.html", "/c.txt", "/empty.txt"] {
        assert_ne!(one, tag(&built, other), "{other}");
    }
    // The same after another start and another touch; not after a change.
    stamp(&root, "a.txt", UNIX_EPOCH + Duration::from_secs(5));
    fs::write(root.path().join("b.txt"), "One").unwrap();
    let again = snapshot(&site);
    assert_eq!(one, tag(&again, "/a.txt"));
    assert_ne!(one, tag(&again, "/b.txt"));
    let (_, Found::Response(id)) = again.find(b"h", b"/a.txt") else {
        panic!("/a.txt is missing")
    };
    let validators = again.validators(id);
    assert_eq!(validators.etag, Some(one.as_bytes()));
    assert_eq!(validators.last_modified, Some(5));
    assert_eq!(again.content_len(id), 3);
}

#[test]
fn a_file_is_never_younger_than_its_answer() {
    let root = tree(&[("old", ""), ("zero", ""), ("before", ""), ("future", "")]);
    stamp(
        &root,
        "old",
        UNIX_EPOCH + Duration::from_secs(u64::from(DATE)),
    );
    stamp(&root, "zero", UNIX_EPOCH + Duration::from_millis(500));
    stamp(&root, "before", UNIX_EPOCH - Duration::from_secs(5));
    let hour = Duration::from_secs(3600);
    #[expect(clippy::disallowed_methods, reason = "the clock of the file system")]
    let now = SystemTime::now();
    stamp(&root, "future", now + hour);
    let snapshot = snapshot(&format!("[[site]]\n{}", static_site(&root, "/")));
    let modified = |path: &str| {
        let answer = answer(&snapshot, path);
        field(&answer, "Last-Modified").map(ToOwned::to_owned)
    };
    assert_eq!(
        modified("/old").as_deref(),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert_eq!(modified("/zero"), None);
    assert_eq!(modified("/before"), None);
    let future = httpdate::parse_http_date(&modified("/future").unwrap()).unwrap();
    assert!(future < now + hour / 2, "{future:?}");
}

#[test]
fn answers_of_the_configuration_have_a_tag() {
    let snapshot = snapshot(
        "[[site]]\n[[site.response]]\npath = \"/a\"\nbody = \"x\"\n[[site.response]]\npath = \"/b\"\nbody = \"y\"\n\
         [[site.response]]\npath = \"/404\"\nbody = \"x\"\nstatus = 404\n\
         [[site.response]]\npath = \"/302\"\nstatus = 302\nheaders = { Location = \"/a\", Cache-Control = \"no-store\" }",
    );
    let tag = |path| field(&answer(&snapshot, path), "ETag").map(ToOwned::to_owned);
    assert!(tag("/a").is_some());
    assert_ne!(tag("/a"), tag("/b"));
    assert_eq!(tag("/404"), None);
    let redirect = answer(&snapshot, "/302");
    assert_eq!(field(&redirect, "Location"), Some("/a"));
    assert_eq!(field(&redirect, "Cache-Control"), Some("no-store"));
    assert_eq!(field(&redirect, "ETag"), None);
}

#[test]
fn files_have_the_fields_of_their_route() {
    let root = tree(&[("a.html", "a"), ("d/index.html", "d"), ("404.html", "gone")]);
    let snapshot = snapshot(&format!(
        "[[site]]\n{}headers = {{ Cache-Control = \"max-age=60\" }}\nnot_found = \"404.html\"",
        static_site(&root, "/")
    ));
    for path in ["/a.html", "/d/"] {
        let answer = answer(&snapshot, path);
        assert_eq!(field(&answer, "Cache-Control"), Some("max-age=60"));
        assert_eq!(field(&answer, "Accept-Ranges"), Some("bytes"));
        assert_eq!(field(&answer, "Vary"), None);
    }
    // What is not a file of the route is not to be kept for as long.
    let (_, Found::Redirect(redirect)) = snapshot.find(b"h", b"/d") else {
        panic!("/d is no redirect")
    };
    let redirect = text(&snapshot, &rendering(redirect));
    assert_eq!(field(&redirect, "Cache-Control"), None);
}

#[test]
fn a_route_has_its_own_page_of_a_404() {
    let (outer, inner) = (
        tree(&[("404.html", "<p>gone")]),
        tree(&[("e/missing", "inner")]),
    );
    let text_of = |snapshot: &Snapshot, path: &str| {
        let (route, found) = snapshot.find(b"h", path.as_bytes());
        assert_eq!(found, Found::Missing, "{path}");
        let id = snapshot.refusal(route, Status::NotFound);
        assert_eq!(snapshot.status(id), 404);
        text(snapshot, &rendering(id))
    };
    let config = format!(
        "[[site]]\n{}not_found = \"404.html\"\n{}not_found = \"e/missing\"\n[[site]]\nhosts = [\"other\"]",
        static_site(&outer, "/"),
        static_site(&inner, "/in"),
    );
    let built = snapshot(&config);
    let page = text_of(&built, "/x");
    assert!(page.starts_with("HTTP/1.1 404 Not Found\r\n"), "{page}");
    assert!(page.ends_with("\r\n\r\n<p>gone"), "{page}");
    assert_eq!(
        field(&page, "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(field(&page, "ETag"), None);
    assert_eq!(field(&page, "Last-Modified"), None);
    assert!(text_of(&built, "/in/x").ends_with("\r\n\r\ninner"));
    // Other refusals, and those of nobody's paths, are as they always are.
    let (route, _) = built.find(b"h", b"/x");
    let id = built.refusal(route, Status::BadRequest);
    assert_eq!(built.status(id), 400);
    let (route, found) = built.find(b"other", b"/x");
    assert_eq!(found, Found::Missing);
    let id = built.refusal(route, Status::NotFound);
    assert!(text(&built, &rendering(id)).ends_with("\r\n\r\n404 Not Found\n"));
    // A page that is gone when it is loaded: the plain one.
    let parsed = Config::parse(&config, "t").unwrap();
    fs::remove_file(outer.path().join("404.html")).unwrap();
    let built = Snapshot::build(&parsed).unwrap();
    assert!(text_of(&built, "/x").ends_with("\r\n\r\n404 Not Found\n"));
}

#[test]
fn hidden_names_are_served_on_request() {
    let root = tree(&[
        (".env", "secret"),
        (".git/config", "secret"),
        ("a/.b/c", "secret"),
        ("a/.htpasswd", "secret"),
        (".well-known/acme-challenge/x", "known"),
        (".well-known/.secret", "secret"),
        ("..a", "secret"),
    ]);
    // A name that shows what has one that does not.
    symlink(".env", root.path().join("shown")).unwrap();
    let site = format!("[[site]]\n{}", static_site(&root, "/"));
    let usual = snapshot(&site);
    let all = snapshot(&format!("{site}hidden = true\n"));
    let table = [
        ("/.env", "Missing", "secret"),
        ("/%2eenv", "Missing", "secret"),
        ("/.git/config", "Missing", "secret"),
        ("/a/.b/c", "Missing", "secret"),
        ("/a/.htpasswd", "Missing", "secret"),
        ("/.well-known/acme-challenge/x", "known", "known"),
        ("/.well-known/.secret", "Missing", "secret"),
        ("/..a", "Missing", "secret"),
        ("/shown", "secret", "secret"),
    ];
    for (path, expected, with_hidden) in table {
        assert_eq!(get(&usual, path), expected, "{path}");
        assert_eq!(get(&all, path), with_hidden, "{path}");
    }
}

#[test]
fn links_out_of_the_root_are_followed_on_request() {
    let outside = tree(&[("secret/a", "out"), ("www/in", "in")]);
    let root = outside.path().join("www");
    symlink("../secret", root.join("dir")).unwrap();
    symlink("../secret/a", root.join("file")).unwrap();
    symlink("..", root.join("circle")).unwrap();
    let site = format!("[[site]]\n[[site.static]]\npath = \"/\"\nroot = {root:?}\n");
    let (stays, follows) = (
        snapshot(&site),
        snapshot(&format!("{site}follow_symlinks = true\n")),
    );
    for (path, expected) in [("/dir/a", "out"), ("/file", "out"), ("/in", "in")] {
        let without = if expected == "in" { "in" } else { "Missing" };
        assert_eq!(get(&stays, path), without, "{path}");
        assert_eq!(get(&follows, path), expected, "{path}");
    }
}

#[test]
fn links_within_the_root_are_followed_but_not_in_circles() {
    let root = tree(&[("a/b.txt", "b"), ("a/index.html", "index")]);
    let path = |name: &str| root.path().join(name);
    symlink("..", path("a/up")).unwrap();
    symlink("b.txt", path("a/c.txt")).unwrap();
    symlink("gone", path("a/broken")).unwrap();
    symlink(path("a"), path("d")).unwrap();
    let built = snapshot(&format!("[[site]]\n{}", static_site(&root, "/")));
    for (path, expected) in [
        ("/a/b.txt", "b"),
        ("/a/c.txt", "b"),
        ("/d/b.txt", "b"),
        ("/d/c.txt", "b"),
        ("/d/", "index"),
        ("/a/broken", "Missing"),
        ("/a/up/a/b.txt", "Missing"),
        ("/d/up/a/b.txt", "Missing"),
    ] {
        assert_eq!(get(&built, path), expected, "{path}");
    }
}

#[test]
fn one_file_can_be_read_alone() {
    use crate::store::tree::{Content, LeftOut, Tree};
    let outside = tree(&[("secret", "secret"), ("www/a/b", "b"), ("www/.c", "c")]);
    let root = outside.path().join("www");
    symlink("../secret", root.join("out")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(root.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let text = format!("[[site]]\n[[site.static]]\npath = \"/\"\nroot = {root:?}\nmax_object = 1");
    let config = Config::parse(&text, "t").unwrap();
    let tree = Tree::open(&config.sites[0].statics[0]).unwrap();
    let read = |name: &[u8]| tree.read(name, Vec::new());
    assert!(matches!(read(b"a/b"), Ok(Content::File(file)) if file.body == b"b"));
    assert!(matches!(read(b"out"), Err(LeftOut::Outside)));
    for name in [
        &b"../secret"[..],
        b"a/../../secret",
        b"/etc/passwd",
        b"./a/b",
    ] {
        assert!(matches!(read(name), Err(LeftOut::Outside)));
    }
    assert!(matches!(read(b".c"), Err(LeftOut::Hidden)));
    assert!(matches!(read(b"a"), Err(LeftOut::NotAFile)));
    assert!(matches!(read(b"pipe"), Err(LeftOut::NotAFile)));
    assert!(matches!(read(b"a/b/c"), Err(LeftOut::Io(_))));
    fs::write(root.join("a/b"), "bb").unwrap();
    assert!(matches!(read(b"a/b"), Ok(Content::TooLarge)));
    // A directory that became a link out of the root since it was listed.
    fs::rename(root.join("a"), root.join("x")).unwrap();
    symlink("..", root.join("a")).unwrap();
    assert!(matches!(read(b"a/secret"), Err(LeftOut::Outside)));
}
