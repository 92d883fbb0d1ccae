//! A tree of files, as frames: its forms, its variants, its page of a 404.

use super::{assert_all_frames_home, open};
use sidestep_tests::mem::MemHost;

const TEXT: &str = "one line of text, again and again\n";

/// A host that serves a tree with a page of a 404 and a script of 40 lines.
fn host() -> (MemHost, tempfile::TempDir) {
    let root = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text);
    write("404.html", "<p>gone").expect("written");
    write("a.js", &TEXT.repeat(40)).expect("written");
    let config = format!(
        "[[listen]]\naddress = \"192.0.2.1\"\nfallback = \"none\"\n[[site]]\n[[site.static]]\npath = \"/\"\n\
         root = {:?}\nnot_found = \"404.html\"\ncompress = \"auto\"\n[limits]\nconnections = 100",
        root.path()
    );
    (MemHost::new(&config, 64, 64), root)
}

/// Asks on one connection; each answer is taken apart at its empty line.
fn ask(host: &mut MemHost, port: u16, requests: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let mut conn = open(host, port);
    let mut answers = Vec::new();
    for (target, fields) in requests {
        let text = format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
        let answer = conn.request(host, text.as_bytes());
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.expect("the end of a head") + 4;
        let head = String::from_utf8(answer[..end].to_vec()).expect("text");
        answers.push((head, answer[end..].to_vec()));
    }
    answers
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_default()
}

#[test]
fn what_is_not_there_gets_the_page_of_its_route() {
    let (mut host, _root) = host();
    let asked = [
        ("/x", ""),
        ("/a.js/x", "If-None-Match: *\r\n"),
        ("/%00", ""),
    ];
    let answers = ask(&mut host, 4000, &asked);
    for (head, body) in &answers[..2] {
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert_eq!(body, b"<p>gone");
    }
    let (head, _) = &answers[2];
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_all_frames_home(&mut host);
}

#[test]
fn a_variant_is_a_representation_with_a_state_of_its_own() {
    let (mut host, _root) = host();
    let gzip = "Accept-Encoding: gzip\r\n";
    let answers = ask(&mut host, 4000, &[("/a.js", ""), ("/a.js", gzip)]);
    let [(plain, text), (coded, bytes)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(*text, TEXT.repeat(40).into_bytes());
    assert_eq!(field(coded, "Content-Encoding"), "gzip");
    assert!(bytes.len() < text.len() / 4);
    assert_eq!(field(coded, "Content-Length"), bytes.len().to_string());
    for head in [plain, coded] {
        assert_eq!(field(head, "Vary"), "Accept-Encoding");
        assert_eq!(
            field(head, "Content-Type"),
            "text/javascript; charset=utf-8"
        );
    }
    let (one, other) = (field(plain, "ETag"), field(coded, "ETag"));
    assert_ne!(one, other);
    let if_none = |tag: &str, more: &str| format!("If-None-Match: {tag}\r\n{more}");
    let part = format!("Range: bytes=2-5\r\nIf-Range: {other}\r\n{gzip}");
    let behind = format!("Range: bytes={}-\r\n{gzip}", bytes.len());
    let answers = ask(
        &mut host,
        4001,
        &[
            ("/a.js", &if_none(one, "")),
            ("/a.js", &if_none(other, gzip)),
            ("/a.js", &if_none(one, gzip)),
            ("/a.js", &part),
            ("/a.js", &behind),
        ],
    );
    let statuses: Vec<&str> = answers.iter().map(|(head, _)| &head[9..12]).collect();
    assert_eq!(statuses, ["304", "304", "200", "206", "416"]);
    assert_eq!(field(&answers[1].0, "ETag"), other);
    assert_eq!(answers[2].1, *bytes);
    assert_eq!(answers[3].1, bytes[2..6]);
    let range = format!("bytes 2-5/{}", bytes.len());
    assert_eq!(field(&answers[3].0, "Content-Range"), range);
    assert_eq!(field(&answers[3].0, "Content-Encoding"), "gzip");
    let none = format!("bytes */{}", bytes.len());
    assert_eq!(field(&answers[4].0, "Content-Range"), none);
    assert_all_frames_home(&mut host);
}
