//! A sans-IO, server-side TCP.
