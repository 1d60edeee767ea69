//! Groups in a stream: one is being written while the next is put together.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{
    Entry, FileSystem, Listed, LockFault, LockGuard, Log, LogOptions, OpenMode, Storage, StorageFile,
    SyncPoint, WalError,
};

use crate::script::DIR;
use crate::support::{Disk, append, contents, options, stored};

const LEN: usize = 3000;

/// Large segments; `ahead_bytes`: how large parts are.
fn roomy(ahead_bytes: u64) -> LogOptions {
    LogOptions { segment_bytes: 1 << 20, ahead_bytes, ..options() }
}

fn create(sim: &SimStorage, ahead_bytes: u64) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), roomy(ahead_bytes), 0).unwrap()
}

fn open(sim: &SimStorage) -> Log {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), roomy(0)).unwrap()
}

/// Ways to write: direct or not, by threads or not, in parts or not.
fn ways() -> impl Iterator<Item = (SimStorage, u64)> {
    let all = [false, true].into_iter().flat_map(|direct| [(direct, false), (direct, true)]);
    all.flat_map(|(direct, threads)| {
        [0, 4096].map(|ahead| (SimStorage::new(1).direct(direct).threads(threads), ahead))
    })
}

fn group_writes(sim: &SimStorage) -> usize {
    let calls = sim.calls();
    calls.iter().filter(|call| call.op == Op::Write && call.point == Some(SyncPoint::Group)).count()
}

#[test]
fn appending_goes_on_while_a_group_is_written_that_nobody_sees() {
    for direct in [false, true] {
        let sim = SimStorage::new(1).direct(direct).threads(true);
        let mut log = create(&sim, 0);
        append(&mut log, 0..2, 0, LEN);
        log.sync().unwrap();
        let reader = log.reader();
        let gate = sim.pause_at(Op::Write, SyncPoint::Group);
        append(&mut log, 2..5, 0, LEN);
        assert_eq!(log.submit().unwrap(), 2);
        gate.wait_reached();
        // A second group waits for the first, and a third is put together.
        append(&mut log, 5..7, 0, LEN);
        assert_eq!(log.submit().unwrap(), 2);
        append(&mut log, 7..9, 0, LEN);
        assert_eq!((log.range(), log.durable_next(), log.last_key()), (0..9, 2, Some(9)));
        assert_eq!(reader.range(), 0..2);
        assert_eq!(reader.get(2).unwrap(), None);
        assert_eq!(reader.get_by_key(2).unwrap(), None);
        gate.open();
        assert_eq!(log.settle().unwrap(), 7);
        assert_eq!(reader.range(), 0..7);
        assert_eq!(log.sync().unwrap(), 9);
        assert!(contents(&log) == (0..9).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>());
        drop(log);
        assert_eq!(open(&sim.crash(1)).range(), 0..9);
    }
}

#[test]
fn keys_never_go_down_behind_a_group_in_flight_either() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, 0);
    append(&mut log, 0..2, 0, 10);
    log.submit().unwrap();
    let low = log.append(2, Entry { key: 1, digest: 0, payload: b"" });
    assert!(matches!(low, Err(WalError::KeyOrder { key: 1, last: 2, .. })), "{low:?}");
}

#[test]
fn a_third_group_waits_until_the_first_is_durable() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, 0);
    sim.record_calls();
    let mut seen = Vec::new();
    for group in 0..5_u64 {
        append(&mut log, group * 2..group * 2 + 2, 0, LEN);
        let durable = log.submit().unwrap();
        seen.push((group_writes(&sim), durable));
    }
    assert_eq!(seen, [(0, 0), (0, 0), (1, 2), (2, 4), (3, 6)]);
    // To ask costs nothing.
    assert_eq!((log.submit().unwrap(), group_writes(&sim)), (6, 3));
    assert_eq!((log.settle().unwrap(), group_writes(&sim)), (10, 5));
}

#[test]
fn a_roll_waits_for_nothing_that_is_on_its_way() {
    let sim = SimStorage::new(1);
    let options = LogOptions { ahead_bytes: 0, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
    // Whatever is written is written as late as can be.
    sim.record_calls();
    append(&mut log, 0..12, 0, LEN);
    assert_eq!((log.submit().unwrap(), group_writes(&sim)), (0, 0));
    append(&mut log, 12..20, 0, LEN);
    assert_eq!((log.submit().unwrap(), group_writes(&sim)), (0, 0));
    let footers =
        |sim: &SimStorage| sim.calls().iter().filter(|call| call.point == Some(SyncPoint::Footer)).count();
    // The next segment is prepared, and nothing of this one's end is written.
    assert!(sim.calls().iter().any(|call| call.point == Some(SyncPoint::Header)));
    assert_eq!((footers(&sim), log.segments(), log.range(), log.durable_next()), (0, 1, 0..20, 0));
    assert_eq!(log.settle().unwrap(), 20);
    assert_eq!((footers(&sim), log.segments()), (1, 2));
    assert!(contents(&log) == (0..20).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>());
    drop(log);
    assert_eq!(open(&sim.crash(1)).range(), 0..20);
}

#[test]
fn a_roll_that_finds_no_space_leaves_what_is_on_its_way_alone() {
    let sim = SimStorage::new(1);
    let options = LogOptions { ahead_bytes: 0, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    append(&mut log, 0..12, 0, LEN);
    assert_eq!(log.submit().unwrap(), 0);
    append(&mut log, 12..20, 0, LEN);
    assert!(log.submit().unwrap_err().is_disk_full());
    assert!(log.poisoned().is_none());
    // With `sync` it becomes durable, and only the rest goes on waiting.
    assert!(log.sync().unwrap_err().is_disk_full());
    let durable = log.durable_next();
    assert!((12..20).contains(&durable) && log.range() == (0..20), "{durable}");
    sim.set_capacity_bytes(None);
    assert_eq!(log.sync().unwrap(), 20);
    assert!(contents(&log) == (0..20).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>());
}

#[test]
fn what_has_become_durable_is_learned_without_waiting() {
    let sim = SimStorage::new(1).threads(true);
    let mut log = create(&sim, 0);
    append(&mut log, 0..3, 0, 10);
    let mut durable = log.submit().unwrap();
    while durable < 3 {
        std::thread::yield_now();
        durable = log.submit().unwrap();
    }
    assert_eq!(log.reader().range(), 0..3);
}

#[test]
fn after_a_failed_group_nothing_is_written_that_was_sent_later() {
    for (sim, ahead) in ways() {
        for nth in 1..=2 {
            let mut log = create(&sim, ahead);
            append(&mut log, 0..3, 0, LEN);
            log.sync().unwrap();
            sim.record_calls();
            let fault = Fault::eio(Op::Write).point(SyncPoint::Group).nth(nth);
            sim.fail(fault);
            // The groups say which they are by the length of their entries.
            let stream = |log: &mut Log| {
                for group in 0..4_u64 {
                    for index in 3 + group * 3..6 + group * 3 {
                        let payload = vec![group as u8; LEN + group as usize];
                        log.append(index, Entry { key: index + 1, digest: 0, payload: &payload })?;
                    }
                    log.submit()?;
                }
                log.settle()
            };
            let failed = stream(&mut log).unwrap_err();
            assert!(matches!(failed, WalError::Io { errno: Some(5), .. }), "{failed}");
            assert!(log.poisoned().is_some());
            assert!(matches!(log.submit(), Err(WalError::Poisoned { .. })));
            assert!(matches!(log.settle(), Err(WalError::Poisoned { .. })));
            let durable = log.durable_next();
            assert_eq!(log.reader().range(), 0..durable);
            drop(log);
            // Of no group but the failed one is there anything that was not acknowledged.
            let failed_group = (durable - 3) / 3;
            let seen = sim.kill();
            let log = open(&seen);
            for index in durable..log.range().end {
                let length = log.reader().get(index).unwrap().unwrap().payload.len() as u64;
                assert_eq!(length, LEN as u64 + failed_group, "entry {index}, durable {durable}");
            }
            drop(log);
            let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), roomy(ahead)).unwrap();
            let mut log = judged.open_at(durable).unwrap();
            append(&mut log, durable..20, 1, LEN);
            log.submit().unwrap();
            assert_eq!(log.settle().unwrap(), 20);
            drop(log);
            let log = open(&sim.crash(1));
            assert_eq!(log.range(), 0..20);
            assert_eq!(log.reader().get(19).unwrap(), Some(stored(19, 1, LEN)));
            drop(log);
            for path in sim.files() {
                sim.lose_file(&path);
            }
        }
    }
}

#[test]
fn what_waits_behind_a_group_that_fails_is_never_written() {
    for (sim, _) in ways() {
        let mut log = create(&sim, 0);
        append(&mut log, 0..3, 0, LEN);
        log.sync().unwrap();
        sim.record_calls();
        sim.fail(Fault::eio(Op::Write).point(SyncPoint::Group));
        let gate = sim.pick_write(1).is_none().then(|| sim.pause_at(Op::Write, SyncPoint::Group));
        for group in 1..3_u64 {
            append(&mut log, group * 3..group * 3 + 3, 0, LEN);
            assert_eq!(log.submit().unwrap(), 3);
        }
        drop(gate);
        assert!(matches!(log.settle(), Err(WalError::Io { errno: Some(5), .. })));
        assert_eq!((log.durable_next(), log.reader().range()), (3, 0..3));
        drop(log);
        assert_eq!(group_writes(&sim), 1);
        assert!((3..=6).contains(&open(&sim.kill()).range().end));
    }
}

#[test]
fn a_panic_in_a_write_poisons() {
    for (sim, ahead) in ways() {
        let mut log = create(&sim, ahead);
        append(&mut log, 0..3, 0, LEN);
        log.sync().unwrap();
        sim.fail(Fault::panic(Op::Write).point(SyncPoint::Group));
        let written = catch_unwind(AssertUnwindSafe(|| {
            append(&mut log, 3..4, 0, LEN);
            log.sync()
        }));
        // It goes on where the caller wrote itself, and is a failure where a thread did.
        assert!(!matches!(written, Ok(Ok(_))));
        assert!(log.poisoned().is_some());
        assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
        assert_eq!(log.reader().range(), 0..3);
        drop(log);
        assert_eq!(open(&sim.crash(1)).range(), 0..3);
    }
}

#[test]
fn a_hung_write_keeps_the_lock_whatever_becomes_of_the_log() {
    let sim = SimStorage::new(3).threads(true);
    let mut log = create(&sim, 0);
    let gate = sim.pause_at(Op::Write, SyncPoint::Group);
    append(&mut log, 0..3, 0, 700);
    log.submit().unwrap();
    append(&mut log, 3..6, 0, 700);
    log.submit().unwrap();
    gate.wait_reached();
    let reader = log.reader();
    sim.record_calls();
    let ended = std::thread::spawn(move || drop(log));
    assert!(matches!(
        Log::open(Arc::new(sim.clone()), Path::new(DIR), options()),
        Err(WalError::InUse { .. })
    ));
    assert_eq!(reader.range(), 0..0);
    gate.open();
    ended.join().unwrap();
    // The second group was dropped with its owner, or had been begun before.
    assert!(group_writes(&sim) <= 2);
    let log = open(&sim);
    assert!(log.range() == (0..3) || log.range() == (0..6), "{:?}", log.range());
}

/// Where writes of groups begin and end, in the order in which they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Begins(u64),
    Ends(u64),
}

/// A storage that watches the writes of groups, and lets others in between.
#[derive(Clone, Debug)]
struct Watched<S> {
    inner: S,
    events: Arc<Mutex<Vec<Event>>>,
}

impl<S: Storage> Storage for Watched<S> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        self.inner.list(dir)
    }
    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()> {
        self.inner.sync_dir(dir, point)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(Watched { inner, events: self.events.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        self.inner.lock(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.inner.free_bytes(dir)
    }
    fn salt(&self) -> io::Result<u64> {
        self.inner.salt()
    }
}

impl StorageFile for Watched<Arc<dyn StorageFile>> {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize> {
        let note = |event| {
            if point == SyncPoint::Group {
                self.events.lock().unwrap().push(event);
                std::thread::yield_now();
            }
        };
        note(Event::Begins(offset));
        let written = self.inner.write_at(buffer, offset, point);
        note(Event::Ends(offset));
        written
    }
    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        self.inner.sync_data(point)
    }
    fn writes_are_durable(&self) -> bool {
        self.inner.writes_are_durable()
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

#[test]
fn no_group_is_begun_before_the_one_before_it_is_durable() {
    for ahead in [0, 4096] {
        let sim = SimStorage::new(1).threads(true);
        let watched = Watched { inner: sim.clone(), events: Arc::default() };
        let options = LogOptions { segment_bytes: 8 << 20, ..roomy(ahead) };
        let mut log = Log::create(Arc::new(watched.clone()), Path::new(DIR), options.clone(), 0).unwrap();
        let mut next = 0;
        for group in 0..300_u64 {
            let entries = 1 + group % 7;
            append(&mut log, next..next + entries, 0, LEN);
            next += entries;
            match group % 10 {
                9 => log.sync().unwrap(),
                8 => log.settle().unwrap(),
                _ => log.submit().unwrap(),
            };
        }
        log.sync().unwrap();
        assert_eq!(log.segments(), 1);
        drop(log);
        // A frame says where its group starts: everything below was durable when it was written.
        let file = sim.read_file(&Path::new(DIR).join(format!("{:020}.seg", 1))).unwrap();
        let group_of = |offset: u64| {
            let at = usize::try_from(offset).unwrap();
            let frame = (at..).step_by(8).find(|at| file[*at..*at + 8] == file[4096..4104]).unwrap();
            u64::from_le_bytes(file[frame + 16..frame + 24].try_into().unwrap())
        };
        let events = watched.events.lock().unwrap();
        let mut under_way: Vec<u64> = Vec::new();
        let mut at_once = 0;
        for event in events.iter() {
            match *event {
                Event::Begins(offset) => {
                    under_way.push(offset);
                    let groups: std::collections::BTreeSet<u64> =
                        under_way.iter().copied().map(group_of).collect();
                    assert_eq!(groups.len(), 1, "writes at {under_way:?} of groups at {groups:?} at once");
                }
                Event::Ends(offset) => under_way.retain(|other| *other != offset),
            }
            at_once = at_once.max(under_way.len());
        }
        let groups: Vec<u64> = events
            .iter()
            .filter_map(|event| match event {
                Event::Begins(offset) => Some(group_of(*offset)),
                Event::Ends(_) => None,
            })
            .collect();
        assert!(groups.is_sorted(), "groups go in order");
        assert!(ahead > 0 || at_once == 1);
        assert_eq!(Log::open(Arc::new(sim.crash(1)), Path::new(DIR), options).unwrap().range(), 0..next);
    }
}

/// Streams, syncs, cuts and rolls on a real disk, with a reader beside; answers the log.
fn stream_on(disk: &Disk, options: LogOptions) -> Log {
    let mut log = disk.create(options, 0);
    let reader = log.reader();
    let (told, durable) = std::sync::mpsc::channel::<u64>();
    let beside = std::thread::spawn(move || {
        let mut last = 0;
        for upto in durable {
            assert!(reader.range().end >= upto && upto >= last);
            last = upto;
            for index in upto.saturating_sub(3).max(reader.range().start)..upto {
                assert!(reader.get(index).unwrap().is_none_or(|entry| entry == stored(index, 0, 9000)));
            }
        }
    });
    let mut next = 0;
    for group in 0..200_u64 {
        let entries = 1 + group % 9;
        append(&mut log, next..next + entries, 0, 9000);
        next += entries;
        told.send(log.submit().unwrap()).unwrap();
        if group % 50 == 49 {
            log.truncate_before(next - 20).unwrap();
        }
    }
    assert_eq!(log.settle().unwrap(), next);
    drop(told);
    beside.join().unwrap();
    assert!(contents(&log) == (next - 20..next).map(|index| stored(index, 0, 9000)).collect::<Vec<_>>());
    log
}

#[test]
fn on_the_real_disk_too() {
    for direct_io in [true, false] {
        let disk = Disk::new();
        let options = LogOptions { direct_io, ..roomy(16 << 10) };
        let log = stream_on(&disk, options.clone());
        let range = log.range();
        drop(log);
        assert_eq!(disk.open(options).range(), range);
    }
}

const CHILD: &str = "ROADBED_WAL_WITHOUT_THREADS";

/// The process of the next test; it does nothing unless that starts it.
#[test]
fn writes_where_no_thread_can_be_started() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a stack larger than the address space");
    let disk = Disk::new();
    let options = roomy(16 << 10);
    let mut log = Log::create(Arc::new(FileSystem), &disk.dir(), options, 0).unwrap();
    for group in 0..50_u64 {
        append(&mut log, group * 9..group * 9 + 9, 0, 9000);
        log.submit().unwrap();
    }
    assert_eq!(log.settle().unwrap(), 450);
    assert!(contents(&log) == (0..450).map(|index| stored(index, 0, 9000)).collect::<Vec<_>>());
    println!("written");
}

#[test]
fn the_owner_writes_where_no_thread_can_be_started() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stream::writes_where_no_thread_can_be_started", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        // What std takes for the stacks of threads: none has room for so much.
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("written"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}
