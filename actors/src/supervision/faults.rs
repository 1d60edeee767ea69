//! Faults on demand, so that embedders can rehearse what the supervisor mends.
//!
//! ```
//! use roadbed::supervision::{Fault, Faults};
//! use roadbed_messages::api::ActorKind;
//!
//! let faults = Faults::default();
//! faults.inject(ActorKind::Verifier, Fault::Panic);
//! // …give `faults.clone()` to the builder: the verifier's next operation panics.
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use roadbed_messages::api::ActorKind;

/// What a worker's next operation does instead of its work.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It panics.
    Panic,
    /// It returns an error, as a disk would.
    Error,
    /// It reports a full disk.
    DiskFull,
    /// It hangs until the gate opens, then goes on with its work.
    Hang(Gate),
}

/// Holds an operation until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Lets everyone pass, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Faults that wait for the next operations of the workers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// So that looking costs one load where nothing is injected.
    count: AtomicUsize,
    queues: Mutex<BTreeMap<ActorKind, VecDeque<Fault>>>,
}

/// An injected failure that is not a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    Error,
    DiskFull,
}

impl Faults {
    /// Queues a fault for a worker's next operation; several happen one after the other.
    pub fn inject(&self, actor: ActorKind, fault: Fault) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(actor).or_default().push_back(fault);
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// Takes back what has not happened yet.
    pub fn clear(&self) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten: usize = queues.values().map(VecDeque::len).sum();
        queues.clear();
        self.0.count.fetch_sub(forgotten, Ordering::Release);
    }

    /// How many injected faults have not happened yet.
    pub fn outstanding(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Called by a worker before each operation.
    ///
    /// # Panics
    /// When a panic was injected: that is its point.
    pub(crate) fn strike(&self, actor: ActorKind) -> Result<(), Injected> {
        if self.outstanding() == 0 {
            return Ok(());
        }
        let fault = {
            let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.get_mut(&actor).and_then(VecDeque::pop_front)
        };
        let Some(fault) = fault else { return Ok(()) };
        self.0.count.fetch_sub(1, Ordering::Release);
        match fault {
            Fault::Panic => panic!("injected panic in {actor}"),
            Fault::Error => Err(Injected::Error),
            Fault::DiskFull => Err(Injected::DiskFull),
            Fault::Hang(gate) => {
                gate.pass();
                Ok(())
            }
        }
    }
}
