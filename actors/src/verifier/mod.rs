//! The verifier: a pool of OS threads that check signatures and hashes on all cores.
//!
//! State gives jobs in the order in which it needs them and bounds how many are out. When the queue is deep, a thread
//! takes several QCs at once and checks all their signatures in one batch; an invalid one is found and named, its
//! neighbours pass. What was verified and is still in use is compared, not verified again; a copy of what a thread is at
//! waits for it. When a thread has work and another has none, they share the blocks: so a lone push is answered sooner. A
//! job that makes a thread panic ends this life of the verifier, and is named too.

mod actor;
mod inbox;
mod pool;
mod share;

pub(crate) use actor::Verifier;
#[cfg(feature = "sim")]
pub(crate) use pool::Worker;
pub(crate) use pool::{PoolContext, Verdict, start};
