//! The file as written: the schema of DESIGN.md 9 with the place of each value, before any check across values.

use crate::value::{Size, Span};
use crate::{Compress, Fallback, FallbackMode, Interrupts, Mode, ProxyProtocol, Queues, Ttl};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) interface: Interface,
    #[serde(default)]
    pub(crate) listen: Vec<Spanned<Listen>>,
    #[serde(default)]
    pub(crate) site: Vec<Spanned<Site>>,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) control: Control,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interface {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) queues: Option<Queues>,
    pub(crate) mode: Option<Mode>,
    pub(crate) busy_poll: Option<bool>,
    pub(crate) spin: Option<Spanned<Span>>,
    pub(crate) interrupts: Option<Spanned<Interrupts>>,
    pub(crate) umem_frames: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) port: Option<Spanned<i64>>,
    #[serde(default)]
    pub(crate) fallback: Fallback,
    #[serde(default)]
    pub(crate) fallback_mode: FallbackMode,
    pub(crate) proxy_protocol: Option<Spanned<ProxyProtocol>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) hosts: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default, rename = "static")]
    pub(crate) statics: Vec<Static>,
    #[serde(default, rename = "response")]
    pub(crate) responses: Vec<Response>,
    #[serde(default, rename = "cache")]
    pub(crate) caches: Vec<Cache>,
}

pub(crate) type Headers = BTreeMap<Spanned<String>, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Static {
    pub(crate) path: Spanned<String>,
    pub(crate) root: Spanned<String>,
    pub(crate) index: Option<Spanned<String>>,
    pub(crate) max_object: Option<Spanned<Size>>,
    pub(crate) compress: Option<Compress>,
    pub(crate) charset: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) headers: Headers,
    pub(crate) not_found: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) follow_symlinks: bool,
    #[serde(default)]
    pub(crate) hidden: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Response {
    pub(crate) path: Spanned<String>,
    pub(crate) status: Option<Spanned<i64>>,
    pub(crate) content_type: Option<Spanned<String>>,
    pub(crate) body: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) headers: Headers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cache {
    pub(crate) path: Spanned<String>,
    pub(crate) origin: Spanned<String>,
    #[serde(default)]
    pub(crate) ttl: Ttl,
    pub(crate) stale_while_revalidate: Option<Spanned<Span>>,
    pub(crate) stale_if_error: Option<Spanned<Span>>,
    pub(crate) negative_ttl: Option<Spanned<Span>>,
    pub(crate) write_hold: Option<Spanned<Span>>,
    pub(crate) max_object: Option<Spanned<Size>>,
    #[serde(default)]
    pub(crate) public: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: Option<Spanned<i64>>,
    pub(crate) header_bytes: Option<Spanned<Size>>,
    pub(crate) requests_per_connection: Option<Spanned<i64>>,
    pub(crate) header_timeout: Option<Spanned<Span>>,
    pub(crate) idle_timeout: Option<Spanned<Span>>,
    pub(crate) cache_memory: Option<Spanned<Size>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control {
    pub(crate) socket: Option<Spanned<String>>,
    pub(crate) metrics: Option<Spanned<String>>,
}
