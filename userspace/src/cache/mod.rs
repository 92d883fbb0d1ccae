//! The cache that learns from the user's own server (RFC 9111).
//!
//! A request that cannot be answered is left to the server like any other; beside that, the fetcher asks the
//! server for the same URL, and if a shared cache may keep the answer, the next request for it is answered by the
//! workers. See `docs/cache.md`.

mod answer;
mod asking;
mod book;
mod fetch;
mod fetches;
mod key;
mod learner;
mod overlay;
mod routes;
pub mod rules;
mod shelf;
mod stats;
mod writes;

pub use key::{CacheId, host};
pub use learner::{Learner, Purger};
pub use overlay::{Learned, LearnedId, Overlay};
pub use routes::Caches;
pub use stats::{Event, RouteStats};
