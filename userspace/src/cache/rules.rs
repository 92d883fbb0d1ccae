//! May an answer be stored, and how long may it be served? The rules of RFC 9111 for a shared cache, and of RFC 5861;
//! pure: fields and times in, a verdict out.
//!
//! Where the RFCs leave a choice, the careful side is taken:
//! - Nothing is stored whose lifetime nobody has stated: there is no heuristic (RFC 9111, 4.2.2 allows one).
//! - `no-cache` and `private` with field names count as without (5.2.2.4 and 5.2.2.7 allow it).
//! - An answer that would have to be validated before each use is not stored: the fast path never waits for the origin.
//! - Cache directives of requests are not looked at: they are advice (5.2.1), and the cache stands for the origin, whose
//!   load must not be up to any client. The fetches of this cache send none.

use crate::reason::NotStored;
use http::{HeaderMap, HeaderName, header};
use sidestep_config::Ttl;
use std::time::Duration;

/// What the operator has said about a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose word counts for the lifetime. A fixed one takes the place of what the origin says about freshness, and of
    /// nothing else: what must not be stored is not.
    pub ttl: Ttl,
    /// For answers that say nothing about it themselves (RFC 5861, 3).
    pub stale_while_revalidate: Duration,
    /// For answers that say nothing about it themselves (RFC 5861, 4).
    pub stale_if_error: Duration,
    /// Longest that an error may be kept; 0: none is.
    pub negative_ttl: Duration,
    /// `Cookie` and `Authorization` do not matter, also where `Vary` names them.
    pub public: bool,
}

/// The request of an exchange, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was sent, since 1970-01-01 00:00:00 UTC.
    pub at: Duration,
    /// It had `Authorization`.
    pub authorization: bool,
}

/// The head of the answer to a GET.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// When it came, since 1970-01-01 00:00:00 UTC.
    pub at: Duration,
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: &'a HeaderMap,
}

/// How long an answer may be served. All counts from when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its age when it came (corrected_initial_age of RFC 9111, 4.2.3).
    pub age: Duration,
    /// How long it stays fresh; 0 if it came stale.
    pub fresh: Duration,
    /// How long after that it may be served while it is fetched anew (RFC 5861, 3).
    pub revalidate: Duration,
    /// How long after it was fresh it may be served when the origin fails (RFC 5861, 4).
    pub if_error: Duration,
    /// The request fields that chose it (RFC 9111, 4.1), sorted, each once.
    pub vary: Vec<HeaderName>,
}

/// Longest lifetime that is told apart from forever: 2^31 seconds, as RFC 9111, 1.2.2 has it.
const FOREVER: u64 = 1 << 31;

/// Decides about an answer.
///
/// # Errors
/// Why it must not be stored, or why that would be of no use.
pub fn judge(asked: Asked, answered: Answered<'_>, policy: &Policy) -> Result<Keep, NotStored> {
    let fields = answered.fields;
    let control = CacheControl::of(fields);
    let kind = Kind::of(answered.status)?;
    // 5.2.2.3: `must-understand` stands in for `no-store` where the status is understood, as all here are.
    if control.no_store && !control.must_understand {
        return Err(NotStored::NoStore);
    }
    if control.private {
        return Err(NotStored::Private);
    }
    if control.no_cache {
        return Err(NotStored::NoCache);
    }
    // 7.3 only warns; what is set for one client is never right for another.
    if fields.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    // 3.5
    let for_all = control.public || control.must_revalidate || control.s_maxage.is_some();
    if asked.authorization && !for_all {
        return Err(NotStored::Authorization);
    }
    let vary = vary(fields, policy.public)?;
    let date = date(fields, header::DATE).unwrap_or(answered.at);
    let age = initial_age(fields, asked.at, answered.at, date);
    let stated = control.lifetime(fields, date);
    let fixed = match policy.ttl {
        Ttl::Auto => None,
        Ttl::Fixed(ttl) => Some(ttl),
    };
    let fresh = match (kind, fixed) {
        (Kind::Cacheable, Some(ttl)) => ttl,
        (Kind::Cacheable, None) | (Kind::Temporary, _) => {
            stated.ok_or(NotStored::NoLifetime)?.saturating_sub(age)
        }
        (Kind::Error, _) => stated
            .map_or(policy.negative_ttl, |stated| stated.saturating_sub(age))
            .min(policy.negative_ttl),
    };
    let (revalidate, if_error) = match kind {
        Kind::Cacheable | Kind::Temporary => control.stale(policy, fixed.is_some()),
        // An error that goes on being served for longer than asked for hides that it is over.
        Kind::Error => (Duration::ZERO, Duration::ZERO),
    };
    if fresh + revalidate == Duration::ZERO {
        return Err(match kind {
            Kind::Error => NotStored::Status,
            Kind::Cacheable | Kind::Temporary => NotStored::Stale,
        });
    }
    Ok(Keep {
        age,
        fresh,
        revalidate,
        if_error,
        vary,
    })
}

/// The statuses that are understood (RFC 9111, 3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// May be kept as long as the origin or the operator says (RFC 9110, 15.1).
    Cacheable,
    /// A redirect for now: only if the origin itself says for how long.
    Temporary,
    /// What RFC 9110, 15.1 lets be kept of errors; the operator has to ask for it.
    Error,
}

impl Kind {
    fn of(status: u16) -> Result<Self, NotStored> {
        match status {
            200 | 203 | 204 | 300 | 301 | 308 => Ok(Self::Cacheable),
            302 | 303 | 307 => Ok(Self::Temporary),
            404 | 405 | 410 | 414 | 501 => Ok(Self::Error),
            // 3.3 lets parts be stored, to be put together; here the origin is asked for the whole.
            206 => Err(NotStored::Partial),
            _ => Err(NotStored::Status),
        }
    }
}

/// The response directives of `Cache-Control` (RFC 9111, 5.2.2; RFC 5861) that matter to a shared cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CacheControl {
    no_store: bool,
    no_cache: bool,
    private: bool,
    public: bool,
    must_understand: bool,
    must_revalidate: bool,
    proxy_revalidate: bool,
    s_maxage: Option<Duration>,
    max_age: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
}

impl CacheControl {
    fn of(fields: &HeaderMap) -> Self {
        let mut control = Self::default();
        for value in fields.get_all(header::CACHE_CONTROL) {
            let mut quotes = Quotes::default();
            for directive in value.as_bytes().split(|&b| quotes.is_separator(b)) {
                control.take(directive.trim_ascii());
            }
            // A quote that does not end may have swallowed anything.
            control.no_store |= quotes.open;
        }
        control
    }

    fn take(&mut self, directive: &[u8]) {
        let equals = directive.iter().position(|&b| b == b'=');
        let (name, argument) = directive.split_at(equals.unwrap_or(directive.len()));
        // Without an argument, or with one that is no number, freshness is invalid: 4.2.1 wants it taken as stale.
        let seconds = || delta_seconds(unquoted(argument.get(1..).unwrap_or_default()));
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-understand" => self.must_understand = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"s-maxage" => shortest(&mut self.s_maxage, seconds()),
            b"max-age" => shortest(&mut self.max_age, seconds()),
            b"stale-while-revalidate" => shortest(&mut self.stale_while_revalidate, seconds()),
            b"stale-if-error" => shortest(&mut self.stale_if_error, seconds()),
            // 5.2.3: unknown ones are ignored.
            _ => {}
        }
    }

    /// The freshness lifetime that the origin states (4.2.1).
    fn lifetime(&self, fields: &HeaderMap, date: Duration) -> Option<Duration> {
        self.s_maxage
            .or(self.max_age)
            .or_else(|| expires(fields).map(|expires| expires.saturating_sub(date)))
    }

    /// How long the answer may be served stale: while it is fetched anew, and when that fails.
    fn stale(&self, policy: &Policy, lifetime_is_fixed: bool) -> (Duration, Duration) {
        // 5.2.2.2 and 5.2.2.8: not even when the origin cannot be reached.
        if self.must_revalidate || self.proxy_revalidate {
            return (Duration::ZERO, Duration::ZERO);
        }
        // 5.2.2.10: `s-maxage` forbids it as `proxy-revalidate` does; the origin that names a time beside it has allowed
        // so much. The operator who has put a time of their own in its place has taken it out.
        let forbidden = self.s_maxage.is_some() && !lifetime_is_fixed;
        let or = |default| if forbidden { Duration::ZERO } else { default };
        (
            self.stale_while_revalidate
                .unwrap_or(or(policy.stale_while_revalidate)),
            self.stale_if_error.unwrap_or(or(policy.stale_if_error)),
        )
    }
}

/// Of a directive that comes twice the shorter one counts (4.2.1: the most restrictive).
fn shortest(slot: &mut Option<Duration>, seconds: Option<Duration>) {
    let seconds = seconds.unwrap_or(Duration::ZERO);
    *slot = Some(slot.map_or(seconds, |before| before.min(seconds)));
}

/// `Expires` (5.3), since 1970. One that is no date, such as "0", is long past; so are several that differ.
fn expires(fields: &HeaderMap) -> Option<Duration> {
    let mut values = fields.get_all(header::EXPIRES).iter();
    let first = values.next()?;
    let same = values.all(|other| other == first);
    Some(match same {
        true => http_date(first.as_bytes()).unwrap_or_default(),
        false => Duration::ZERO,
    })
}

/// corrected_initial_age (4.2.3).
fn initial_age(
    fields: &HeaderMap,
    asked: Duration,
    answered: Duration,
    date: Duration,
) -> Duration {
    // Dates have whole seconds: one that is compared with a fraction would seem to lie back for a part of a second.
    let apparent = answered.as_secs().saturating_sub(date.as_secs());
    let delay = answered.saturating_sub(asked);
    // 5.1: of a list the first counts, and what is no number does not.
    let stated = fields
        .get(header::AGE)
        .and_then(|value| delta_seconds(elements(value.as_bytes()).next()?))
        .unwrap_or_default();
    Duration::from_secs(apparent).max(stated + delay)
}

/// The names in `Vary` (4.1). With `public`, credentials choose nothing.
fn vary(fields: &HeaderMap, public: bool) -> Result<Vec<HeaderName>, NotStored> {
    let mut names = Vec::new();
    for value in fields.get_all(header::VARY) {
        for name in elements(value.as_bytes()) {
            // What is no name may have been meant as one: nothing is known then about what chooses the answer.
            match HeaderName::from_bytes(name) {
                Ok(name) if name.as_str() != "*" => names.push(name),
                Ok(_) | Err(_) => return Err(NotStored::VaryAny),
            }
        }
    }
    // A coded answer is only for those who can decode it, whether its origin thought of saying so or not.
    let coded = fields
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| elements(value.as_bytes()))
        .any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coded {
        names.push(header::ACCEPT_ENCODING);
    }
    names.retain(|name| !(public && (name == header::COOKIE || name == header::AUTHORIZATION)));
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Ok(names)
}

fn date(fields: &HeaderMap, name: HeaderName) -> Option<Duration> {
    http_date(fields.get(name)?.as_bytes())
}

/// A date in any of the three formats of RFC 9110, 5.6.7, since 1970.
fn http_date(value: &[u8]) -> Option<Duration> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok()
}

/// RFC 9111, 1.2.2: a number too large to hold is taken as 2^31.
fn delta_seconds(value: &[u8]) -> Option<Duration> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let seconds = std::str::from_utf8(value).ok().filter(|_| digits)?;
    Some(Duration::from_secs(
        seconds.parse().unwrap_or(FOREVER).min(FOREVER),
    ))
}

/// The argument of a directive, which may be quoted whether it needs to be or not (5.2).
fn unquoted(argument: &[u8]) -> &[u8] {
    let argument = argument.trim_ascii();
    argument
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(argument)
}

/// Which commas separate directives: those outside of quotes (RFC 9110, 5.6.4).
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn is_separator(&mut self, byte: u8) -> bool {
        let escaped = std::mem::take(&mut self.escaped);
        match byte {
            b'"' if !escaped => self.open = !self.open,
            b'\\' if self.open && !escaped => self.escaped = true,
            _ => {}
        }
        byte == b',' && !self.open
    }
}

/// The elements of a comma-separated list (RFC 9110, 5.6.1), empty ones left out.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests;
