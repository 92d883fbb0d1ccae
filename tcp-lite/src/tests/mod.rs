//! Scripts per state: segments in, segments out, silence asserted.

mod basic;
