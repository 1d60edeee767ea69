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
    /// Of those, how many were woken and have not gone on yet.
    woken: usize,
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
        self.wake(state);
        job
    }

    /// Wakes a thread, if one waits, for a part that may be begun and that none was woken for.
    fn wake(&self, state: &mut State) {
        if state.ready() > state.woken && state.idle > state.woken {
            state.woken += 1;
            self.work.notify_one();
        }
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
                let asleep = |state: &mut State| state.woken == 0 && !state.ended;
                state = self.work.wait_while(state, asleep).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                state.woken = state.woken.saturating_sub(1);
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
        if !now {
            return;
        }
        if state.ready() > state.idle && self.threads.len() < THREADS && storage.pick_write(1).is_none() {
            drop(state);
            self.start_thread(lock.clone());
        } else {
            self.desk.wake(&mut state);
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
                let nth = storage.pick_write(ready).map_or(0, |nth| nth % ready);
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
        self.desk.wake(&mut state);
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
    use std::fmt;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::format::PAGE;
    use crate::storage::FileSystem;

    /// A file of which only the writes are told, by their offsets, to a function.
    struct Paper<F>(F);

    impl<F> fmt::Debug for Paper<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Paper")
        }
    }

    impl<F: Fn(u64) + Send + Sync> StorageFile for Paper<F> {
        fn write_at(&self, buffer: &[u8], offset: u64, _: SyncPoint) -> io::Result<usize> {
            (self.0)(offset);
            Ok(buffer.len())
        }

        fn writes_are_durable(&self) -> bool {
            true
        }

        fn bytes(&self) -> io::Result<u64> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync_data(&self, _: SyncPoint) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn allocate(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn drop_cache(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[derive(Debug)]
    struct Unlocked;

    impl LockGuard for Unlocked {}

    fn paper(write: impl Fn(u64) + Send + Sync + 'static) -> Arc<dyn StorageFile> {
        Arc::new(Paper(write))
    }

    fn job(file: &Arc<dyn StorageFile>, last: bool) -> Job {
        let part = Part { buffer: AlignedBuffer::copy_of(&[1; 4096]), offset: PAGE, last };
        Job { file: file.clone(), path: Path::new("file").into(), part, roll: None }
    }

    fn hand_over(writer: &mut Writer, file: &Arc<dyn StorageFile>, last: bool, now: bool) {
        let lock: Arc<dyn LockGuard> = Arc::new(Unlocked);
        writer.hand_over(job(file, last), now, &FileSystem, &lock);
    }

    fn until(writer: &Writer, holds: impl Fn(&State) -> bool) {
        while !holds(&writer.desk.state()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_is_woken_for_what_may_begin_once_the_owner_has_written_the_turn_before() {
        let file = paper(|_| {});
        let mut writer = Writer::default();
        hand_over(&mut writer, &file, true, true);
        until(&writer, |state| state.durable == 1 && state.idle == 1);
        // The thread sleeps, and nobody has woken it for these two.
        hand_over(&mut writer, &file, true, false);
        hand_over(&mut writer, &file, true, false);
        assert!(writer.wait(Room { turns: 1, parts: usize::MAX }, &FileSystem).is_ok());
        // The owner has written the first of them; it asks for nothing more.
        until(&writer, |state| state.durable == 3);
        assert_eq!(writer.news().turns, 3);
    }

    #[test]
    fn a_thread_that_sleeps_is_woken_for_each_part_that_may_begin() {
        let file = paper(|_| {});
        // Parts that may begin, threads that wait, those of them that were woken already, and after it.
        let cases = [(0, 1, 0, 0), (1, 0, 0, 0), (1, 1, 0, 1), (1, 2, 1, 1), (2, 1, 1, 1), (2, 2, 1, 2)];
        for (ready, idle, woken, then) in cases {
            let jobs = (0..ready).map(|_| (0, job(&file, false))).collect();
            let (desk, mut state) = (Desk::default(), State { jobs, idle, woken, ..State::default() });
            desk.wake(&mut state);
            assert_eq!(state.woken, then, "{ready} parts, {idle} wait, {woken} were woken");
        }
    }

    #[test]
    fn who_takes_a_part_wakes_a_thread_for_the_next_and_who_hands_one_over_only_if_it_is_to_begin_now() {
        let file = paper(|_| {});
        for (jobs, woken) in [(1, 0), (2, 1)] {
            let jobs = (0..jobs).map(|_| (0, job(&file, false))).collect();
            let (desk, mut state) = (Desk::default(), State { jobs, idle: 1, ..State::default() });
            assert!(desk.take(&mut state, 0).is_some());
            assert_eq!(state.woken, woken);
        }
        for now in [false, true] {
            let mut writer = Writer::default();
            writer.desk.state().idle = 1;
            hand_over(&mut writer, &file, true, now);
            let woken = writer.desk.state().woken;
            assert_eq!((woken, writer.threads.len()), (usize::from(now), 0));
        }
    }

    #[test]
    fn one_thread_after_the_other_is_started_while_none_waits_and_two_at_most() {
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let file = paper(move |_| {
            while !gate.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
        let mut writer = Writer::default();
        let threads = [false, true, true, true].map(|now| {
            hand_over(&mut writer, &file, false, now);
            writer.threads.len()
        });
        open.store(true, Ordering::Release);
        assert_eq!(threads, [0, 1, 2, 2]);
    }

    #[test]
    fn a_thread_that_waits_is_used_again_and_counted_once() {
        let file = paper(|_| {});
        let mut writer = Writer::default();
        for turns in 1..6 {
            hand_over(&mut writer, &file, true, true);
            until(&writer, |state| state.durable == turns && state.idle > 0);
        }
        let threads = writer.threads.len();
        let state = writer.desk.state();
        let counts = (state.idle, state.woken, threads);
        drop(state);
        assert_eq!(counts, (1, 0, 1));
    }

    #[test]
    fn who_waits_for_everything_writes_what_no_thread_has_begun() {
        let mut writer = Writer::default();
        let (desk, by) = (writer.desk.clone(), Arc::new(OnceLock::new()));
        let begun = by.clone();
        // A thread is at this one until the other part is begun, or nobody is left to begin it.
        let first = paper(move |_| {
            while begun.get().is_none() && desk.state().wanted.is_none() {
                std::thread::yield_now();
            }
        });
        let begun = by.clone();
        let second = paper(move |_| assert!(begun.set(std::thread::current().id()).is_ok()));
        hand_over(&mut writer, &first, false, true);
        until(&writer, |state| state.writing == 1);
        hand_over(&mut writer, &second, true, false);
        assert!(writer.wait(Room::EMPTY, &FileSystem).is_ok());
        assert_eq!(by.get(), Some(&std::thread::current().id()));
    }
}
