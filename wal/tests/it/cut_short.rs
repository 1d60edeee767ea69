//! A log that lost its end from outside: a file cut short, cut and padded, or taken away. What a crash leaves is never
//! shorter than what a segment was made with, and never behind the record of the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, SyncPoint, WalError, verify};

use crate::script::{DIR, contents, options};
use crate::support::{Disk, append, stored};

const PAGE: usize = 4096;
const LEN: usize = 2500;
const NEXT: u64 = 11;

/// How the owner of a log ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Closed,
    Idle,
    Killed,
}

fn open(sim: &SimStorage) -> Result<Log, WalError> {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), options())
}

/// Groups of an entry each, in several segments, two of them in the last.
fn written(sim: &SimStorage, end: End) {
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    for index in 0..NEXT {
        append(&mut log, index..index + 1, 0, LEN);
        log.sync().unwrap();
    }
    let last = log.reader().segments().pop().unwrap();
    assert_eq!((log.segments(), last.end - last.base), (4, 2));
    match end {
        End::Closed => log.close().unwrap(),
        End::Idle => while log.idle().unwrap() {},
        End::Killed => {}
    }
}

fn last_segment(sim: &SimStorage) -> PathBuf {
    let segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
    sim.files().into_iter().rfind(segment).unwrap()
}

fn refused(sim: &SimStorage, context: &str) -> WalError {
    let before: Vec<_> = sim.files().into_iter().map(|path| sim.read_file(&path)).collect();
    let error = open(sim).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { .. }), "{context}: {error}");
    let after: Vec<_> = sim.files().into_iter().map(|path| sim.read_file(&path)).collect();
    assert!(before == after, "{context}: a refusal changes nothing");
    let report = verify(sim, Path::new(DIR), &options()).unwrap();
    assert!(!report.is_sound(), "{context}: {report:?}");
    error
}

#[test]
fn a_last_segment_cut_short_from_outside_is_refused_and_named_however_the_owner_ended() {
    for direct in [true, false] {
        for end in [End::Closed, End::Idle, End::Killed] {
            let sim = SimStorage::new(5).direct(direct);
            written(&sim, end);
            let path = last_segment(&sim);
            let whole = sim.read_file(&path).unwrap().len();
            for bytes in (PAGE..whole).step_by(1000) {
                let copy = sim.kill();
                copy.damage(&path, |content| content.truncate(bytes));
                let error = refused(&copy, &format!("{end:?}, {bytes} bytes"));
                let WalError::Corrupt { path: named, .. } = &error else { unreachable!() };
                assert_eq!(named, &path, "{error}");
            }
            let copy = sim.kill();
            copy.damage(&path, |content| content.truncate(2 * PAGE));
            let error = refused(&copy, "two pages").to_string();
            assert!(error.contains("nothing was changed"), "{error}");
        }
    }
}

#[test]
fn a_last_segment_cut_short_on_the_file_system_is_refused() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..10, 0, 700);
    log.close().unwrap();
    let path = disk.dir().join("00000000000000000001.seg");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(8192).unwrap();
    let refused = Log::open(disk.storage(), &disk.dir(), options()).unwrap_err();
    assert!(
        matches!(&refused, WalError::Corrupt { path: named, offset: 8192, .. } if *named == path),
        "{refused}"
    );
    // With its length back it is the record of the end that knows.
    file.set_len(whole).unwrap();
    let refused = Log::open(disk.storage(), &disk.dir(), options()).unwrap_err();
    assert!(refused.is_corruption() && refused.to_string().contains("END"), "{refused}");
}

#[test]
fn whole_groups_zeroed_at_the_end_are_refused_after_a_close_and_after_idling() {
    for direct in [true, false] {
        for end in [End::Closed, End::Idle] {
            let sim = SimStorage::new(5).direct(direct);
            written(&sim, end);
            let path = last_segment(&sim);
            let whole = sim.read_file(&path).unwrap().len();
            let used = sim.read_file(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
            // The footer alone may go: no entry stands in it.
            let last_group = if end == End::Closed { used / PAGE - 3 } else { used / PAGE - 1 };
            for from in (PAGE..=last_group * PAGE).step_by(PAGE) {
                let copy = sim.kill();
                copy.damage(&path, |content| {
                    content.truncate(from);
                    content.resize(whole, 0);
                });
                let error = refused(&copy, &format!("{end:?}, zeros from {from}"));
                assert!(error.to_string().contains("reached entry 11"), "{error}");
                let WalError::Corrupt { index, .. } = error else { unreachable!() };
                // The last segment has two entries, a page each.
                assert_eq!(index, Some(if from == PAGE { NEXT - 2 } else { NEXT - 1 }), "from {from}");
            }
        }
    }
}

#[test]
fn a_last_segment_that_is_gone_is_refused_after_a_close() {
    let sim = SimStorage::new(5);
    written(&sim, End::Closed);
    sim.lose_file(&last_segment(&sim));
    let error = refused(&sim, "lost").to_string();
    assert!(error.contains("or a later one"), "{error}");
}

/// Whether an image of a closed log still knows that its end was taken away.
fn knows(image: &SimStorage) -> bool {
    let path = last_segment(image);
    image.damage(&path, |content| content[2 * PAGE..].fill(0));
    open(image).is_err()
}

#[test]
fn the_record_of_the_end_survives_a_power_loss() {
    for direct in [true, false] {
        let sim = SimStorage::new(5).direct(direct);
        written(&sim, End::Closed);
        assert!((0..20).all(|seed| knows(&sim.crash(seed))), "direct {direct}");
    }
}

#[test]
fn the_record_follows_the_log_from_one_life_to_the_next() {
    let sim = SimStorage::new(5);
    written(&sim, End::Closed);
    let mut log = open(&sim).unwrap();
    append(&mut log, NEXT..NEXT + 1, 0, LEN);
    log.close().unwrap();
    let path = last_segment(&sim);
    // The entry that was added, with its footer.
    sim.damage(&path, |content| content[3 * PAGE..].fill(0));
    let error = refused(&sim, "the second life's end").to_string();
    assert!(error.contains("reached entry 12"), "{error}");
}

#[test]
fn a_record_that_is_torn_while_it_is_written_leaves_the_one_before() {
    for direct in [true, false] {
        let mut closed = false;
        for step in 0.. {
            let sim = SimStorage::new(5).direct(direct);
            written(&sim, End::Closed);
            let mut log = open(&sim).unwrap();
            append(&mut log, NEXT..NEXT + 1, 0, LEN);
            log.sync().unwrap();
            sim.crash_at(sim.steps() + step);
            closed = log.close().is_ok();
            assert!((0..20).all(|seed| knows(&sim.crash(seed))), "direct {direct}, step {step} of the close");
            if closed {
                break;
            }
        }
        assert!(closed);
    }
}

/// For the audit of sync points: the record is worth nothing unless it is made durable.
pub(crate) fn the_record_is_lost_without_its_sync() -> bool {
    let sim = SimStorage::new(5);
    sim.omit(SyncPoint::End);
    written(&sim, End::Closed);
    !(0..20).all(|seed| knows(&sim.crash(seed)))
}

#[test]
fn an_old_or_torn_record_accuses_nobody() {
    let sim = SimStorage::new(5);
    written(&sim, End::Closed);
    // Cuts, a reset and new segments after the close: what was recorded is past.
    for change in 0..4 {
        let copy = sim.kill();
        let mut log = open(&copy).unwrap();
        match change {
            0 => log.truncate_after(7).unwrap(),
            1 => log.truncate_before(NEXT).unwrap(),
            2 => log.reset(3).unwrap(),
            _ => append(&mut log, NEXT..20, 0, LEN),
        }
        log.sync().unwrap();
        let range = log.range();
        drop(log);
        for seed in 0..5 {
            assert_eq!(open(&copy.crash(seed)).unwrap().range(), range, "change {change}");
        }
    }
    let end = Path::new(DIR).join("END");
    for damage in [|bytes: &mut Vec<u8>| bytes.fill(0), |bytes: &mut Vec<u8>| bytes[700] ^= 1, Vec::clear] {
        let copy = sim.kill();
        assert!(copy.damage(&end, damage));
        let log = open(&copy).unwrap();
        assert!(
            contents(&log).unwrap().1 == (0..NEXT).map(|index| stored(index, 0, LEN)).collect::<Vec<_>>()
        );
        log.close().unwrap();
        assert!(knows(&copy), "written anew");
    }
}

#[test]
fn a_log_that_is_made_where_only_the_record_was_left_is_not_taken_for_the_old_one() {
    let sim = SimStorage::new(5);
    written(&sim, End::Closed);
    for path in sim.files().into_iter().filter(|path| !path.ends_with("END")) {
        sim.lose_file(&path);
    }
    assert!(matches!(open(&sim), Err(WalError::Missing { .. })));
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    append(&mut log, 0..1, 1, LEN);
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(&sim).unwrap().range(), 0..1);
}

#[test]
fn a_full_disk_or_a_failing_one_costs_the_record_only() {
    let sim = SimStorage::new(5);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    append(&mut log, 0..1, 0, LEN);
    log.sync().unwrap();
    sim.set_capacity_bytes(Some(sim.used_bytes()));
    log.close().unwrap();
    assert_eq!(open(&sim).unwrap().range(), 0..1);
}
