//! The tests of the log, a module per class of behaviour or fault.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that can't go on fails; the machines that run it have 64 bits; what it prints is asked for"
)]

mod ahead;
mod basics;
mod bounds;
mod corruption;
mod cost;
mod crashes;
mod cut_short;
mod faults;
mod fuzz;
mod golden;
mod housekeeping;
mod kills;
mod life;
mod model;
mod page_cache;
mod reader_races;
mod readers;
mod real_disk;
mod script;
mod sim_disk;
mod stream;
mod support;
mod survey;
mod sync_audit;
mod verify;
