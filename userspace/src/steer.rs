//! Loads and attaches the XDP program; owns its link and maps.
