//! The pruner: it owns the retention policies and their clock, and asks State; State decides what may go.

mod actor;
mod policy;

pub(crate) use actor::Pruner;
pub(crate) use policy::Retained;
