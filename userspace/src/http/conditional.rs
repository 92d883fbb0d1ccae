//! Preconditions (RFC 9110, 13).

use super::{Flags, Head, Method, date};
use crate::store::Validators;

/// What preconditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They hold, or there are none.
    Holds,
    /// What the client has is still right: 304.
    NotModified,
    /// 412
    Failed,
}

/// Evaluates the preconditions of `head` against a representation that there is, in the order of RFC 9110, 13.2.2;
/// `If-Range` is [`range_applies`]. `now` is in seconds since 1970-01-01 00:00:00 UTC.
///
/// Only for what would be answered with 2xx without them (13.2.1). A field that is wrong is as if it named a
/// representation that there never was: `If-Match` fails, `If-None-Match` holds; a date that is none is ignored.
pub fn evaluate(head: &Head<'_>, validators: &Validators<'_>, now: u32) -> Verdict {
    if !head.flags.has(Flags::CONDITIONAL) {
        return Verdict::Holds;
    }
    let fields = &head.fields;
    let is_read = matches!(head.method, Method::Get | Method::Head);
    // Date of the only field `name`, and the one that the representation is from.
    let dates = |name| {
        let client = date::parse(only(fields.all(name))?, now)?;
        Some((client, i64::from(validators.last_modified?)))
    };
    match any_of(fields.all("if-match"), validators.etag, strong) {
        Some(false) => return Verdict::Failed,
        Some(true) => {}
        None => {
            if dates("if-unmodified-since").is_some_and(|(client, own)| own > client) {
                return Verdict::Failed;
            }
        }
    }
    match any_of(fields.all("if-none-match"), validators.etag, weak) {
        Some(true) if is_read => Verdict::NotModified,
        Some(true) => Verdict::Failed,
        Some(false) => Verdict::Holds,
        None => match dates("if-modified-since") {
            Some((client, own)) if is_read && own <= client => Verdict::NotModified,
            Some(_) | None => Verdict::Holds,
        },
    }
}

/// Whether `Range` counts as far as `If-Range` is concerned (RFC 9110, 13.1.5): there is none, or it names exactly the
/// representation that there is.
pub fn range_applies(head: &Head<'_>, validators: &Validators<'_>, now: u32) -> bool {
    if !head.flags.has(Flags::CONDITIONAL) {
        return true;
    }
    let mut fields = head.fields.all("if-range");
    let Some(first) = fields.next() else {
        return true;
    };
    if fields.next().is_some() {
        return false;
    }
    match entity_tag(first) {
        Some((tag, [])) => validators.etag.is_some_and(|own| strong(own, tag)),
        Some(_) => false,
        // A client may only send a date that it knows to be a strong validator (13.1.5, 8.8.2.2).
        None => {
            let own = validators.last_modified.map(i64::from);
            own.is_some() && date::parse(first, now) == own
        }
    }
}

/// Whether `own` is among the entity tags of `fields`, the values of all fields of a name; `None` if there is no such
/// field. `*` stands for any representation (RFC 9110, 13.1.1 and 13.1.2).
fn any_of<'b>(
    fields: impl Iterator<Item = &'b [u8]>,
    own: Option<&[u8]>,
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    let mut members = 0;
    let mut any = false;
    let mut found = false;
    let mut present = false;
    for field in fields {
        present = true;
        let mut rest = field;
        loop {
            rest = rest.trim_ascii_start();
            match rest {
                [] => break,
                [b',', after @ ..] => {
                    rest = after;
                    continue;
                }
                [b'*', after @ ..] => {
                    any = true;
                    rest = after;
                }
                _ => match entity_tag(rest) {
                    Some((tag, after)) => {
                        found |= own.is_some_and(|own| same(own, tag));
                        rest = after;
                    }
                    None => return Some(false),
                },
            }
            members += 1;
            rest = rest.trim_ascii_start();
            if !matches!(rest, [] | [b',', ..]) {
                return Some(false);
            }
        }
    }
    // `*` is alone or means nothing.
    present.then_some(if any { members == 1 } else { found })
}

/// The entity tag that `text` begins with, and what is behind it (RFC 9110, 8.8.3).
fn entity_tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let opaque = text
        .strip_prefix(b"W/")
        .unwrap_or(text)
        .strip_prefix(b"\"")?;
    let is_etagc = |b: &u8| *b == 0x21 || (0x23..=0x7e).contains(b) || *b >= 0x80;
    let len = opaque.iter().take_while(|b| is_etagc(b)).count();
    let rest = opaque[len..].strip_prefix(b"\"")?;
    Some(text.split_at(text.len() - rest.len()))
}

/// RFC 9110, 8.8.3.2
fn strong(a: &[u8], b: &[u8]) -> bool {
    a == b && a.first() == Some(&b'"')
}

/// RFC 9110, 8.8.3.2
fn weak(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag: &'_ [u8]| tag.strip_prefix(b"W/").map_or(0, |_| 2);
    a[opaque(a)..] == b[opaque(b)..]
}

/// The value of a field that is there once and has one member.
fn only<'b>(mut fields: impl Iterator<Item = &'b [u8]>) -> Option<&'b [u8]> {
    match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
