//! State: the root and supervisor of the subsystem.

pub mod core;
