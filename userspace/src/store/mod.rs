//! The response store: an immutable snapshot of every answer, rendered in advance.
