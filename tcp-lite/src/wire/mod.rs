//! TCP segments as bytes: checked views in, headers out.

mod checksum;
mod options;
mod segment;

pub(crate) use checksum::is_right;
pub use checksum::{Sum, Total, pseudo_header};
pub use options::{Options, SackBlocks, Timestamps};
pub(crate) use segment::DataHeader;
pub use segment::{Flags, Header, Malformed, SegmentView};
