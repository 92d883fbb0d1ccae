//! The daemon's life beside a server: what it tells of itself, and what becomes of connections when it comes, goes,
//! crashes or is stuck.

#[path = "life/routes.rs"]
mod routes;
