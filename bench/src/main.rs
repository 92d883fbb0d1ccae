//! sidestep's own benchmarks.
fn main() {}
