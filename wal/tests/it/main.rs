//! The tests of the log, a module per class of behaviour or fault.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that can't go on fails; the machines that run it have 64 bits"
)]

mod basics;
mod crashes;
mod script;
mod sim_disk;
mod support;
