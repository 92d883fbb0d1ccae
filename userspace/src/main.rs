//! The command `sidestep`.
fn main() {}
