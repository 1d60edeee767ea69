//! The operator's tools.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod crash_test;
pub(crate) mod export;
pub(crate) mod facts;
pub(crate) mod files;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod mutate;
pub(crate) mod read_only;
pub(crate) mod repair;
pub(crate) mod report;
pub(crate) mod rollback;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod verify;

mod archive;
mod deep;
mod interrupt;
mod lines;
mod meter;
mod records;
