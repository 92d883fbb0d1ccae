//! Sites: hosts, routes, and that no two of them claim the same.

use super::fields::{charset, headers, is_token};
use super::{integer, longest, size};
use crate::error::Report;
use crate::name::{BadName, CachePath, HostPattern, Origin, url_path};
use crate::{CacheRoute, Charset, Header, ResponseRoute, Site, StaticRoute, raw};
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Bounds `max_object`. Offsets within a response are 32-bit and every object is held in memory: 1 GiB leaves the
/// offsets ample room for a head, and what is larger belongs to the server behind.
const MAX_OBJECT: RangeInclusive<u64> = 1..=1 << 30;

/// Bounds the times that something may be served for after it was fresh. More than a month is more likely a slip.
const MAX_STALE: Duration = Duration::from_secs(31 * 86_400);

/// Default of `write_hold`. It has to outlast the server's work on the request: a shorter one lets the answer of before
/// be learned again. Longer, and paths that are written to often are hardly ever served from the cache.
const WRITE_HOLD: Duration = Duration::from_secs(5);

/// Bounds `write_hold`. No server takes an hour for a request that its client waits for.
const MAX_WRITE_HOLD: Duration = Duration::from_secs(3600);

pub(super) fn sites(
    raw: Vec<Spanned<raw::Site>>,
    base: &Path,
    report: &mut Report<'_>,
) -> Vec<Site> {
    let mut hosts_seen = HashMap::new();
    let mut list = Vec::new();
    for entry in raw {
        let table = entry.span();
        let site = entry.into_inner();
        let hosts = match site.hosts {
            None => vec![Spanned::new(table, "*".to_owned())],
            Some(hosts) => {
                if hosts.get_ref().is_empty() {
                    report.add(
                        hosts.span(),
                        "the list of hosts is empty: nothing would reach this site",
                        r#"write ["*"] for every host, or leave `hosts` out"#,
                    );
                }
                hosts.into_inner()
            }
        };
        let mut patterns = Vec::new();
        for host in &hosts {
            let Some(pattern) = named(host, HostPattern::parse, report) else {
                continue;
            };
            claim(
                &mut hosts_seen,
                pattern.clone(),
                host.span(),
                &format!("the host `{pattern}`"),
                report,
            );
            patterns.push(pattern);
        }
        list.push(routes(
            patterns,
            site.statics,
            site.responses,
            site.caches,
            base,
            report,
        ));
    }
    list
}

/// What makes two routes of one site the same.
#[derive(PartialEq, Eq, Hash)]
enum RouteKey {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
}

fn routes(
    hosts: Vec<HostPattern>,
    statics: Vec<raw::Static>,
    responses: Vec<raw::Response>,
    caches: Vec<raw::Cache>,
    base: &Path,
    report: &mut Report<'_>,
) -> Site {
    let mut seen = HashMap::new();
    let mut site = Site {
        hosts,
        statics: Vec::new(),
        responses: Vec::new(),
        caches: Vec::new(),
    };
    for raw in statics {
        let path = named(&raw.path, url_path, report).map(|mut path| {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path
        });
        if let Some(path) = &path {
            claim_route(&mut seen, RouteKey::Prefix(path.clone()), &raw.path, report);
        }
        let root = base.join(raw.root.get_ref());
        if !root.is_dir() {
            report.add(
                raw.root.span(),
                format!("the root `{}` is not a directory", root.display()),
                "create it, or name one that exists; relative roots count from the directory of this file",
            );
        }
        let index = index(raw.index, report);
        let not_found = raw
            .not_found
            .and_then(|page| not_found(page, &root, report));
        let max_object = size(raw.max_object, 64 * 1024, MAX_OBJECT, "max_object", report);
        if let Some(path) = path {
            site.statics.push(StaticRoute {
                path,
                root,
                index,
                max_object,
                compress: raw.compress.unwrap_or_default(),
                charset: raw
                    .charset
                    .map_or(Charset::Auto, |name| charset(name, report)),
                headers: headers(raw.headers, report),
                not_found,
                follow_symlinks: raw.follow_symlinks,
                hidden: raw.hidden,
            });
        }
    }
    for raw in responses {
        let path = named(&raw.path, url_path, report);
        if let Some(path) = &path {
            claim_route(&mut seen, RouteKey::Exact(path.clone()), &raw.path, report);
        }
        let answer = response(
            path.unwrap_or_default(),
            raw.status,
            raw.content_type,
            raw.body,
            headers(raw.headers, report),
            report,
        );
        site.responses.push(answer);
    }
    for raw in caches {
        let path = named(&raw.path, CachePath::parse, report);
        let origin = named(&raw.origin, Origin::parse, report);
        let (Some(path), Some(origin)) = (path, origin) else {
            continue;
        };
        let key = match &path {
            CachePath::Exact(path) => RouteKey::Exact(path.clone()),
            CachePath::Prefix(path) => RouteKey::Prefix(path.clone()),
        };
        claim_route(&mut seen, key, &raw.path, report);
        // RFC 9111, 4.2.4: nothing stale is served unless it was asked for; nor are errors kept.
        let mut span = |raw, default, key| longest(raw, default, MAX_STALE, key, report);
        let none = Duration::ZERO;
        site.caches.push(CacheRoute {
            path,
            origin,
            ttl: raw.ttl,
            stale_while_revalidate: span(
                raw.stale_while_revalidate,
                none,
                "stale_while_revalidate",
            ),
            stale_if_error: span(raw.stale_if_error, none, "stale_if_error"),
            negative_ttl: span(raw.negative_ttl, none, "negative_ttl"),
            write_hold: longest(
                raw.write_hold,
                WRITE_HOLD,
                MAX_WRITE_HOLD,
                "write_hold",
                report,
            ),
            max_object: size(raw.max_object, 1 << 20, MAX_OBJECT, "max_object", report),
            public: raw.public,
        });
    }
    site
}

fn index(raw: Option<Spanned<String>>, report: &mut Report<'_>) -> String {
    let Some(index) = raw else {
        return "index.html".to_owned();
    };
    let name = index.get_ref();
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") {
        report.add(
            index.span(),
            format!(
                "the index `{}` is not the name of a file",
                name.escape_debug()
            ),
            r#"write a name without slashes: "index.html""#,
        );
    }
    index.into_inner()
}

/// A file below `root`; that it is one is checked, since a mistake here would only be seen by those who get the page.
fn not_found(page: Spanned<String>, root: &Path, report: &mut Report<'_>) -> Option<PathBuf> {
    let name = PathBuf::from(page.get_ref());
    let plain = name
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || !root.join(&name).is_file() {
        report.add(
            page.span(),
            format!(
                "the page `{}` is not a file below the root",
                page.get_ref().escape_debug()
            ),
            r#"write the path of one from the root: "404.html""#,
        );
        return None;
    }
    Some(name)
}

fn response(
    path: Vec<u8>,
    status: Option<Spanned<i64>>,
    content_type: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    headers: Vec<Header>,
    report: &mut Report<'_>,
) -> ResponseRoute {
    let status_span = status.as_ref().map(Spanned::span);
    let status: u16 = integer(status, 200, 200..=599, "status", report);
    // Answers to a range or a condition (RFC 9110, 15.3.7 and 15.4.5), which depend on the request.
    if let (206 | 304, Some(span)) = (status, status_span) {
        report.add(
            span,
            format!("status {status} cannot be a fixed answer"),
            "it depends on the request; choose another status",
        );
    }
    let content_type = match content_type {
        None => "text/plain; charset=utf-8".to_owned(),
        Some(text) => {
            if !is_media_type(text.get_ref()) {
                report.add(
                    text.span(),
                    format!("`{}` is not a media type", text.get_ref().escape_debug()),
                    r#"write type/subtype, e.g. "application/json""#,
                );
            }
            text.into_inner()
        }
    };
    // RFC 9110, 15.3.5 and 15.3.6: these have no content.
    if let (204 | 205, Some(body)) = (status, &body)
        && !body.get_ref().is_empty()
    {
        report.add(
            body.span(),
            format!("an answer with status {status} has no body"),
            "take the body out, or use 200",
        );
    }
    ResponseRoute {
        path,
        status,
        content_type,
        body: body.map_or_else(String::new, Spanned::into_inner),
        headers,
    }
}

/// RFC 9110, 8.3.1; parameters are only checked to be a field value.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or(text).trim_end();
    let types = essence
        .split_once('/')
        .is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    types && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && text.trim() == text
}

/// The parsed name, or its problem noted.
fn named<T>(
    text: &Spanned<String>,
    parse: fn(&str) -> Result<T, BadName>,
    report: &mut Report<'_>,
) -> Option<T> {
    parse(text.get_ref())
        .map_err(|BadName { what, help }| report.add(text.span(), what, help))
        .ok()
}

fn claim_route(
    seen: &mut HashMap<RouteKey, Range<usize>>,
    key: RouteKey,
    path: &Spanned<String>,
    report: &mut Report<'_>,
) {
    claim(
        seen,
        key,
        path.span(),
        &format!("the path `{}`", path.get_ref()),
        report,
    );
}

/// Notes a problem if `key` was claimed before.
fn claim<K: Eq + std::hash::Hash>(
    seen: &mut HashMap<K, Range<usize>>,
    key: K,
    span: Range<usize>,
    what: &str,
    report: &mut Report<'_>,
) {
    if let Some(first) = seen.get(&key) {
        let line = report.position(first).line;
        report.add(
            span,
            format!("{what} was given before, in line {line}"),
            "keep one of the two",
        );
    } else {
        seen.insert(key, span);
    }
}
