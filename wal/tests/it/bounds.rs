//! What settings promise: what a log is required to have, and how large its files become.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Op, SimStorage};
use roadbed_wal::{Entry, Log, LogOptions, WalError};

use crate::script::{DIR, options};

fn judged(sim: &SimStorage, options: LogOptions) -> Result<roadbed_wal::Judged, WalError> {
    Log::judge(Arc::new(sim.clone()), Path::new(DIR), options)
}

#[test]
fn a_log_is_required_to_have_so_much_and_no_more() {
    let sim = SimStorage::new(1);
    let required = |at_least: u64| LogOptions { require_at_least: Some(at_least), ..options() };
    // A new log has nothing, whatever is required of one that is opened.
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), required(5), 3).unwrap();
    for index in 3..7 {
        log.append(index, Entry { key: index, digest: 0, payload: b"x" }).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    for at_least in [0, 3, 6, 7] {
        assert_eq!(judged(&sim, required(at_least)).unwrap().open().unwrap().range(), 3..7);
    }
    match judged(&sim, required(8)) {
        Err(WalError::Shorter { expected: 8, found: 7, .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// What waits is written only when the front is to go beyond what is durable.
#[test]
fn a_front_cut_within_what_is_durable_leaves_what_waits_alone() {
    for (cut, durable) in [(3, 4), (4, 4), (5, 6)] {
        for by_key in [false, true] {
            let sim = SimStorage::new(1);
            let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
            for index in 0..6 {
                log.append(index, Entry { key: index, digest: 0, payload: b"x" }).unwrap();
                if index == 3 {
                    log.sync().unwrap();
                }
            }
            // By key, the cut up to exactly what is durable is found only by what waits.
            let durable = if by_key && cut == 4 { 6 } else { durable };
            if by_key {
                assert_eq!(log.truncate_while(|key| key < cut).unwrap(), cut);
            } else {
                log.truncate_before(cut).unwrap();
            }
            assert_eq!((log.range(), log.durable_next()), (cut..6, durable), "cut at {cut}, by key {by_key}");
        }
    }
}

/// A table grows with the number of entries, not with their bytes: room for it is kept while a segment fills.
#[test]
fn segments_of_many_small_entries_stay_within_their_size() {
    // Groups that are written one by one, and many that wait together.
    let waiting = (1..8).map(|pages| (10_000, pages << 12));
    for (entries, group_bytes_max) in (10..200).step_by(10).map(|entries| (entries, 1 << 20)).chain(waiting) {
        let sim = SimStorage::new(2);
        let options = LogOptions { group_bytes_max, ..options() };
        let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options.clone(), 0).unwrap();
        while log.segments() < 4 {
            for _ in 0..entries {
                let index = log.range().end;
                log.append(index, Entry { key: index, digest: index | 1 << 63, payload: b"" }).unwrap();
            }
            log.submit().unwrap();
        }
        log.sync().unwrap();
        let facts_before = (log.range(), log.segments());
        log.close().unwrap();
        let segments =
            sim.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg"));
        for path in segments {
            let bytes = sim.read_file(&path).unwrap().len() as u64;
            assert!(
                bytes <= options.segment_bytes,
                "{entries} entries at once: {}, {bytes} bytes",
                path.display()
            );
        }
        let judged = judged(&sim, options).unwrap();
        let facts = judged.facts();
        assert_eq!((facts.first..facts.next, facts.segments), facts_before);
    }
}

/// Each setting at both sides of each of its bounds.
#[test]
fn settings_beyond_their_bounds_are_refused_by_name() {
    let of = |change: &dyn Fn(&mut LogOptions)| {
        let mut options = options();
        change(&mut options);
        match Log::create(Arc::new(SimStorage::new(1)), Path::new(DIR), options, 0) {
            Ok(_) => None,
            Err(WalError::Options { name, .. }) => Some(name),
            Err(other) => panic!("{other}"),
        }
    };
    let segment = |bytes: u64| of(&|options| options.segment_bytes = bytes);
    let entry = |bytes: u32| of(&|options| options.entry_bytes_max = bytes);
    let group = |bytes: u64| of(&|options| options.group_bytes_max = bytes);
    let pending = |bytes: u64| of(&|options| options.pending_bytes_max = bytes);
    let ahead = |bytes: u64| of(&|options| options.ahead_bytes = bytes);
    assert_eq!([28 << 10, (32 << 10) + 1, 0].map(segment), [Some("segment_bytes"); 3]);
    assert_eq!([32 << 10, 36 << 10].map(segment), [None; 2]);
    assert_eq!([(1 << 40) + 4096, 1 << 63].map(segment), [Some("segment_bytes"); 2]);
    assert_eq!([0, (1 << 30) + 1, u32::MAX].map(entry), [Some("entry_bytes_max"); 3]);
    assert_eq!([1, 1 << 30].map(entry), [None; 2]);
    assert_eq!([0, 4095].map(group), [Some("group_bytes_max"); 2]);
    assert_eq!(group(4096), None);
    let group_bytes = options().group_bytes_max;
    assert_eq!(pending(group_bytes - 1), Some("group_bytes_max"));
    assert_eq!(pending(group_bytes), None);
    assert_eq!([1, 4095].map(ahead), [Some("ahead_bytes"); 2]);
    assert_eq!([0, 4096].map(ahead), [None; 2]);
    assert_eq!(of(&|options| options.pool_segments = 0), Some("pool_segments"));
    assert_eq!(of(&|options| options.open_files_max = 0), Some("open_files_max"));
}

/// A segment of the largest size is taken where it is only reserved, on a disk that has room for it: not here.
#[test]
fn the_largest_segment_is_a_matter_of_the_disk() {
    let sim = SimStorage::new(1);
    sim.set_capacity_bytes(Some(1 << 20));
    let options = LogOptions { segment_bytes: 1 << 40, ..options() };
    let error = Log::create(Arc::new(sim), Path::new(DIR), options, 0).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
}

#[test]
fn appending_syncs_before_more_waits_than_may() {
    const MAX: usize = 12 << 10;
    let limits = LogOptions {
        group_bytes_max: MAX as u64,
        pending_bytes_max: MAX as u64,
        entry_bytes_max: 1 << 20,
        ahead_bytes: 0,
        ..options()
    };
    let sim = SimStorage::new(1);
    let mut log = Log::create(Arc::new(sim), Path::new(DIR), limits, 0).unwrap();
    let mut append = |len: usize| {
        let index = log.range().end;
        log.append(index, Entry { key: index, digest: 0, payload: &vec![1; len] }).unwrap();
        log.durable_next()
    };
    // One that is larger than all that may wait goes alone, and the next waits for it.
    assert_eq!([append(20_000), append(8)], [0, 1]);
    assert_eq!([append(3000), append(3000)], [1, 1]);
    // As much as fits exactly waits too.
    let frame = |len: usize| 56 + len;
    assert_eq!(append(MAX - frame(8) - 2 * frame(3000)), 1);
    assert_eq!(append(8), 5);
}

#[test]
fn the_last_index_is_not_taken() {
    let sim = SimStorage::new(1);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), u64::MAX - 1).unwrap();
    let entry = Entry { key: 0, digest: 7, payload: b"x" };
    log.append(u64::MAX - 1, entry).unwrap();
    assert!(matches!(log.append(u64::MAX, entry), Err(WalError::TooLarge { .. })));
    log.sync().unwrap();
    // The one before it is served as any other, and so it is from a sealed segment.
    for _ in 0..2 {
        assert_eq!(log.range(), u64::MAX - 1..u64::MAX);
        let reader = log.reader();
        assert_eq!(reader.find_digest(7).unwrap(), [u64::MAX - 1]);
        assert_eq!(reader.replay(0..u64::MAX).map(Result::unwrap).count(), 1);
        log.close().unwrap();
        assert!(roadbed_wal::verify(&sim, Path::new(DIR), &options()).unwrap().is_sound());
        log = Log::open(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
    }
}

#[test]
fn a_log_tells_its_size_and_its_way_of_writing() {
    for direct in [true, false] {
        let sim = SimStorage::new(1).direct(direct);
        let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
        assert_eq!(log.writes_directly(), direct);
        let empty = log.size_bytes();
        assert_eq!(empty, 4096, "the header");
        assert!(judged(&sim.kill(), options()).unwrap().facts().is_empty());
        log.append(0, Entry { key: 0, digest: 0, payload: &[1; 10_000] }).unwrap();
        log.sync().unwrap();
        assert_eq!(log.size_bytes(), 4096 + 3 * 4096);
        assert!(!judged(&sim.kill(), options()).unwrap().facts().is_empty());
    }
}

#[test]
fn so_many_segments_are_kept_open_for_reading_and_no_more() {
    let sim = SimStorage::new(1);
    let limits = LogOptions { open_files_max: 2, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), limits, 0).unwrap();
    crate::support::append(&mut log, 0..60, 0, 2500);
    log.sync().unwrap();
    let reader = log.reader();
    let bases: Vec<u64> = reader.segments().iter().map(|segment| segment.base).collect();
    let opens = |bases: &[u64]| {
        sim.record_calls();
        for base in bases {
            assert!(reader.get(*base).unwrap().is_some());
        }
        sim.calls().iter().filter(|call| call.op == Op::Open).count()
    };
    assert_eq!(opens(&[bases[0], bases[1], bases[0], bases[1], bases[0]]), 2);
    // The one that was opened first is closed.
    assert_eq!(opens(&[bases[2], bases[1], bases[2]]), 1);
    assert_eq!(opens(&[bases[0], bases[2]]), 1);
}

/// The floor of keys is that of the last entry there is, however the segments before it ended.
#[test]
fn keys_never_go_down_behind_a_cut_either() {
    let sim = SimStorage::new(1);
    let mut log = Log::create(Arc::new(sim), Path::new(DIR), options(), 0).unwrap();
    let entry = |key: u64| Entry { key, digest: 0, payload: &[1; 2500] };
    for index in 0..60 {
        log.append(index, entry(10 * index)).unwrap();
    }
    log.sync().unwrap();
    assert!(log.segments() > 3);
    let refused = |log: &mut Log, next: u64| {
        let lower = log.append(next, entry(189));
        assert!(matches!(lower, Err(WalError::KeyOrder { .. })), "{next}: {lower:?}");
    };
    // Twice at the same place: the second time behind a segment of nothing.
    for _ in 0..2 {
        log.truncate_after(20).unwrap();
        assert_eq!(log.last_key(), Some(190));
        refused(&mut log, 20);
    }
    // Nothing is below a predicate that never holds, segments of nothing or not.
    assert_eq!(log.truncate_while(|_| false).unwrap(), 0);
    assert_eq!(log.truncate_while(|key| key < 55).unwrap(), 6);
    log.append(20, entry(190)).unwrap();
    log.sync().unwrap();
    // And behind a front that has left none.
    log.truncate_before(21).unwrap();
    assert_eq!(log.last_key(), None);
    refused(&mut log, 21);
}

/// A frame that ends exactly where its segment's part of the file does.
#[test]
fn an_entry_that_fills_its_group_to_the_last_byte_is_read() {
    let sim = SimStorage::new(1);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    for index in 0..3 {
        crate::support::append(&mut log, index..index + 1, 0, 4096 - 56);
        log.sync().unwrap();
        assert_eq!(log.size_bytes(), 4096 * (2 + index));
    }
    assert_eq!(crate::support::contents(&log).len(), 3);
    drop(log);
    let log = Log::open(Arc::new(sim), Path::new(DIR), options()).unwrap();
    assert_eq!(crate::support::contents(&log).len(), 3);
}

#[test]
fn an_entry_as_large_as_may_be_is_served_in_every_way_and_a_larger_one_in_none() {
    let sim = SimStorage::new(1);
    let limits = |bytes: u32| LogOptions { entry_bytes_max: bytes, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), limits(900), 0).unwrap();
    crate::support::append(&mut log, 0..60, 0, 900);
    log.sync().unwrap();
    assert!(log.segments() > 1);
    assert_eq!(crate::support::contents(&log).len(), 60);
    let reader = log.reader();
    let visit = |reader: &roadbed_wal::Reader| reader.visit(0..60, |_| std::ops::ControlFlow::Continue(()));
    assert_eq!(visit(&reader).unwrap(), 60);
    log.truncate_after(50).unwrap();
    drop(log);
    assert_eq!(judged(&sim, limits(900)).unwrap().open().unwrap().range(), 0..50);
    // Sealed segments are not read by opening: who reads them is told.
    let log = judged(&sim, limits(899)).unwrap().open().unwrap();
    let reader = log.reader();
    let ways = [reader.get(0).err(), reader.replay(0..50).next().unwrap().err(), visit(&reader).err()];
    for error in ways {
        assert!(matches!(error, Some(WalError::TooLarge { bytes: 900, max: 899, .. })), "{error:?}");
    }
}

/// Also where its table is full to the last place of a page.
#[test]
fn the_greatest_digest_of_a_segment_is_found() {
    for entries in 240..=260 {
        let sim = SimStorage::new(1);
        let limits = LogOptions { segment_bytes: 256 << 10, ..options() };
        let mut log = Log::create(Arc::new(sim), Path::new(DIR), limits, 0).unwrap();
        for index in 0..entries + 1 {
            log.append(index, Entry { key: index, digest: index + 1, payload: b"" }).unwrap();
        }
        log.sync().unwrap();
        log.truncate_after(entries).unwrap();
        let reader = log.reader();
        assert_eq!(reader.segments()[0].end, entries, "all in one");
        assert_eq!(reader.find_digest(entries).unwrap(), [entries - 1]);
        assert_eq!(reader.find_digest(entries + 1).unwrap(), []);
    }
}

/// What waits is planned anew when the front is cut, and no segment outgrows its size by that.
#[test]
fn what_waits_behind_a_cut_of_the_front_rolls_in_time() {
    let limits = LogOptions { group_bytes_max: 8 << 10, ahead_bytes: 0, ..options() };
    let sim = SimStorage::new(1);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), limits.clone(), 0).unwrap();
    crate::support::append(&mut log, 0..5, 0, 4000);
    log.sync().unwrap();
    crate::support::append(&mut log, 5..40, 0, 4000);
    log.truncate_before(4).unwrap();
    log.sync().unwrap();
    assert_eq!(log.range(), 4..40);
    for segment in log.reader().segments() {
        let bytes = sim.read_file(&segment.path).unwrap().len() as u64;
        assert_eq!(bytes, limits.segment_bytes, "{segment:?}");
    }
}
