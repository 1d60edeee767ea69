//! The pruner: it owns the retention policies and their clock, and asks State; State decides what may go.

mod actor;
mod policy;

pub use actor::Pruner;
pub use policy::Retained;
