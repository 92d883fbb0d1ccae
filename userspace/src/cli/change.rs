//! `sidestep reload`, `put` and `purge`: changes to a running daemon.

use super::{FAILURE, OK, USAGE, fail};
use crate::control::{ControlError, Request, Response, ask_with};
use crate::store::{Purge, Put, Scope};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to put.
#[derive(Debug, clap::Args)]
pub(super) struct PutArgs {
    /// The path to answer, percent-encoded
    path: String,
    /// What to answer it with; `-`: standard input
    file: PathBuf,
    /// A host of its site; needed unless there is a site for "*", or only one
    #[arg(long)]
    host: Option<String>,
    /// Its Content-Type; else by the file's name
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How long it is to be answered, as "90s"; else until it is purged
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// A name to purge it by; may be given again
    #[arg(long)]
    tag: Vec<String>,
}

/// What to purge.
#[derive(Debug, clap::Args)]
#[group(id = "scope", required = true, multiple = false)]
pub(super) struct ScopeArgs {
    /// A path, with all its queries, or with the one that is given
    #[arg(long)]
    path: Option<String>,
    /// All paths that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// All that has this tag
    #[arg(long)]
    tag: Option<String>,
    /// All
    #[arg(long)]
    all: bool,
}

impl ScopeArgs {
    fn scope(self) -> Scope {
        let path = self.path.map(Scope::Path);
        let prefix = self.prefix.map(Scope::Prefix);
        // One of them is there: clap sees to it.
        path.or(prefix)
            .or(self.tag.map(Scope::Tag))
            .unwrap_or(Scope::All)
    }
}

pub(super) fn reload(socket: &Path) -> u8 {
    told(socket, &Request::Reload, &[])
}

pub(super) fn purge(host: Option<String>, scope: ScopeArgs, socket: &Path) -> u8 {
    let scope = scope.scope();
    told(socket, &Request::Purge(Purge { host, scope }), &[])
}

pub(super) fn put(args: PutArgs, socket: &Path) -> u8 {
    let read = match args.file.to_str() {
        Some("-") => read_all(std::io::stdin()),
        _ => std::fs::read(&args.file),
    };
    let body = match read {
        Ok(body) => body,
        Err(e) => {
            let file = args.file.display();
            return fail(&format_args!("cannot read {file}: {e}"), FAILURE);
        }
    };
    let content_type = args.content_type.unwrap_or_else(|| {
        let guess = mime_guess::from_path(&args.file).first_raw();
        guess.unwrap_or("application/octet-stream").to_owned()
    });
    let put = Put {
        host: args.host,
        path: args.path,
        content_type,
        ttl: args.ttl,
        tags: args.tag.into_iter().collect::<BTreeSet<_>>(),
    };
    let length = body.len() as u64;
    told(socket, &Request::Put { put, length }, &body)
}

fn read_all(mut from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map(|_| bytes)
}

fn told(socket: &Path, request: &Request, body: &[u8]) -> u8 {
    match ask_with(socket, request, body) {
        Ok(Response::Done) => OK,
        Ok(Response::Purged(count)) => {
            println!("{count} purged");
            OK
        }
        Ok(Response::Reloaded(reload)) => {
            println!("reloaded in {} ms", reload.took);
            OK
        }
        Ok(other) => fail(&format_args!("unexpected answer: {other:?}"), FAILURE),
        Err(e @ ControlError::Invalid(_)) => fail(&e, USAGE),
        Err(e) => fail(&e, FAILURE),
    }
}
