//! Fields of answers.

use crate::error::Report;
use crate::{Charset, Header, raw};
use std::collections::HashMap;
use toml::Spanned;

/// Bounds the fields of a route, in bytes with names and separators. They stand in front of every answer: with more, a
/// head would take several segments, and far more would not fit the 16-bit offsets within a head.
const FIELDS: usize = 4096;

/// What is set for each answer from the answer itself.
const OURS: [&str; 12] = [
    "accept-ranges",
    "age",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "server",
    "allow",
    "vary",
];

/// What belongs to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// RFC 9110, 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(super) fn charset(name: Spanned<String>, report: &mut Report<'_>) -> Charset {
    match name.get_ref().as_str() {
        "auto" => Charset::Auto,
        "off" => Charset::Off,
        token => {
            if !is_token(token) {
                report.add(
                    name.span(),
                    format!("`{}` is not the name of a charset", token.escape_debug()),
                    r#"write "auto", "off", or a name of IANA's: "utf-8""#,
                );
            }
            Charset::Is(name.into_inner())
        }
    }
}

pub(super) fn headers(raw: raw::Headers, report: &mut Report<'_>) -> Vec<Header> {
    let mut seen = HashMap::new();
    let mut bytes = 0;
    let mut list = Vec::new();
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in raw {
        let lower = name.get_ref().to_ascii_lowercase();
        let shown = name.get_ref().escape_debug();
        bytes += name.get_ref().len() + value.get_ref().len() + ": \r\n".len();
        if !is_token(&lower) {
            let help = r#"write letters, digits and `-`: "Cache-Control""#;
            report.add(
                name.span(),
                format!("`{shown}` is not the name of a field"),
                help,
            );
        } else if OURS.contains(&lower.as_str()) {
            report.add(
                name.span(),
                format!("the field `{shown}` is set by sidestep"),
                "take it out; `content_type` and `charset` are keys of their own",
            );
        } else if HOP_BY_HOP.contains(&lower.as_str()) {
            report.add(
                name.span(),
                format!("the field `{shown}` belongs to the connection"),
                "take it out",
            );
        } else if let Some(first) = seen.insert(lower, name.span()) {
            let line = report.position(&first).line;
            report.add(
                name.span(),
                format!("the field `{shown}` was given before, in line {line}"),
                "keep one of the two; several values go into one, separated by commas",
            );
        }
        // RFC 9110, 5.5: no control characters; what is not ASCII means different things to different clients.
        let text = value.get_ref();
        if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) || text.trim() != text {
            report.add(
                value.span(),
                format!("`{}` cannot be the value of a field", text.escape_debug()),
                "write visible ASCII in one line, without space at its ends",
            );
        }
        if bytes > FIELDS {
            report.add(
                name.span(),
                format!("the fields up to this one take {bytes} bytes"),
                format!("keep them under {FIELDS} in all"),
            );
            break;
        }
        list.push(Header {
            name: name.into_inner(),
            value: value.into_inner(),
        });
    }
    list
}
