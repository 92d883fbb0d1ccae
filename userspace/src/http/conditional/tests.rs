use super::*;
use crate::http::{Parsed, parse};
use Verdict::{Failed, Holds, NotModified};

/// 2026-01-01 00:00:00 UTC.
const NOW: u32 = 1_767_225_600;

/// `Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT`
const MODIFIED: u32 = 784_111_777;

const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const SAME_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
const SAME_C: &str = "Sun Nov  6 08:49:37 1994";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn with_head<T>(method: &str, fields: &[String], then: impl FnOnce(&Head<'_>) -> T) -> T {
    let text = format!(
        "{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        fields
            .iter()
            .map(|field| format!("{field}\r\n"))
            .collect::<String>()
    );
    match parse(text.as_bytes(), 0, 4096) {
        Parsed::Complete { head, .. } => then(&head),
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// Fields in short: `M` If-Match, `N` If-None-Match, `S` If-Modified-Since, `U` If-Unmodified-Since, `R` If-Range.
fn spelled(short: &[&str]) -> Vec<String> {
    short
        .iter()
        .map(|field| {
            let (name, value) = field.split_once(' ').unwrap_or((field, ""));
            let name = match name {
                "M" => "If-Match",
                "N" => "if-none-match",
                "S" => "If-Modified-Since",
                "U" => "IF-UNMODIFIED-SINCE",
                "R" => "If-Range",
                other => panic!("{other}"),
            };
            let value = match value {
                "same" => SAME,
                "same850" => SAME_850,
                "samec" => SAME_C,
                "before" => BEFORE,
                "later" => LATER,
                value => value,
            };
            format!("{name}: {value}")
        })
        .collect()
}

#[test]
fn preconditions_of_a_get() {
    let strong = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(MODIFIED),
    };
    let weak = Validators {
        etag: Some(b"W/\"a\""),
        ..strong
    };
    let undated = Validators {
        last_modified: None,
        ..strong
    };
    let none = Validators {
        etag: None,
        last_modified: None,
    };
    let table: &[(&Validators<'_>, &[&str], Verdict)] = &[
        (&strong, &[], Holds),
        // RFC 9110, 13.1.1: If-Match, by strong comparison.
        (&strong, &["M \"a\""], Holds),
        (&strong, &["M \"b\""], Failed),
        (&strong, &["M \"A\""], Failed),
        (&strong, &["M \"b\", \"a\""], Holds),
        (&strong, &["M \"b\",\"a\""], Holds),
        (&strong, &["M , ,\"a\" ,"], Holds),
        (&strong, &["M \"b\"", "M \"a\""], Holds),
        (&strong, &["M *"], Holds),
        (&none, &["M *"], Holds),
        (&none, &["M \"a\""], Failed),
        (&strong, &["M W/\"a\""], Failed),
        (&weak, &["M W/\"a\""], Failed),
        (&weak, &["M \"a\""], Failed),
        (&weak, &["M *"], Holds),
        // 13.1.2: If-None-Match, by weak comparison.
        (&strong, &["N \"a\""], NotModified),
        (&strong, &["N W/\"a\""], NotModified),
        (&weak, &["N \"a\""], NotModified),
        (&weak, &["N W/\"a\""], NotModified),
        (&strong, &["N \"b\""], Holds),
        (&strong, &["N \"b\", W/\"a\", \"c\""], NotModified),
        (&strong, &["N \"b\"", "N \"a\""], NotModified),
        (&strong, &["N *"], NotModified),
        (&none, &["N *"], NotModified),
        (&none, &["N \"a\""], Holds),
        // 8.8.3: an entity tag may hold commas, and every character but a quote and spaces.
        (&strong, &["N \"b,c\", \"a\""], NotModified),
        (&strong, &["N \"\", \"a\""], NotModified),
        (&strong, &["N \"\u{e9}!#~*\\\", \"a\""], NotModified),
        // What is no list of entity tags names nothing.
        (&strong, &["N"], Holds),
        (&strong, &["M"], Failed),
        (&strong, &["N a"], Holds),
        (&strong, &["M a"], Failed),
        (&strong, &["N \"a"], Holds),
        (&strong, &["N a\""], Holds),
        (&strong, &["N w/\"a\""], Holds),
        (&strong, &["N W\"a\""], Holds),
        (&strong, &["N W/ \"a\""], Holds),
        (&strong, &["N \"a\" \"b\""], Holds),
        (&strong, &["N \"a\"\"b\""], Holds),
        (&strong, &["N \"a\", b"], Holds),
        (&strong, &["M \"a\", b"], Failed),
        (&strong, &["N \"a\"", "N b"], Holds),
        (&strong, &["N \"a\";\"b\""], Holds),
        (&strong, &["N \"b c\", \"a\""], Holds),
        (&strong, &["N *, \"b\""], Holds),
        (&strong, &["N *", "N *"], Holds),
        (&strong, &["M *, \"b\""], Failed),
        (&strong, &["N **"], Holds),
        (&strong, &["N \"*\""], Holds),
        // 13.1.3: If-Modified-Since, in all forms of a date (5.6.7).
        (&strong, &["S same"], NotModified),
        (&strong, &["S same850"], NotModified),
        (&strong, &["S samec"], NotModified),
        (&strong, &["S later"], NotModified),
        (&strong, &["S before"], Holds),
        (&undated, &["S later"], Holds),
        (&strong, &["S yesterday"], Holds),
        (&strong, &["S"], Holds),
        (&strong, &["S later", "S later"], Holds),
        (
            &strong,
            &["S Mon, 07 Nov 1994 08:49:37 GMT, Mon, 07 Nov 1994 08:49:37 GMT"],
            Holds,
        ),
        // 13.1.4: If-Unmodified-Since.
        (&strong, &["U same"], Holds),
        (&strong, &["U same850"], Holds),
        (&strong, &["U later"], Holds),
        (&strong, &["U before"], Failed),
        (&undated, &["U before"], Holds),
        (&strong, &["U yesterday"], Holds),
        (&strong, &["U before", "U before"], Holds),
        // 13.2.2, 1 and 2: If-Match is evaluated first, and instead of If-Unmodified-Since.
        (&strong, &["U before", "M \"a\""], Holds),
        (&strong, &["U later", "M \"b\""], Failed),
        (&strong, &["M a", "U later"], Failed),
        // 13.2.2, 1 and 3: then If-None-Match.
        (&strong, &["N \"a\"", "M \"b\""], Failed),
        (&strong, &["N \"a\"", "M \"a\""], NotModified),
        (&strong, &["N \"b\"", "M \"a\""], Holds),
        (&strong, &["N \"a\"", "U before"], Failed),
        (&strong, &["N \"a\"", "U same"], NotModified),
        // 13.2.2, 3 and 4: If-None-Match instead of If-Modified-Since.
        (&strong, &["S later", "N \"b\""], Holds),
        (&strong, &["S before", "N \"a\""], NotModified),
        (&strong, &["S later", "N b"], Holds),
        // 13.2.2, 2 and 4.
        (&strong, &["S same", "U before"], Failed),
        (&strong, &["S same", "U same"], NotModified),
        (&strong, &["S before", "U same"], Holds),
        // 13.2.2, 5: If-Range is no condition of the answer.
        (&strong, &["R \"b\""], Holds),
        (&strong, &["R \"b\"", "N \"a\""], NotModified),
    ];
    for &(validators, short, verdict) in table {
        let fields = spelled(short);
        for method in ["GET", "HEAD"] {
            let got = with_head(method, &fields, |head| evaluate(head, validators, NOW));
            assert_eq!(got, verdict, "{method} {short:?} {validators:?}");
        }
        // 13.1.2 and 13.1.3: other methods know no 304.
        let other = match (verdict, short.iter().any(|field| field.starts_with('N'))) {
            (NotModified, true) => Failed,
            (NotModified, false) => Holds,
            (verdict, _) => verdict,
        };
        let got = with_head("PUT", &fields, |head| evaluate(head, validators, NOW));
        assert_eq!(got, other, "PUT {short:?} {validators:?}");
    }
}

#[test]
fn if_range() {
    let strong = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(MODIFIED),
    };
    let weak = Validators {
        etag: Some(b"W/\"a\""),
        ..strong
    };
    let none = Validators {
        etag: None,
        last_modified: None,
    };
    let table: &[(&Validators<'_>, &[&str], bool)] = &[
        (&strong, &[], true),
        (&none, &[], true),
        (&strong, &["N \"b\""], true),
        // RFC 9110, 13.1.5: an entity tag, by strong comparison.
        (&strong, &["R \"a\""], true),
        (&strong, &["R \"b\""], false),
        (&strong, &["R W/\"a\""], false),
        (&weak, &["R W/\"a\""], false),
        (&weak, &["R \"a\""], false),
        (&none, &["R \"a\""], false),
        // 13.1.5: a date, exactly the one.
        (&strong, &["R same"], true),
        (&strong, &["R same850"], true),
        (&strong, &["R samec"], true),
        (&strong, &["R later"], false),
        (&strong, &["R before"], false),
        (&none, &["R same"], false),
        // Neither.
        (&strong, &["R"], false),
        (&strong, &["R *"], false),
        (&strong, &["R a"], false),
        (&strong, &["R \"a\", \"b\""], false),
        (&strong, &["R \"a\"x"], false),
        (&none, &["R yesterday"], false),
        (&strong, &["R \"a\"", "R \"a\""], false),
    ];
    for &(validators, short, applies) in table {
        let got = with_head("GET", &spelled(short), |head| {
            range_applies(head, validators, NOW)
        });
        assert_eq!(got, applies, "{short:?} {validators:?}");
    }
}
