//! A deterministic simulation of the whole subsystem: one thread, virtual time, one seed.
//!
//! ```text
//!              seed ──▶ script of acts ──▶ World ──▶ what must hold, after every step and at every recovery
//!                                            │
//!      peers, application, subscribers ──▶ Core ──effects──▶ LogDriver, verifier, readers, recovery (the real code)
//!                                            ▲                     │
//!                                            └──── agenda: what ◀──┘──▶ simulated disk
//!                                                 happens when
//! ```
//!
//! The real code runs: State's core, both logs' drivers and engine, reconcile, recovery, readers, the verifier's batches
//! with real signatures, the retention policies. Simulated are threads (an operation takes a time drawn from the seed),
//! the clock, the disk, the network, and who calls.
//!
//! Each act draws from a seed of its own, so that a script can be replayed with acts left out: that is how a failure is
//! made small.

mod acts;
mod calm;
mod chain;
mod checks;
mod coverage;
mod damage;
mod excuses;
mod faults;
mod process;
mod recover;
mod script;
mod shrink;
mod space;
mod tales;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use coverage::Coverage;
pub use script::{Step, script};
pub use shrink::shrink;
use tales::Tales;
use world::World;

/// Where the simulated disk has the store.
const DIR: &str = "/sim";

/// A deliberate mistake, so that it can be seen that what must hold is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A sync point of the log answers success and makes nothing durable.
    Omit(roadbed_wal::SyncPoint),
    /// A log's worker reports records as durable before it has written them.
    ReportsEarly,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it met.
    pub coverage: Coverage,
    /// Of everything that happened: equal for equal scripts.
    pub hash: u64,
    /// What did not hold.
    pub failure: Option<String>,
    /// Everything that happened, where it was recorded.
    pub log: Vec<String>,
}

/// Runs the script of a seed; `record` keeps the log.
#[must_use]
pub fn run(seed: u64, script: &[Step], mutation: Option<Mutation>, record: bool) -> Outcome {
    tales::silence_panics();
    let tales = Tales::new(record);
    let mut world = World::new(seed, mutation, tales.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        for step in script {
            world.step(step);
        }
        world.calm();
    }));
    let simulated = world.now();
    // After a failure anything may be in its way, another panic too.
    let failure = result.err().map(|_| tales::last_panic());
    drop(catch_unwind(AssertUnwindSafe(move || drop(world))));
    tales::speak_panics();
    tales.outcome(simulated, failure)
}
