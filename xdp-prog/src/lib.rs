//! Steering: the XDP program's decision and the ABI of its maps.
#![no_std]
