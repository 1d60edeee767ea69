//! The worker behind both logs: a thin actor, the OS thread that does its blocking I/O, and the life of
//! the log that the thread goes through step by step.
//!
//! ```text
//! State ──Order──▶ WalActor ──try_send──▶ I/O thread ──▶ LogDriver ──▶ Log
//!   ▲                                        │
//!   └──────────────── Report ────────────────┘
//! ```
//!
//! # Invariants
//! - The actor never blocks; the thread alone touches the log.
//! - What has arrived while a group was syncing goes into the next group; each group is reported when it is durable.
//! - The thread owns the log, and with it the log's lock, until it ends: a thread that hangs can never wake beside
//!   a second writer. The next life of the worker waits for the end of the one before.
//! - After any failed write or sync the log is dropped; the next life begins at the durable point it is given. A log
//!   that merely found no space for its next segment is sound: it is left to the next life as it is, so that trying
//!   again takes no space, and pruning goes on.

mod actor;
mod driver;
mod record;
mod set_aside;
mod thread;

use std::time::Instant;

pub(crate) use actor::WalActor;
pub(crate) use driver::LogContext;
#[cfg(feature = "sim")]
pub(crate) use driver::{Failure, LogDriver, Step, died};
#[cfg_attr(not(feature = "sim"), expect(unreachable_pub, reason = "the simulator names it"))]
pub use record::Record;
pub(crate) use thread::{Tenancy, ThreadContext, Worker};

/// A message on its way from an actor to its thread, and when it was sent.
pub(crate) struct Stamped<T> {
    pub(crate) at: Instant,
    pub(crate) message: T,
}

impl<T> Stamped<T> {
    pub(crate) fn now(message: T) -> Self {
        Self { at: Instant::now(), message }
    }
}
