//! Answers learned from the user's server: when it is asked, what clients get, and what is never given to them.

use sidestep_tests::clock::{PATIENCE, poll_for, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::{Answer, Client};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::server::origin::{Asked, Origin, answer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// The server listens where sidestep does; sidestep asks it over the loopback.
const CONFIG: &str = r#"
[[listen]]
address = "interface"
port = 80

[[site]]
hosts = ["*"]

[[site.cache]]
path = "/*"
origin = "http://127.0.0.1:80"
write_hold = "300ms"
"#;

/// A GET on a connection of its own, so that it does not follow another one to the server.
fn get(net: &Net, to: SocketAddr, path: &str) -> Answer {
    ask(net, to, "GET", path, "")
}

fn ask(net: &Net, to: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
        ))
        .expect("sent");
    let answer = match method {
        "HEAD" => client.answer_to_head(),
        _ => client.answer(),
    };
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// It came from the cache: the origin's answers have no `Age`.
fn hit(answer: &Answer) -> bool {
    answer.field("age").is_some()
}

/// Asks until the cache answers.
fn learned(net: &Net, to: SocketAddr, path: &str, fields: &str) -> Answer {
    wait_for(PATIENCE, &format!("{path} is learned"), || {
        Some(ask(net, to, "GET", path, fields)).filter(hit)
    })
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

/// A gate that fetches of some targets wait at.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let open = self.0.0.lock().expect("not poisoned");
        drop(
            self.0
                .1
                .wait_while(open, |open| !*open)
                .expect("not poisoned"),
        );
    }

    fn set(&self, open: bool) {
        *self.0.0.lock().expect("not poisoned") = open;
        self.0.1.notify_all();
    }
}

fn counts(daemon: &Daemon<'_>, kind: &str) -> u64 {
    let status = daemon.status();
    let sum = |of: &str| -> u64 {
        let routes = status[of].as_array().cloned().unwrap_or_default();
        routes
            .iter()
            .filter_map(|route| route["counts"][kind].as_u64())
            .sum()
    };
    sum("routes") + sum("cache")
}

#[test]
fn a_thousand_misses_make_one_fetch_and_then_the_server_has_rest() {
    let net = Net::new();
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(&net.server, 80, move |asked| {
        if asked.by_cache() {
            held.pass();
        }
        answer(
            200,
            &["Cache-Control: max-age=60"],
            &format!("<{}>", asked.target),
        )
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    for (to, path) in net.server.addresses(80).into_iter().zip(["/a?b=1", "/c"]) {
        gate.set(false);
        for n in 0..1000 {
            let answer = get(&net, to, path);
            assert!(!hit(&answer), "{n}: {}", answer.head);
            assert_eq!(text(&answer), format!("<{path}>"));
        }
        gate.set(true);
        let first = learned(&net, to, path, "");
        assert_eq!(text(&first), format!("<{path}>"));
        let before = origin.asked().len();
        for _ in 0..100 {
            let answer = get(&net, to, path);
            assert!(hit(&answer) && answer.body == first.body, "{}", answer.head);
        }
        assert_eq!(origin.asked().len(), before);
        assert_eq!(origin.fetches(path), 1);
    }
    let fetch = origin
        .asked()
        .into_iter()
        .find(Asked::by_cache)
        .expect("one");
    assert_eq!(fetch.field("host"), Some("test"));
    assert!(counts(&daemon, "coalesced") >= 2 * 999);
    assert_eq!(counts(&daemon, "stored"), 2);
    assert!(counts(&daemon, "served") >= 2 * 100);
}

#[test]
fn what_must_not_be_stored_or_used_is_not() {
    let net = Net::new();
    let origin = Origin::start(&net.server, 80, |asked| {
        let path = asked.target.trim_start_matches("/v6");
        let fields: &[&str] = match path {
            "/private" => &["Cache-Control: private, max-age=60"],
            "/no-store" => &["Cache-Control: no-store, max-age=60"],
            "/set-cookie" => &["Cache-Control: max-age=60", "Set-Cookie: a=b"],
            "/vary-any" => &["Cache-Control: max-age=60", "Vary: *"],
            "/silent" => &[],
            _ => &["Cache-Control: max-age=60"],
        };
        answer(200, fields, "x")
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    for (to, prefix) in net.server.addresses(80).into_iter().zip(["", "/v6"]) {
        let paths = [
            "/private",
            "/no-store",
            "/set-cookie",
            "/vary-any",
            "/silent",
        ];
        for path in paths.map(|path| format!("{prefix}{path}")) {
            get(&net, to, &path);
            origin.fetched(&path, 1);
        }
        wait_for(PATIENCE, "five verdicts", || {
            let of = |why: &str| counts(&daemon, &format!("not_stored_{why}"));
            let reasons = [
                "private",
                "no_store",
                "set_cookie",
                "vary_any",
                "no_lifetime",
            ];
            let each = if prefix.is_empty() { 1 } else { 2 };
            reasons.iter().all(|why| of(why) == each).then_some(())
        });
        for path in paths.map(|path| format!("{prefix}{path}")) {
            for _ in 0..3 {
                assert!(!hit(&get(&net, to, &path)), "{path}");
            }
            // Nor is the server asked twice for each request.
            assert_eq!(
                (origin.fetches(&path), origin.misses(&path)),
                (1, 4),
                "{path}"
            );
        }
        let path = format!("{prefix}/fine");
        learned(&net, to, &path, "");
        for fields in [
            "Cookie: a=b\r\n",
            "Authorization: Basic eA==\r\n",
            "If-Match: \"x\"\r\n",
        ] {
            let before = origin.misses(&path);
            assert!(!hit(&ask(&net, to, "GET", &path, fields)), "{fields}");
            assert_eq!(origin.misses(&path), before + 1, "{fields}");
        }
        assert!(hit(&get(&net, to, &path)));
    }
    assert_eq!(counts(&daemon, "left_cache_bypass"), 2 * 3);
}

#[test]
fn learned_answers_have_every_form() {
    let net = Net::new();
    let _origin = Origin::start(&net.server, 80, |_| {
        let fields = [
            "Cache-Control: max-age=60",
            "ETag: \"v1\"",
            "Content-Type: text/plain",
            "X-Own: 1",
            "Connection: X-Hop",
            "X-Hop: 1",
            "Cache-Tag: secret",
        ];
        answer(200, &fields, "0123456789")
    });
    let _daemon = Daemon::start(&net.server, CONFIG);
    for (to, path) in net.server.addresses(80).into_iter().zip(["/4", "/6"]) {
        let whole = learned(&net, to, path, "");
        assert_eq!((whole.status, text(&whole)), (200, "0123456789"));
        assert_eq!(whole.field("content-type"), Some("text/plain"));
        assert_eq!(whole.field("x-own"), Some("1"));
        assert_eq!(whole.field("x-hop"), None);
        assert_eq!(whole.field("cache-tag"), None);
        assert!(whole.field("date").is_some());
        let head = ask(&net, to, "HEAD", path, "");
        assert!(
            hit(&head) && head.field("content-length") == Some("10"),
            "{}",
            head.head
        );
        let same = ask(&net, to, "GET", path, "If-None-Match: \"v1\"\r\n");
        assert!(hit(&same) && same.status == 304, "{}", same.head);
        let part = ask(&net, to, "GET", path, "Range: bytes=2-4\r\n");
        assert!(hit(&part) && part.status == 206, "{}", part.head);
        assert_eq!(text(&part), "234");
    }
}

#[test]
fn answers_are_kept_apart_by_what_the_server_names() {
    let net = Net::new();
    let origin = Origin::start(&net.server, 80, |asked| {
        let language = asked.field("accept-language").unwrap_or("none");
        let fields = ["Cache-Control: max-age=60", "Vary: Accept-Language"];
        answer(200, &fields, language)
    });
    let _daemon = Daemon::start(&net.server, CONFIG);
    for (to, path) in net.server.addresses(80).into_iter().zip(["/4", "/6"]) {
        for language in ["de", "fr"] {
            let fields = format!("Accept-Language: {language}\r\nX-Forwarded-Host: evil\r\n");
            assert_eq!(text(&learned(&net, to, path, &fields)), language);
        }
        assert_eq!(text(&learned(&net, to, path, "")), "none");
        for language in ["de", "fr"] {
            let fields = format!("accept-language:   {language}\r\n");
            let answer = ask(&net, to, "GET", path, &fields);
            assert!(hit(&answer));
            assert_eq!(text(&answer), language);
        }
        assert_eq!(origin.fetches(path), 3);
    }
    let leaked = |asked: &Asked| asked.by_cache() && asked.field("x-forwarded-host").is_some();
    assert!(!origin.asked().iter().any(leaked));
}

#[test]
fn a_stale_answer_bridges_the_time_until_there_is_a_new_one() {
    let net = Net::new();
    let gate = Gate::default();
    let held = gate.clone();
    let version = Arc::new(AtomicU64::new(1));
    let current = version.clone();
    let origin = Origin::start(&net.server, 80, move |asked| {
        if asked.by_cache() {
            held.pass();
        }
        let fields = ["Cache-Control: max-age=1, stale-while-revalidate=60"];
        answer(200, &fields, &current.load(Ordering::SeqCst).to_string())
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    for (to, path) in net.server.addresses(80).into_iter().zip(["/4", "/6"]) {
        version.store(1, Ordering::SeqCst);
        gate.set(true);
        assert_eq!(text(&learned(&net, to, path, "")), "1");
        let misses = origin.misses(path);
        gate.set(false);
        version.store(2, Ordering::SeqCst);
        let stale = counts(&daemon, "stale");
        wait_for(PATIENCE, "it is stale, and served", || {
            assert_eq!(text(&get(&net, to, path)), "1");
            (counts(&daemon, "stale") > stale + 3).then_some(())
        });
        origin.fetched(path, 2);
        assert_eq!(origin.fetches(path), 2);
        gate.set(true);
        wait_for(PATIENCE, "the new one", || {
            (text(&get(&net, to, path)) == "2").then_some(())
        });
        assert_eq!(
            origin.misses(path),
            misses,
            "no client waited for the server"
        );
    }
}

#[test]
fn the_server_is_asked_whether_an_answer_is_still_right() {
    let net = Net::new();
    let origin = Origin::start(&net.server, 80, |asked| {
        let fields = [
            "Cache-Control: max-age=1, stale-while-revalidate=60",
            "ETag: \"v1\"",
        ];
        let known = asked.field("if-none-match") == Some("\"v1\"");
        answer(
            if known { 304 } else { 200 },
            &fields,
            if known { "" } else { "body" },
        )
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    for (to, path) in net.server.addresses(80).into_iter().zip(["/4", "/6"]) {
        learned(&net, to, path, "");
        let before = counts(&daemon, "revalidated");
        wait_for(PATIENCE, "validated twice", || {
            let answer = get(&net, to, path);
            assert!(hit(&answer) && answer.status == 200);
            assert_eq!(text(&answer), "body");
            (counts(&daemon, "revalidated") >= before + 2).then_some(())
        });
        let fetches = origin.asked().into_iter();
        let whole = fetches
            .filter(|a| a.by_cache() && a.target == path && a.field("if-none-match").is_none());
        assert_eq!(whole.count(), 1);
    }
}

#[test]
fn hits_go_on_while_the_server_is_gone_and_another_one_takes_over() {
    let net = Net::new();
    let start = |host: &Host, body: &'static str| {
        Origin::start(host, 80, move |_| {
            answer(200, &["Cache-Control: max-age=1, stale-if-error=60"], body)
        })
    };
    let mut origin = start(&net.server, "before");
    let daemon = Daemon::start(&net.server, CONFIG);
    let at = net.server.addresses(80);
    for (to, path) in at.into_iter().zip(["/4", "/6"]) {
        assert_eq!(text(&learned(&net, to, path, "")), "before");
    }
    origin.stop();
    for (to, path) in at.into_iter().zip(["/4", "/6"]) {
        let stale = counts(&daemon, "stale");
        wait_for(PATIENCE, "served stale", || {
            let answer = get(&net, to, path);
            assert!(hit(&answer), "{}", answer.head);
            assert_eq!(text(&answer), "before");
            (counts(&daemon, "stale") > stale + 10).then_some(())
        });
        assert_eq!(get(&net, to, "/unknown").status, 503);
    }
    let _origin = start(&net.server, "after");
    for (to, path) in at.into_iter().zip(["/4", "/6"]) {
        wait_for(PATIENCE, "the new server's", || {
            (text(&get(&net, to, path)) == "after").then_some(())
        });
    }
}

#[test]
fn after_a_post_nobody_sees_what_was_before() {
    let net = Net::new();
    let state = Arc::new(AtomicU64::new(0));
    let own = state.clone();
    let slow = Arc::new(AtomicBool::new(false));
    let wait = slow.clone();
    let origin = Origin::start(&net.server, 80, move |asked| {
        if asked.method == "POST" {
            // A fetch that comes now still gets the state of before.
            if wait.load(Ordering::SeqCst) {
                let until = std::time::Duration::from_millis(20);
                poll_for(until, || None::<()>);
            }
            let next = own.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(200, &[], &next.to_string());
        }
        let body = own.load(Ordering::SeqCst).to_string();
        answer(200, &["Cache-Control: max-age=60"], &body)
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    let at = net.server.addresses(80);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others ask all the time, so that it is learned whenever it may be.
        for to in at {
            let (net, done) = (&net, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    get(net, to, "/x");
                }
            });
        }
        let mut hits = 0;
        for round in 0..30 {
            slow.store(round % 2 == 0, Ordering::SeqCst);
            let to = at[round % 2];
            // Each third time the POST follows a hit on its connection.
            let posted = if round % 3 == 0 {
                learned(&net, to, "/x", "");
                let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
                let first = client.get("/x").expect("answered");
                hits += u64::from(hit(&first));
                client
                    .send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi")
                    .expect("sent");
                client.answer().expect("answered")
            } else {
                ask(&net, to, "POST", "/x", "Content-Length: 0\r\n")
            };
            let posted: u64 = text(&posted).parse().expect("a number");
            for to in [at[0], at[1], at[0]] {
                let seen: u64 = text(&get(&net, to, "/x")).parse().expect("a number");
                assert!(seen >= posted, "round {round}: {seen} after {posted}");
            }
        }
        assert!(hits > 0);
        done.store(true, Ordering::SeqCst);
    });
    let last = learned(&net, at[0], "/x", "");
    assert_eq!(text(&last), state.load(Ordering::SeqCst).to_string());
    assert!(origin.fetches("/x") > 1);
    drop(daemon);
}

#[test]
fn memory_is_bounded_whatever_is_asked_for() {
    let net = Net::new();
    let _origin = Origin::start(&net.server, 80, |asked| {
        let body = asked.target.repeat(20_000 / asked.target.len());
        answer(200, &["Cache-Control: max-age=600"], &body)
    });
    let config = format!("{CONFIG}\n[limits]\ncache_memory = \"1MiB\"\n");
    let daemon = Daemon::start(&net.server, &config);
    let to = net.server.at(80);
    for n in 0..530 {
        let path = format!("/{n}");
        assert_eq!(
            get(&net, to, &path).body.len(),
            20_000 / path.len() * path.len()
        );
        let status = daemon.status();
        let bytes = status["cache"][0]["bytes"].as_u64().expect("a number");
        // The status may look when the newest is there already and what goes for it not yet gone.
        let newest = 32 << 10;
        assert!(bytes <= (1 << 20) + newest, "{bytes} bytes after {n}");
    }
    wait_for(PATIENCE, "all are learned and most evicted", || {
        let (stored, evicted) = (counts(&daemon, "stored"), counts(&daemon, "evicted"));
        let status = daemon.status();
        let entries = status["cache"][0]["entries"].as_u64().expect("a number");
        (stored == 530 && evicted == 530 - entries && entries > 30).then_some(())
    });
}

#[test]
fn an_origin_on_an_address_of_the_nic_is_not_asked_in_circles() {
    let net = Net::new();
    let origin = Origin::start(&net.server, 80, |_| {
        answer(200, &["Cache-Control: max-age=60"], "x")
    });
    for at in net.server.addresses(80) {
        let config = CONFIG.replace("127.0.0.1:80", &at.to_string());
        let daemon = Daemon::start(&net.server, &config);
        let path = format!("/{}", at.is_ipv6());
        learned(&net, at, &path, "");
        let asked = origin.asked();
        let fetches = asked
            .iter()
            .filter(|a| a.target == path && a.field("accept-encoding").is_some());
        assert_eq!(fetches.count(), 1);
        assert_eq!(counts(&daemon, "fetched"), 1);
    }
}

#[test]
fn a_purge_holds_at_once_and_for_what_is_under_way() {
    let net = Net::new();
    let gate = Gate::default();
    let held = gate.clone();
    let version = Arc::new(AtomicU64::new(1));
    let current = version.clone();
    let origin = Origin::start(&net.server, 80, move |asked| {
        let body = current.load(Ordering::SeqCst).to_string();
        if asked.by_cache() {
            held.pass();
        }
        let fields = ["Cache-Control: max-age=600", "Cache-Tag: a, b"];
        answer(200, &fields, &body)
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    let purge = |scope: [&str; 2]| {
        let done = daemon.control(&["purge", scope[0], scope[1]]);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        done.stdout
    };
    let api = |query: &str| {
        let url = format!("http://localhost/purge?{query}");
        let socket = daemon.socket();
        net.server
            .must(&["curl", "-sf", "--unix-socket", &socket, "-X", "POST", &url])
    };
    for (to, path) in net.server.addresses(80).into_iter().zip(["/4", "/6"]) {
        gate.set(true);
        for scope in [["--tag", "b"], ["--path", path], ["--prefix", "/"]] {
            learned(&net, to, path, "");
            let now = version.fetch_add(1, Ordering::SeqCst) + 1;
            // What was learned through the other address may be meant as well.
            assert_ne!(purge(scope), "0 purged\n");
            assert_eq!(text(&get(&net, to, path)), now.to_string(), "{scope:?}");
        }
        learned(&net, to, path, "");
        assert!(!api("tag=a").contains("\"purged\":0"));
        wait_for(PATIENCE, "the fetches so far are over", || {
            (counts(&daemon, "fetched")
                == origin.asked().iter().filter(|a| a.by_cache()).count() as u64)
                .then_some(())
        });
        // A fetch gets what is old by the time it comes.
        gate.set(false);
        let fetches = origin.fetches(path);
        wait_for(PATIENCE, "a fetch is under way", || {
            get(&net, to, path);
            (origin.fetches(path) > fetches).then_some(())
        });
        let now = version.fetch_add(1, Ordering::SeqCst) + 1;
        purge(["--tag", "a"]);
        gate.set(true);
        wait_for(PATIENCE, "learned anew", || {
            let answer = get(&net, to, path);
            assert_eq!(text(&answer), now.to_string(), "{}", answer.head);
            hit(&answer).then_some(())
        });
    }
    assert!(counts(&daemon, "not_stored_purged") >= 2);
    assert!(counts(&daemon, "purged") >= 2 * 4);
}

#[test]
fn a_reload_keeps_what_is_learned_unless_the_routes_are_others() {
    let net = Net::new();
    let origin = Origin::start(&net.server, 80, |_| {
        answer(200, &["Cache-Control: max-age=600"], "x")
    });
    let daemon = Daemon::start(&net.server, CONFIG);
    let to = net.server.at(80);
    learned(&net, to, "/x", "");
    let reload = |config: &str| {
        daemon.rewrite(config);
        let done = daemon.control(&["reload"]);
        assert_eq!(done.code(), 0, "{}", done.stderr);
    };
    reload(&format!("{CONFIG}\n[[site.response]]\npath = \"/y\"\n"));
    learned(&net, to, "/x", "");
    let fetches = origin.fetches("/x");
    reload(&format!(
        "{CONFIG}\n[[site.response]]\npath = \"/y\"\nbody = \"y\"\n"
    ));
    for _ in 0..10 {
        assert!(hit(&get(&net, to, "/x")));
    }
    assert_eq!(origin.fetches("/x"), fetches);
    reload(&CONFIG.replace("300ms", "301ms"));
    assert!(!hit(&get(&net, to, "/x")));
    learned(&net, to, "/x", "");
    assert_eq!(origin.fetches("/x"), fetches + 1);
}
