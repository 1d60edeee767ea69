//! The logs, Roadbed's and others'.

mod commonware;
mod fjall;
mod malachite;
mod okaywal;
mod raft_engine;
mod redb;
mod roadbed;

use crate::peer::Candidate;

/// Roadbed's log, with its defaults.
pub const OURS: Candidate = roadbed::CANDIDATE;

/// The others.
pub const OTHERS: &[Candidate] = &[
    raft_engine::CANDIDATE,
    okaywal::CANDIDATE,
    malachite::CANDIDATE,
    commonware::SEGMENTED,
    commonware::CONTIGUOUS,
    fjall::CANDIDATE,
    redb::CANDIDATE,
];
