//! The configuration file of sidestep.
