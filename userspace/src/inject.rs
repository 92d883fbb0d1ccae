//! Puts segments that are not ours back on the kernel's receive path of the NIC.
