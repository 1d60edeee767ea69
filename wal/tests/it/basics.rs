//! The operations, on the real file system.

use roadbed_wal::{Appended, Entry, Log, LogOptions, StreamId, WalError};

use crate::support::{Disk, append, contents, options, stored};

const LEN: usize = 1000;

fn expect(log: &Log, range: std::ops::Range<u64>, life: u64) {
    let wanted: Vec<_> = range.clone().map(|index| stored(index, life, LEN)).collect();
    assert_eq!(log.range(), range);
    assert!(contents(log) == wanted);
}

fn each_way(test: impl Fn(LogOptions)) {
    for direct_io in [true, false] {
        test(LogOptions { direct_io, ..options() });
    }
}

#[test]
fn what_was_synced_is_there_after_a_clean_close_and_after_none() {
    each_way(|options| {
        for close in [true, false] {
            let disk = Disk::new();
            let mut log = disk.create(options.clone(), 5);
            append(&mut log, 5..10, 0, LEN);
            assert_eq!(log.sync().unwrap(), 10);
            append(&mut log, 10..300, 0, LEN);
            assert_eq!(log.durable_next(), 10);
            assert_eq!(log.sync().unwrap(), 300);
            expect(&log, 5..300, 0);
            assert!(log.segments() > 3);
            if close {
                log.close().unwrap();
            } else {
                drop(log);
            }
            let judged = Log::judge(disk.storage(), &disk.dir(), options.clone()).unwrap();
            let facts = judged.facts();
            assert_eq!((facts.first, facts.next), (5, 300));
            assert_eq!((facts.first_key, facts.last_key), (Some(6), Some(300)));
            assert_eq!((facts.torn_bytes, facts.clean_close, facts.never_used), (0, close, false));
            assert_eq!(judged.reader().range(), 5..300);
            let mut log = judged.open().unwrap();
            append(&mut log, 300..310, 0, LEN);
            log.sync().unwrap();
            expect(&log, 5..310, 0);
            drop(log);
            expect(&disk.open(options.clone()), 5..310, 0);
        }
    });
}

#[test]
fn duplicates_are_ignored_and_gaps_refused() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..3, 0, LEN);
    let entry = Entry { key: 9, digest: 0, payload: b"other" };
    assert_eq!(log.append(1, entry).unwrap(), Appended::Duplicate);
    assert!(matches!(log.append(4, entry), Err(WalError::Gap { index: 4, next: 3 })));
    assert!(matches!(log.append(3, Entry { key: 2, ..entry }), Err(WalError::KeyOrder { last: 3, .. })));
    log.sync().unwrap();
    expect(&log, 0..3, 0);
}

#[test]
fn the_front_is_cut_and_its_segments_are_recycled() {
    each_way(|options| {
        let disk = Disk::new();
        let mut log = disk.create(options.clone(), 0);
        for round in 0..20_u64 {
            append(&mut log, round * 100..(round + 1) * 100, 0, LEN);
            log.sync().unwrap();
            log.truncate_before(round * 100 + 50).unwrap();
            expect(&log, round * 100 + 50..(round + 1) * 100, 0);
        }
        assert!(log.segments() < 5);
        let files = std::fs::read_dir(disk.dir()).unwrap().count();
        assert!(files < 10, "{files} files");
        drop(log);
        let mut log = disk.open(options.clone());
        expect(&log, 1950..2000, 0);
        assert!(matches!(log.truncate_before(2001), Err(WalError::OutOfRange { .. })));
        log.truncate_before(2000).unwrap();
        expect(&log, 2000..2000, 0);
        drop(log);
        expect(&disk.open(options.clone()), 2000..2000, 0);
    });
}

#[test]
fn truncate_while_follows_the_keys() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..200, 0, LEN);
    assert_eq!(log.truncate_while(|key| key <= 120).unwrap(), 120);
    expect_after_sync(&mut log, 120..200);
    assert_eq!(log.truncate_while(|key| key <= 120).unwrap(), 120);
    assert_eq!(log.truncate_while(|_| true).unwrap(), 200);
    expect(&log, 200..200, 0);
}

fn expect_after_sync(log: &mut Log, range: std::ops::Range<u64>) {
    log.sync().unwrap();
    expect(log, range, 0);
}

#[test]
fn the_tail_is_cut_at_every_place_and_never_comes_back() {
    for cut in [0, 1, 49, 50, 51, 52, 100, 149, 199, 200, 201] {
        let disk = Disk::new();
        let mut log = disk.create(options(), 0);
        append(&mut log, 0..200, 0, LEN);
        log.sync().unwrap();
        log.truncate_after(cut).unwrap();
        let end = cut.min(200);
        expect(&log, 0..end, 0);
        append(&mut log, end..end + 60, 1, LEN);
        log.sync().unwrap();
        drop(log);
        let mut log = disk.open(options());
        let wanted: Vec<_> = (0..end + 60).map(|index| stored(index, u64::from(index >= end), LEN)).collect();
        assert!(contents(&log) == wanted, "cut at {cut}");
        // Again, through what the first cut left behind.
        log.truncate_after(end / 2).unwrap();
        expect(&log, 0..end / 2, 0);
        drop(log);
        expect(&disk.open(options()), 0..end / 2, 0);
    }
}

#[test]
fn what_waits_can_be_cut_without_the_disk() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..10, 0, LEN);
    log.sync().unwrap();
    append(&mut log, 10..200, 0, LEN);
    log.truncate_after(130).unwrap();
    assert_eq!(log.range(), 0..130);
    append(&mut log, 130..150, 0, LEN);
    log.sync().unwrap();
    expect(&log, 0..150, 0);
}

#[test]
fn a_reset_keeps_its_cursor() {
    let disk = Disk::new();
    let log = disk.create(options(), 0);
    drop(log);
    let judged = Log::judge(disk.storage(), &disk.dir(), options()).unwrap();
    assert!(judged.facts().never_used);
    let mut log = judged.open().unwrap();
    log.reset(77).unwrap();
    drop(log);
    let judged = Log::judge(disk.storage(), &disk.dir(), options()).unwrap();
    let facts = judged.facts();
    assert_eq!((facts.first, facts.next, facts.never_used, facts.exists), (77, 77, false, true));
    let mut log = judged.open().unwrap();
    append(&mut log, 77..200, 0, LEN);
    log.sync().unwrap();
    log.reset(3).unwrap();
    append(&mut log, 3..5, 0, LEN);
    log.sync().unwrap();
    drop(log);
    expect(&disk.open(options()), 3..5, 0);
}

#[test]
fn parts_of_a_group_that_are_no_whole_pages_are_refused() {
    for ahead_bytes in [1, 100, 4095] {
        let disk = Disk::new();
        let refused = Log::create(disk.storage(), &disk.dir(), LogOptions { ahead_bytes, ..options() }, 0);
        assert!(matches!(refused, Err(WalError::Options { name: "ahead_bytes", .. })));
    }
}

#[test]
fn a_second_owner_is_refused_and_a_foreign_log_too() {
    let disk = Disk::new();
    let log = disk.create(options(), 0);
    assert!(matches!(Log::open(disk.storage(), &disk.dir(), options()), Err(WalError::InUse { .. })));
    drop(log);
    let stream = StreamId { kind: *b"other\0\0\0", ..options().stream };
    let other = LogOptions { stream, ..options() };
    assert!(matches!(Log::open(disk.storage(), &disk.dir(), other), Err(WalError::Foreign { .. })));
    let more = LogOptions { require_at_least: Some(1), ..options() };
    assert!(matches!(Log::open(disk.storage(), &disk.dir(), more), Err(WalError::Shorter { .. })));
    assert!(matches!(Log::create(disk.storage(), &disk.dir(), options(), 0), Err(WalError::Exists { .. })));
    let nowhere = disk.dir().join("nowhere");
    assert!(matches!(Log::open(disk.storage(), &nowhere, options()), Err(WalError::Missing { .. })));
}

#[test]
fn recovery_in_the_process_ends_the_log_where_it_is_told() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..130, 0, LEN);
    log.sync().unwrap();
    drop(log);
    let judged = Log::judge(disk.storage(), &disk.dir(), options()).unwrap();
    assert!(matches!(judged.open_at(131), Err(WalError::Shorter { expected: 131, found: 130, .. })));
    for at in [130, 110, 40] {
        let judged = Log::judge(disk.storage(), &disk.dir(), options()).unwrap();
        expect(&judged.open_at(at).unwrap(), 0..at, 0);
    }
}

#[test]
fn an_entry_larger_than_a_segment_gets_its_own() {
    let disk = Disk::new();
    let mut log = disk.create(options(), 0);
    append(&mut log, 0..2, 0, LEN);
    append(&mut log, 2..5, 0, 300_000);
    append(&mut log, 5..7, 0, LEN);
    log.sync().unwrap();
    let big = LogOptions { entry_bytes_max: 1000, ..options() };
    drop(log);
    assert!(matches!(
        Log::open(disk.storage(), &disk.dir(), big.clone()),
        Ok(_) | Err(WalError::TooLarge { .. })
    ));
    let mut log = disk.open(options());
    assert_eq!(log.range(), 0..7);
    assert!(contents(&log)[3] == stored(3, 0, 300_000));
    log.truncate_before(6).unwrap();
    drop(log);
    expect(&disk.open(options()), 6..7, 0);
}

#[test]
fn idle_steps_fill_the_pool_and_end() {
    let disk = Disk::new();
    let mut log = disk.create(LogOptions { pool_segments: 3, ..options() }, 0);
    append(&mut log, 0..2, 0, LEN);
    log.sync().unwrap();
    let mut steps = 0;
    while log.idle().unwrap() {
        steps += 1;
        assert!(steps < 100);
    }
    let spares = std::fs::read_dir(disk.dir()).unwrap();
    let spares =
        spares.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "free"));
    assert_eq!(spares.count(), 3);
    append(&mut log, 2..500, 0, LEN);
    log.sync().unwrap();
    drop(log);
    expect(&disk.open(options()), 0..500, 0);
}
