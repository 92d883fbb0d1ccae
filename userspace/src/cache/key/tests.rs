use super::*;

fn fields(lines: &str) -> Box<[u8]> {
    lines.replace('|', "\r\n").into_bytes().into()
}

fn asked<'a>(authority: &'a str, path: &'a str, query: Option<&'a str>) -> Asked<'a> {
    Asked {
        route: CacheId(1),
        authority: authority.as_bytes(),
        path: path.as_bytes(),
        query: query.map(str::as_bytes),
    }
}

#[test]
fn a_key_is_host_and_target_and_nothing_else_is_the_same() {
    let state = RandomState::default();
    let one = asked("Example.org:8080", "/a", Some("b=c"));
    let key = one.to_key();
    assert_eq!(key.target(), b"/a?b=c");
    assert_eq!(key.authority(), b"example.org:8080");
    let same = asked("eXAMPLE.ORG:8080", "/a", Some("b=c"));
    assert!(key.is(&one) && key.is(&same) && key.is(&key.asked()));
    assert_eq!(one.hash(&state), same.hash(&state));
    assert_eq!(one.hash(&state), key.asked().hash(&state));
    for other in [
        asked("example.org", "/a", Some("b=c")),
        asked("example.org:8080", "/a", None),
        asked("example.org:8080", "/a", Some("")),
        asked("example.org:8080", "/a", Some("B=c")),
        asked("example.org:8080", "/A", Some("b=c")),
        asked("example.org:8080", "/%61", Some("b=c")),
        asked("example.org:8080", "/a?b=c", None),
        Asked {
            route: CacheId(2),
            ..one
        },
    ] {
        assert!(!key.is(&other), "{other:?}");
    }
    // No query is not an empty one.
    let empty = asked("example.org", "/a", Some("")).to_key();
    assert!(!empty.is(&asked("example.org", "/a", None)));
    assert_eq!(empty.target(), b"/a?");
}

#[test]
fn the_port_that_http_means_anyway_makes_no_difference() {
    // (as sent, as it is kept, its host)
    let table = [
        ("h", "h", "h"),
        ("h:80", "h", "h"),
        ("h:", "h", "h"),
        ("h:81", "h:81", "h"),
        ("h:8080", "h:8080", "h"),
        ("h:443", "h:443", "h"),
        ("192.0.2.1:80", "192.0.2.1", "192.0.2.1"),
        ("[2001:db8::80]", "[2001:db8::80]", "[2001:db8::80]"),
        ("[2001:db8::80]:80", "[2001:db8::80]", "[2001:db8::80]"),
        ("[2001:db8::80]:81", "[2001:db8::80]:81", "[2001:db8::80]"),
        (":80", "", ""),
        ("", "", ""),
    ];
    for (sent, kept, name) in table {
        assert_eq!(without_default_port(sent.as_bytes()), kept.as_bytes());
        assert_eq!(host(sent.as_bytes()), name.as_bytes());
    }
}

#[test]
fn request_fields_are_the_same_when_their_lines_joined_are() {
    // (of the stored answer's request, of this one, the same)
    let table = [
        ("x: a|", "x: a|", true),
        ("x: a|", "X:   a  |", true),
        ("x: a|y: b|", "y: c|x: a|", true),
        ("", "", true),
        ("", "y: a|", true),
        ("x: a|", "", false),
        ("", "x: a|", false),
        ("", "x:|", false),
        ("x:|", "x:|", true),
        ("x: a|", "x: A|", false),
        ("x: a|", "x: a|x: b|", false),
        ("x: a|x: b|", "x: a|", false),
        ("x: a|x: b|", "x: a, b|", true),
        ("x: a, b|", "x: a|x: b|", true),
        ("x: a|x: b|", "x: b|x: a|", false),
        ("x: ab|", "x: a|x: b|", false),
    ];
    let name = HeaderName::from_static("x");
    for (stored, now, same) in table {
        let (stored, now) = (fields(stored), fields(now));
        let selector = Selector::of(&name, FieldLines::of_checked(&stored));
        let now = FieldLines::of_checked(&now);
        assert_eq!(selector.matches(now), same, "{stored:?} {now:?}");
        assert_eq!(
            Selector::of(&name, now) == selector,
            same,
            "{stored:?} {now:?}"
        );
    }
}

#[test]
fn of_accept_encoding_only_gzip_counts() {
    let table = [
        ("", "identity"),
        ("accept-encoding: gzip|", "gzip"),
        ("accept-encoding: br;q=1.0, gzip;q=0.5|", "gzip"),
        ("accept-encoding: br|accept-encoding: GZIP|", "gzip"),
        ("accept-encoding: *|", "gzip"),
        ("accept-encoding: gzip;q=0|", "identity"),
        ("accept-encoding: gzip;q=0.1, identity|", "identity"),
        ("accept-encoding: br|", "identity"),
        ("accept-encoding: ;;|", "identity"),
    ];
    for (lines, expected) in table {
        let lines = fields(lines);
        let seen = coding(FieldLines::of_checked(&lines));
        assert_eq!(seen, expected.as_bytes(), "{lines:?}");
        let selector = Selector::of(&header::ACCEPT_ENCODING, FieldLines::of_checked(&lines));
        assert!(selector.matches(FieldLines::of_checked(&lines)));
    }
}
