//! What can be made to go wrong: failures, short writes, pauses.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::storage::SyncPoint;

/// The calls that a fault, a gate or a step can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A file is made.
    Create,
    /// A file is opened.
    Open,
    /// Bytes are read.
    Read,
    /// Bytes are written, directly or through the cache.
    Write,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
    /// Space is reserved.
    Allocate,
    /// A file is renamed.
    Rename,
    /// A file is removed.
    Remove,
    /// A directory is made.
    CreateDir,
    /// A directory is listed.
    List,
    /// A file's clean pages are dropped.
    DropCache,
}

impl Op {
    /// Whether the call changes the disk: such calls are the steps that a crash can fall on.
    #[must_use]
    pub fn is_step(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List | Self::DropCache)
    }
}

/// One call, as the trace shows it and as faults and gates are matched against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub op: Op,
    /// Of which file or directory (by the name that it was opened under).
    pub path: std::path::PathBuf,
    /// Why, for writes and syncs.
    pub point: Option<SyncPoint>,
}

/// Which calls are meant.
#[derive(Clone, Debug)]
struct Matcher {
    op: Op,
    point: Option<SyncPoint>,
    path: Option<String>,
    /// Calls that match and are let through first.
    skip: u64,
}

impl Matcher {
    fn matches(&self, call: &Call) -> bool {
        let path = |part: &String| call.path.to_string_lossy().contains(part.as_str());
        self.op == call.op
            && self.point.is_none_or(|point| call.point == Some(point))
            && self.path.as_ref().is_none_or(path)
    }
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Errno(i32),
    Short(usize),
    Panic,
}

/// A call that failed: as it was planned, or because the disk is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call.
    pub call: Call,
    /// How it failed.
    pub how: How,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With this number of the operating system.
    Errno(i32),
    /// A write took fewer bytes than it was given.
    Short,
    /// It panicked.
    Panic,
}

impl Failure {
    /// Whether it is that the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.how == How::Errno(ENOSPC)
    }
}

/// A failure to come: `Fault::eio(Op::Sync).point(SyncPoint::Group).nth(3)`.
#[derive(Clone, Debug)]
pub struct Fault {
    matcher: Matcher,
    times: u64,
    effect: Effect,
}

const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;

impl Fault {
    fn new(op: Op, effect: Effect) -> Self {
        Self { matcher: Matcher { op, point: None, path: None, skip: 0 }, times: 1, effect }
    }

    /// The next matching call fails with EIO. A sync that fails loses what it should have written, and the page cache
    /// goes on showing it; a write that fails may have written a part.
    #[must_use]
    pub fn eio(op: Op) -> Self {
        Self::new(op, Effect::Errno(EIO))
    }

    /// The next matching call fails with ENOSPC.
    #[must_use]
    pub fn enospc(op: Op) -> Self {
        Self::new(op, Effect::Errno(ENOSPC))
    }

    /// The next matching call fails with this number of the operating system.
    #[must_use]
    pub fn errno(op: Op, errno: i32) -> Self {
        Self::new(op, Effect::Errno(errno))
    }

    /// The next write takes only so many bytes, and says so.
    #[must_use]
    pub fn short_write(bytes: usize) -> Self {
        Self::new(Op::Write, Effect::Short(bytes))
    }

    /// The next matching call panics before it does anything: a bug in the middle of an operation.
    #[must_use]
    pub fn panic(op: Op) -> Self {
        Self::new(op, Effect::Panic)
    }

    /// Only calls for this reason.
    #[must_use]
    pub fn point(mut self, point: SyncPoint) -> Self {
        self.matcher.point = Some(point);
        self
    }

    /// Only files and directories whose path contains this.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.matcher.path = Some(part.into());
        self
    }

    /// The `n`th matching call from now on, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.matcher.skip = n.saturating_sub(1);
        self
    }

    /// So many calls in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// From then on every matching call.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }
}

/// What a call meets.
pub(super) enum Fate {
    Passes,
    Fails(i32),
    Short(usize),
    Panics,
}

#[derive(Debug, Default)]
struct GateState {
    reached: bool,
    open: bool,
}

/// Holds a call until the test opens it: a disk that hangs. Dropping the gate opens it too.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<GateInner>,
}

#[derive(Debug, Default)]
pub(super) struct GateInner {
    state: Mutex<GateState>,
    changed: Condvar,
}

impl Gate {
    /// Waits until a call has run into the gate.
    pub fn wait_reached(&self) {
        self.inner.wait(|state| state.reached);
    }

    /// Whether a call has run into the gate.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).reached
    }

    /// Lets the call, and all later ones, go on.
    pub fn open(&self) {
        self.inner.change(|state| state.open = true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl GateInner {
    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&GateState) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !until(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Called by the call that runs into it.
    pub(super) fn block(&self) {
        self.change(|state| state.reached = true);
        self.wait(|state| state.open);
    }
}

/// Everything that is to go wrong.
#[derive(Debug, Default)]
pub(super) struct Plan {
    faults: Vec<Fault>,
    gates: Vec<(Matcher, Arc<GateInner>)>,
}

impl Plan {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(super) fn gate(&mut self, op: Op, point: Option<SyncPoint>, path: Option<&Path>) -> Gate {
        let path = path.map(|path| path.to_string_lossy().into_owned());
        let inner = Arc::new(GateInner::default());
        self.gates.push((Matcher { op, point, path, skip: 0 }, inner.clone()));
        Gate { inner }
    }

    pub(super) fn gate_for(&self, call: &Call) -> Option<Arc<GateInner>> {
        let open = |gate: &GateInner| gate.state.lock().unwrap_or_else(PoisonError::into_inner).open;
        let mut gates = self.gates.iter().filter(|(matcher, gate)| matcher.matches(call) && !open(gate));
        gates.next().map(|(_, gate)| gate.clone())
    }

    pub(super) fn fate(&mut self, call: &Call) -> Fate {
        for fault in &mut self.faults {
            if !fault.matcher.matches(call) {
                continue;
            }
            if fault.matcher.skip > 0 {
                fault.matcher.skip -= 1;
            } else if fault.times > 0 {
                fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
                return match fault.effect {
                    Effect::Errno(errno) => Fate::Fails(errno),
                    Effect::Short(bytes) => Fate::Short(bytes),
                    Effect::Panic => Fate::Panics,
                };
            }
        }
        Fate::Passes
    }
}
