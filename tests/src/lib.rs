//! Test hosts, links and raw clients for tests that cross a network.
