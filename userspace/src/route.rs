//! The only policy file: what is served, handed over, refused.
