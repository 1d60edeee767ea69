//! What supervision needs: when to restart, how a death is noticed, how old a running operation is.

mod faults;
mod faulty_storage;
mod heartbeat;
mod policy;
mod watch;

pub(crate) use faults::Injected;
pub use faults::{ActorFault, DiskFault, Fault, Faults, Gate};
pub use faulty_storage::FaultyStorage;
pub use heartbeat::Heartbeat;
pub(crate) use heartbeat::Monotonic;
pub use policy::{FailureLog, RestartPolicy, Verdict};
pub use watch::{Ended, panic_message, spawn_watched};
