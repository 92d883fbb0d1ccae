//! `examples/`: every endpoint, asked directly and through sidestep, as their users would start them.

use serde_json::{Value, json};
use sidestep_tests::clock::{Deadline, PATIENCE, lasting, wait_for};
use sidestep_tests::example::Example;
use sidestep_tests::http::Client;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const UVICORN: [&str; 8] = [
    "-m",
    "uvicorn",
    "--host",
    "",
    "--port",
    "80",
    "--no-access-log",
    "app:app",
];

#[test]
fn fastapi_ping_answers_through_sidestep_as_it_does_directly() {
    let example = Example::start("fastapi-ping", &UVICORN);
    let direct = example.direct("/ping", &[]);
    assert_eq!(
        (direct.status, direct.json()),
        (200, json!({"status": "ok"}))
    );
    assert_eq!(learned(&example, "/ping"), direct.body);
    for _ in 0..5 {
        let through = example.through("/ping", &[]);
        assert_eq!((through.status, &through.body), (200, &direct.body));
        assert_eq!(through.field("content-type"), direct.field("content-type"));
        assert_eq!(
            through.field("cache-control"),
            direct.field("cache-control")
        );
    }
    let times = [(); 3].map(|()| example.through("/time", &[]).json()["time"].clone());
    assert!(
        times[0] != times[1] && times[1] != times[2],
        "cached: {times:?}"
    );
    assert_eq!(example.through("/no-such-thing", &[]).status, 404);
    example.stop();
}

#[test]
fn bookstore_answers_on_sqlite() {
    bookstore("sqlite");
}

#[test]
fn bookstore_answers_on_postgresql() {
    bookstore("postgresql");
}

fn bookstore(database: &str) {
    let server = ["serve", "--authors", "1000", "--database", database];
    let example = Example::start("bookstore", &server);
    let page = "/author?limit=20&offset=500";
    for path in ["/author/17", "/author/1000", "/author", page] {
        let direct = example.direct(path, &[]);
        assert_eq!(direct.status, 200, "{path}: {}", direct.body);
        for _ in 0..3 {
            let through = example.through(path, &[]);
            assert_eq!(
                (through.status, &through.body),
                (200, &direct.body),
                "{path}"
            );
            for field in ["content-type", "cache-control", "etag"] {
                assert_eq!(through.field(field), direct.field(field), "{path}: {field}");
            }
        }
        assert_eq!(learned(&example, path), direct.body, "{path}");
        let etag = format!("If-None-Match: {}", direct.field("etag").expect("an ETag"));
        assert_eq!(example.through(path, &["-H", &etag]).status, 304, "{path}");
    }
    let author = example.through("/author/17", &[]).json();
    let books = author["books"].as_array().expect("books");
    assert_eq!(books.len(), 10, "{author}");
    let mut genres: Vec<&Value> = books.iter().map(|book| &book["genre"]).collect();
    genres.sort_by_key(|genre| genre.as_str());
    genres.dedup();
    assert_eq!(author["genres"], json!(genres));
    assert_eq!(page_of(&example, page).0, 1000);
    assert_eq!(page_of(&example, page).1, 20);

    for (path, status) in [
        ("/author/1001", 404),
        ("/author/17x", 404),
        ("/author?limit=0", 422),
        ("/author?limit=101", 422),
        ("/author?offset=-1", 422),
        ("/author?offset=1;drop", 422),
        ("/author?page=2", 422),
    ] {
        assert_eq!(example.through(path, &[]).status, status, "{path}");
        assert_eq!(example.direct(path, &[]).status, status, "{path}");
    }

    for (body, status) in [
        (json!({}), 422),
        (json!({"name": " "}), 422),
        (json!({"name": "x", "born": "1900"}), 422),
        (json!({"name": "x", "id": 3}), 422),
        (
            json!({"name": "x", "books": [{"title": "t", "year": 2000, "genre": "none"}]}),
            422,
        ),
        (json!({"name": "a".repeat(101)}), 422),
    ] {
        let answer = example.through("/author", &["--data", &body.to_string()]);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    assert_eq!(
        page_of(&example, page).0,
        1000,
        "what is refused changes nothing"
    );

    // Each new author is there at once, by itself and in the total of a page that was known.
    for number in 1..=5 {
        let book = json!({"title": "A title", "year": 2001, "genre": "Essay"});
        let new = json!({"name": format!("New {number}"), "born": 1970, "books": [book]});
        learned(&example, page);
        let answer = example.through("/author", &["--data", &new.to_string()]);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let at = answer.field("location").expect("a Location").to_owned();
        let seen = example.through(&at, &[]).json();
        assert_eq!(seen["name"], new["name"]);
        assert_eq!(seen["genres"], json!(["Essay"]));
        assert_eq!(page_of(&example, page).0, 1000 + number);
        assert_eq!(example.direct(&at, &[]).json(), seen);
    }
    let log = example.log();
    assert!(
        !log.contains("Traceback") && !log.contains("purge"),
        "{log}"
    );
    example.stop();
}

/// Writers tell how many of their authors are acknowledged; readers ask for a page after that and must see as many.
#[test]
fn nobody_sees_the_state_before_a_post_that_was_answered() {
    let example = Example::start(
        "bookstore",
        &["serve", "--authors", "1000", "--database", "sqlite"],
    );
    let deadline = Deadline::after(lasting(Duration::from_secs(4), Duration::from_secs(60)));
    let (acknowledged, pages) = (AtomicU64::new(0), AtomicU64::new(0));
    let page = "/author?limit=1&offset=7";
    // Each on a connection of its own: one that was handed over stays with the server.
    let from = example.client();
    let ask = |request: String| {
        let mut client = Client::new(from.connect(80).expect("connects"));
        client.send(request).expect("sent");
        client.answer().expect("answered")
    };
    let get = |path: &str| {
        let answer = ask(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        serde_json::from_slice::<Value>(&answer.body).expect("JSON")
    };
    let read = || {
        let least = 1000 + acknowledged.load(Ordering::SeqCst);
        let total = get(page)["total"].as_u64().expect("a total");
        assert!(
            total >= least,
            "{least} were there before the request, but it shows {total}"
        );
        pages.fetch_add(1, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (ask, get, read, acknowledged) = (&ask, &get, &read, &acknowledged);
            scope.spawn(move || {
                for number in 0.. {
                    let body = json!({"name": format!("Writer {writer} {number}")}).to_string();
                    let answer = ask(format!(
                        "POST /author HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ));
                    assert_eq!(answer.status, 201, "{}", answer.head);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    let location = answer.field("location").expect("a Location");
                    assert_eq!(get(location)["name"], format!("Writer {writer} {number}"));
                    // Several looks at each state, so that it is learned.
                    for _ in 0..5 {
                        read();
                    }
                    if deadline.passed() {
                        break;
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while !deadline.passed() {
                    read();
                }
            });
        }
    });
    let (posts, pages) = (acknowledged.into_inner(), pages.into_inner());
    eprintln!(
        "{posts} posts, {pages} pages read, {} answers by the fast path",
        example.hits()
    );
    assert!(posts > 10 && pages > 100, "{posts} posts, {pages} pages");
    assert!(example.hits() > 10, "{} hits", example.hits());
    assert_eq!(page_of(&example, page).0, 1000 + posts);
    example.stop();
}

#[test]
fn what_is_known_is_answered_when_the_app_is_dead() {
    let server = ["serve", "--authors", "1000", "--database", "sqlite"];
    let brief = [("BOOKSTORE_SHARED_SECONDS", "1")];
    let example = Example::start_with("bookstore", &server, &brief);
    let known = ["/author/17", "/author?limit=20&offset=500"];
    let bodies = known.map(|path| learned(&example, path));
    example.kill_server("gunicorn");
    // For longer than they are fresh, and stale while they are asked for again, and their origin is asked: 1 s each.
    let deadline = Deadline::after(Duration::from_secs(5));
    while !deadline.passed() {
        for (path, body) in known.iter().zip(&bodies) {
            let answer = example.through(path, &[]);
            assert_eq!(
                (answer.status, &answer.body),
                (200, body),
                "{path}: {}",
                answer.head
            );
        }
        assert_eq!(
            example.through("/author/18", &[]).status,
            503,
            "nobody knows it"
        );
    }
    let refused = example.through("/author", &["--data", "{}"]);
    assert_eq!(refused.status, 503);
    example.stop();
}

/// Asks for `path` until the fast path answers it, and returns that answer's body.
fn learned(example: &Example, path: &str) -> String {
    wait_for(PATIENCE, &format!("{path} is learned"), || {
        let before = example.hits();
        let answer = example.through(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        (example.hits() > before).then_some(answer.body)
    })
}

/// The total that a page tells, and the authors on it.
fn page_of(example: &Example, path: &str) -> (u64, usize) {
    let page = example.through(path, &[]).json();
    let authors = page["authors"].as_array().map(Vec::len);
    (
        page["total"].as_u64().expect("a total"),
        authors.expect("authors"),
    )
}
