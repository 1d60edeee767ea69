//! Scenarios 19 and 20: calls that fail, one after the other, and a full disk.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{Entry, Log, LogOptions, Storage as _, SyncPoint, WalError};

use crate::crashes::SCRIPTS;
use crate::script::{DIR, Model, check, go_on, options, recover, run};
use crate::support;

const OPS: [Op; 8] =
    [Op::Create, Op::Write, Op::Sync, Op::SyncDir, Op::Allocate, Op::Rename, Op::Remove, Op::CreateDir];

fn create(sim: &SimStorage) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap()
}

fn open(sim: &SimStorage) -> Result<Log, WalError> {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), options())
}

fn append(log: &mut Log, indices: std::ops::Range<u64>, len: usize) {
    for index in indices {
        log.append(index, Entry { key: index, digest: 0, payload: &vec![index as u8; len] }).unwrap();
    }
}

/// Every call of every script fails once. What was acknowledged stays, the instance is poisoned or as it was, and the
/// log comes back in the same process.
fn fail_everywhere(direct: bool, fault: fn(Op) -> Fault) {
    for (name, script) in SCRIPTS {
        let sim = SimStorage::new(7).direct(direct);
        sim.record_calls();
        let (_, log, error) = run(&sim, script, &options(), 3);
        assert!(error.is_none());
        drop(log);
        let calls = sim.calls();
        for op in OPS {
            let count = calls.iter().filter(|call| call.op == op).count() as u64;
            for nth in (1..=count).step_by(support::every()) {
                let sim = SimStorage::new(7).direct(direct);
                sim.fail(fault(op).nth(nth));
                fail_one(&sim, script, &format!("{name}, direct {direct}, {op:?} {nth} fails"));
            }
        }
    }
}

fn fail_one(sim: &SimStorage, script: &[crate::script::Do], context: &str) {
    let (model, log, error) = run(sim, script, &options(), 3);
    let Some(error) = error else {
        // Something that nothing depends on.
        check(&log.expect("a log"), &model, context);
        return;
    };
    assert!(matches!(error, WalError::Io { .. } | WalError::Poisoned { .. }), "{context}: {error}");
    if let Some(mut log) = log {
        let poisoned = log.poisoned().is_some();
        let again = log.sync();
        assert_eq!(matches!(again, Err(WalError::Poisoned { .. })), poisoned, "{context}: {again:?}");
        if !poisoned {
            assert_eq!(again.ok(), Some(log.range().end), "{context}");
        }
    }
    if poisoned_mid_cut(&model) {
        if let Some(log) = recover(sim, &model, &options(), context) {
            go_on(sim, log, &model, &options(), context);
        }
        return;
    }
    recover_in_process(sim, &model, context);
}

/// A cut under way may have happened: then the log ends before what had been acknowledged.
fn poisoned_mid_cut(model: &Model) -> bool {
    model.underway.is_some() || !model.created
}

fn recover_in_process(sim: &SimStorage, model: &Model, context: &str) {
    let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), options())
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    let log = judged.open_at(model.acked).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(log.range(), model.first..model.acked, "{context}");
    check(&log, model, context);
    go_on(sim, log, model, &options(), context);
}

#[test]
fn scenario_19_every_call_fails_with_eio_plain() {
    fail_everywhere(false, Fault::eio);
}

#[test]
fn scenario_19_every_call_fails_with_eio_direct() {
    fail_everywhere(true, Fault::eio);
}

#[test]
fn scenario_20_every_call_fails_with_enospc_plain() {
    fail_everywhere(false, Fault::enospc);
}

#[test]
fn scenario_20_every_call_fails_with_enospc_direct() {
    fail_everywhere(true, Fault::enospc);
}

#[test]
fn scenario_19_a_failed_sync_is_never_believed_to_have_worked_later() {
    let sim = SimStorage::new(3).direct(false);
    let mut log = create(&sim);
    append(&mut log, 0..5, 700);
    log.sync().unwrap();
    append(&mut log, 5..9, 700);
    sim.fail(Fault::eio(Op::Sync).point(SyncPoint::Group));
    assert!(matches!(log.sync(), Err(WalError::Io { .. })));
    assert_eq!(log.durable_next(), 5);
    assert_eq!(log.reader().range(), 0..5);
    // The disk would say OK now, over data that it does not have.
    for _ in 0..3 {
        assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
    }
    let entry = Entry { key: 9, digest: 0, payload: b"x" };
    assert!(matches!(log.append(9, entry), Err(WalError::Poisoned { .. })));
    assert!(matches!(log.truncate_before(2), Err(WalError::Poisoned { .. })));
    assert!(matches!(log.truncate_after(2), Err(WalError::Poisoned { .. })));
    assert!(matches!(log.reset(2), Err(WalError::Poisoned { .. })));
    assert!(matches!(log.idle(), Err(WalError::Poisoned { .. })));
    assert!(log.close().is_err());
    // Recovery in the process: ended at the durable point, whatever the cache shows; the rest is written anew.
    let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
    let mut log = judged.open_at(5).unwrap();
    append(&mut log, 5..9, 700);
    log.sync().unwrap();
    drop(log);
    for seed in 0..20 {
        let log = open(&sim.crash(seed)).unwrap();
        assert_eq!(log.range(), 0..9);
        for index in 0..9 {
            assert_eq!(log.reader().get(index).unwrap().unwrap().payload, vec![index as u8; 700]);
        }
    }
}

/// The last sync point at which something was changed.
fn last_written(sim: &SimStorage) -> Option<SyncPoint> {
    let calls = sim.calls();
    calls.iter().rfind(|call| [Op::Write, Op::Rename, Op::SyncDir].contains(&call.op))?.point
}

#[test]
fn scenario_19_after_a_failed_sync_of_the_directory_only_an_opening_that_syncs_it_goes_on() {
    for point in [SyncPoint::Publish, SyncPoint::Retire, SyncPoint::End] {
        let sim = SimStorage::new(3);
        let mut log = create(&sim);
        append(&mut log, 0..4, 3000);
        log.sync().unwrap();
        sim.fail(Fault::eio(Op::SyncDir).point(point));
        sim.record_calls();
        // Segments are published; the front frees some; the first record of the end is made.
        append(&mut log, 4..40, 3000);
        let mut busy = || {
            log.sync()?;
            log.truncate_before(39)?;
            while log.idle()? {}
            Ok(())
        };
        let failed: Result<(), WalError> = busy();
        assert!(failed.is_err() && log.poisoned().is_some(), "{point:?}: {failed:?}");
        assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })));
        assert!(matches!(log.idle(), Err(WalError::Poisoned { .. })));
        let (first, acked) = (log.range().start, log.durable_next());
        drop(log);
        assert_eq!(last_written(&sim), Some(point), "nothing is written afterwards");
        // Opening syncs it before it believes a name.
        let files = sim.files();
        sim.fail(Fault::eio(Op::SyncDir).point(SyncPoint::OpenDirectory));
        assert!(matches!(open(&sim), Err(WalError::Io { .. })), "{point:?}");
        assert_eq!(sim.files(), files);
        let log = open(&sim).unwrap();
        let range = log.range();
        assert!(range.start == first && range.end >= acked, "{point:?}: {range:?}, {first}..{acked}");
        drop(log);
        for seed in 0..20 {
            assert_eq!(open(&sim.crash(seed)).unwrap().range(), range, "{point:?}");
        }
    }
}

#[test]
fn scenario_19_a_directory_whose_sync_failed_for_retired_files_takes_no_further_segment() {
    let sim = SimStorage::new(3).direct(false);
    let mut log = create(&sim);
    append(&mut log, 0..40, 3000);
    log.sync().unwrap();
    log.truncate_before(39).unwrap();
    // The next roll finds no spare, and renames what was freed.
    sim.fail(Fault::eio(Op::SyncDir).point(SyncPoint::Retire));
    sim.record_calls();
    let failed = (40..80).find_map(|index| {
        append(&mut log, index..index + 1, 3000);
        log.sync().err()
    });
    assert!(failed.is_some() && log.poisoned().is_some(), "{failed:?}");
    assert_eq!(last_written(&sim), Some(SyncPoint::Retire), "no segment is prepared");
}

#[test]
fn scenario_20_the_name_of_the_record_of_the_end_is_synced_where_the_disk_was_full_before() {
    let sim = SimStorage::new(3);
    let mut log = create(&sim);
    append(&mut log, 0..2, 700);
    log.sync().unwrap();
    sim.fail(Fault::enospc(Op::SyncDir).point(SyncPoint::End));
    while log.idle().unwrap() {}
    assert!(log.poisoned().is_none());
    append(&mut log, 2..4, 700);
    log.sync().unwrap();
    log.close().unwrap();
    for seed in 0..20 {
        assert!(sim.crash(seed).files().iter().any(|path| path.ends_with("END")));
    }
}

#[test]
fn scenario_20_a_full_disk_stops_only_what_needs_space() {
    let sim = SimStorage::new(3);
    let mut log = create(&sim);
    append(&mut log, 0..4, 3000);
    log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    // The next entries need a segment, and the reserve is not for them.
    append(&mut log, 4..8, 3000);
    let full = log.sync().unwrap_err();
    assert!(full.is_disk_full(), "{full}");
    assert!(log.poisoned().is_none());
    assert_eq!(log.range(), 0..8);
    let durable = log.durable_next();
    assert!(durable >= 4);
    assert!(log.sync().unwrap_err().is_disk_full(), "still full");
    // Reads, the front, a cut and a reset go on.
    assert_eq!(log.reader().get(1).unwrap().unwrap().payload, vec![1; 3000]);
    log.truncate_before(2).unwrap();
    log.truncate_after(durable - 1).unwrap();
    assert_eq!(log.range(), 2..durable - 1);
    sim.set_capacity_bytes(None);
    append(&mut log, durable - 1..20, 3000);
    assert_eq!(log.sync().unwrap(), 20);
    drop(log);
    assert_eq!(open(&sim.crash(1)).unwrap().range(), 2..20);
}

#[test]
fn scenario_20_a_disk_counts_as_full_before_it_is() {
    let sim = SimStorage::new(3);
    let keep_free_bytes = 100_000;
    let options = LogOptions { keep_free_bytes, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
    append(&mut log, 0..4, 3000);
    log.sync().unwrap();
    // What others take of the disk counts, too.
    sim.set_capacity_bytes(Some(sim.used_bytes() + keep_free_bytes));
    append(&mut log, 4..12, 3000);
    let full = log.sync().unwrap_err();
    assert!(full.is_disk_full() && full.to_string().contains("100000 are kept free"), "{full}");
    assert!(log.poisoned().is_none());
    // Housekeeping takes no space either, and the front can be cut.
    while log.idle().unwrap() {}
    log.truncate_before(3).unwrap();
    assert!(sim.free_bytes(Path::new(DIR)).unwrap().unwrap() >= keep_free_bytes);
    sim.set_capacity_bytes(Some(sim.used_bytes() + 10 * keep_free_bytes));
    assert_eq!(log.sync().unwrap(), 12);
    assert_eq!(log.range(), 3..12);
}

#[test]
fn scenario_20_what_waited_for_space_is_written_when_there_is_some() {
    let sim = SimStorage::new(3);
    let mut log = create(&sim);
    append(&mut log, 0..4, 3000);
    log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    append(&mut log, 4..12, 3000);
    assert!(log.sync().unwrap_err().is_disk_full());
    log.truncate_before(3).unwrap();
    sim.set_capacity_bytes(None);
    assert_eq!(log.sync().unwrap(), 12);
    drop(log);
    let log = open(&sim.crash(1)).unwrap();
    assert_eq!(log.range(), 3..12);
    for index in 3..12 {
        assert_eq!(log.reader().get(index).unwrap().unwrap().payload, vec![index as u8; 3000]);
    }
}

#[test]
fn scenario_20_a_torn_tail_is_repaired_on_a_full_disk() {
    let sim = SimStorage::new(3).direct(false);
    let mut log = create(&sim);
    append(&mut log, 0..4, 3000);
    log.sync().unwrap();
    append(&mut log, 4..5, 3000);
    sim.fail(Fault::eio(Op::Sync).point(SyncPoint::Group));
    assert!(log.sync().is_err());
    drop(log);
    let image = sim.kill();
    image.set_capacity_bytes(Some(image.used_bytes()));
    let judged = Log::judge(Arc::new(image.clone()), Path::new(DIR), options()).unwrap();
    let log = judged.open_at(4).unwrap();
    assert_eq!(log.range(), 0..4);
}

#[test]
fn scenario_20_a_log_is_made_where_there_is_space_for_its_first_segment_only() {
    let sim = SimStorage::new(3);
    sim.set_capacity_bytes(Some(options().segment_bytes));
    let mut log = create(&sim);
    append(&mut log, 0..3, 3000);
    assert_eq!(log.sync().unwrap(), 3);
    while log.idle().unwrap() {}
    log.close().unwrap();
    let mut log = open(&sim).unwrap();
    assert_eq!(log.range(), 0..3);
    // A cut needs a segment: refused, and nothing has changed.
    assert!(log.truncate_after(1).unwrap_err().is_disk_full());
    assert_eq!((log.range(), log.poisoned().is_none()), (0..3, true));
    // The reserve is made when there is space.
    sim.set_capacity_bytes(None);
    while log.idle().unwrap() {}
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    log.truncate_after(1).unwrap();
    assert_eq!(log.range(), 0..1);
}

#[test]
fn scenario_20_a_repair_on_a_full_disk_takes_the_space_of_what_does_not_count() {
    let sim = SimStorage::new(3).direct(false);
    let mut log = create(&sim);
    append(&mut log, 0..4, 3000);
    log.sync().unwrap();
    append(&mut log, 4..5, 3000);
    sim.fail(Fault::eio(Op::Sync).point(SyncPoint::Group));
    assert!(log.sync().is_err());
    drop(log);
    let spare = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "free");
    for left in ["tmp", "seg"] {
        let image = sim.kill();
        for path in image.files().into_iter().filter(spare) {
            image.lose_file(&path);
        }
        // A preparation that a killed process left; a segment that was cut off and not removed yet.
        let bytes = match left {
            "tmp" => vec![0; usize::try_from(options().segment_bytes).unwrap()],
            _ => image.read_file(&Path::new(DIR).join(format!("{:020}.seg", 1))).unwrap(),
        };
        let number = if left == "tmp" { 9 } else { 0 };
        image.put_file(&Path::new(DIR).join(format!("{number:020}.{left}")), &bytes);
        image.set_capacity_bytes(Some(image.used_bytes()));
        let judged = Log::judge(Arc::new(image.clone()), Path::new(DIR), options()).unwrap();
        assert_eq!(judged.open_at(4).unwrap().range(), 0..4, "{left}");
    }
}

#[test]
fn a_short_write_is_carried_on() {
    for direct in [false, true] {
        for bytes in [1, 511, 4096, 5000, 8192] {
            let sim = SimStorage::new(3).direct(direct);
            let mut log = create(&sim);
            append(&mut log, 0..3, 3000);
            sim.fail(Fault::short_write(bytes).point(SyncPoint::Group));
            if direct && bytes < 4096 {
                assert!(log.sync().is_err(), "less than a page of a direct write");
                continue;
            }
            log.sync().unwrap();
            drop(log);
            let log = open(&sim.crash(1)).unwrap();
            assert_eq!(log.range(), 0..3);
            let payloads = log.reader().replay(0..3).map(|entry| entry.unwrap().payload);
            assert!(payloads.eq((0..3).map(|index| vec![index; 3000])), "{bytes} bytes, direct {direct}");
        }
    }
}

#[test]
fn a_hung_write_keeps_the_lock_and_lets_readers_go_on() {
    let sim = SimStorage::new(3);
    let mut log = create(&sim);
    append(&mut log, 0..3, 700);
    log.sync().unwrap();
    let reader = log.reader();
    let gate = sim.pause_at(Op::Write, SyncPoint::Group);
    let thread = std::thread::spawn(move || {
        append(&mut log, 3..4, 700);
        log.sync().map(|_| log)
    });
    gate.wait_reached();
    assert_eq!(reader.get(2).unwrap().unwrap().payload, vec![2; 700]);
    assert_eq!(reader.range(), 0..3);
    assert!(matches!(open(&sim), Err(WalError::InUse { .. })));
    gate.open();
    let log = thread.join().unwrap().unwrap();
    assert_eq!(reader.range(), 0..4);
    drop(log);
    open(&sim).unwrap();
}

#[test]
fn housekeeping_leaves_the_footer_of_a_roll_that_found_no_space_alone() {
    let sim = SimStorage::new(21);
    let mut log = create(&sim);
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    // The next segment finds no space; by then the footer of the first one is written.
    let full = (0..).find(|index| {
        append(&mut log, *index..index + 1, 1000);
        log.sync().is_err()
    });
    let full = full.unwrap();
    assert!(log.poisoned().is_none());
    log.truncate_after(full).unwrap();
    while log.idle().unwrap() {}

    sim.set_capacity_bytes(None);
    append(&mut log, full..full + 3, 1000);
    log.sync().unwrap();
    assert!(log.segments() > 1);
    drop(log);
    let reader = open(&sim.kill()).unwrap().reader();
    for index in 0..full + 3 {
        assert_eq!(reader.get(index).unwrap().unwrap().payload, vec![index as u8; 1000]);
    }
}

#[test]
fn an_interrupted_read_is_done_again() {
    const EINTR: i32 = 4;
    let sim = SimStorage::new(3);
    let mut log = create(&sim);
    append(&mut log, 0..3, 3000);
    log.sync().unwrap();
    let reader = log.reader();
    sim.fail(Fault::errno(Op::Read, EINTR).times(2));
    assert_eq!(reader.get(1).unwrap().unwrap().payload, vec![1; 3000]);
    assert_eq!(sim.take_failures().len(), 2);
}

/// Only a file system that can't write directly is written to in the plain way, not one that fails.
#[test]
fn a_failing_open_does_not_change_the_way_of_writing() {
    const EINVAL: i32 = 22;
    let opened = |fault: fn(Op) -> Fault| {
        let sim = SimStorage::new(3);
        create(&sim);
        sim.record_calls();
        open(&sim).unwrap();
        let opens = sim.calls().iter().filter(|call| call.op == Op::Open).count() as u64;
        let ways = (1..=opens).map(|nth| {
            sim.fail(fault(Op::Open).nth(nth));
            let way = open(&sim).map(|log| log.writes_directly());
            sim.heal();
            way
        });
        ways.collect::<Vec<_>>()
    };
    let failing = opened(Fault::eio);
    assert!(failing.iter().any(Result::is_err) && failing.iter().all(|way| !matches!(way, Ok(false))));
    let refusing = opened(|op| Fault::errno(op, EINVAL));
    assert!(refusing.iter().any(|way| matches!(way, Ok(false))), "{refusing:?}");
}
