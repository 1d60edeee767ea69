//! Every typed message: what callers ask State, and what State and its workers tell each other.
//!
//! ```text
//! callers ──requests──▶ State ──orders──▶ workers (QcWal, BlockWal, Verifier, Pruner)
//!         ◀──replies───       ◀─reports──
//! ```
//!
//! Every request has a typed reply, and every reply can be an [`Error`]. The messages are plain
//! data that implement [`actix::Message`]; nothing here knows how an actor carries them out.

pub mod errors;
pub mod requests;
pub mod status;
pub mod workers;

pub use errors::{Error, StartError, StopReason};
pub use requests::*;
pub use status::*;
