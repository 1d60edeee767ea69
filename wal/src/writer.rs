//! Groups on their way to the disk, each in one part or several, and rolls to the next segment between them: each has its
//! turn.
//!
//! ```text
//! owner:    append … submit │ append … submit │ append … submit (waits) │ …
//! threads:                  └▶ group 1 ───────┴─▶ group 2 ──────────────┴─▶ group 3
//!
//! owner:    append append │ append append │ append append │ sync: the rest ┐
//! threads:                └▶ one part ────┼───────────────┼──┐             ├▶ all durable: acknowledge
//!                                         └▶ another part ┼──┼───┐         │
//!                                                         └▶ a third ──────┘
//! ```
//!
//! # Invariants
//! - Nothing of a turn is begun before everything of the turn before it is durable.
//! - Once a job has failed none is begun any more, and no turn becomes durable any more.
//! - Whoever waits for everything writes what may be written itself, rather than wake a thread for it. Where there are no
//!   threads (none can be started, or the storage wants every run alike) the owner writes everything that way.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::publish::Naming;
use crate::storage::{LockGuard, Storage, StorageFile, SyncPoint, write_durably};

/// Threads that write: parts of one group at once. A third would gain a little more.
const THREADS: usize = 2;
/// Parts that may be unfinished while a group is appended to; one more waits.
pub(crate) const PARTS_MAX: usize = 8;

/// Whole pages of a group, finished.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) buffer: AlignedBuffer,
    /// In the segment.
    pub(crate) offset: u64,
    /// Whether it is the last part of its group.
    pub(crate) last: bool,
}

/// Something to be done to the segment that is written to.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) path: Arc<Path>,
    /// A roll is one part: the footer.
    pub(crate) part: Part,
    /// After which the next segment gets its name.
    pub(crate) roll: Option<Naming>,
}

/// What a caller's own panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

/// How much may be unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Turns that were handed over whole.
    pub(crate) turns: u64,
    /// Parts, of whichever turn.
    pub(crate) parts: usize,
}

impl Room {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { turns: 0, parts: 0 };
}

/// What became of parts since the last time.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Turns that became durable.
    pub(crate) turns: u64,
    /// Buffers of parts that nobody needs any more.
    pub(crate) buffers: Vec<AlignedBuffer>,
    /// The first failure, told each time.
    pub(crate) failure: Option<WalError>,
}

/// The owner's end.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
    /// Durable turns that were told.
    told: u64,
}

#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    /// Threads wait here for a part.
    work: Condvar,
    /// The owner waits here for room.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their turns; with the number of the turn.
    jobs: VecDeque<(u64, Job)>,
    /// Turns whose last part was handed over.
    handed: u64,
    /// Turns that are durable: of the next one, and of no other, parts may be written.
    durable: u64,
    /// Parts that are being written.
    writing: usize,
    /// Whether the last part of that turn was taken.
    last_taken: bool,
    buffers: Vec<AlignedBuffer>,
    failure: Option<WalError>,
    /// What the owner waits for.
    wanted: Option<Room>,
    /// Threads that wait.
    idle: usize,
    ended: bool,
}

impl State {
    /// How many parts may be begun.
    fn ready(&self) -> usize {
        self.jobs.iter().take_while(|(turn, _)| *turn == self.durable).count()
    }

    fn take(&mut self, nth: usize) -> Option<Job> {
        let (_, job) = self.jobs.remove(nth)?;
        self.writing += 1;
        self.last_taken |= job.part.last;
        Some(job)
    }

    /// Takes note of a part that was written, or was not.
    fn written(&mut self, buffer: AlignedBuffer, result: Result<(), WalError>) {
        self.writing -= 1;
        self.buffers.push(buffer);
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
        if self.failure.is_some() {
            let State { jobs, buffers, .. } = self;
            buffers.extend(jobs.drain(..).map(|(_, job)| job.part.buffer));
        } else if self.last_taken && self.writing == 0 && self.ready() == 0 {
            self.durable += 1;
            self.last_taken = false;
        }
    }

    fn has(&self, room: Room) -> bool {
        let parts = self.jobs.len() + self.writing;
        let turns = if self.failure.is_some() { 0 } else { self.handed - self.durable };
        turns <= room.turns && parts <= room.parts
    }
}

impl Desk {
    /// What the lock guards is whole whenever it is free.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a part that may be begun, and sees to it that somebody takes the next one.
    fn take(&self, state: &mut State, nth: usize) -> Option<Job> {
        let job = state.take(nth);
        if state.ready() > 0 && state.idle > 0 {
            self.work.notify_one();
        }
        job
    }

    /// Takes note of a part, and wakes the owner if it waits for that.
    fn written(&self, buffer: AlignedBuffer, result: Result<(), WalError>) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.written(buffer, result);
        if state.wanted.is_some_and(|room| state.has(room)) {
            state.wanted = None;
            self.room.notify_one();
        }
        state
    }

    /// A thread's life. It keeps the log's lock as long as it lives: a write that hangs can never wake beside another
    /// owner.
    fn write_on(&self) {
        let mut state = self.state();
        while !state.ended {
            let ready = state.ready() > 0;
            if let Some(job) = ready.then(|| self.take(&mut state, 0)).flatten() {
                drop(state);
                // A panic is told as a failure: nobody is there to take it.
                let Written { buffer, result, panic: _ } = write(job);
                state = self.written(buffer, result);
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// A part after its write.
struct Written {
    buffer: AlignedBuffer,
    result: Result<(), WalError>,
    panic: Option<Panic>,
}

/// Writes a part; a panic is a failure too.
fn write(job: Job) -> Written {
    let Job { file, path, part: Part { buffer, offset, .. }, roll } = job;
    let point = if roll.is_some() { SyncPoint::Footer } else { SyncPoint::Group };
    let write = || {
        write_durably(&*file, &path, buffer.bytes(), offset, point)?;
        roll.as_ref().map_or(Ok(()), Naming::carry_out)
    };
    let (result, panic) = match catch_unwind(AssertUnwindSafe(write)) {
        Ok(result) => (result, None),
        Err(panic) => {
            let error = io::Error::other("the write panicked");
            (Err(WalError::io(point.name(), &path, Some(offset), &error)), Some(panic))
        }
    };
    Written { buffer, result, panic }
}

impl Writer {
    /// Hands a part over, after all others. `now`: a thread begins as soon as it may; otherwise [`Writer::wait`] for
    /// everything follows, which does it as well.
    pub(crate) fn hand_over(
        &mut self,
        job: Job,
        now: bool,
        storage: &dyn Storage,
        lock: &Arc<dyn LockGuard>,
    ) {
        let mut state = self.desk.state();
        let turn = state.handed;
        state.handed += u64::from(job.part.last);
        if state.failure.is_some() {
            // It is not written: its turn fails with the one before.
            state.buffers.push(job.part.buffer);
            return;
        }
        state.jobs.push_back((turn, job));
        let (ready, idle) = (state.ready(), state.idle);
        drop(state);
        if !now || ready == 0 {
            return;
        }
        if ready > idle && self.threads.len() < THREADS && storage.pick_write(1).is_none() {
            self.start_thread(lock.clone());
        } else if idle > 0 {
            self.desk.work.notify_one();
        }
    }

    /// Where none can be started the others write, or the owner.
    fn start_thread(&mut self, lock: Arc<dyn LockGuard>) {
        let desk = self.desk.clone();
        let body = move || {
            let _lock = lock;
            desk.write_on();
        };
        if let Ok(thread) = std::thread::Builder::new().name("wal-writer".to_owned()).spawn(body) {
            self.threads.push(thread);
        }
    }

    /// Waits until no more than `room` is unfinished.
    ///
    /// # Errors
    /// A panic of a write that the caller did itself; as a failure [`Writer::news`] tells it, too.
    pub(crate) fn wait(&self, room: Room, storage: &dyn Storage) -> Result<(), Panic> {
        let mut state = self.desk.state();
        while !state.has(room) {
            let ready = state.ready();
            let helps = room == Room::EMPTY || state.idle == self.threads.len();
            if helps && ready > 0 {
                let nth = if ready > 1 { storage.pick_write(ready).unwrap_or(0).min(ready - 1) } else { 0 };
                if let Some(job) = self.desk.take(&mut state, nth) {
                    drop(state);
                    let Written { buffer, result, panic } = write(job);
                    state = self.desk.written(buffer, result);
                    panic.map_or(Ok(()), Err)?;
                }
            } else {
                state.wanted = Some(room);
                state = self.desk.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        // What the owner has written itself may have let the next group begin, while every thread slept.
        if state.ready() > 0 && state.idle > 0 {
            self.desk.work.notify_one();
        }
        Ok(())
    }

    /// What became of parts since the last time. Never waits.
    pub(crate) fn news(&mut self) -> News {
        let mut state = self.desk.state();
        let turns = state.durable - self.told;
        self.told = state.durable;
        News { turns, buffers: std::mem::take(&mut state.buffers), failure: state.failure.clone() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        state.ended = true;
        state.jobs.clear();
        drop(state);
        self.desk.work.notify_all();
        for thread in self.threads.drain(..) {
            // Its failures were told.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::PAGE;
    use crate::storage::{FileSystem, OpenMode};

    #[test]
    fn a_thread_is_woken_for_what_may_begin_once_the_owner_has_written_the_turn_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = FileSystem.open(&path, OpenMode::CreateNew).unwrap();
        let lock: Arc<dyn LockGuard> = FileSystem.lock(&dir.path().join("LOCK")).unwrap().into();
        let mut writer = Writer::default();
        let hand_over = |writer: &mut Writer, turn: u64, now| {
            let part = Part { buffer: AlignedBuffer::copy_of(&[1; 4096]), offset: turn * PAGE, last: true };
            let job = Job { file: file.clone(), path: path.as_path().into(), part, roll: None };
            writer.hand_over(job, now, &FileSystem, &lock);
        };
        let until = |writer: &Writer, holds: fn(&State) -> bool| {
            while !holds(&writer.desk.state()) {
                std::thread::yield_now();
            }
        };
        hand_over(&mut writer, 0, true);
        until(&writer, |state| state.durable == 1 && state.idle == 1);
        // The thread sleeps, and nobody has woken it for these two.
        hand_over(&mut writer, 1, false);
        hand_over(&mut writer, 2, false);
        assert!(writer.wait(Room { turns: 1, parts: usize::MAX }, &FileSystem).is_ok());
        // The owner has written the first of them; it asks for nothing more.
        until(&writer, |state| state.durable == 3);
        assert_eq!(writer.news().turns, 3);
    }
}
