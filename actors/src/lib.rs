//! Roadbed: the data layer of a BFT validator.
//!
//! It takes finalized blocks and the quorum certificates (QCs) that finalize them, verifies them, makes them durable in
//! two write-ahead logs, serves them in order, lets the application vote only on what would survive a crash, prunes,
//! and recovers. It is built of actors: State supervises a QC WAL actor, a block WAL actor, a verifier and a pruner, and
//! restarts whatever fails without callers noticing more than latency.
//!
//! ```text
//! network ──PushQc/PushBlock──▶ State ──Verify──▶ Verifier ──Verified──▶ State ─┬─Append──▶ QcWal ────Durable──┐
//!                                 ▲                                             └─Append──▶ BlockWal ─Durable──┤
//! app ◀─ in-order stream ─────────┤◀────────────── cursors advance: min(durable QC, durable block) ◀───────────┘
//! app ──PushAppHash──────────────▶│ (answered only once the block and its QC are durable)
//! Pruner ──PruneBefore───────────▶│──TruncateBefore──▶ QcWal, BlockWal in parallel
//! ```
//!
//! Begin with [`Roadbed::builder`]; every message is documented in [`roadbed_messages::api`].

#[cfg(panic = "abort")]
compile_error!("roadbed restarts workers that panic: build with panic = \"unwind\"");

mod block_wal;
mod builder;
pub mod config;
mod handle;
mod lookup;
pub mod metrics;
mod pruner;
mod qc_wal;
mod reader;
mod recovery;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
pub mod state;
pub mod store;
mod subscription;
pub mod supervision;
mod verifier;
mod wal_worker;

pub use builder::Builder;
pub use config::{Config, RetentionPolicy};
pub use handle::Roadbed;
pub use metrics::{Health, LogStats, Stats};
pub use prometheus;
pub use state::State;
pub use subscription::Subscription;

/// The README's code is compiled and run as a documentation example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The example of the rehearsals is compiled and run, too.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rehearsing.md")]
struct Rehearsing;
