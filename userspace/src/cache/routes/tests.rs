use super::*;
use crate::cache::learner::Learner;
use crate::http::{Parsed, parse};
use crate::store::{Live, RouteId, Snapshot};
use sidestep_config::Config;
use std::time::Duration;
use tcp_lite::Instant;

const CONFIG: &str = r#"
[[site]]
[[site.response]]
path = "/ping"
[[site.cache]]
path = "/a/*"
origin = "http://127.0.0.1:1"
[[site.cache]]
path = "/p/*"
origin = "http://127.0.0.1:1"
public = true
"#;

const NOW: Now = Now {
    mono: Instant(7_000_000),
    unix: 1_767_225_600,
};

fn snapshot(text: &str) -> Snapshot {
    let config = Config::parse(text, "t").unwrap_or_else(|e| panic!("{e}"));
    Snapshot::build(&config).expect("builds")
}

/// Shows `see` the head of `text`, whose lines are separated by `|`, and its route.
fn with_head<T>(snapshot: &Snapshot, text: &str, see: impl FnOnce(RouteId, &Head<'_>) -> T) -> T {
    let text = text.replace('|', "\r\n") + "\r\n\r\n";
    let Parsed::Complete { head, .. } = parse(text.as_bytes(), 0, 4096) else {
        panic!("not a head: {text}");
    };
    let Target::Resource { path, .. } = head.target else {
        panic!("no path: {text}");
    };
    see(snapshot.find(head.host, path).0, &head)
}

#[test]
fn what_goes_to_the_server_in_any_case() {
    let (words, mut heard) = tokio::sync::mpsc::channel(1);
    let snapshot = snapshot(CONFIG);
    snapshot.caches().tell_to(words);
    // (request, whether a cache may answer it)
    let table = [
        ("GET /a/1 HTTP/1.1|Host: h", true),
        ("HEAD /a/1 HTTP/1.1|Host: h:81", true),
        ("GET /a/1 HTTP/1.0|Host: h", true),
        ("GET /a/1 HTTP/1.0", false),
        ("GET /a/1 HTTP/1.1|Host: h:80", true),
        ("GET /a/1 HTTP/1.1|Host:", false),
        ("GET /a/1 HTTP/1.1|Host: :80", false),
        ("GET /a/1 HTTP/1.1|Host: :81", false),
        ("GET http://h/a/1 HTTP/1.1|Host: h", false),
        ("GET http://h:81/a/1 HTTP/1.1|Host: h", false),
        ("GET http://h/a/1 HTTP/1.1|Host: other", false),
        ("GET http://h/a/1 HTTP/1.1|Host: hh", false),
        ("GET /a/1 HTTP/1.1|Host: h|Cookie: a=b", false),
        ("GET /a/1 HTTP/1.1|Host: h|Authorization: x", false),
        (
            "GET /p/1 HTTP/1.1|Host: h|Cookie: a=b|Authorization: x",
            true,
        ),
        ("GET /a/1 HTTP/1.1|Host: h|If-None-Match: \"x\"", true),
        ("GET /a/1 HTTP/1.1|Host: h|Range: bytes=0-1", true),
        ("GET /a/1 HTTP/1.1|Host: h|If-Match: \"x\"", false),
        (
            "GET /a/1 HTTP/1.1|Host: h|If-Unmodified-Since: Thu, 01 Jan 2026 00:00:00 GMT",
            false,
        ),
        ("GET /p/1 HTTP/1.1|Host: h|If-Match: *", false),
        (
            "GET /a/1 HTTP/1.1|Host: h|Cache-Control: no-cache, no-store",
            true,
        ),
    ];
    for (text, may) in table {
        let expected = if may {
            NotOurs::Cached
        } else {
            NotOurs::CacheBypass
        };
        let result = with_head(&snapshot, text, |route, head| {
            snapshot.learned(route, head, NOW)
        });
        assert_eq!(result, Err(expected), "{text}");
        assert_eq!(heard.try_recv().is_ok(), may, "{text}");
    }
    // A fetcher that has no time keeps nobody waiting.
    for _ in 0..2 {
        let text = "GET /a/1 HTTP/1.1|Host: h";
        let result = with_head(&snapshot, text, |route, head| {
            snapshot.learned(route, head, NOW)
        });
        assert_eq!(result, Err(NotOurs::Cached));
    }
    let mut unheard = 0;
    for route in snapshot.caches().all() {
        route.stats.visit(&mut |label, count| {
            unheard += if label == "unheard" { count } else { 0 };
        });
    }
    assert_eq!(unheard, 1);
}

#[test]
fn one_site_is_asked_for_under_one_name() {
    let (words, mut heard) = tokio::sync::mpsc::channel(8);
    let snapshot = snapshot(CONFIG);
    snapshot.caches().tell_to(words);
    let mut key = |host: &str| {
        let text = format!("GET /a/1 HTTP/1.1|Host: {host}");
        let result = with_head(&snapshot, &text, |route, head| {
            snapshot.learned(route, head, NOW)
        });
        assert_eq!(result, Err(NotOurs::Cached), "{text}");
        heard.try_recv().expect("told").key
    };
    let one = key("h");
    assert_eq!(one.authority(), b"h");
    for same in ["h:80", "H:80", "h:"] {
        assert_eq!(key(same), one, "{same}");
    }
    for other in ["h:81", "h:8080", "h."] {
        assert_ne!(key(other), one, "{other}");
    }
}

#[test]
fn writes_are_noted_for_the_path_in_any_spelling() {
    let snapshot = snapshot(CONFIG);
    let caches = snapshot.caches();
    let (route, _) = snapshot.find(b"h", b"/a/x");
    let changed = |path: &[u8], at| {
        let slot = Writes::slot(path);
        caches.writes().may_have_changed(slot, at)
    };
    caches.note_write(route.into(), b"/a/%78/../x", NOW);
    // `write_hold` is five seconds unless it is set.
    let end = NOW.mono + Duration::from_secs(5);
    assert!(changed(b"/a/x", Instant(end.0 - 1)) && !changed(b"/a/x", end));
    assert!(!changed(b"/a/y", NOW.mono));
}

#[test]
fn another_configuration_keeps_what_it_can_of_the_one_before() {
    let live = Live::new(snapshot(CONFIG));
    let first = live.current().get().caches().clone();
    let named = |caches: &Arc<Caches>, route: &str| -> Arc<RouteStats> {
        let mut all = caches.all().filter(|r| r.name.route == route);
        all.next().expect("is there").stats.clone()
    };
    named(&first, "/p/*").count(Event::Stored);
    // The same routes: what is learned stays.
    live.replace(snapshot(CONFIG));
    assert!(Arc::ptr_eq(live.current().get().caches(), &first));
    let other = CONFIG.replace("/a/*", "/b/*");
    live.replace(snapshot(&other));
    let second = live.current().get().caches().clone();
    assert_eq!((first.version(), second.version()), (0, 1));
    let mut stored = 0;
    named(&second, "/p/*").visit(&mut |label, count| {
        stored += if label == "stored" { count } else { 0 };
    });
    assert_eq!(stored, 1);
    // Writes are seen across the change, and there is one fetcher.
    first
        .writes()
        .note(Writes::slot(b"/p/1"), NOW.mono, Duration::from_secs(1));
    assert!(
        second
            .writes()
            .may_have_changed(Writes::slot(b"/p/1"), NOW.mono)
    );
    // Positions matter as well: ids would mean other routes.
    live.replace(snapshot(&other.replace(
        "path = \"/ping\"\n",
        "path = \"/ping\"\n[[site.response]]\npath = \"/pong\"\n",
    )));
    assert_eq!(live.current().get().caches().version(), 2);
}

#[test]
fn a_learner_without_anything_learned_ends_and_purges_nothing() {
    let live = Arc::new(Live::new(snapshot(CONFIG)));
    let learner = Learner::start(&live).expect("starts");
    let purger = learner.purger();
    let purge = crate::store::Purge {
        host: None,
        scope: crate::store::Scope::All,
    };
    assert_eq!(purger.purge(&purge), 0);
    drop(learner);
    assert_eq!(purger.purge(&purge), 0);
}
