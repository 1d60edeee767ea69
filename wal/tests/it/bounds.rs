//! What settings promise: what a log is required to have, and how large its files become.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
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
