//! The rules as a table: each row is one exchange and what becomes of it, with the clause that says so.

use super::*;
use NotStored as No;
use http::HeaderValue;

/// When the answers of the table come: Thu, 01 Jan 2026 00:01:40 GMT.
const NOW: u64 = 1_767_225_600 + 100;
/// `Date` of an answer that was made when it came.
const DATE: &str = "Thu, 01 Jan 2026 00:01:40 GMT";
/// Ten seconds before.
const DATE_BEFORE: &str = "Thu, 01 Jan 2026 00:01:30 GMT";
/// Half a minute after.
const DATE_AFTER: &str = "Thu, 01 Jan 2026 00:02:10 GMT";

/// What a row expects: fresh for, age, then stale while revalidating, then stale if the origin fails; in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Kept(u64),
    Aged { fresh: u64, age: u64 },
    Stale { fresh: u64, swr: u64, sie: u64 },
    Not(NotStored),
}
use Is::{Aged, Kept, Not, Stale};

/// What differs from the usual in a row.
#[derive(Clone, Copy)]
struct Case {
    /// Clause: RFC 9111 unless another is named.
    rfc: &'static str,
    status: u16,
    fields: &'static str,
    is: Is,
    policy: Policy,
    authorization: bool,
    /// How long the answer took, in seconds.
    delay: u64,
}

const AUTO: Policy = Policy {
    ttl: Ttl::Auto,
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    public: false,
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn row(rfc: &'static str, status: u16, fields: &'static str, is: Is) -> Case {
    Case {
        rfc,
        status,
        fields,
        is,
        policy: AUTO,
        authorization: false,
        delay: 0,
    }
}

impl Case {
    const fn ttl(mut self, of: u64) -> Self {
        self.policy.ttl = Ttl::Fixed(secs(of));
        self
    }
    const fn swr(mut self, of: u64) -> Self {
        self.policy.stale_while_revalidate = secs(of);
        self
    }
    const fn sie(mut self, of: u64) -> Self {
        self.policy.stale_if_error = secs(of);
        self
    }
    const fn negative(mut self, of: u64) -> Self {
        self.policy.negative_ttl = secs(of);
        self
    }
    const fn public(mut self) -> Self {
        self.policy.public = true;
        self
    }
    const fn authorized(mut self) -> Self {
        self.authorization = true;
        self
    }
    const fn took(mut self, delay: u64) -> Self {
        self.delay = delay;
        self
    }
}

/// `|` ends a field. `@0`, `@-10` and `@+30` stand for the dates above.
#[rustfmt::skip]
const TABLE: &[Case] = &[
    // Which statuses.
    row("3; 9110 15.1", 200, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.1", 203, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.1", 204, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.1", 300, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.1", 301, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.1", 308, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.4.3", 302, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.4.4", 303, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.4.8", 307, "cache-control: max-age=60", Kept(60)),
    row("3; 9110 15.4.3", 302, "location: /login", Not(No::NoLifetime)),
    row("3; 9110 15.4.3", 302, "location: /login", Not(No::NoLifetime)).ttl(5),
    row("3.3", 206, "cache-control: max-age=60", Not(No::Partial)),
    row("3; 9110 15.4.5", 304, "cache-control: max-age=60", Not(No::Status)),
    row("3", 205, "cache-control: max-age=60", Not(No::Status)),
    row("3", 299, "cache-control: max-age=60", Not(No::Status)),
    row("3", 400, "cache-control: max-age=60", Not(No::Status)),
    row("3", 401, "cache-control: public, max-age=60", Not(No::Status)),
    row("3", 403, "cache-control: max-age=60", Not(No::Status)).negative(9),
    row("3", 500, "cache-control: max-age=60", Not(No::Status)).negative(9),
    row("3", 503, "cache-control: max-age=60", Not(No::Status)).negative(9),
    // Errors: only if the operator asks for it, and never longer than they or the origin say.
    row("4.2.2; 9110 15.1", 404, "", Not(No::Status)),
    row("4.2.2; 9110 15.1", 404, "cache-control: max-age=60", Not(No::Status)),
    row("4.2.2; 9110 15.1", 404, "", Kept(9)).negative(9),
    row("4.2.2; 9110 15.1", 404, "cache-control: max-age=60", Kept(9)).negative(9),
    row("4.2.2; 9110 15.1", 404, "cache-control: max-age=3", Kept(3)).negative(9),
    row("4.2.2; 9110 15.1", 410, "", Kept(9)).negative(9),
    row("4.2.2; 9110 15.1", 405, "", Kept(9)).negative(9),
    row("4.2.2; 9110 15.1", 414, "", Kept(9)).negative(9),
    row("4.2.2; 9110 15.1", 501, "", Kept(9)).negative(9),
    row("5.2.2.5", 404, "cache-control: no-store", Not(No::NoStore)).negative(9),
    row("5.2.2.1", 404, "cache-control: max-age=0", Not(No::Status)).negative(9),
    row("4.2.2", 404, "", Not(No::Status)).ttl(60),
    row("5861 3", 404, "cache-control: stale-while-revalidate=9", Kept(9)).negative(9),
    // What must not be stored.
    row("5.2.2.5", 200, "cache-control: no-store, max-age=60", Not(No::NoStore)),
    row("5.2.2.5", 200, "cache-control: max-age=60| cache-control: no-store", Not(No::NoStore)),
    row("5.2; 9110 5.1", 200, "cache-control: NO-STORE, max-age=60", Not(No::NoStore)),
    row("5.2.2.5", 200, "cache-control: no-store", Not(No::NoStore)).ttl(60),
    row("5.2.2.3", 200, "cache-control: must-understand, no-store, max-age=60", Kept(60)),
    row("5.2.2.3", 299, "cache-control: must-understand, no-store, max-age=60", Not(No::Status)),
    row("5.2.2.7", 200, "cache-control: private, max-age=60", Not(No::Private)),
    row("5.2.2.7", 200, "cache-control: private=\"x-user\", max-age=60", Not(No::Private)),
    row("5.2.2.7", 200, "cache-control: private, s-maxage=60", Not(No::Private)),
    row("5.2.2.7", 200, "cache-control: private", Not(No::Private)).ttl(60),
    row("5.2.2.7", 200, "cache-control: private, max-age=60", Not(No::Private)).public(),
    row("5.2.2.4", 200, "cache-control: no-cache, max-age=60", Not(No::NoCache)),
    row("5.2.2.4", 200, "cache-control: no-cache=\"set-cookie, x\", max-age=60", Not(No::NoCache)),
    row("5.2.2.4", 200, "cache-control: no-cache", Not(No::NoCache)).ttl(60),
    row("7.3", 200, "cache-control: max-age=60| set-cookie: a=b", Not(No::SetCookie)),
    row("7.3", 200, "cache-control: public, max-age=60| set-cookie: a=b", Not(No::SetCookie)),
    row("7.3", 200, "set-cookie: a=b", Not(No::SetCookie)).ttl(60).public(),
    // Requests with Authorization.
    row("3.5", 200, "cache-control: max-age=60", Not(No::Authorization)).authorized(),
    row("3.5", 200, "cache-control: max-age=60, proxy-revalidate", Not(No::Authorization)).authorized(),
    row("3.5; 5.2.2.9", 200, "cache-control: max-age=60, public", Kept(60)).authorized(),
    row("3.5; 5.2.2.2", 200, "cache-control: max-age=60, must-revalidate", Kept(60)).authorized(),
    row("3.5; 5.2.2.10", 200, "cache-control: s-maxage=60", Kept(60)).authorized(),
    row("3.5", 200, "", Not(No::Authorization)).authorized().ttl(60),
    // Vary.
    row("4.1", 200, "cache-control: max-age=60| vary: *", Not(No::VaryAny)),
    row("4.1", 200, "cache-control: max-age=60| vary: accept, *", Not(No::VaryAny)),
    row("4.1", 200, "vary: *", Not(No::VaryAny)).ttl(60).public(),
    row("4.1; 9110 12.5.5", 200, "cache-control: max-age=60| vary: a b", Not(No::VaryAny)),
    row("4.1", 200, "cache-control: max-age=60| vary: accept-language", Kept(60)),
    row("4.1", 200, "cache-control: max-age=60| vary:", Kept(60)),
    // The lifetime, and which word for it counts.
    row("4.2.1; 5.2.2.10", 200, "cache-control: max-age=60, s-maxage=5", Kept(5)),
    row("4.2.1; 5.2.2.10", 200, "cache-control: max-age=0, s-maxage=5", Kept(5)),
    row("4.2.1; 5.2.2.10", 200, "cache-control: max-age=60, s-maxage=0", Not(No::Stale)),
    row("4.2.1; 5.3", 200, "date: @0| expires: @+30", Kept(30)),
    row("5.3", 200, "cache-control: max-age=60| date: @0| expires: @+30", Kept(60)),
    row("5.3", 200, "cache-control: max-age=60| expires: 0", Kept(60)),
    row("5.3", 200, "date: @0| expires: @0", Not(No::Stale)),
    row("5.3", 200, "date: @0| expires: 0", Not(No::Stale)),
    row("5.3", 200, "date: @0| expires: -1", Not(No::Stale)),
    row("4.2.1", 200, "date: @0| expires: @+30| expires: @0", Not(No::Stale)),
    row("4.2.1", 200, "date: @0| expires: @+30| expires: @+30", Kept(30)),
    row("5.3; 9110 6.6.1", 200, "expires: @+30", Kept(30)),
    row("9110 5.6.7", 200, "date: @0| expires: Thursday, 01-Jan-26 00:02:10 GMT", Kept(30)),
    row("9110 5.6.7", 200, "date: @0| expires: Thu Jan  1 00:02:10 2026", Kept(30)),
    row("4.2.2", 200, "", Not(No::NoLifetime)),
    row("4.2.2", 200, "last-modified: Thu, 01 Jan 2015 00:00:00 GMT", Not(No::NoLifetime)),
    row("4.2.2; 5.2.2.9", 200, "cache-control: public", Not(No::NoLifetime)),
    row("5.4", 200, "pragma: no-cache| cache-control: max-age=60", Kept(60)),
    row("4.2.1", 200, "cache-control: max-age=60, max-age=5", Kept(5)),
    row("4.2.1", 200, "cache-control: max-age=60| cache-control: max-age=0", Not(No::Stale)),
    row("4.2.1", 200, "cache-control: max-age=soon", Not(No::Stale)),
    row("4.2.1", 200, "cache-control: max-age", Not(No::Stale)),
    row("4.2.1", 200, "cache-control: max-age=", Not(No::Stale)),
    row("4.2.1", 200, "cache-control: max-age=-1", Not(No::Stale)),
    row("4.2.1", 200, "cache-control: max-age=1.5", Not(No::Stale)),
    row("5.2", 200, "cache-control: max-age=\"60\"", Kept(60)),
    row("5.2; 9110 5.6.4", 200, "cache-control: max-age=\"60", Not(No::NoStore)),
    row("5.2.3; 9110 5.6.4", 200, "cache-control: x=\"no-store, private\", max-age=60", Kept(60)),
    row("5.2.3; 9110 5.6.4", 200, "cache-control: x=\"\\\", no-store\", max-age=60", Kept(60)),
    row("5.2.3", 200, "cache-control: max-age=60, community=\"UCI\", immutable", Kept(60)),
    row("9110 5.6.1", 200, "cache-control: , ,max-age=60 ,", Kept(60)),
    row("1.2.2", 200, "cache-control: max-age=99999999999999999999999", Kept(1 << 31)),
    // The operator's word.
    row("4.2.2", 200, "", Kept(5)).ttl(5),
    row("4.2.1", 200, "cache-control: max-age=60", Kept(5)).ttl(5),
    row("4.2.1", 200, "cache-control: max-age=0", Kept(5)).ttl(5),
    row("4.2.1", 200, "date: @0| expires: 0", Kept(5)).ttl(5),
    row("4.2.3", 200, "age: 30", Aged { fresh: 5, age: 30 }).ttl(5),
    row("4.2.1", 200, "cache-control: max-age=60", Not(No::Stale)).ttl(0),
    // The age when it came.
    row("4.2.3", 200, "cache-control: max-age=60| date: @0", Aged { fresh: 60, age: 0 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @-10", Aged { fresh: 50, age: 10 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @+30", Aged { fresh: 60, age: 0 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @0| age: 20", Aged { fresh: 40, age: 20 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @-10| age: 20", Aged { fresh: 40, age: 20 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @-10| age: 5", Aged { fresh: 50, age: 10 }),
    row("4.2.3", 200, "cache-control: max-age=60| date: @0", Aged { fresh: 57, age: 3 }).took(3),
    row("4.2.3", 200, "cache-control: max-age=60| date: @0| age: 20", Aged { fresh: 37, age: 23 }).took(3),
    row("4.2.3", 200, "cache-control: max-age=60| date: @-10| age: 20", Aged { fresh: 37, age: 23 }).took(3),
    row("4.2", 200, "cache-control: max-age=60| age: 60", Not(No::Stale)),
    row("4.2", 200, "cache-control: max-age=60| age: 61", Not(No::Stale)),
    row("5.1", 200, "cache-control: max-age=60| age: 7, 50", Aged { fresh: 53, age: 7 }),
    row("5.1", 200, "cache-control: max-age=60| age: old", Aged { fresh: 60, age: 0 }),
    row("5.1", 200, "cache-control: max-age=60| age: -5", Aged { fresh: 60, age: 0 }),
    row("4.2.3; 9110 6.6.1", 200, "cache-control: max-age=60| date: soon", Aged { fresh: 60, age: 0 }),
    // Stale answers.
    row("4.2.4", 200, "cache-control: max-age=60", Stale { fresh: 60, swr: 0, sie: 0 }),
    row("5861 3", 200, "cache-control: max-age=60, stale-while-revalidate=9", Stale { fresh: 60, swr: 9, sie: 0 }),
    row("5861 4", 200, "cache-control: max-age=60, stale-if-error=9", Stale { fresh: 60, swr: 0, sie: 9 }),
    row("5861 3", 200, "cache-control: max-age=60", Stale { fresh: 60, swr: 7, sie: 8 }).swr(7).sie(8),
    row("5861 3", 200, "cache-control: max-age=60, stale-while-revalidate=0", Stale { fresh: 60, swr: 0, sie: 8 }).swr(7).sie(8),
    row("5861 4", 200, "cache-control: max-age=60, stale-if-error=0", Stale { fresh: 60, swr: 7, sie: 0 }).swr(7).sie(8),
    row("5861 3", 200, "cache-control: max-age=60, stale-while-revalidate=x", Stale { fresh: 60, swr: 0, sie: 0 }).swr(7),
    row("5861 3", 200, "cache-control: max-age=0, stale-while-revalidate=9", Stale { fresh: 0, swr: 9, sie: 0 }),
    row("5861 4", 200, "cache-control: max-age=0, stale-if-error=9", Not(No::Stale)),
    row("5.2.2.2", 200, "cache-control: max-age=60, must-revalidate", Stale { fresh: 60, swr: 0, sie: 0 }).swr(7).sie(8),
    row("5.2.2.2", 200, "cache-control: max-age=60, must-revalidate, stale-while-revalidate=9, stale-if-error=9", Stale { fresh: 60, swr: 0, sie: 0 }),
    row("5.2.2.8", 200, "cache-control: max-age=60, proxy-revalidate", Stale { fresh: 60, swr: 0, sie: 0 }).swr(7).sie(8),
    row("5.2.2.8", 200, "cache-control: must-revalidate", Stale { fresh: 5, swr: 0, sie: 0 }).ttl(5).swr(7).sie(8),
    row("5.2.2.10", 200, "cache-control: s-maxage=60", Stale { fresh: 60, swr: 0, sie: 0 }).swr(7).sie(8),
    row("4.2.4; 5861 3", 200, "cache-control: s-maxage=60, stale-while-revalidate=9", Stale { fresh: 60, swr: 9, sie: 0 }).swr(7).sie(8),
    row("4.2.4; 5861 4", 200, "cache-control: s-maxage=60, stale-if-error=9", Stale { fresh: 60, swr: 0, sie: 9 }).swr(7).sie(8),
    row("4.2.4", 200, "cache-control: s-maxage=60", Stale { fresh: 5, swr: 7, sie: 8 }).ttl(5).swr(7).sie(8),
    row("4.2.4", 404, "", Stale { fresh: 9, swr: 0, sie: 0 }).negative(9).swr(7).sie(8),
];

fn fields(text: &str) -> HeaderMap {
    let text = text
        .replace("@0", DATE)
        .replace("@-10", DATE_BEFORE)
        .replace("@+30", DATE_AFTER);
    let lines = text.split('|').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a field");
            let name: HeaderName = name.trim().parse().expect("a name");
            (name, HeaderValue::from_str(value.trim()).expect("a value"))
        })
        .collect()
}

fn judged(case: &Case) -> Result<Keep, NotStored> {
    judge(
        Asked {
            at: secs(NOW - case.delay),
            authorization: case.authorization,
        },
        Answered {
            at: secs(NOW),
            status: case.status,
            fields: &fields(case.fields),
        },
        &case.policy,
    )
}

#[test]
fn each_row_of_the_table_holds() {
    for (n, case) in TABLE.iter().enumerate() {
        let got = judged(case);
        let is = match (&got, case.is) {
            (Err(why), _) => Not(*why),
            (Ok(keep), Kept(_)) => Kept(keep.fresh.as_secs()),
            (Ok(keep), Aged { .. }) => Aged {
                fresh: keep.fresh.as_secs(),
                age: keep.age.as_secs(),
            },
            (Ok(keep), Stale { .. } | Not(_)) => Stale {
                fresh: keep.fresh.as_secs(),
                swr: keep.revalidate.as_secs(),
                sie: keep.if_error.as_secs(),
            },
        };
        assert_eq!(
            is, case.is,
            "row {n}, RFC {}: {} {:?}",
            case.rfc, case.status, case.fields
        );
    }
    assert!(TABLE.len() >= 100, "{} rows", TABLE.len());
}

#[test]
fn the_fields_that_choose_an_answer_are_named_once_and_in_order() {
    // (fields, public, names)
    let table: [(&str, bool, &[&str]); 9] = [
        ("", false, &[]),
        (
            "vary: Accept-Language, ACCEPT",
            false,
            &["accept", "accept-language"],
        ),
        ("vary: a, b| vary: b,,a", false, &["a", "b"]),
        ("vary: cookie, accept", false, &["accept", "cookie"]),
        ("vary: cookie, accept, Authorization", true, &["accept"]),
        ("content-encoding: gzip", false, &["accept-encoding"]),
        ("content-encoding: identity", false, &[]),
        (
            "content-encoding: br| vary: accept-encoding",
            false,
            &["accept-encoding"],
        ),
        (
            "content-encoding: gzip| vary: x",
            false,
            &["accept-encoding", "x"],
        ),
    ];
    for (text, public, names) in table {
        let policy = Policy {
            ttl: Ttl::Fixed(secs(1)),
            public,
            ..AUTO
        };
        let keep = judge(
            Asked {
                at: secs(NOW),
                authorization: false,
            },
            Answered {
                at: secs(NOW),
                status: 200,
                fields: &fields(text),
            },
            &policy,
        )
        .expect("kept");
        assert_eq!(keep.vary, names, "{text}");
    }
}

#[test]
fn fractions_of_a_second_do_not_make_an_answer_old() {
    let asked = Duration::from_millis(NOW * 1000 + 200);
    let answered = Duration::from_millis(NOW * 1000 + 900);
    let keep = judge(
        Asked {
            at: asked,
            authorization: false,
        },
        Answered {
            at: answered,
            status: 200,
            fields: &fields("cache-control: max-age=1| date: @0"),
        },
        &AUTO,
    )
    .expect("kept");
    assert_eq!(keep.fresh, Duration::from_millis(300));
}
