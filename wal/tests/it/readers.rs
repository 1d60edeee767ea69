//! Readers beside the writer, and replays.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roadbed_wal::{EntryRef, Log, LogOptions, Reader, WalError};

use crate::support::{Disk, append, digest, options, stored};

const LEN: usize = 700;

fn small() -> LogOptions {
    LogOptions { segment_bytes: 32 << 10, pool_segments: 2, open_files_max: 2, ..options() }
}

/// Whatever a reader gets is what was written; what it does not get is outside of the range by then.
fn read_around(reader: &Reader, nth: u64) -> u64 {
    let range = reader.range();
    if range.is_empty() {
        return 0;
    }
    let index = range.start + nth.wrapping_mul(0x9e37_79b9) % (range.end - range.start);
    let wanted = stored(index, 0, LEN);
    match reader.get(index).unwrap() {
        Some(entry) => assert!(entry == wanted),
        None => assert!(reader.range().start > index),
    }
    match reader.get_by_key(index).unwrap() {
        Some(entry) => assert!(entry.index == index || reader.range().start > index),
        None => assert!(reader.range().start > index),
    }
    assert!(reader.find_digest(digest(index, 0)).unwrap() == [index] || reader.range().start > index);
    let mut seen = 0;
    let replay = reader.replay(index..index + 50);
    // The front may have moved on before the replay was asked for.
    let start = replay.remaining().start;
    for entry in replay {
        match entry {
            Ok(entry) => assert!(entry == stored(start + seen, 0, LEN)),
            Err(WalError::OutOfRange { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        seen += 1;
    }
    seen
}

#[test]
fn readers_go_on_while_the_writer_appends_rolls_and_cuts_the_front() {
    for direct_io in [true, false] {
        let disk = Disk::new();
        let mut log = disk.create(LogOptions { direct_io, ..small() }, 0);
        let done = AtomicBool::new(false);
        let reader = log.reader();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2_u64)
                .map(|thread| {
                    let (reader, done) = (reader.clone(), &done);
                    scope.spawn(move || {
                        let (mut nth, mut seen) = (thread, 0);
                        while !done.load(Ordering::Relaxed) || nth < 50 {
                            seen += read_around(&reader, nth);
                            nth += 2;
                        }
                        seen
                    })
                })
                .collect();
            for round in 0..100_u64 {
                append(&mut log, round * 20..(round + 1) * 20, 0, LEN);
                log.sync().unwrap();
                log.truncate_before((round * 20).saturating_sub(150)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            for thread in threads {
                assert!(thread.join().unwrap() > 0);
            }
        });
        assert_eq!(log.range(), 1830..2000);
        assert!(log.segments() < 20);
    }
}

/// Recovery in the process, told of the readers before it.
fn next_life(disk: &Disk, before: &Reader, next: u64) -> Log {
    Log::judge(disk.storage(), &disk.dir(), small()).unwrap().after(before).open_at(next).unwrap()
}

/// A restart ends the log at its durable point with a segment that holds the table of the one before. The next restart
/// at the same point replaces it: who still reads through the life in between needs that table.
#[test]
fn a_reader_of_an_earlier_life_goes_on_while_the_log_restarts() {
    let disk = Disk::new();
    let mut log = disk.create(small(), 0);
    append(&mut log, 0..5, 0, LEN);
    log.sync().unwrap();
    let mut slot = log.reader();
    drop(log);
    for _ in 0..10 {
        let log = next_life(&disk, &slot, 5);
        read_around(&slot, 0);
        assert_eq!(slot.get(4).unwrap(), Some(stored(4, 0, LEN)));
        slot = log.reader();
    }
}

#[test]
fn what_readers_of_earlier_lives_hold_is_recycled_when_they_let_go() {
    let disk = Disk::new();
    let mut log = disk.create(small(), 0);
    append(&mut log, 0..100, 0, LEN);
    log.sync().unwrap();
    let first = log.reader();
    drop(log);
    // The reader of a life is heeded by every later one.
    let second = next_life(&disk, &first, 100).reader();
    let mut log = next_life(&disk, &second, 100);
    drop(second);
    log.truncate_before(100).unwrap();
    let held = first.segments();
    assert!(held.len() > 2 && held.iter().all(|segment| segment.path.exists()));
    let replay = first.replay(0..100).map(Result::unwrap);
    assert!(replay.eq((0..100).map(|index| stored(index, 0, LEN))));
    drop(first);
    while log.idle().unwrap() {}
    assert!(held.iter().all(|segment| !segment.path.exists()));
    append(&mut log, 100..200, 1, LEN);
    log.sync().unwrap();
}

#[test]
fn a_parallel_replay_gives_the_same_in_order() {
    let disk = Disk::new();
    let mut log = disk.create(small(), 0);
    append(&mut log, 0..500, 0, LEN);
    append(&mut log, 500..505, 0, 20_000);
    log.sync().unwrap();
    log.truncate_before(13).unwrap();
    let reader = log.reader();
    let one_by_one: Vec<_> = reader.replay(0..600).map(Result::unwrap).collect();
    assert_eq!(one_by_one.len(), 492);
    for threads in [0, 1, 3, 8] {
        let mut replay = reader.replay_parallel(0..600, threads, |entry| entry);
        assert_eq!(replay.remaining(), 13..505);
        let first = replay.next().unwrap().unwrap();
        assert_eq!(replay.remaining(), 14..505);
        let all: Vec<_> = std::iter::once(first).chain(replay.map(Result::unwrap)).collect();
        assert!(all == one_by_one, "{threads} threads");
    }
    // Dropped half-way, it ends.
    let used = Arc::new(());
    let held = used.clone();
    let mut replay =
        reader.replay_parallel(0..600, 4, move |entry| (Arc::strong_count(&held), entry.index).1);
    assert_eq!(replay.next().unwrap().unwrap(), 13);
    drop(replay);
    assert_eq!(Arc::strong_count(&used), 1, "no thread of it is left");
    assert!(reader.replay_parallel(7..7, 2, |entry| entry).next().is_none());
}

#[test]
fn a_visit_sees_the_same_and_ends_where_the_visitor_wants() {
    let disk = Disk::new();
    let mut log = disk.create(small(), 0);
    append(&mut log, 0..300, 0, LEN);
    append(&mut log, 300..303, 0, 40_000);
    log.sync().unwrap();
    log.truncate_before(21).unwrap();
    let reader = log.reader();
    let replayed: Vec<_> = reader.replay(0..400).map(Result::unwrap).collect();
    let mut visited = Vec::new();
    let visit = |entry: EntryRef<'_>| {
        visited.push(entry.to_owned());
        ControlFlow::Continue(())
    };
    assert_eq!(reader.visit(0..400, visit).unwrap(), 303);
    assert!(visited == replayed);
    let stop = |entry: EntryRef<'_>| {
        if entry.index == 50 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(reader.visit(40..400, stop).unwrap(), 51);
    assert_eq!(reader.visit(45..45, stop).unwrap(), 45);
}

#[test]
fn a_replay_ends_with_an_error_where_the_front_has_overtaken_it() {
    let disk = Disk::new();
    let mut log = disk.create(small(), 0);
    append(&mut log, 0..200, 0, 3000);
    log.sync().unwrap();
    let mut replay = log.reader().replay(0..200);
    assert_eq!(replay.next().unwrap().unwrap().index, 0);
    log.truncate_before(150).unwrap();
    let error = replay.find_map(Result::err).unwrap();
    assert!(matches!(error, WalError::OutOfRange { first: 150, .. }), "{error}");
}
