//! The fetcher's book under a clock of its own: what is asked, learned, served and forgotten.

use super::*;
use crate::cache::overlay::Lookup;
use crate::cache::stats::RouteStats;
use crate::store::{RouteName, Scope};
use http::HeaderValue;
use sidestep_config::Config;

const CONFIG: &str = r#"
[[site]]
[[site.cache]]
path = "/a/*"
origin = "http://127.0.0.1:8000"
stale_while_revalidate = "2s"
stale_if_error = "60s"
write_hold = "5s"
[[site.cache]]
path = "/public/*"
origin = "http://127.0.0.1:8001"
public = true
"#;

/// When the tests begin, since 1970-01-01 00:00:00 UTC.
const START: u64 = 1_767_225_600;

struct Bench {
    book: Book,
    caches: Arc<Caches>,
    now: Instant,
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn caches() -> Arc<Caches> {
    caches_within(1 << 20)
}

fn caches_within(memory: u64) -> Arc<Caches> {
    let config = Config::parse(CONFIG, "t").unwrap_or_else(|e| panic!("{e}"));
    let routes = config.sites[0].caches.iter().map(|route| {
        let name = RouteName {
            site: "*".into(),
            route: format!("{:?}", route.path),
        };
        Some((name, route.clone()))
    });
    Arc::new(Caches::new(memory, routes.collect()))
}

impl Bench {
    fn new() -> Self {
        let caches = caches();
        Self {
            book: Book::new(caches.clone()),
            caches,
            now: Instant(1_000_000),
        }
    }

    fn told(&mut self, url: &str, fields: &str) -> Option<Fetch> {
        self.book.told(self.now, word(url, fields))
    }

    /// What a request gets, with `FRESH`, `stale` or nothing in front of it.
    fn lookup(&self, url: &str, fields: &str) -> String {
        let word = word(url, fields);
        let overlay = self.book.overlay();
        let body = |id| {
            let learned = overlay.learned(id).expect("its id is of this overlay");
            String::from_utf8_lossy(learned.response.body()).into_owned()
        };
        let tells = |tell| if tell { "!" } else { "" };
        let asked = word.key.asked();
        let found = overlay.find(&asked, word.fields(), self.caches.writes(), self.now);
        // Who has found it before may take it without another look as long as it would be found without a word.
        let known = overlay.resource(&asked);
        if let Some((id, learned)) = known.and_then(|known| known.variant(word.fields())) {
            let still = overlay.is_still_fresh(id, self.caches.writes(), self.now);
            let quiet = self.now < learned.times.refresh;
            assert_eq!(
                still,
                quiet && found == Lookup::Fresh { id, tell: false },
                "{url}"
            );
        }
        match found {
            Lookup::Fresh { id, tell } => format!("fresh{} {}", tells(tell), body(id)),
            Lookup::Stale { id, tell } => format!("stale{} {}", tells(tell), body(id)),
            Lookup::Miss => "miss".into(),
        }
    }

    fn got(&self, status: u16, fields: &str, body: &str) -> Got {
        let at = secs(START) + Duration::from_micros(self.now.0);
        let lines = fields.split('|').filter(|line| !line.is_empty());
        Got {
            asked: at,
            answered: at,
            status,
            fields: lines
                .map(|line| {
                    let (name, value) = line.split_once(':').expect("a field");
                    let name: HeaderName = name.trim().parse().expect("a name");
                    (name, HeaderValue::from_str(value.trim()).expect("a value"))
                })
                .collect(),
            body: body.into(),
        }
    }

    fn done(&mut self, fetch: &Fetch, status: u16, fields: &str, body: &str) -> Vec<Fetch> {
        let got = self.got(status, fields, body);
        self.book.done(self.now, fetch.id, Ok(got))
    }

    /// Asks and answers.
    fn learn(&mut self, url: &str, fields: &str, body: &str) {
        let fetch = self.told(url, "").expect("asks");
        assert_eq!(self.done(&fetch, 200, fields, body).len(), 0);
    }

    fn purge(&mut self, scope: Scope) -> usize {
        self.book.purge(&Purge { host: None, scope })
    }

    fn stats(&self) -> &RouteStats {
        let first = self.caches.all().next();
        &first.expect("there are two routes").stats
    }

    /// All counters of the first route that are not zero.
    fn counts(&self) -> String {
        let mut counts = Vec::new();
        self.stats().visit(&mut |label, value| {
            if value > 0 {
                counts.push(format!(
                    "{} {value}",
                    label.trim_start_matches("not_stored_")
                ));
            }
        });
        counts.join(", ")
    }
}

fn word(url: &str, fields: &str) -> Told {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (url, None),
    };
    let asked = super::super::key::Asked {
        route: super::super::key::CacheId(u16::from(path.starts_with("/public/"))),
        authority: b"Example.org",
        path: path.as_bytes(),
        query,
    };
    Told {
        caches: caches(),
        key: asked.to_key(),
        fields: fields.as_bytes().into(),
    }
}

fn sent(fetch: &Fetch) -> String {
    let selectors = fetch.selectors.iter().map(|s| {
        let value = s.value.as_deref().map(String::from_utf8_lossy);
        format!("{}={}", s.name, value.as_deref().unwrap_or("-"))
    });
    selectors.collect::<Vec<_>>().join(" ")
}

#[test]
fn any_number_of_misses_makes_one_fetch_and_then_there_are_hits() {
    let mut bench = Bench::new();
    let fetch = bench.told("/a/1?x=1", "").expect("asks");
    assert_eq!(fetch.key.target(), b"/a/1?x=1");
    assert_eq!(fetch.key.authority(), b"example.org");
    assert_eq!(fetch.origin.port, 8000);
    for _ in 0..999 {
        assert!(bench.told("/a/1?x=1", "").is_none());
    }
    assert_eq!(bench.lookup("/a/1?x=1", ""), "miss");
    bench.done(&fetch, 200, "cache-control: max-age=10", "one");
    assert!(bench.book.take_changed() && !bench.book.take_changed());
    assert_eq!(bench.lookup("/a/1?x=1", ""), "fresh one");
    assert_eq!(bench.lookup("/a/1?x=2", ""), "miss");
    assert_eq!(bench.lookup("/a/1", ""), "miss");
    // Words that were under way.
    assert!(bench.told("/a/1?x=1", "").is_none());
    assert_eq!(bench.counts(), "fetched 1, coalesced 1000, stored 1");
}

#[test]
fn an_answer_in_use_is_fetched_anew_before_it_is_stale_and_by_one_request() {
    let mut bench = Bench::new();
    bench.learn("/a/1", "cache-control: max-age=10| etag: \"v1\"", "one");
    bench.now += Duration::from_millis(8_999);
    assert_eq!(bench.lookup("/a/1", ""), "fresh one");
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.lookup("/a/1", ""), "fresh! one");
    assert_eq!(bench.lookup("/a/1", ""), "fresh one");
    let fetch = bench.told("/a/1", "").expect("asks");
    assert_eq!(
        fetch
            .stored
            .as_ref()
            .and_then(|s| s.response.validators().etag),
        Some(&b"\"v1\""[..])
    );
    bench.now += secs(1);
    // It was told of a second ago: perhaps that was lost.
    assert_eq!(bench.lookup("/a/1", ""), "stale! one");
    assert!(bench.told("/a/1", "").is_none());
    bench.done(&fetch, 304, "cache-control: max-age=20| etag: W/\"v1\"", "");
    assert_eq!(bench.lookup("/a/1", ""), "fresh one");
    bench.now += secs(17);
    assert_eq!(bench.lookup("/a/1", ""), "fresh one");
    assert_eq!(
        bench.counts(),
        "fetched 2, coalesced 1, stored 1, revalidated 1"
    );
}

#[test]
fn a_304_changes_the_fields_and_keeps_the_rest() {
    let mut bench = Bench::new();
    let first = "cache-control: max-age=10| etag: \"v1\"| x-a: 1| x-b: 1| cache-tag: t| content-type: text/css";
    bench.learn("/a/1", first, "one");
    bench.now += secs(11);
    let fetch = bench.told("/a/1", "").expect("asks");
    bench.done(&fetch, 304, "x-b: 2| content-length: 9", "");
    assert_eq!(bench.lookup("/a/1", ""), "fresh one");
    let word = word("/a/1", "");
    let resource = bench
        .book
        .overlay()
        .resource(&word.key.asked())
        .expect("is there");
    let (_, learned) = resource.variant(word.fields()).expect("is there");
    let mut fields: Vec<String> = learned
        .response
        .fields()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "cache-control: max-age=10",
            "content-type: text/css",
            "date: Thu, 01 Jan 2026 00:00:12 GMT",
            "etag: \"v1\"",
            "x-a: 1",
            "x-b: 2",
        ]
    );
    assert_eq!(bench.purge(Scope::Tag("t".into())), 1);
}

#[test]
fn a_304_about_another_state_is_not_believed() {
    let mut bench = Bench::new();
    bench.learn("/a/1", "cache-control: max-age=10| etag: \"v1\"", "one");
    bench.now += secs(11);
    let fetch = bench.told("/a/1", "").expect("asks");
    bench.done(&fetch, 304, "etag: \"v2\"", "");
    assert_eq!(bench.lookup("/a/1", ""), "miss");
}

#[test]
fn what_cannot_be_kept_is_not_asked_for_again_for_a_while() {
    let mut bench = Bench::new();
    bench.learn("/a/1", "cache-control: private", "one");
    assert_eq!(bench.lookup("/a/1", ""), "miss");
    bench.now += PASS - Duration::from_micros(1);
    assert!(bench.told("/a/1", "").is_none());
    bench.now += Duration::from_micros(1);
    let fetch = bench.told("/a/1", "").expect("asks");
    bench
        .book
        .done(bench.now, fetch.id, Err(FetchError::TooLarge));
    assert!(bench.told("/a/1", "").is_none());
    // Unless somebody knows better.
    bench.purge(Scope::All);
    assert!(bench.told("/a/1", "").is_some());
    assert_eq!(
        bench.counts(),
        "fetched 3, passed 2, private 1, too_large 1"
    );
}

#[test]
fn an_answer_that_the_origin_takes_back_is_not_served_on() {
    let mut bench = Bench::new();
    for (status, fields) in [
        (404, ""),
        (200, "cache-control: no-store"),
        (200, "cache-control: max-age=10| set-cookie: a=b"),
    ] {
        bench.learn("/a/1", "cache-control: max-age=10", "one");
        bench.now += secs(10);
        assert_eq!(bench.lookup("/a/1", ""), "stale! one");
        let fetch = bench.told("/a/1", "").expect("asks");
        bench.done(&fetch, status, fields, "");
        assert_eq!(bench.lookup("/a/1", ""), "miss");
        bench.now += PASS;
    }
}

#[test]
fn stale_answers_bridge_the_time_that_an_origin_fails() {
    let mut bench = Bench::new();
    bench.learn("/a/1", "cache-control: max-age=10", "one");
    bench.now += secs(13);
    // Past stale-while-revalidate; that the origin fails is not known yet.
    assert_eq!(bench.lookup("/a/1", ""), "miss");
    let word = word("/a/1", "");
    let rescue = |bench: &Bench| {
        let overlay = bench.book.overlay();
        let asked = word.key.asked();
        overlay
            .rescue(&asked, word.fields(), bench.caches.writes(), bench.now)
            .is_some()
    };
    assert!(rescue(&bench));
    let fetch = bench.told("/a/1", "").expect("asks");
    bench
        .book
        .done(bench.now, fetch.id, Err(FetchError::Unreachable));
    assert_eq!(bench.lookup("/a/1", ""), "stale! one");
    assert!(bench.told("/a/1", "").is_none(), "it is left alone");
    bench.now += FAILURE;
    let fetch = bench.told("/a/1", "").expect("asks");
    bench.done(&fetch, 503, "cache-control: max-age=60", "sorry");
    assert_eq!(bench.lookup("/a/1", ""), "stale! one");
    bench.now += FAILURE;
    let fetch = bench.told("/a/1", "").expect("asks");
    bench.done(&fetch, 200, "cache-control: max-age=10", "two");
    assert_eq!(bench.lookup("/a/1", ""), "fresh two");
    bench.now += secs(70);
    assert_eq!(bench.lookup("/a/1", ""), "miss");
    assert!(!rescue(&bench));
    assert_eq!(
        bench.counts(),
        "fetched 4, passed 1, stored 2, unreachable 1, origin_error 1"
    );
}

#[test]
fn what_is_purged_while_it_is_fetched_is_not_stored() {
    let tagged = "cache-control: max-age=10| cache-tag: t, u| surrogate-key: v w";
    // (purge, whether it means the answer)
    let table = [
        (Scope::Path("/a/1".into()), true),
        (Scope::Path("/a/%31".into()), true),
        (Scope::Path("/a/1?x".into()), true),
        (Scope::Path("/a/1?y".into()), false),
        (Scope::Path("/a/".into()), false),
        (Scope::Prefix("/a/".into()), true),
        (Scope::Prefix("/a/2".into()), false),
        (Scope::Tag("u".into()), true),
        (Scope::Tag("w".into()), true),
        (Scope::Tag("x".into()), false),
        (Scope::All, true),
    ];
    for (scope, means) in table {
        let mut bench = Bench::new();
        let fetch = bench.told("/a/1?x", "").expect("asks");
        assert_eq!(bench.purge(scope.clone()), 0);
        bench.done(&fetch, 200, tagged, "one");
        let expected = if means { "miss" } else { "fresh one" };
        assert_eq!(bench.lookup("/a/1?x", ""), expected, "{scope:?}");
        if means {
            // The next one may.
            bench.learn("/a/1?x", tagged, "two");
        }
        assert_eq!(bench.purge(scope.clone()), usize::from(means), "{scope:?}");
        let expected = if means { "miss" } else { "fresh one" };
        assert_eq!(bench.lookup("/a/1?x", ""), expected, "{scope:?}");
    }
}

#[test]
fn fetches_that_panic_give_back_their_places() {
    let mut bench = Bench::new();
    let urls: Vec<String> = (0..AT_ONCE).map(|n| format!("/a/{n}")).collect();
    let begin = |bench: &mut Bench| -> Vec<Fetch> {
        urls.iter().filter_map(|url| bench.told(url, "")).collect()
    };
    for round in 1..=3 {
        let fetches = begin(&mut bench);
        assert_eq!(fetches.len(), AT_ONCE, "round {round}");
        for fetch in fetches {
            let next = bench
                .book
                .done(bench.now, fetch.id, Err(FetchError::Panicked));
            assert_eq!(next.len(), 0);
        }
        // As if the origin had failed: not again at once.
        assert_eq!(begin(&mut bench).len(), 0);
        bench.now += FAILURE;
    }
    assert_eq!(
        bench.counts(),
        format!("fetched {0}, passed {0}, panicked {0}", 3 * AT_ONCE)
    );
}

#[test]
fn a_purge_for_one_host_leaves_the_others() {
    let mut bench = Bench::new();
    bench.learn("/a/1", "cache-control: max-age=10", "one");
    let purge = |bench: &mut Bench, host: &str| {
        let purge = Purge {
            host: Some(host.into()),
            scope: Scope::All,
        };
        bench.book.purge(&purge)
    };
    for (host, gone) in [
        ("example.com", 0),
        ("example", 0),
        ("example.org:81", 0),
        ("EXAMPLE.org", 1),
    ] {
        assert_eq!(purge(&mut bench, host), gone, "{host}");
    }
    // It was kept without the port that `http` means anyway.
    bench.learn("/a/1", "cache-control: max-age=10", "one");
    assert_eq!(purge(&mut bench, "Example.org:80"), 1);
}

#[test]
fn nothing_of_before_a_write_is_served_and_nothing_learned_until_it_is_settled() {
    let mut bench = Bench::new();
    let fields = "cache-control: max-age=60";
    bench.learn("/a/1?x", "cache-control: max-age=60| etag: \"1\"", "one");
    bench.learn("/a/2", fields, "other");
    let before = bench.told("/a/1", "").expect("asks");
    let slot = Writes::slot(b"/a/1");
    bench.caches.writes().note(slot, bench.now, secs(5));
    assert_eq!(bench.lookup("/a/1?x", ""), "miss");
    assert_eq!(bench.lookup("/a/2", ""), "fresh other");
    bench.done(&before, 200, fields, "old");
    assert_eq!(bench.lookup("/a/1", ""), "miss");
    bench.now += secs(5) - Duration::from_micros(1);
    assert!(bench.told("/a/1", "").is_none());
    assert!(bench.told("/a/%31", "").is_none(), "the same path");
    bench.now += Duration::from_micros(1);
    let fetch = bench.told("/a/1?x", "").expect("asks");
    assert!(fetch.stored.is_none(), "a validator may be too coarse");
    bench.learn("/a/1", fields, "new");
    assert_eq!(bench.lookup("/a/1", ""), "fresh new");
    assert_eq!(bench.lookup("/a/1?x", ""), "miss");
    assert_eq!(bench.counts(), "fetched 5, stored 3, written 3");
}

#[test]
fn answers_are_kept_by_the_request_fields_that_the_origin_names() {
    let mut bench = Bench::new();
    let german = "Accept-Language: de\r\nUser-Agent: x\r\n";
    let fetch = bench.told("/a/1", german).expect("asks");
    // Nothing is known yet: nothing of the client's is passed on.
    assert_eq!(sent(&fetch), "accept-encoding=identity");
    let fields = "cache-control: max-age=10| vary: Accept-Language";
    let next = bench.done(&fetch, 200, fields, "english");
    assert_eq!(next.len(), 1);
    assert_eq!(
        sent(&next[0]),
        "accept-encoding=identity accept-language=de"
    );
    assert_eq!(bench.lookup("/a/1", german), "miss");
    assert!(bench.done(&next[0], 200, fields, "deutsch").is_empty());
    assert_eq!(bench.lookup("/a/1", german), "fresh deutsch");
    assert_eq!(
        bench.lookup("/a/1", "accept-language: de\r\n"),
        "fresh deutsch"
    );
    assert_eq!(bench.lookup("/a/1", ""), "fresh english");
    let two_lines = "accept-language: de\r\naccept-language:  fr\r\n";
    assert_eq!(bench.lookup("/a/1", two_lines), "miss");
    // From now on it is known.
    let fetch = bench.told("/a/1", two_lines).expect("asks");
    assert_eq!(
        sent(&fetch),
        "accept-encoding=identity accept-language=de, fr"
    );
    bench.done(&fetch, 200, fields, "deux");
    assert_eq!(
        bench.lookup("/a/1", "accept-language: de, fr\r\n"),
        "fresh deux"
    );
    // The origin thinks anew.
    bench.now += secs(20);
    let fetch = bench.told("/a/1", german).expect("asks");
    bench.done(&fetch, 200, "cache-control: max-age=10", "for all");
    assert_eq!(bench.lookup("/a/1", two_lines), "fresh for all");
}

#[test]
fn a_coded_answer_is_only_for_those_who_can_read_it() {
    let mut bench = Bench::new();
    let fetch = bench
        .told("/a/1", "accept-encoding: br, gzip\r\n")
        .expect("asks");
    assert_eq!(sent(&fetch), "accept-encoding=gzip");
    let fields = "cache-control: max-age=10| content-encoding: gzip";
    bench.done(&fetch, 200, fields, "coded");
    assert_eq!(
        bench.lookup("/a/1", "accept-encoding: gzip\r\n"),
        "fresh coded"
    );
    for other in [
        "",
        "accept-encoding: gzip;q=0\r\n",
        "accept-encoding: br\r\n",
    ] {
        assert_eq!(bench.lookup("/a/1", other), "miss", "{other}");
    }
}

#[test]
fn an_answer_may_have_only_so_many_variants() {
    let mut bench = Bench::new();
    let fields = "cache-control: max-age=10| vary: user-agent";
    bench.learn("/a/1", fields, "none");
    for n in 1..40 {
        let fetch = bench
            .told("/a/1", &format!("user-agent: {n}\r\n"))
            .expect("asks");
        bench.done(&fetch, 200, fields, "x");
    }
    assert_eq!(
        bench.counts(),
        format!("fetched 40, stored {}, variants {}", 32, 40 - 32)
    );
}

#[test]
fn a_public_route_does_not_depend_on_credentials() {
    let mut bench = Bench::new();
    let fields = "cache-control: max-age=10| vary: Cookie, Authorization";
    bench.learn("/public/1", fields, "all");
    assert_eq!(bench.lookup("/public/1", "cookie: a=b\r\n"), "fresh all");
    bench.learn("/a/1", fields, "nobody's");
    assert_eq!(bench.lookup("/a/1", "cookie: a=b\r\n"), "miss");
    assert_eq!(bench.lookup("/a/1", ""), "fresh nobody's");
}

#[test]
fn an_origin_is_asked_so_many_things_at_once_and_the_rest_waits() {
    let mut bench = Bench::new();
    let running: Vec<Fetch> = (0..AT_ONCE + WAITING + 10)
        .filter_map(|n| bench.told(&format!("/a/{n}"), ""))
        .collect();
    assert_eq!(running.len(), AT_ONCE);
    // Another origin is another line.
    assert!(bench.told("/public/1", "").is_some());
    let next = bench.done(&running[0], 200, "cache-control: max-age=10", "x");
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].key.target(), format!("/a/{AT_ONCE}").as_bytes());
    assert_eq!(
        bench.counts(),
        format!("fetched {}, stored 1, busy 10", AT_ONCE + 1)
    );
}

#[test]
fn a_fetch_that_waited_counts_from_when_it_is_made() {
    let mut bench = Bench::new();
    let running: Vec<Fetch> = (0..AT_ONCE)
        .filter_map(|n| bench.told(&format!("/a/{n}"), ""))
        .collect();
    assert!(bench.told("/a/late", "").is_none());
    bench.purge(Scope::Path("/a/late".into()));
    let fields = "cache-control: max-age=10";
    let next = bench.done(&running[0], 200, fields, "x");
    bench.done(&next[0], 200, fields, "after the purge");
    assert_eq!(bench.lookup("/a/late", ""), "fresh after the purge");
}

#[test]
fn memory_stays_within_its_budget_and_what_is_in_use_stays() {
    let mut bench = Bench::new();
    let fields = "cache-control: max-age=3600";
    let body = "x".repeat(3000);
    for n in 0..20 {
        bench.learn(&format!("/a/hot{n}"), fields, &body);
    }
    let held = |bench: &Bench| bench.stats().held();
    let mut missed = 0;
    for n in 0..2600 {
        bench.learn(&format!("/a/cold{n}"), fields, &body);
        for n in 0..20 {
            missed += u32::from(bench.lookup(&format!("/a/hot{n}"), "") == "miss");
        }
        assert!(held(&bench).1 <= 1 << 20, "{:?} after {n}", held(&bench));
    }
    assert_eq!(missed, 0);
    let (entries, bytes) = held(&bench);
    assert!(bytes > 900 << 10 && entries > 200, "{entries} in {bytes}");
    assert!(
        bench
            .counts()
            .contains(&format!("evicted {}", 2620 - entries))
    );
    assert_eq!(bench.purge(Scope::All) as u64, entries);
    assert_eq!(held(&bench), (0, 0));
}

#[test]
fn memory_can_be_more_or_less_from_now_on() {
    let mut bench = Bench::new();
    let fields = "cache-control: max-age=3600";
    let body = "x".repeat(3000);
    let fill = |bench: &mut Bench, what: &str| {
        for n in 0..500 {
            bench.learn(&format!("/a/{what}{n}"), fields, &body);
        }
        bench.stats().held().1
    };
    let memory = |bench: &mut Bench, bytes| {
        // What is learned stays, as nothing else is different.
        let same = caches_within(bytes).after(&bench.caches);
        assert!(Arc::ptr_eq(&same, &bench.caches));
        bench.book.resize();
        bench.stats().held()
    };
    let full = fill(&mut bench, "one");
    assert!(full > 900 << 10 && full <= 1 << 20, "{full}");
    let (entries, less) = memory(&mut bench, 256 << 10);
    assert!(less > 200 << 10 && less <= 256 << 10, "{less}");
    let found = (0..500).filter(|n| bench.lookup(&format!("/a/one{n}"), "") != "miss");
    assert_eq!(found.count() as u64, entries);
    let before = bench.counts();
    assert_eq!(memory(&mut bench, 2 << 20), (entries, less));
    assert_eq!(bench.counts(), before, "nothing has to go for more room");
    let full = fill(&mut bench, "two");
    assert!(full > 1500 << 10 && full <= 2 << 20, "{full}");
}
