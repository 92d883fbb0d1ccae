//! What is answered from the store is found, judged and written without an allocation.

use sidestep::cache::Learner;
use sidestep::http::{Parsed, parse};
use sidestep::route::{self, Decision};
use sidestep::store::{ConnectionField, Live, Rendering, Snapshot};
use sidestep::worker::{Clock, Now};
use sidestep_config::{Config, Fallback};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::server::origin::answer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Each as often as this; an allocation that is made once for many would show as well.
const TIMES: usize = 1000;

/// What becomes of a request, and the first bytes of its answer.
fn serve(snapshot: &Snapshot, request: &[u8], now: Now, buf: &mut [u8]) -> Option<u32> {
    let Parsed::Complete { head, .. } = parse(request, 0, 4096) else {
        return None;
    };
    match route::decide(snapshot, &head, Fallback::Kernel, now).1 {
        Decision::Serve { response, form, .. } => {
            let rendering = Rendering {
                id: response,
                date: now.unix,
                connection: ConnectionField::of(&head, false),
                form,
            };
            let len = snapshot.len(&rendering);
            let len = len.min(buf.len() as u32);
            snapshot.fill(&rendering, 0, &mut buf[..len as usize]);
            Some(len)
        }
        Decision::HandOff(_) | Decision::Refuse(_) => None,
    }
}

/// An origin that answers one request on each connection, on the port that is returned.
fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let fields = [
                "Cache-Control: max-age=3600",
                "Vary: Accept-Encoding, Accept-Language",
                "ETag: \"one\"",
                "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
                "Content-Type: text/plain",
                "Connection: close",
            ];
            let _ = stream.write_all(answer(200, &fields, "learned").as_bytes());
        }
    });
    port
}

/// The only test here: others would allocate at the same time.
#[test]
fn nothing_is_allocated_for_an_answer_from_the_store() {
    let root = tempfile::tempdir().expect("a directory");
    let text = "a line of text\n".repeat(1000);
    std::fs::write(root.path().join("file.txt"), text).expect("written");
    let config = format!(
        "[[site]]\nhosts = [\"*\", \"Example.org\"]\n\
         [[site.response]]\npath = \"/ping\"\nbody = \"pong\"\n\
         [[site.cache]]\npath = \"/learned/*\"\norigin = \"http://127.0.0.1:{}\"\n\
         [[site.static]]\npath = \"/\"\nroot = {:?}\ncompress = \"auto\"\n",
        origin(),
        root.path()
    );
    let config = Config::parse(&config, "t").unwrap_or_else(|e| panic!("{e}"));
    let live = Arc::new(Live::new(Snapshot::build(&config).expect("builds")));
    let learner = Learner::start(&live).expect("starts");
    let clock = Clock::start();
    let mut buf = [0; 2048];
    let learned = b"GET /learned/x HTTP/1.1\r\nHost: h:80\r\nAccept-Language: de\r\nAccept-Encoding: gzip, br\r\n\r\n";
    wait_for(PATIENCE, "the answer is learned", || {
        serve(&live.current().get(), learned, clock.now(), &mut buf)
    });
    // What is left of it runs on no thread.
    drop(learner);
    let snapshot = live.current().get();
    let etag = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut buf = [0; 1024];
        serve(&snapshot, request.as_bytes(), clock.now(), &mut buf).expect("served");
        let text = String::from_utf8_lossy(&buf).into_owned();
        let behind = text.split("ETag: ").nth(1).expect("a tag");
        behind.split("\r\n").next().unwrap_or_default().to_owned()
    };
    let (ping, file) = (etag("/ping"), etag("/file.txt"));
    let select = "Host: h\r\nAccept-Language: de\r\nAccept-Encoding: br, gzip;q=0.5";
    // (request, how its answer begins)
    let table = [
        ("GET /ping HTTP/1.1\r\nHost: h".to_owned(), "HTTP/1.1 200"),
        (
            format!("GET /ping HTTP/1.1\r\nHost: h\r\nIf-None-Match: {ping}"),
            "HTTP/1.1 304",
        ),
        (
            "GET /file.txt HTTP/1.1\r\nHost: EXAMPLE.org:80".to_owned(),
            "HTTP/1.1 200",
        ),
        (
            "GET /%66ile.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9".to_owned(),
            "HTTP/1.1 206",
        ),
        (
            "GET /file.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=99999-".to_owned(),
            "HTTP/1.1 416",
        ),
        (
            format!("GET /file.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"a\", {file}"),
            "HTTP/1.1 304",
        ),
        (
            format!("GET /file.txt HTTP/1.1\r\nHost: h\r\nIf-Match: {file}"),
            "HTTP/1.1 200",
        ),
        (
            "GET /file.txt HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"
                .to_owned(),
            "HTTP/1.1 200",
        ),
        (
            "HEAD /file.txt HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, zstd;q=0.1".to_owned(),
            "HTTP/1.1 200",
        ),
        (
            format!("GET /learned/x HTTP/1.1\r\n{select}"),
            "HTTP/1.1 200",
        ),
        (
            format!("HEAD /learned/x HTTP/1.1\r\n{select}"),
            "HTTP/1.1 200",
        ),
        (
            format!("GET /learned/x HTTP/1.1\r\n{select}\r\nRange: bytes=1-2"),
            "HTTP/1.1 206",
        ),
        (
            format!("GET /learned/x HTTP/1.1\r\n{select}\r\nIf-None-Match: \"one\""),
            "HTTP/1.1 304",
        ),
        (
            format!(
                "GET /learned/x HTTP/1.1\r\n{select}\r\nIf-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"
            ),
            "HTTP/1.1 304",
        ),
    ];
    let now = clock.now();
    for (head, begins) in table {
        let request = head.clone() + "\r\n\r\n";
        let served = serve(&snapshot, request.as_bytes(), now, &mut buf);
        assert!(
            served.is_some() && buf.starts_with(begins.as_bytes()),
            "{head}"
        );
        let before = Region::new(ALLOCATOR);
        let mut answered = 0;
        for _ in 0..TIMES {
            answered += u32::from(serve(&snapshot, request.as_bytes(), now, &mut buf).is_some());
        }
        let change = before.change();
        let allocations = change.allocations + change.reallocations;
        assert_eq!((answered as usize, allocations), (TIMES, 0), "{head}");
    }
}
