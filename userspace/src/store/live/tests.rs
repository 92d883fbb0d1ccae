use super::*;
use sidestep_config::Config;

fn snapshot(text: &str) -> Snapshot {
    let config = Config::parse(text, "t").unwrap_or_else(|e| panic!("{e}"));
    Snapshot::build(&config).unwrap()
}

const ONE: &str = r#"
[[site]]
hosts = ["*"]
[[site.response]]
path = "/a"
body = "of the file"
"#;

const TWO: &str = r#"
[[site]]
hosts = ["one.example"]
[[site.response]]
path = "/a"
body = "one"
[[site]]
hosts = ["*.two.example", "two.example"]
[[site.response]]
path = "/b"
body = "two"
"#;

fn put(host: Option<&str>, path: &str) -> Put {
    Put {
        host: host.map(Into::into),
        path: path.into(),
        content_type: "text/plain".into(),
        ttl: None,
        tags: BTreeSet::new(),
    }
}

fn body(live: &Live, host: &str, path: &str) -> Option<String> {
    let snapshot = live.current().get();
    match snapshot.find(host.as_bytes(), path.as_bytes()).1 {
        Found::Response(id) => {
            Some(String::from_utf8_lossy(snapshot.response(id).body()).into_owned())
        }
        _ => None,
    }
}

fn purge(live: &Live, host: Option<&str>, scope: Scope) -> usize {
    live.purge(&Purge {
        host: host.map(Into::into),
        scope,
    })
}

#[test]
fn what_is_put_goes_before_everything_until_it_is_purged() {
    let live = Live::new(snapshot(ONE));
    live.put(put(None, "/a"), b"put").unwrap();
    live.put(put(None, "/new%20path/../x"), b"x").unwrap();
    assert_eq!(body(&live, "h", "/a").as_deref(), Some("put"));
    assert_eq!(body(&live, "h", "/x").as_deref(), Some("x"));
    live.put(put(None, "/a"), b"put again").unwrap();
    assert_eq!(body(&live, "h", "/a").as_deref(), Some("put again"));
    assert_eq!(live.summary().puts, 2);
    assert_eq!(purge(&live, None, Scope::Path("/%61?q".into())), 1);
    assert_eq!(body(&live, "h", "/a").as_deref(), Some("of the file"));
    assert_eq!(purge(&live, None, Scope::All), 1);
    assert_eq!(body(&live, "h", "/x"), None);
}

#[test]
fn what_is_put_is_purged_by_what_it_was_put_as() {
    let live = Live::new(snapshot(TWO));
    let fill = || {
        for (host, path) in [
            ("one.example", "/d/1"),
            ("one.example", "/d/2"),
            ("a.two.example", "/d/1"),
        ] {
            let mut put = put(Some(host), path);
            put.tags.insert(format!("tag{}", &path[3..]));
            live.put(put, host.as_bytes()).unwrap();
        }
    };
    let table: [(Option<&str>, Scope, usize); 9] = [
        (None, Scope::Path("/d/1".into()), 2),
        (Some("two.example"), Scope::Path("/d/1".into()), 1),
        (None, Scope::Path("/d".into()), 0),
        (None, Scope::Prefix("/d/".into()), 3),
        (Some("one.example"), Scope::Prefix("/".into()), 2),
        (None, Scope::Tag("tag2".into()), 1),
        (Some("two.example"), Scope::Tag("tag2".into()), 0),
        (None, Scope::All, 3),
        (Some("nobody.example"), Scope::All, 0),
    ];
    for (host, scope, count) in table {
        fill();
        let text = format!("{host:?} {scope:?}");
        assert_eq!(purge(&live, host, scope), count, "{text}");
        assert_eq!(live.summary().puts, 3 - count, "{text}");
    }
}

#[test]
fn what_was_put_stays_when_all_else_is_replaced_while_its_site_is_there() {
    let live = Live::new(snapshot(TWO));
    live.put(put(Some("one.example"), "/a"), b"put").unwrap();
    live.put(put(Some("two.example"), "/b"), b"put").unwrap();
    let only_one = TWO.split("[[site]]\nhosts = [\"*.two").next().unwrap();
    live.replace(snapshot(&only_one.replace("\"one\"", "\"changed\"")));
    assert_eq!(body(&live, "one.example", "/a").as_deref(), Some("put"));
    assert_eq!(body(&live, "two.example", "/b"), None);
    assert_eq!(purge(&live, Some("one.example"), Scope::All), 1);
    assert_eq!(body(&live, "one.example", "/a").as_deref(), Some("changed"));
    live.replace(snapshot(TWO));
    assert_eq!(body(&live, "two.example", "/b").as_deref(), Some("put"));
}

#[test]
fn what_has_no_place_is_refused() {
    let live = Live::new(snapshot(TWO));
    let refused = |put| live.put(put, b"").unwrap_err().to_string();
    assert!(refused(put(None, "/a")).contains("name a host"));
    assert!(refused(put(Some("nobody.example"), "/a")).contains("no site has the host"));
    assert!(refused(put(Some("one.example"), "a")).contains("is not the path"));
    assert!(refused(put(Some("one.example"), "/%zz")).contains("is not the path"));
    let mut bad = put(Some("one.example"), "/a");
    bad.content_type = "a\r\nb: c".into();
    assert!(refused(bad).contains("cannot be rendered"));
}

#[test]
fn what_has_a_ttl_goes_by_itself() {
    let live = Live::new(snapshot(ONE));
    for (path, ttl) in [
        ("/now", Duration::ZERO),
        ("/later", Duration::from_secs(3600)),
    ] {
        let ttl = Some(ttl);
        live.put(
            Put {
                ttl,
                ..put(None, path)
            },
            b"x",
        )
        .unwrap();
    }
    live.tidy();
    assert_eq!(body(&live, "h", "/now"), None);
    assert_eq!(body(&live, "h", "/later").as_deref(), Some("x"));
}

#[test]
fn putting_for_ever_takes_no_more_memory_than_what_is_there() {
    let live = Live::new(snapshot(ONE));
    for n in 0..1000 {
        live.put(put(None, "/x"), n.to_string().as_bytes()).unwrap();
    }
    assert_eq!(body(&live, "h", "/x").as_deref(), Some("999"));
    assert!(live.current().get().puts.responses() <= WASTE + 3);
}

#[test]
fn a_replaced_snapshot_is_let_go_once_nobody_uses_it() {
    let live = Live::new(snapshot(ONE));
    let used = live.current().get();
    live.publish(|_| {});
    live.publish(|_| {});
    assert_eq!((live.summary().generation, live.summary().retired), (3, 1));
    drop(used);
    live.tidy();
    assert_eq!(live.summary().retired, 0);
}

#[test]
fn a_purge_reaches_those_who_asked_to_be_told() {
    let live = Live::new(snapshot(ONE));
    live.on_purge(|purge| usize::from(purge.scope == Scope::Tag("t".into())));
    assert_eq!(purge(&live, None, Scope::Tag("t".into())), 1);
    assert_eq!(purge(&live, None, Scope::All), 0);
}
