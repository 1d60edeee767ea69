//! Faults on demand, so that embedders can rehearse what the supervisor mends: `docs/rehearsing.md` says how for each.
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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext as _, Context};
use roadbed_messages::api::ActorKind;
use roadbed_messages::{Block, HeaderHash};

/// What a worker's next operation does instead of its work.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It panics.
    Panic,
    /// It returns an error, as a disk would.
    Error,
    /// It reports a full disk.
    DiskFull,
    /// It hangs until the gate opens, then goes on with its work. (State and the pruner share a thread: the pruner
    /// only pauses.)
    Hang(Gate),
}

/// What a worker's actor does with its next message (State and the pruner: with their next look) instead of handling it.
/// A log's thread and the verifier's are not asked: they end when nobody gives them orders any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorFault {
    /// Its handler panics.
    Panic,
    /// It stops by itself.
    Stop,
}

/// What the next write, sync or directory sync of either log, or the next read, meets on its way to the disk, beneath a
/// [`FaultyStorage`](super::FaultyStorage).
#[derive(Clone, Debug)]
pub enum DiskFault {
    /// EIO; a write may have come half-way.
    Error,
    /// ENOSPC; a write may have come half-way.
    Full,
    /// A write that takes only half of what it is given, and says so; a read that gives no more than half.
    ShortWrite,
    /// It hangs until the gate opens, then goes on: a stuck disk.
    Hang(Gate),
    /// It takes so much longer.
    Slow(Duration),
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

    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pass(&self) {
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
    actors: Mutex<BTreeMap<ActorKind, VecDeque<ActorFault>>>,
    disk: Mutex<VecDeque<DiskFault>>,
    reads: Mutex<VecDeque<DiskFault>>,
    /// So that nothing is hashed where nothing is poisoned.
    poisoned: AtomicBool,
    poison: Mutex<BTreeMap<HeaderHash, Fault>>,
}

/// An injected failure that is not a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    Error,
    DiskFull,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "injected: an I/O error",
            Self::DiskFull => "injected: the disk is full",
        })
    }
}

impl Faults {
    /// Queues a fault for a worker's next operation; several happen one after the other.
    pub fn inject(&self, actor: ActorKind, fault: Fault) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(actor).or_default().push_back(fault);
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// Queues a fault for a worker's actor; several happen one after the other, each to a life of its own.
    pub fn inject_actor(&self, actor: ActorKind, fault: ActorFault) {
        let mut actors = self.0.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.entry(actor).or_default().push_back(fault);
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// Queues a fault for the next write or sync of either log; several happen one after the other.
    pub fn inject_disk(&self, fault: DiskFault) {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// Queues a fault for the next read from a file of either log; several happen one after the other.
    pub fn inject_read(&self, fault: DiskFault) {
        self.0.reads.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// Takes back what has not happened yet.
    pub fn clear(&self) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten: usize = queues.values().map(VecDeque::len).sum();
        queues.clear();
        let actors = std::mem::take(&mut *self.0.actors.lock().unwrap_or_else(PoisonError::into_inner));
        forgotten += actors.values().map(VecDeque::len).sum::<usize>();
        for disk in [&self.0.disk, &self.0.reads] {
            forgotten += std::mem::take(&mut *disk.lock().unwrap_or_else(PoisonError::into_inner)).len();
        }
        self.0.count.fetch_sub(forgotten, Ordering::Release);
        self.0.poison.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.poisoned.store(false, Ordering::Release);
    }

    /// Poisons an input: until [`Faults::clear`], this happens to the verifier with every job that brings the block with
    /// this header, the way a bug would have it.
    pub fn poison(&self, header: HeaderHash, fault: Fault) {
        let mut poison = self.0.poison.lock().unwrap_or_else(PoisonError::into_inner);
        poison.insert(header, fault);
        self.0.poisoned.store(true, Ordering::Release);
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
        self.take(actor).map_or(Ok(()), |fault| fault.happen(actor))
    }

    /// The fault that was injected for a worker's next operation: for a worker that must not block.
    pub(crate) fn take(&self, actor: ActorKind) -> Option<Fault> {
        self.take_of(&self.0.queues, actor)
    }

    /// Called by a worker's actor before it handles a message; answers whether it has stopped instead.
    ///
    /// # Panics
    /// When a panic was injected.
    pub(crate) fn strike_actor<A: Actor<Context = Context<A>>>(
        &self,
        actor: ActorKind,
        ctx: &mut Context<A>,
    ) -> bool {
        match self.take_of(&self.0.actors, actor) {
            None => false,
            Some(ActorFault::Panic) => panic!("injected panic in {actor}'s handler"),
            Some(ActorFault::Stop) => {
                ctx.stop();
                true
            }
        }
    }

    /// The next fault of one kind for a worker.
    fn take_of<F>(&self, queues: &Mutex<BTreeMap<ActorKind, VecDeque<F>>>, actor: ActorKind) -> Option<F> {
        if self.outstanding() == 0 {
            return None;
        }
        let fault = queues.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&actor)?.pop_front()?;
        self.0.count.fetch_sub(1, Ordering::Release);
        Some(fault)
    }

    /// The fault that was injected for the next write.
    pub(super) fn take_disk(&self) -> Option<DiskFault> {
        self.take_next(&self.0.disk)
    }

    /// The fault that was injected for the next read.
    pub(super) fn take_read(&self) -> Option<DiskFault> {
        self.take_next(&self.0.reads)
    }

    fn take_next(&self, queue: &Mutex<VecDeque<DiskFault>>) -> Option<DiskFault> {
        if self.outstanding() == 0 {
            return None;
        }
        let fault = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.0.count.fetch_sub(1, Ordering::Release);
        Some(fault)
    }

    /// Called by the verifier with the blocks of each batch.
    ///
    /// # Panics
    /// When one of them is poisoned with a panic.
    pub(crate) fn strike_input<'a>(
        &self,
        blocks: impl Iterator<Item = &'a Arc<Block>>,
    ) -> Result<(), Injected> {
        if !self.0.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        let found = {
            let poison = self.0.poison.lock().unwrap_or_else(PoisonError::into_inner);
            blocks.filter_map(|block| poison.get(&block.header.hash()).cloned()).next()
        };
        found.map_or(Ok(()), |fault| fault.happen(ActorKind::Verifier))
    }
}

impl Fault {
    pub(crate) fn happen(self, actor: ActorKind) -> Result<(), Injected> {
        match self {
            Self::Panic => panic!("injected panic in {actor}"),
            Self::Error => Err(Injected::Error),
            Self::DiskFull => Err(Injected::DiskFull),
            Self::Hang(gate) => {
                gate.pass();
                Ok(())
            }
        }
    }
}
