//! State: the root and supervisor of the subsystem. It alone routes; workers know only State.
//!
//! The [`core`] decides, the actor carries out: it turns messages and timers into inputs, and effects into replies,
//! orders and new lives of workers. No handler does I/O or cryptography.

mod actor;
pub mod core;
mod meter;
mod replies;
mod stop;
mod workers;

pub use actor::{GetRetention, State};
pub(crate) use actor::{Space, StateParts};
pub use replies::Deferred;
pub(crate) use replies::Replies;
pub(crate) use stop::StopCell;
#[cfg(feature = "sim")]
pub(crate) use workers::LogPlace;
pub(crate) use workers::{Disk, Environment, IoThreads, WallClock, configured_options};
