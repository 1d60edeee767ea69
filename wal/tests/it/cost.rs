//! What opening, reading and cutting the front cost: counted in calls and bytes, not in time.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Op, SimStorage};
use roadbed_wal::{Entry, Log, LogOptions};

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

/// A log of so many full segments, and the same few entries in the last one of every log.
fn filled_alike(segments: usize, len: usize) -> (SimStorage, u64) {
    let (sim, _) = filled(segments, len);
    let mut log = open(&sim);
    let last = log.reader().segments().last().unwrap().base;
    log.truncate_after(last).unwrap();
    append(&mut log, last..last + 10, 0, 100);
    log.sync().unwrap();
    (sim, last + 10)
}

/// Bytes that an open log has allocated, and the most that opening and reading a part of it took.
fn memory(sim: &SimStorage) -> (i64, i64) {
    let mut held = 0;
    let all = allocation_counter::measure(|| {
        let mut log = None;
        let opening = allocation_counter::measure(|| log = Some(open(sim)));
        held = opening.bytes_current;
        let log = log.unwrap();
        let reader = log.reader();
        let range = log.range();
        for nth in 0..8 {
            let index = range.start + (range.end - range.start - 1) * nth / 7;
            assert_eq!(reader.get(index).unwrap().unwrap().index, index);
            assert!(reader.get_by_key(index).unwrap().is_some());
        }
        assert_eq!(reader.replay(range.start..range.start + 30).map(Result::unwrap).count(), 30);
    });
    (held, i64::try_from(all.bytes_max).unwrap())
}

#[test]
fn memory_grows_with_segments_and_not_with_entries() {
    let (few, entries_few) = filled_alike(12, 3000);
    let (many, entries_many) = filled_alike(12, 30);
    let (more, entries_more) = filled_alike(36, 30);
    assert!(entries_many > 4 * entries_few && entries_more > 2 * entries_many);
    let (few, many, more) = (memory(&few), memory(&many), memory(&more));
    assert!(few.0.abs_diff(many.0) < 256, "{few:?} and {many:?} bytes are held");
    // The window of a replay holds as many bytes of either; a table is read page by page.
    assert!(many.1 <= few.1 + 4096, "{few:?} and {many:?} bytes were held at most");
    let segments = 24;
    assert!(more.0 - many.0 < segments * 1024, "{many:?} and {more:?} bytes are held");
    assert!(more.1 - many.1 < segments * 1024, "{many:?} and {more:?} bytes were held at most");
}

#[test]
fn opening_reads_one_page_more_for_each_segment_more() {
    let (few, _) = filled_alike(12, 700);
    let (many, _) = filled_alike(36, 700);
    let (of_few, of_many) = (reads(&few, || drop(open(&few))), reads(&many, || drop(open(&many))));
    assert_eq!(of_many - of_few, 36 - 12);
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

#[test]
fn a_look_up_asks_each_segment_for_few_pages_of_its_table() {
    const SEGMENTS: usize = 4;
    let sim = SimStorage::new(3);
    let options = LogOptions { segment_bytes: 1 << 20, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
    // As hashes are: spread evenly, in no order.
    let digest = |index: u64| (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while log.segments() <= SEGMENTS {
        for index in log.range().end..log.range().end + 500 {
            log.append(index, Entry { key: 3 * index, digest: digest(index), payload: &[7; 8] }).unwrap();
        }
        log.sync().unwrap();
    }
    let reader = log.reader();
    let segments = reader.segments();
    let entries = segments[0].end;
    assert!(entries > 30 * 170, "{entries} entries are many pages");
    for index in (0..segments[SEGMENTS - 1].end).step_by(777) {
        let by_key = reads(&sim, || assert_eq!(reader.index_by_key(3 * index).unwrap(), Some(index + 1)));
        assert!(by_key <= 3, "{by_key} reads for the entry after {index}");
        let by_digest = reads(&sim, || assert_eq!(reader.find_digest(digest(index)).unwrap(), [index]));
        assert!(by_digest <= 3 * SEGMENTS, "{by_digest} reads for the digest of {index}");
    }
}

#[test]
fn a_stream_reads_what_it_gives_once_and_holds_little_of_it() {
    const SEGMENTS: usize = 4;
    let sim = SimStorage::new(3);
    let options = LogOptions { segment_bytes: 2 << 20, ..options() };
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 0).unwrap();
    while log.segments() <= SEGMENTS {
        let next = log.range().end;
        append(&mut log, next..next + 100, 0, 1000);
        log.sync().unwrap();
    }
    let reader = log.reader();
    // Each segment in pieces of 256 KiB, one of which may end within a frame that the next begins with.
    let at_most = (SEGMENTS + 1) * (8 + 2);
    let streamed = reads(&sim, || assert!(reader.replay(reader.range()).map(Result::unwrap).count() > 5000));
    assert!(streamed <= at_most, "{streamed} reads");
    let visited = reads(&sim, || {
        reader.visit(reader.range(), |_| std::ops::ControlFlow::Continue(())).unwrap();
    });
    assert!(visited <= at_most, "{visited} reads");
    let held = allocation_counter::measure(|| assert_eq!(reader.replay(reader.range()).take(3).count(), 3));
    assert!(held.bytes_max < (256 << 10) + (64 << 10), "{} bytes", held.bytes_max);
}
