//! A simulated disk (feature `sim`), for the tests of the log and of whoever uses it.
//!
//! Every file and every directory has two layers: what is durable, and what only memory knows. Nothing becomes durable
//! but by the sync that promises it. [`SimStorage::crash`] answers what a power loss would leave: all that was durable,
//! and of the rest an arbitrary part, 512-byte sector by sector and directory entry by entry, in no particular order.
//! [`SimStorage::kill`] answers what the end of the process leaves: everything, with the locks free.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use roadbed_wal::sim::{Fault, Op, SimStorage};
//! use roadbed_wal::{Entry, Log, LogOptions, StreamId};
//!
//! # fn main() -> Result<(), roadbed_wal::WalError> {
//! let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::new(StreamId { chain: [0; 32], kind: *b"example\0" }) };
//! let sim = SimStorage::new(1);
//! let mut log = Log::create(Arc::new(sim.clone()), Path::new("/log"), options.clone(), 0)?;
//! log.append(0, Entry { key: 1, digest: 0, payload: b"durable" })?;
//! log.sync()?;
//!
//! sim.fail(Fault::eio(Op::Write));
//! log.append(1, Entry { key: 2, digest: 0, payload: b"not acknowledged" })?;
//! assert!(log.sync().is_err() && log.poisoned().is_some());
//!
//! let after = sim.crash(42);
//! let log = Log::open(Arc::new(after), Path::new("/log"), options)?;
//! assert_eq!(log.reader().get(0)?.map(|entry| entry.payload), Some(b"durable".to_vec()));
//! # Ok(())
//! # }
//! ```

mod disk;
mod fault;
mod storage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fault::{Call, Failure, Fault, Gate, How, Op};

use crate::storage::SyncPoint;
use disk::{Dice, Disk};
use fault::Plan;

/// The simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimStorage {
    inner: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct Machine {
    disk: Disk,
    plan: Plan,
    dice: Dice,
    /// Decides about the order of writes, and not about salts.
    order: Dice,
    locks: BTreeSet<PathBuf>,
    omitted: BTreeSet<SyncPoint>,
    direct: bool,
    threads: bool,
    capacity_bytes: Option<u64>,
    steps: u64,
    crash_at: Option<u64>,
    crashed: bool,
    trace: Option<Vec<Call>>,
    failures: Vec<Failure>,
}

impl SimStorage {
    /// An empty disk. The seed decides salts, and what a failed write leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_disk(Disk::default(), seed, true, false)
    }

    fn with_disk(disk: Disk, seed: u64, direct: bool, threads: bool) -> Self {
        let machine = Machine {
            disk,
            plan: Plan::default(),
            dice: Dice::new(seed),
            order: Dice::new(!seed),
            locks: BTreeSet::new(),
            omitted: BTreeSet::new(),
            direct,
            threads,
            capacity_bytes: None,
            steps: 0,
            crash_at: None,
            crashed: false,
            trace: None,
            failures: Vec::new(),
        };
        Self { inner: Arc::new(Mutex::new(machine)) }
    }

    /// Whether files can be written directly (each write durable when it returns). True at first; false makes the log
    /// take its plain way.
    #[must_use]
    pub fn direct(self, direct: bool) -> Self {
        self.machine().direct = direct;
        self
    }

    /// Whether threads of the log's own write its groups. False at first: the log's owner writes them, as late as can be
    /// and the parts of one in an order that the seed decides, so that every run makes the same calls in the same order.
    #[must_use]
    pub fn threads(self, threads: bool) -> Self {
        self.machine().threads = threads;
        self
    }

    /// What a power loss now would leave, as a disk of its own; `seed` decides about everything that was not durable.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let machine = self.machine();
        // Salts never come again, whatever the seed: the image draws from where the machine was.
        let fresh = machine.dice.clone().next() ^ Dice::new(seed).next();
        Self::with_disk(machine.disk.crash(seed), fresh, machine.direct, machine.threads)
    }

    /// What the end of the process now would leave, as a disk of its own: the page cache survives, locks don't.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut machine = self.machine();
        let seed = machine.dice.next();
        let mut disk = machine.disk.clone();
        disk.forget_nameless();
        Self::with_disk(disk, seed, machine.direct, machine.threads)
    }

    /// Steps so far: calls that change the disk.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.machine().steps
    }

    /// Lets the power fail at a step (counted like [`SimStorage::steps`], so that 0 is the first): that call and every
    /// later one fails. What the call had begun is then subject to [`SimStorage::crash`] like everything not durable.
    pub fn crash_at(&self, step: u64) {
        self.machine().crash_at = Some(step);
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.machine().crashed
    }

    /// Plans a failure. Several can wait; of those that match a call, the one planned first is taken.
    pub fn fail(&self, fault: Fault) {
        self.machine().plan.add(fault);
    }

    /// Forgets all planned failures.
    pub fn heal(&self) {
        self.machine().plan.clear();
    }

    /// The calls that failed since this was asked last, by the planned failures and for want of space.
    #[must_use]
    pub fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.machine().failures)
    }

    /// Holds the next matching call, and those after it, until the gate is opened.
    #[must_use]
    pub fn pause(&self, op: Op) -> Gate {
        self.machine().plan.gate(op, None, None)
    }

    /// Like [`SimStorage::pause`], only for calls for this reason.
    #[must_use]
    pub fn pause_at(&self, op: Op, point: SyncPoint) -> Gate {
        self.machine().plan.gate(op, Some(point), None)
    }

    /// Like [`SimStorage::pause`], only for files whose path contains this.
    #[must_use]
    pub fn pause_in(&self, op: Op, path: &Path) -> Gate {
        self.machine().plan.gate(op, None, Some(path))
    }

    /// From now on this sync point is left out: it answers success, and nothing becomes durable by it.
    pub fn omit(&self, point: SyncPoint) {
        self.machine().omitted.insert(point);
    }

    /// Limits the disk: what would take more than so many bytes in all fails with ENOSPC.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        self.machine().capacity_bytes = bytes;
    }

    /// Whether its size is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.machine().capacity_bytes.is_some()
    }

    /// Bytes that all files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.machine().disk.used_bytes()
    }

    /// The paths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let machine = self.machine();
        let names = |(dir, content): (&PathBuf, &disk::Dir)| {
            content.current.keys().map(|name| dir.join(name)).collect::<Vec<_>>()
        };
        machine.disk.dirs.iter().flat_map(names).collect()
    }

    /// What reads would see of a file.
    #[must_use]
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let machine = self.machine();
        machine.disk.inode_of(path).map(|inode| machine.disk.inodes[inode].cached.clone())
    }

    /// Damages a file, on the disk and in the cache alike. Answers whether there is such a file.
    pub fn damage(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) -> bool {
        self.change(path, |file| file.damage(change))
    }

    /// Changes what the page cache shows of a file, until it is dropped; the disk is as it was. Answers whether there is
    /// such a file.
    pub fn damage_cache(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) -> bool {
        self.change(path, |file| file.damage_cache(change))
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut disk::Inode)) -> bool {
        let mut machine = self.machine();
        let Some(inode) = machine.disk.inode_of(path) else {
            return false;
        };
        change(&mut machine.disk.inodes[inode]);
        true
    }

    /// Flips one bit of a file, on the disk and in the cache alike. Answers whether the file has that bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if self.read_file(path).is_none_or(|bytes| at >= bytes.len()) {
            return false;
        }
        self.damage(path, |bytes| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        })
    }

    /// Puts a file there, durably, in place of one that has the name; makes its directory.
    ///
    /// # Panics
    /// When the path has no directory and name, or they are not text.
    pub fn put_file(&self, path: &Path, bytes: &[u8]) {
        let mut machine = self.machine();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            panic!("{} is not the path of a file", path.display());
        };
        let inode = machine.disk.inodes.len();
        let mut content = disk::Inode::default();
        content.damage(|old| bytes.clone_into(old));
        machine.disk.inodes.push(content);
        let dir = machine.disk.dirs.entry(parent.to_path_buf()).or_default();
        dir.anchored = true;
        dir.link(name, inode);
        dir.sync();
    }

    /// Removes a file, durably. Answers whether there was one.
    pub fn lose_file(&self, path: &Path) -> bool {
        let mut machine = self.machine();
        if machine.disk.inode_of(path).is_none() {
            return false;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return false;
        };
        if let Some(dir) = machine.disk.dirs.get_mut(parent) {
            dir.unlink(name);
            dir.sync();
        }
        true
    }

    /// Begins to record calls.
    pub fn record_calls(&self) {
        self.machine().trace = Some(Vec::new());
    }

    /// The calls since [`SimStorage::record_calls`].
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.machine().trace.clone().unwrap_or_default()
    }

    /// The machine; its content is whole whenever its lock is free.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
