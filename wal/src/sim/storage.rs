//! The storage seam over the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Inode, SECTOR};
use super::fault::{Call, ENOSPC, Failure, Fate, How, Op};
use super::{Machine, SimStorage};
use crate::format::PAGE_BYTES;
use crate::storage::{Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

#[derive(Debug)]
struct SimFile {
    sim: SimStorage,
    inode: usize,
    path: PathBuf,
    direct: bool,
}

#[derive(Debug)]
struct SimLock {
    sim: SimStorage,
    path: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.sim.machine().locks.remove(&self.path);
    }
}

/// What a call may do.
enum Leave {
    All,
    /// A write of fewer bytes.
    Short(usize),
    /// Whatever was begun may be there or not; then the error.
    Begun(io::Error),
}

fn crashed() -> io::Error {
    io::Error::other("the simulated machine has lost its power")
}

impl SimStorage {
    /// Lets a call through: waits at gates, counts steps, meets faults.
    fn enter(&self, op: Op, path: &Path, point: Option<SyncPoint>) -> io::Result<Leave> {
        let call = Call { op, path: path.to_path_buf(), point };
        loop {
            let Some(gate) = self.machine().plan.gate_for(&call) else {
                break;
            };
            gate.block();
        }
        let mut machine = self.machine();
        if machine.crashed {
            return Err(crashed());
        }
        if let Some(trace) = &mut machine.trace {
            trace.push(call.clone());
        }
        if op.is_step() {
            let step = machine.steps;
            machine.steps += 1;
            if machine.crash_at.is_some_and(|at| step >= at) {
                machine.crashed = true;
                return Ok(Leave::Begun(crashed()));
            }
        }
        let (how, leave) = match machine.plan.fate(&call) {
            Fate::Passes => return Ok(Leave::All),
            Fate::Fails(errno) => (How::Errno(errno), Leave::Begun(io::Error::from_raw_os_error(errno))),
            Fate::Short(bytes) => (How::Short, Leave::Short(bytes)),
            Fate::Panics => {
                machine.failures.push(Failure { call, how: How::Panic });
                drop(machine);
                panic!("the simulated disk was told to panic at {op:?} of {}", path.display());
            }
        };
        machine.failures.push(Failure { call, how });
        Ok(leave)
    }

    /// The same, for calls that do nothing when they fail.
    fn enter_whole(&self, op: Op, path: &Path, point: Option<SyncPoint>) -> io::Result<()> {
        match self.enter(op, path, point)? {
            Leave::Begun(error) => Err(error),
            Leave::All | Leave::Short(_) => Ok(()),
        }
    }

    fn change_dir(
        &self,
        path: &Path,
        change: impl FnOnce(&mut super::disk::Dir, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut machine = self.machine();
        let dir = machine.disk.dirs.get_mut(parent).ok_or(io::ErrorKind::NotFound)?;
        change(dir, name)
    }

    /// A change of a directory: at the step of a crash it may still have happened.
    fn entry(
        &self,
        op: Op,
        path: &Path,
        change: impl FnOnce(&mut super::disk::Dir, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.enter(op, path, None)? {
            Leave::Begun(error) => {
                if self.machine().crashed {
                    self.change_dir(path, change)?;
                }
                Err(error)
            }
            Leave::All | Leave::Short(_) => self.change_dir(path, change),
        }
    }
}

impl Machine {
    fn room(&mut self, more: usize, call: impl FnOnce() -> Call) -> io::Result<()> {
        match self.capacity_bytes {
            Some(capacity) if self.disk.used_bytes() + more as u64 > capacity => {
                self.failures.push(Failure { call: call(), how: How::Errno(ENOSPC) });
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }

    fn inode(&mut self, inode: usize) -> &mut Inode {
        &mut self.disk.inodes[inode]
    }
}

impl Storage for SimStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if self.machine().disk.dirs.contains_key(dir) {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.create_dir(parent)?;
        }
        self.enter_whole(Op::CreateDir, dir, None)?;
        self.machine().disk.dirs.entry(dir.to_path_buf()).or_default();
        match dir.parent() {
            Some(parent) => self.sync_dir(parent, SyncPoint::Parent),
            None => Ok(()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        self.enter_whole(Op::List, dir, None)?;
        let machine = self.machine();
        let Some(content) = machine.disk.dirs.get(dir) else {
            return Ok(None);
        };
        let file = |(name, inode): (&String, &usize)| Listed {
            name: name.clone(),
            bytes: machine.disk.inodes[*inode].cached.len() as u64,
            is_file: true,
        };
        let below = machine.disk.dirs.keys().filter(|path| path.parent() == Some(dir));
        let below = below.filter_map(|path| path.file_name()?.to_str());
        let below = below.map(|name| Listed { name: name.to_owned(), bytes: 0, is_file: false });
        Ok(Some(content.current.iter().map(file).chain(below).collect()))
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()> {
        self.enter_whole(Op::SyncDir, dir, Some(point))?;
        let mut machine = self.machine();
        if machine.omitted.contains(&point) {
            return Ok(());
        }
        for (path, content) in &mut machine.disk.dirs {
            if path == dir {
                content.sync();
            }
            if path.parent() == Some(dir) || path.parent().is_none() {
                content.anchored = true;
            }
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let direct = mode == OpenMode::WriteDirect;
        if mode == OpenMode::CreateNew {
            self.machine().room(1, || Call { op: Op::Create, path: path.to_path_buf(), point: None })?;
            let mut made = None;
            let sim = self.clone();
            let inode = {
                let mut machine = self.machine();
                machine.disk.inodes.push(Inode::default());
                machine.disk.inodes.len() - 1
            };
            self.entry(Op::Create, path, |dir, name| {
                if dir.current.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                dir.link(name, inode);
                made = Some(inode);
                Ok(())
            })?;
            let inode = made.ok_or(io::ErrorKind::Other)?;
            return Ok(Arc::new(SimFile { sim, inode, path: path.to_path_buf(), direct }));
        }
        self.enter_whole(Op::Open, path, None)?;
        let machine = self.machine();
        if direct && !machine.direct {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let inode = machine.disk.inode_of(path).ok_or(io::ErrorKind::NotFound)?;
        drop(machine);
        Ok(Arc::new(SimFile { sim: self.clone(), inode, path: path.to_path_buf(), direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let Some(target) = to.file_name().and_then(|name| name.to_str()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if from.parent() != to.parent() {
            self.enter_whole(Op::Rename, from, None)?;
            return self.machine().disk.move_to(from, to);
        }
        self.entry(Op::Rename, from, |dir, name| {
            if !dir.current.contains_key(name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if dir.current.contains_key(target) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            dir.rename(name, target);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.entry(Op::Remove, path, |dir, name| {
            if !dir.current.contains_key(name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            dir.unlink(name);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        let mut machine = self.machine();
        if machine.crashed {
            return Err(LockFault::Io(crashed()));
        }
        if !machine.locks.insert(path.to_path_buf()) {
            return Err(LockFault::Held("another owner on the simulated disk".to_owned()));
        }
        drop(machine);
        Ok(Box::new(SimLock { sim: self.clone(), path: path.to_path_buf() }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        let machine = self.machine();
        Ok(machine.capacity_bytes.map(|capacity| capacity.saturating_sub(machine.disk.used_bytes())))
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(self.machine().dice.next() | 1)
    }

    fn pick_write(&self, parts: usize) -> Option<usize> {
        let mut machine = self.machine();
        match parts {
            _ if machine.threads => None,
            1 => Some(0),
            _ => usize::try_from(machine.order.below(parts as u64)).ok(),
        }
    }
}

impl StorageFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.sim.machine().inode(self.inode).cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.sim.enter_whole(Op::Read, &self.path, None)?;
        let mut machine = self.sim.machine();
        let bytes = &machine.inode(self.inode).cached;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let aligned = buffer.as_ptr().align_offset(PAGE_BYTES) == 0;
        if self.direct
            && !(aligned && offset.is_multiple_of(PAGE_BYTES) && buffer.len().is_multiple_of(PAGE_BYTES))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let leave = self.sim.enter(Op::Write, &self.path, Some(point))?;
        let mut machine = self.sim.machine();
        let held = machine.inode(self.inode).cached.len();
        let call = || Call { op: Op::Write, path: self.path.clone(), point: Some(point) };
        machine.room((offset + buffer.len()).saturating_sub(held), call)?;
        let (bytes, result) = match leave {
            Leave::All => (buffer.len(), Ok(buffer.len())),
            Leave::Short(bytes) => (bytes.min(buffer.len()), Ok(bytes.min(buffer.len()))),
            Leave::Begun(error) if machine.crashed => (buffer.len(), Err(error)),
            Leave::Begun(error) => {
                // A write that fails may have come some way.
                let sectors = (buffer.len() / SECTOR) as u64;
                let bytes = usize::try_from(machine.dice.below(sectors + 1)).unwrap_or(0) * SECTOR;
                (bytes, Err(error))
            }
        };
        let durable = self.direct && !machine.crashed && !machine.omitted.contains(&point);
        let inode = machine.inode(self.inode);
        if durable && result.is_ok() {
            inode.write_through(offset, &buffer[..bytes]);
        } else {
            inode.write(offset, &buffer[..bytes]);
        }
        result
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        let leave = self.sim.enter(Op::Sync, &self.path, Some(point))?;
        let mut machine = self.sim.machine();
        let (crashed, omitted) = (machine.crashed, machine.omitted.contains(&point));
        let inode = machine.inode(self.inode);
        match leave {
            Leave::Begun(error) => {
                if !crashed {
                    inode.sync_failed();
                }
                Err(error)
            }
            Leave::All | Leave::Short(_) => {
                if !omitted {
                    inode.sync();
                }
                Ok(())
            }
        }
    }

    fn writes_are_durable(&self) -> bool {
        self.direct
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let leave = self.sim.enter(Op::Allocate, &self.path, None)?;
        let mut machine = self.sim.machine();
        let held = machine.inode(self.inode).cached.len();
        let call = || Call { op: Op::Allocate, path: self.path.clone(), point: None };
        machine.room(bytes.saturating_sub(held), call)?;
        match leave {
            Leave::Begun(error) => {
                if machine.crashed {
                    machine.inode(self.inode).extend_to(bytes);
                }
                Err(error)
            }
            Leave::All | Leave::Short(_) => {
                machine.inode(self.inode).extend_to(bytes);
                Ok(())
            }
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.sim.enter_whole(Op::DropCache, &self.path, None)?;
        self.sim.machine().inode(self.inode).drop_cache();
        Ok(())
    }
}
