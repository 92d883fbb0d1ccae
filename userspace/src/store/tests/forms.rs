//! Every form of a response, as bytes and as a client reads them.

use super::super::response::{LayoutError, Parts, Response, Source};
use super::*;
use tcp_lite::wire::Sum;

const BODY: &[u8] = b"0123456789abcdefghij";
const FIELDS: [(&str, &[u8]); 7] = [
    ("Content-Type", b"text/plain"),
    ("ETag", b"\"abc\""),
    ("X-Own", b"1"),
    ("Last-Modified", b"Sat, 05 Nov 1994 08:49:37 GMT"),
    ("Vary", b"Accept-Encoding"),
    ("Accept-Ranges", b"bytes"),
    ("Cache-Control", b"max-age=60"),
];

fn response(source: Source) -> Response {
    let mut fields = FIELDS.to_vec();
    if source != Source::Own {
        fields.push(("Date", b"Sun, 06 Nov 1994 08:49:00 GMT"));
        fields.push(("Server", b"theirs"));
        // What is rendered anew or ends at the next hop.
        fields.extend::<[(&str, &[u8]); 4]>([
            ("age", b"7"),
            ("Connection", b"close"),
            ("Transfer-Encoding", b"chunked"),
            ("content-length", b"99"),
        ]);
    }
    Response::new(&Parts {
        status: 200,
        source,
        fields: &fields,
        body: BODY,
    })
    .unwrap()
}

fn of(form: Form, connection: ConnectionField) -> Rendering {
    Rendering {
        form,
        connection,
        ..rendering(ResponseId(0))
    }
}

fn whole(response: &Response, rendering: &Rendering) -> Vec<u8> {
    let mut bytes = vec![0; response.len(rendering) as usize];
    let sum = response.fill(rendering, 0, &mut bytes);
    assert_eq!(sum, Sum::of(&bytes), "{rendering:?}");
    bytes
}

const FORMS: [Form; 8] = [
    Form::Full,
    Form::Head,
    Form::NotModified,
    Form::Part { start: 0, end: 1 },
    Form::Part { start: 9, end: 13 },
    Form::Part { start: 19, end: 20 },
    Form::Part { start: 0, end: 20 },
    Form::Unsatisfiable,
];
const SOURCES: [Source; 4] = [
    Source::Own,
    Source::Learned { born: DATE },
    Source::Learned {
        born: DATE - 12_345,
    },
    // A clock that went back.
    Source::Learned { born: DATE + 5 },
];
const CONNECTIONS: [ConnectionField; 3] = [
    ConnectionField::None,
    ConnectionField::Close,
    ConnectionField::KeepAlive,
];

/// What a client reads: status, fields in lower case, and content.
type Read = (u16, Vec<(String, String)>, Vec<u8>);

fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = parsed.parse(bytes).unwrap() else {
        panic!("not a whole head: {:?}", String::from_utf8_lossy(bytes))
    };
    assert_eq!(parsed.version, Some(1));
    let mut fields: Vec<_> = parsed
        .headers
        .iter()
        .map(|h| {
            let value = String::from_utf8(h.value.to_vec()).unwrap();
            (h.name.to_ascii_lowercase(), value)
        })
        .collect();
    fields.sort();
    (parsed.code.unwrap(), fields, bytes[len..].to_vec())
}

/// What the form should be, put together from the parts in another way.
fn expected(source: Source, form: Form, connection: ConnectionField) -> Read {
    let body = match form {
        Form::Full => BODY,
        Form::Head | Form::NotModified => b"",
        Form::Part { start, end } => &BODY[start as usize..end as usize],
        Form::Unsatisfiable => b"416 Range Not Satisfiable\n",
    };
    let length = match form {
        Form::Head => BODY.len(),
        _ => body.len(),
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| fields.push((name.into(), value.into()));
    match source {
        Source::Own => {
            add("server", "sidestep");
            add("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        }
        Source::Learned { born } => {
            add("server", "theirs");
            add("date", "Sun, 06 Nov 1994 08:49:00 GMT");
            add("age", &DATE.saturating_sub(born).to_string());
        }
    }
    for (name, value) in FIELDS {
        let goes = match form {
            Form::Full | Form::Head | Form::Part { .. } => true,
            Form::NotModified => !["Content-Type", "Accept-Ranges"].contains(&name),
            Form::Unsatisfiable => false,
        };
        if goes {
            add(
                &name.to_ascii_lowercase(),
                std::str::from_utf8(value).unwrap(),
            );
        }
    }
    let length = length.to_string();
    match form {
        Form::Full | Form::Head => add("content-length", &length),
        Form::NotModified => {}
        Form::Part { start, end } => {
            add("content-length", &length);
            add("content-range", &format!("bytes {start}-{}/20", end - 1));
        }
        Form::Unsatisfiable => {
            add("content-length", &length);
            add("content-range", "bytes */20");
            add("content-type", "text/plain; charset=utf-8");
        }
    }
    match connection {
        ConnectionField::None => {}
        ConnectionField::Close => add("connection", "close"),
        ConnectionField::KeepAlive => add("connection", "keep-alive"),
    }
    fields.sort();
    (form.status(200), fields, body.to_vec())
}

#[test]
fn every_form_is_what_it_should_be() {
    for source in SOURCES {
        let response = response(source);
        for form in FORMS {
            for connection in CONNECTIONS {
                let bytes = whole(&response, &of(form, connection));
                let should = expected(source, form, connection);
                assert_eq!(read(&bytes), should, "{source:?} {form:?} {connection:?}");
            }
        }
    }
}

/// The sums of both parts hold wherever the second begins and the `Date` stands.
#[test]
fn sums_are_right_at_odd_places_too() {
    for source in SOURCES {
        for (server, value) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
            let server = "s".repeat(server);
            let value = "v".repeat(value);
            let fields: [(&str, &[u8]); 2] =
                [("Server", server.as_bytes()), ("X", value.as_bytes())];
            for status in [200, 404] {
                let body = &BODY[..7 + fields.len()];
                let parts = Parts {
                    status,
                    source,
                    fields: &fields,
                    body,
                };
                let response = Response::new(&parts).unwrap();
                for date in [0, 9, DATE, DATE + 1, u32::MAX] {
                    let rendering = Rendering {
                        date,
                        ..of(Form::Full, ConnectionField::None)
                    };
                    whole(&response, &rendering);
                }
            }
        }
    }
}

#[test]
fn every_offset_and_length_gives_the_same_bytes() {
    for source in SOURCES {
        let response = response(source);
        for (form, connection) in FORMS
            .into_iter()
            .flat_map(|form| CONNECTIONS.map(|connection| (form, connection)))
        {
            let rendering = of(form, connection);
            let whole = whole(&response, &rendering);
            let check = |offset: usize, end: usize| {
                let mut part = vec![0xaa; end - offset + 1];
                let (buf, guard) = part.split_at_mut(end - offset);
                let sum = response.fill(&rendering, offset as u32, buf);
                assert_eq!(sum, Sum::of(buf), "{rendering:?} {offset}..{end}");
                assert_eq!(buf, &whole[offset..end], "{rendering:?} {offset}..{end}");
                assert_eq!(guard, [0xaa]);
            };
            // One byte at each place, from each place to the end, and some others.
            for offset in 0..whole.len() {
                check(offset, offset + 1);
                check(offset, whole.len());
            }
            let mut random = fastrand::Rng::with_seed(1);
            for _ in 0..500 {
                let offset = random.usize(0..=whole.len());
                check(offset, random.usize(offset..=whole.len()));
            }
            // Behind the end nothing is written.
            let mut behind = [0xaa; 8];
            response.fill(&rendering, whole.len() as u32, &mut behind);
            response.fill(&rendering, u32::MAX, &mut behind);
            assert_eq!(behind, [0xaa; 8]);
        }
    }
}

#[test]
fn validators_are_those_of_the_fields() {
    let response = response(Source::Own);
    let validators = response.validators();
    assert_eq!(validators.etag, Some(&b"\"abc\""[..]));
    assert_eq!(validators.last_modified, Some(DATE - 86_400));
    assert_eq!((response.status(), response.body()), (200, BODY));
    let bare = |fields: &[(&str, &[u8])]| {
        let response = Response::new(&Parts {
            status: 200,
            source: Source::Own,
            fields,
            body: b"",
        });
        response.unwrap().validators().last_modified
    };
    assert_eq!(bare(&[]), None);
    assert_eq!(bare(&[("Last-Modified", b"yesterday")]), None);
    // The first second of all stands for no time.
    let first = bare(&[("Last-Modified", b"Thu, 01 Jan 1970 00:00:00 GMT")]);
    assert_eq!(first, None);
}

#[test]
fn what_cannot_be_a_response_is_refused() {
    let with = |name: &str, value: &[u8]| {
        let fields = &[(name, value)];
        Response::new(&Parts {
            status: 200,
            source: Source::Own,
            fields,
            body: b"",
        })
        .err()
    };
    for (name, value) in [
        ("X", &b"a\r\nY: b"[..]),
        ("X", b"a\n"),
        ("X", b"\0"),
        ("X y", b"a"),
        ("", b"a"),
        ("X\r\nY", b"a"),
    ] {
        assert_eq!(
            with(name, value),
            Some(LayoutError::BadField),
            "{name:?} {value:?}"
        );
    }
    assert_eq!(with("X", &[b'a'; 60_000]), None);
    assert_eq!(with("X", &[b'a'; 70_000]), Some(LayoutError::HeadTooLong));
}
