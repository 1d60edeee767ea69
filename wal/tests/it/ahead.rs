//! A group whose front is written while its rest is appended.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{Entry, Log, LogOptions, SyncPoint, WalError};

use crate::script::{DIR, contents};
use crate::support::{Disk, append, options, stored};

const LEN: usize = 3000;

fn roomy() -> LogOptions {
    LogOptions { segment_bytes: 256 << 10, ahead_bytes: 4096, ..options() }
}

fn create(sim: &SimStorage) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), roomy(), 0).unwrap()
}

fn open(sim: &SimStorage) -> Log {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), roomy()).unwrap()
}

fn group_writes(sim: &SimStorage) -> usize {
    let calls = sim.calls();
    calls.iter().filter(|call| call.op == Op::Write && call.point == Some(SyncPoint::Group)).count()
}

#[test]
fn a_large_group_goes_in_parts_and_is_one_group() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim);
    sim.record_calls();
    append(&mut log, 0..20, 0, LEN);
    log.sync().unwrap();
    assert!(group_writes(&sim) > 8);
    assert!(contents(&log).unwrap().1 == (0..20).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>());
    drop(log);
    assert_eq!(open(&sim.crash(1)).range(), 0..20);
}

#[test]
fn a_group_that_starts_a_segment_goes_in_parts_too() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim);
    // One that is written into, and one beside the reserve.
    while log.idle().unwrap() {}
    append(&mut log, 0..60, 0, LEN);
    log.sync().unwrap();
    sim.record_calls();
    append(&mut log, 60..130, 0, LEN);
    log.sync().unwrap();
    assert_eq!(log.segments(), 2);
    // The file of the second one was opened under the name of a spare.
    let first = log.reader().segments()[0].path.clone();
    let calls = sim.calls();
    let parts = |call: &&roadbed_wal::sim::Call| {
        call.path != first && call.op == Op::Write && call.point == Some(SyncPoint::Group)
    };
    assert!(calls.iter().filter(parts).count() > 8);
    assert!(contents(&log).unwrap().1 == (0..130).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>());
    drop(log);
    assert_eq!(open(&sim.crash(1)).range(), 0..130);
}

#[test]
fn eight_parts_wait_and_no_more() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim);
    sim.record_calls();
    append(&mut log, 0..60, 0, LEN);
    let written = group_writes(&sim);
    log.sync().unwrap();
    // Those, and the group's last.
    assert_eq!(group_writes(&sim) - written, 8 + 1);
}

#[test]
fn parts_are_written_in_any_order() {
    let mut begun = BTreeSet::new();
    for seed in 0..40 {
        let sim = SimStorage::new(seed);
        let mut log = create(&sim);
        append(&mut log, 0..10, 0, LEN);
        let path = log.reader().segments()[0].path.clone();
        // The power fails in the first write.
        sim.crash_at(sim.steps());
        assert!(log.sync().is_err());
        let bytes = sim.read_file(&path).unwrap();
        begun.insert(bytes[4096..].iter().position(|byte| *byte != 0).unwrap() / 4096);
    }
    assert!(begun.len() > 3, "{begun:?}");
}

#[test]
fn it_is_for_direct_writes_only_and_can_be_turned_off() {
    for (direct, ahead_bytes) in [(false, 8192), (true, 0)] {
        let sim = SimStorage::new(1).direct(direct);
        let options = LogOptions { ahead_bytes, ..roomy() };
        let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
        sim.record_calls();
        append(&mut log, 0..20, 0, LEN);
        log.sync().unwrap();
        assert_eq!(group_writes(&sim), 1);
    }
}

#[test]
fn a_failed_part_fails_the_group_and_poisons() {
    for nth in 1..=3 {
        let sim = SimStorage::new(nth);
        let mut log = create(&sim);
        append(&mut log, 0..3, 0, 10);
        log.sync().unwrap();
        sim.fail(Fault::eio(Op::Write).point(SyncPoint::Group).nth(nth));
        let failed = (3..30).find_map(|index| {
            let payload = stored(index, 0, LEN).payload;
            log.append(index, Entry { key: index + 1, digest: 0, payload: &payload }).err()
        });
        // It is told as soon as somebody asks for more of the disk, at the end of the group at the latest.
        let failed = failed.or_else(|| log.sync().err());
        assert!(matches!(failed, Some(WalError::Io { .. })), "part {nth}: {failed:?}");
        assert!(log.poisoned().is_some());
        assert_eq!(log.reader().range(), 0..3);
        drop(log);
        let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), roomy()).unwrap();
        let mut log = judged.open_at(3).unwrap();
        append(&mut log, 3..30, 1, LEN);
        log.sync().unwrap();
        drop(log);
        let log = open(&sim.crash(1));
        let found = contents(&log).unwrap().1;
        assert!(found[3..] == (3..30).map(|index| stored(index, 1, LEN)).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_on_its_way_can_be_cut_and_never_comes_back() {
    for keep in [5, 7, 12, 19] {
        let sim = SimStorage::new(1);
        let mut log = create(&sim);
        append(&mut log, 0..5, 0, 10);
        log.sync().unwrap();
        append(&mut log, 5..20, 0, LEN);
        log.truncate_after(keep).unwrap();
        assert_eq!(log.range(), 0..keep);
        append(&mut log, keep..keep + 3, 1, 10);
        log.sync().unwrap();
        drop(log);
        for seed in 0..10 {
            let log = open(&sim.crash(seed));
            assert_eq!(log.range(), 0..keep + 3);
            assert!(contents(&log).unwrap().1[keep as usize] == stored(keep, 1, 10));
        }
    }
}

#[test]
fn a_panic_while_an_entry_is_filled_in_poisons() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim);
    append(&mut log, 0..10, 0, LEN);
    let fill = |_: &mut [u8]| panic!("the encoder's fault");
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.append_with(10, 11, 0, 100, fill)));
    assert!(panicked.is_err());
    assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
    drop(log);
    assert!(open(&sim.crash(1)).range().end <= 10);
}

#[test]
fn on_the_real_disk_too() {
    let disk = Disk::new();
    let options = LogOptions { segment_bytes: 4 << 20, ahead_bytes: 64 << 10, ..options() };
    let mut log = disk.create(options.clone(), 0);
    for round in 0..10_u64 {
        append(&mut log, round * 8..(round + 1) * 8, 0, 100_000);
        log.sync().unwrap();
    }
    drop(log);
    let log = disk.open(options);
    assert!(contents(&log).unwrap().1 == (0..80).map(|index| stored(index, 0, 100_000)).collect::<Vec<_>>());
}
