//! What opening and cutting the front cost, counted in calls and not in time.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Op, SimStorage};
use roadbed_wal::{Log, LogOptions};

use crate::script::DIR;
use crate::support::{append, options};

/// A log of so many segments, each full of entries of so many bytes; not closed.
fn filled(segments: usize, len: usize) -> (SimStorage, u64) {
    let sim = SimStorage::new(3);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    let mut next = 0;
    while log.segments() <= segments {
        append(&mut log, next..next + 10, 0, len);
        log.sync().unwrap();
        next += 10;
    }
    (sim, next)
}

fn reads(sim: &SimStorage, work: impl FnOnce()) -> usize {
    sim.record_calls();
    work();
    sim.calls().iter().filter(|call| call.op == Op::Read).count()
}

fn open(sim: &SimStorage) -> Log {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), LogOptions { open_files_max: 4, ..options() }).unwrap()
}

#[test]
fn opening_reads_one_page_a_segment_however_many_entries_it_has() {
    let (few, entries_few) = filled(12, 3000);
    let (many, entries_many) = filled(12, 30);
    assert!(entries_many > 4 * entries_few);
    let (of_few, of_many) = (reads(&few, || drop(open(&few))), reads(&many, || drop(open(&many))));
    assert!(of_many.abs_diff(of_few) <= 2, "{of_few} and {of_many} reads");
    // A header of each segment, the key of the first entry, and the last segment in a few pieces.
    assert!((13..=13 + 6).contains(&of_many), "{of_many} reads");
}

#[test]
fn cutting_the_front_writes_one_page_whatever_stays() {
    for segments in [3, 30] {
        let (sim, next) = filled(segments, 700);
        let mut log = open(&sim);
        sim.record_calls();
        log.truncate_before(next / 2).unwrap();
        let calls = sim.calls();
        assert_eq!(calls.iter().filter(|call| call.op == Op::Write).count(), 1, "{segments} segments");
        assert_eq!(calls.iter().filter(|call| call.op == Op::Read).count(), 0, "{segments} segments");
    }
}
