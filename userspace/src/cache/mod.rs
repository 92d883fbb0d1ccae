//! The cache that learns from the user's own server.

pub mod rules;
