//! What the log does on the side: marks, zeros, spares, retired files. Told by the files it leaves and the calls it makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::{Call, Fault, Op, SimStorage};
use roadbed_wal::{Log, LogOptions, SyncPoint, WalError};

use crate::script::DIR;
use crate::support::{append, options};

const LEN: usize = 3000;

fn create(sim: &SimStorage, options: LogOptions) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap()
}

fn open(sim: &SimStorage) -> Log {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap()
}

/// Lets the log do all that there is to do.
fn rest(log: &mut Log) {
    assert!((0..1000).any(|_| !log.idle().unwrap()), "there is no end to it");
}

fn add(log: &mut Log, indices: std::ops::Range<u64>) {
    append(log, indices, 0, LEN);
    log.sync().unwrap();
}

/// Appends until there are so many segments.
fn fill(log: &mut Log, segments: usize) {
    while log.segments() < segments {
        let next = log.range().end;
        add(log, next..next + 1);
    }
}

fn files(sim: &SimStorage, suffix: &str) -> Vec<PathBuf> {
    sim.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == suffix)).collect()
}

fn bytes(sim: &SimStorage, path: &Path) -> u64 {
    sim.read_file(path).unwrap().len() as u64
}

/// Calls of a kind, for a reason, of files whose path contains this.
fn calls(sim: &SimStorage, op: Op, point: Option<SyncPoint>, path: &str) -> usize {
    let ours = |call: &&Call| call.path.to_string_lossy().contains(path);
    sim.calls().iter().filter(ours).filter(|call| call.op == op && call.point == point).count()
}

/// The first segment and the first spares that idle steps make, by the names under which they were opened.
const ACTIVE: &str = "1.tmp";
const SPARES: [&str; 2] = ["2.tmp", "3.tmp"];

#[test]
fn a_log_at_rest_is_marked_once_and_then_left_alone() {
    for direct in [false, true] {
        let sim = SimStorage::new(1).direct(direct);
        let mut log = create(&sim, options());
        add(&mut log, 0..2);
        sim.record_calls();
        rest(&mut log);
        assert_eq!(calls(&sim, Op::Write, Some(SyncPoint::Group), ACTIVE), 1);
        sim.record_calls();
        rest(&mut log);
        assert_eq!(sim.calls(), []);
    }
}

#[test]
fn the_active_segment_and_the_spares_are_filled_as_far_as_a_segment_goes_and_no_further() {
    let sim = SimStorage::new(1);
    let segment_bytes = (1 << 20) + (1 << 19);
    let mut log = create(&sim, LogOptions { segment_bytes, pool_segments: 3, ..options() });
    add(&mut log, 0..1);
    sim.record_calls();
    rest(&mut log);
    // A mebibyte and the rest, of the active segment and of two spares beside the reserve.
    let fills = |file| calls(&sim, Op::Write, Some(SyncPoint::Fill), file);
    assert_eq!([ACTIVE, SPARES[0], SPARES[1]].map(fills), [2, 2, 2]);
    let made = [files(&sim, "seg"), files(&sim, "free")].concat();
    assert_eq!(made.len(), 4);
    assert!(made.iter().all(|path| bytes(&sim, path) == segment_bytes));
}

#[test]
fn without_space_the_active_segment_is_filled_no_further_and_any_other_failure_of_that_poisons() {
    let failing = |direct, fault: Fault| {
        let sim = SimStorage::new(1).direct(direct);
        let mut log = create(&sim, options());
        add(&mut log, 0..1);
        sim.record_calls();
        sim.fail(fault.point(SyncPoint::Fill).path(ACTIVE));
        (sim, log)
    };
    let (sim, mut log) = failing(true, Fault::enospc(Op::Write));
    rest(&mut log);
    assert_eq!(calls(&sim, Op::Write, Some(SyncPoint::Fill), ACTIVE), 1);
    add(&mut log, 1..3);
    // A write through the page cache, or its sync: nobody knows what it left.
    for (direct, fault) in
        [(true, Fault::eio(Op::Write)), (false, Fault::enospc(Op::Write)), (false, Fault::enospc(Op::Sync))]
    {
        let (_, mut log) = failing(direct, fault);
        let error = (0..10).find_map(|_| log.idle().err());
        assert!(matches!(error, Some(WalError::Io { .. })), "{error:?}");
        assert!(log.poisoned().is_some());
    }
}

#[test]
fn a_record_of_the_end_that_cannot_be_written_poisons() {
    for op in [Op::Write, Op::SyncDir] {
        let sim = SimStorage::new(1);
        let mut log = create(&sim, options());
        add(&mut log, 0..1);
        sim.fail(Fault::eio(op).point(SyncPoint::End));
        let error = (0..10).find_map(|_| log.idle().err());
        assert!(matches!(error, Some(WalError::Io { .. })), "{error:?}");
        assert!(log.poisoned().is_some());
    }
}

#[test]
fn a_spare_that_fails_half_way_and_cannot_be_removed_is_in_nobodys_way() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    sim.fail(Fault::eio(Op::Write).point(SyncPoint::Fill).path(SPARES[0]));
    sim.fail(Fault::eio(Op::Remove).path(SPARES[0]));
    rest(&mut log);
    assert_eq!((files(&sim, "tmp").len(), files(&sim, "free").len()), (1, 1));
    rest(&mut log);
    assert_eq!((files(&sim, "tmp").len(), files(&sim, "free").len()), (1, 2));
}

#[test]
fn retired_files_fill_the_pool_and_the_rest_of_them_are_removed() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    fill(&mut log, 8);
    log.truncate_before(log.range().end).unwrap();
    rest(&mut log);
    assert_eq!(
        (files(&sim, "seg").len(), files(&sim, "free").len()),
        (log.segments(), options().pool_segments)
    );
}

#[test]
fn without_rest_a_roll_removes_one_retired_file_while_more_wait_than_the_pool_takes() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    fill(&mut log, 12);
    log.truncate_before(log.range().end).unwrap();
    let waiting = |log: &Log| files(&sim, "seg").len() - log.segments();
    assert!(waiting(&log) > 4 + options().pool_segments);
    let mut removals = 0;
    for _ in 0..12 {
        sim.record_calls();
        let segments = log.segments();
        fill(&mut log, segments + 1);
        let (removed, waiting) = (calls(&sim, Op::Remove, None, "seg"), waiting(&log));
        match removed {
            0 => assert!(waiting <= options().pool_segments, "{waiting} wait"),
            removed => assert!(removed == 1 && waiting >= options().pool_segments, "{waiting} wait"),
        }
        removals += removed;
    }
    assert!(removals > 2 && waiting(&log) <= options().pool_segments);
}

#[test]
fn the_file_of_an_entry_larger_than_a_segment_is_no_spare() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    // The oldest, which the pool would take first.
    append(&mut log, 0..1, 0, 200_000);
    add(&mut log, 1..5);
    log.truncate_before(5).unwrap();
    rest(&mut log);
    let spares = files(&sim, "free");
    assert_eq!(spares.len(), options().pool_segments);
    assert!(spares.iter().all(|path| bytes(&sim, path) == options().segment_bytes));
}

#[test]
fn opening_makes_a_reserve_only_where_there_is_none_and_none_comes() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    fill(&mut log, 3);
    let made = |sim: &SimStorage| {
        sim.record_calls();
        drop(open(sim));
        let allocations = sim.calls().iter().filter(|call| call.op == Op::Allocate).count();
        (allocations, files(sim, "free").len())
    };
    assert_eq!(made(&sim.kill()), (0, 1));
    sim.lose_file(&files(&sim, "free")[0]);
    assert_eq!(made(&sim.kill()), (1, 1));
    // The first two segments don't count any more, and become spares sooner or later.
    log.truncate_before(log.range().end).unwrap();
    assert_eq!(made(&sim.kill()), (0, 0));
}

#[test]
fn preparations_that_cannot_be_removed_are_in_nobodys_way() {
    let sim = SimStorage::new(1);
    drop(create(&sim, options()));
    sim.lose_file(&files(&sim, "free")[0]);
    for sequence in [8, 9] {
        sim.put_file(&Path::new(DIR).join(format!("{sequence:020}.tmp")), &[0; 100]);
    }
    sim.fail(Fault::eio(Op::Remove).path(".tmp").times(2));
    let mut log = open(&sim);
    assert_eq!((files(&sim, "tmp").len(), files(&sim, "free").len()), (2, 1));
    fill(&mut log, 3);

    // The same, left by the log itself: the reserve's space can't be had, and the file not be removed.
    let sim = SimStorage::new(1);
    sim.fail(Fault::enospc(Op::Allocate).nth(2));
    sim.fail(Fault::eio(Op::Remove));
    let mut log = create(&sim, options());
    assert_eq!((files(&sim, "tmp").len(), files(&sim, "free").len()), (1, 0));
    fill(&mut log, 3);
}

#[test]
fn what_a_roll_without_space_has_prepared_is_removed() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    sim.fail(Fault::enospc(Op::Allocate));
    append(&mut log, 0..30, 0, LEN);
    assert!(log.sync().unwrap_err().is_disk_full());
    assert!(files(&sim, "tmp").is_empty());
    assert_eq!(log.sync().unwrap(), 30);
}

#[test]
fn a_new_segment_may_take_all_but_what_is_kept_free() {
    let sim = SimStorage::new(1);
    let keep_free_bytes = 10_000;
    let mut log = create(&sim, LogOptions { keep_free_bytes, ..options() });
    append(&mut log, 0..20, 0, LEN);
    let enough = sim.used_bytes() + options().segment_bytes + keep_free_bytes;
    sim.set_capacity_bytes(Some(enough - 1));
    assert!(log.sync().unwrap_err().is_disk_full());
    sim.set_capacity_bytes(Some(enough));
    assert_eq!(log.sync().unwrap(), 20);
}

#[test]
fn marks_leave_room_for_the_footer_however_often_the_front_is_cut() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    append(&mut log, 0..40, 0, 700);
    log.sync().unwrap();
    for first in 1..40 {
        log.truncate_before(first).unwrap();
        assert!(files(&sim, "seg").iter().all(|path| bytes(&sim, path) == options().segment_bytes));
    }
    drop(log);
    assert_eq!(open(&sim.crash(1)).range(), 39..40);
}

#[test]
fn what_waits_while_the_front_is_cut_goes_on_in_the_same_segment() {
    let sim = SimStorage::new(1);
    let mut log = create(&sim, options());
    add(&mut log, 0..3);
    append(&mut log, 3..5, 0, LEN);
    log.truncate_before(2).unwrap();
    assert_eq!(log.durable_next(), 3);
    log.sync().unwrap();
    assert_eq!((log.range(), log.segments()), (2..5, 1));
}

#[test]
fn what_may_wait_is_bounded() {
    let sim = SimStorage::new(1);
    let (group_bytes_max, pending_bytes_max) = (16 << 10, 32 << 10);
    let mut log = create(&sim, LogOptions { group_bytes_max, pending_bytes_max, ..options() });
    for index in 0..40 {
        append(&mut log, index..index + 1, 0, LEN);
        let waits = log.range().end - log.durable_next();
        assert!(waits * LEN as u64 <= pending_bytes_max, "{waits} entries wait");
    }
    assert!(log.durable_next() > 20);
}

#[test]
fn a_log_was_used_once_it_had_an_entry_whatever_was_cut_since() {
    let sim = SimStorage::new(1);
    drop(create(&sim, options()));
    let judge = || Log::judge(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
    for sequence in 2..4 {
        let log = judge().open_at(0).unwrap();
        assert_eq!(log.reader().segments().last().unwrap().sequence, sequence);
        drop(log);
        assert!(judge().facts().never_used);
    }
    let mut log = open(&sim);
    add(&mut log, 0..1);
    log.truncate_after(0).unwrap();
    drop(log);
    for _ in 0..2 {
        assert!(!judge().facts().never_used);
        drop(judge().open_at(0).unwrap());
    }
}

/// Two logs on one disk that has got some room again: what the one makes for speed leaves what the other needs.
#[test]
fn spares_are_made_only_where_much_more_is_free() {
    let spares_with = |free_segments: u64| {
        let sim = SimStorage::new(1);
        let mut log = create(&sim, LogOptions { pool_segments: 3, ..options() });
        add(&mut log, 0..1);
        let segment_bytes = options().segment_bytes;
        sim.set_capacity_bytes(Some(sim.used_bytes() + free_segments * segment_bytes));
        rest(&mut log);
        files(&sim, "free").len()
    };
    // The reserve is there from the beginning.
    assert_eq!([0, 2, 4, 5, 6, 20].map(spares_with), [1, 1, 1, 2, 3, 3]);
}
