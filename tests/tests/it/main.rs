//! Message-level integration tests, driven through actor addresses and the handle.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test, and what a test prints is shown when it fails"
)]

mod bad_input;
mod copies;
mod documents;
mod embed;
mod flood;
mod layering;
mod messages;
mod metrics;
mod reconcile;
mod restarts;
mod smoke;
mod virtual_time;
