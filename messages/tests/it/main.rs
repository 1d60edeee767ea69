//! Tests of the domain types, a module per class of promises or faults.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod batch;
mod canonical;
mod chain;
mod committee;
mod fuzz;
mod golden;
mod known;
mod malformed;
mod properties;
mod samples;
mod throughput;
mod txs;
mod verify_block;
mod verify_qc;
mod zip215;
