//! The operator's tools: they look at a directory and change nothing in it.

mod deep;
mod facts;
mod inspect;
mod read_only;
mod store;
mod verify;

pub(crate) use inspect::inspect;
pub(crate) use verify::verify;
