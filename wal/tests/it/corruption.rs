//! Scenarios 15 to 17: damage, and what only looks like it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Entry, Log, LogOptions, Reader, StoredEntry, WalError, verify};

use crate::script::{DIR, contents, options};
use crate::support;

const PAGE: u64 = 4096;

/// Settings under which all of a test's groups fit one segment.
fn roomy() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, ..options() }
}

fn create(sim: &SimStorage, first: u64) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), first).unwrap()
}

fn create_roomy(sim: &SimStorage) -> Log {
    Log::create(Arc::new(sim.clone()), Path::new(DIR), roomy(), 0).unwrap()
}

fn open(sim: &SimStorage) -> Result<Log, WalError> {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), options())
}

fn open_roomy(sim: &SimStorage) -> Result<Log, WalError> {
    Log::open(Arc::new(sim.clone()), Path::new(DIR), roomy())
}

fn segments(sim: &SimStorage) -> Vec<PathBuf> {
    let all = sim.files().into_iter();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

fn segment(sim: &SimStorage, nth: usize) -> PathBuf {
    segments(sim)[nth].clone()
}

/// Groups of an entry each, in two segments.
fn closed() -> (SimStorage, Vec<StoredEntry>) {
    let sim = SimStorage::new(5);
    let mut log = create(&sim, 0);
    for index in 0..5 {
        support::append(&mut log, index..index + 1, 0, 2500);
        log.sync().unwrap();
    }
    assert_eq!(log.segments(), 2);
    let entries = contents(&log).unwrap().1;
    log.close().unwrap();
    (sim, entries)
}

/// Opens a damaged copy: refused, or identical, or an error where the damaged entry is read.
fn holds(sim: &SimStorage, wanted: &[StoredEntry], context: &str) {
    match open(sim) {
        Ok(log) => serves(&log.reader(), wanted, context),
        Err(error) => {
            refuses(&error, context);
            // What opening refuses, verification does not call sound.
            let report = verify(sim, Path::new(DIR), &options());
            assert!(!report.is_ok_and(|report| report.is_sound()), "{context}");
        }
    }
}

fn refuses(error: &WalError, context: &str) {
    let damage = matches!(
        error,
        WalError::Corrupt { .. }
            | WalError::Foreign { .. }
            | WalError::NewerFormat { .. }
            | WalError::TooLarge { .. }
    );
    assert!(damage, "{context}: {error}");
}

/// Each entry is identical or answered with an error.
fn serves(reader: &Reader, wanted: &[StoredEntry], context: &str) {
    assert_eq!(reader.range(), 0..wanted.len() as u64, "{context}");
    for entry in wanted {
        if let Ok(found) = reader.get(entry.index) {
            assert!(found.as_ref() == Some(entry), "{context}: other bytes");
        }
        if let Ok(found) = reader.get_by_key(entry.key - 1) {
            assert!(found.as_ref() == Some(entry), "{context}: another entry by key");
        }
        if let Ok(found) = reader.find_digest(entry.digest) {
            assert!(found == [entry.index], "{context}: another entry by digest");
        }
    }
    let mut replayed = reader.replay(reader.range());
    for entry in wanted {
        match replayed.next() {
            Some(Ok(found)) => assert!(found == *entry, "{context}: other bytes in the replay"),
            Some(Err(_)) => break,
            None => panic!("{context}: the replay ends early"),
        }
    }
}

/// Flips each bit of a closed log's files, those of the page after what was written included. It is judged each time,
/// which changes nothing, so that the same bit can be flipped back; now and then it is opened as well.
fn flip_all(part: u64, parts: u64) {
    const OPENED: u64 = 97;
    let parts = parts * support::every() as u64;
    let (sim, entries) = closed();
    let end = Path::new(DIR).join("END");
    for path in segments(&sim).into_iter().chain([end]) {
        let bytes = sim.read_file(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        let all = (used + PAGE).min(bytes.len() as u64) * 8;
        for bit in (0..all).filter(|bit| bit % parts == part) {
            let context = format!("{}, bit {bit}", path.display());
            assert!(sim.flip_bit(&path, bit));
            match Log::judge(Arc::new(sim.clone()), Path::new(DIR), options()) {
                Ok(judged) => serves(&judged.reader(), &entries, &context),
                Err(error) => refuses(&error, &context),
            }
            if (bit / parts).is_multiple_of(OPENED) {
                holds(&sim.kill(), &entries, &context);
            }
            assert!(sim.flip_bit(&path, bit));
        }
    }
}

#[test]
fn scenario_16_every_bit_of_a_closed_log_0() {
    flip_all(0, 4);
}

#[test]
fn scenario_16_every_bit_of_a_closed_log_1() {
    flip_all(1, 4);
}

#[test]
fn scenario_16_every_bit_of_a_closed_log_2() {
    flip_all(2, 4);
}

#[test]
fn scenario_16_every_bit_of_a_closed_log_3() {
    flip_all(3, 4);
}

#[test]
fn scenario_16_a_damaged_durable_frame_is_refused_and_named() {
    let sim = SimStorage::new(5);
    let mut log = create_roomy(&sim);
    for index in 0..4 {
        support::append(&mut log, index..index + 1, 0, 100);
        log.sync().unwrap();
    }
    drop(log);
    let path = segment(&sim, 0);
    // Each group has a page of its own, after the header's.
    for index in 0..3_u64 {
        let copy = sim.kill();
        copy.flip_bit(&path, (PAGE * (index + 1) + 60) * 8);
        match open_roomy(&copy) {
            Err(error @ WalError::Corrupt { .. }) => {
                let WalError::Corrupt { path: named, offset, index: at, .. } = &error else { unreachable!() };
                assert_eq!((named, *offset, *at), (&path, PAGE * (index + 1), Some(index)), "{error}");
                assert!(error.to_string().contains("expected"));
            }
            other => panic!("entry {index}: {other:?}"),
        }
        let report = verify(&copy, Path::new(DIR), &roomy()).unwrap();
        assert!(!report.is_sound());
    }
    // The blind spot: nothing says that the last group had been durable.
    let copy = sim.kill();
    copy.flip_bit(&path, (PAGE * 4 + 60) * 8);
    let judged = Log::judge(Arc::new(copy), Path::new(DIR), roomy()).unwrap();
    assert_eq!(judged.facts().next, 3);
    assert!(judged.facts().torn_bytes > 0);
    // It is closed by what the caller knows, by a mark, and by a clean close.
    let copy = sim.kill();
    copy.flip_bit(&path, (PAGE * 4 + 60) * 8);
    let known = LogOptions { require_at_least: Some(4), ..roomy() };
    let refused = Log::open(Arc::new(copy), Path::new(DIR), known);
    assert!(matches!(refused, Err(WalError::Shorter { expected: 4, found: 3, .. })));
    for close in [false, true] {
        let copy = sim.kill();
        let mut log = open_roomy(&copy).unwrap();
        support::append(&mut log, 4..5, 0, 100);
        log.sync().unwrap();
        if close {
            log.close().unwrap();
        } else {
            while log.idle().unwrap() {}
            drop(log);
        }
        copy.flip_bit(&path, (PAGE * 5 + 60) * 8);
        assert!(matches!(open_roomy(&copy), Err(WalError::Corrupt { index: Some(4), .. })), "close {close}");
    }
}

#[test]
fn scenario_15_an_unsynced_frame_lost_while_the_next_landed_is_cut_there() {
    // One group of three frames; a part of the middle one is lost.
    let sim = SimStorage::new(5);
    let mut log = create_roomy(&sim);
    support::append(&mut log, 0..1, 0, 100);
    log.sync().unwrap();
    support::append(&mut log, 1..4, 0, 4096);
    log.sync().unwrap();
    drop(log);
    let path = segment(&sim, 0);
    sim.damage(&path, |bytes| bytes[4096 * 3 + 512..4096 * 4].fill(0));
    let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), roomy()).unwrap();
    assert_eq!(judged.facts().next, 2);
    assert!(judged.facts().torn_bytes > 4096);
    let log = judged.open().unwrap();
    assert_eq!(log.range(), 0..2);
    assert_eq!(log.segments(), 2, "repaired by a segment of its own");
    drop(log);
    assert_eq!(open_roomy(&sim).unwrap().range(), 0..2);
}

#[test]
fn scenario_17_a_flipped_length_allocates_nothing_large() {
    let (sim, entries) = closed();
    for nth in 0..2 {
        let path = segment(&sim, nth);
        for bit in 0..32 {
            let copy = sim.kill();
            copy.flip_bit(&path, (PAGE + 40) * 8 + bit);
            holds(&copy, &entries, &format!("length bit {bit}"));
        }
    }
}

#[test]
fn scenario_17_a_length_above_the_cap_is_refused_even_if_its_checksum_holds() {
    let sim = SimStorage::new(5);
    let mut log = create(&sim, 0);
    support::append(&mut log, 0..1, 0, 5000);
    log.sync().unwrap();
    let entry = Entry { key: 9, digest: 0, payload: &[0; 10] };
    assert!(log.append(1, entry).is_ok());
    drop(log);
    let small = LogOptions { entry_bytes_max: 4999, ..options() };
    let refused = Log::open(Arc::new(sim.clone()), Path::new(DIR), small.clone());
    assert!(matches!(refused, Err(WalError::TooLarge { index: 0, bytes: 5000, max: 4999 })));
    let mut log = open(&sim).unwrap();
    support::append(&mut log, 1..2, 0, 5000);
    drop(log);
    let other = SimStorage::new(6);
    let mut log = Log::create(Arc::new(other), Path::new(DIR), small, 0).unwrap();
    let entry = Entry { key: 9, digest: 0, payload: &[0; 5000] };
    assert!(matches!(log.append(0, entry), Err(WalError::TooLarge { .. })));
}

#[test]
fn scenario_17_a_frame_forged_inside_a_payload_is_ignored() {
    // The payload holds whole pages that were frames of this very log, at the place where they are found again.
    let sim = SimStorage::new(5);
    let mut log = create_roomy(&sim);
    support::append(&mut log, 0..1, 0, 100);
    log.sync().unwrap();
    let mut forged = sim.read_file(&segment(&sim, 0)).unwrap()[4096..8192].to_vec();
    forged.extend_from_slice(&forged.clone());
    log.append(1, Entry { key: 2, digest: 0, payload: &forged }).unwrap();
    log.sync().unwrap();
    drop(log);
    let log = open_roomy(&sim).unwrap();
    assert_eq!(log.range(), 0..2);
    assert_eq!(log.reader().get(1).unwrap().unwrap().payload, forged);
    drop(log);
    // And when the frame around it is torn, what it holds is no frame and proves nothing.
    sim.flip_bit(&segment(&sim, 0), 8192 * 8);
    let judged = Log::judge(Arc::new(sim), Path::new(DIR), roomy()).unwrap();
    assert_eq!(judged.facts().next, 1);
}

#[test]
fn scenario_17_missing_segments_are_refused_above_the_front_only() {
    let sim = SimStorage::new(5);
    let mut log = create(&sim, 0);
    support::append(&mut log, 0..25, 0, 2500);
    log.sync().unwrap();
    assert!(log.segments() >= 4);
    let ends: Vec<u64> = log.reader().segments().iter().map(|segment| segment.end).collect();
    drop(log);
    for nth in 0..ends.len() - 1 {
        let copy = sim.kill();
        copy.lose_file(&segment(&sim, nth));
        let error = open(&copy).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("no such file"), "{error}");
    }
    // A reader keeps the retired segments where they are; then the owner disappears.
    let mut log = open(&sim).unwrap();
    let reader = log.reader();
    let mut replay = reader.replay(0..25);
    replay.next().unwrap().unwrap();
    let before = segments(&sim);
    log.truncate_before(ends[1]).unwrap();
    assert!(sim.read_file(&before[0]).is_some(), "held by the reader");
    drop((log, replay));
    let copy = sim.kill();
    copy.lose_file(&before[0]);
    assert_eq!(open(&copy).unwrap().range(), ends[1]..25);
    let copy = sim.kill();
    copy.lose_file(&before[2]);
    assert!(open(&copy).unwrap_err().is_corruption());
}

#[test]
fn scenario_17_former_frames_and_footers_of_a_recycled_segment_are_no_entries() {
    let sim = SimStorage::new(5);
    let mut log = create(&sim, 0);
    for round in 0..6_u64 {
        support::append(&mut log, round * 10..(round + 1) * 10, round, 2500);
        log.sync().unwrap();
        log.truncate_before((round + 1) * 10).unwrap();
    }
    // A few small groups at the start of a segment that is full of former ones.
    for index in 60..64 {
        support::append(&mut log, index..index + 1, 9, 10);
        log.sync().unwrap();
    }
    drop(log);
    let judged = Log::judge(Arc::new(sim), Path::new(DIR), options()).unwrap();
    assert_eq!((judged.facts().next, judged.facts().torn_bytes), (64, 0));
    let log = judged.open().unwrap();
    let found = contents(&log).unwrap().1;
    assert!(found == (60..64).map(|index| support::stored(index, 9, 10)).collect::<Vec<_>>());
}

#[test]
fn durable_upto_advances_with_every_group() {
    let sim = SimStorage::new(5);
    let mut log = create_roomy(&sim);
    for index in 0..4_u64 {
        support::append(&mut log, index..index + 1, 0, 100);
        log.sync().unwrap();
        let bytes = sim.read_file(&segment(&sim, 0)).unwrap();
        let at = (PAGE * (index + 1)) as usize;
        let durable_upto = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
        assert_eq!(durable_upto, PAGE * (index + 1), "everything before the group");
    }
}

#[test]
fn an_unfinished_footer_is_damage_only_where_a_successor_relies_on_it() {
    let (sim, _) = closed();
    let ends: Vec<u64> = open(&sim.kill()).unwrap().reader().segments().iter().map(|end| end.bytes).collect();
    let verified = |nth: usize, at: u64| {
        let copy = sim.kill();
        copy.flip_bit(&segment(&sim, nth), (at + 100) * 8);
        let report = verify(&copy, Path::new(DIR), &options()).unwrap();
        (report.is_sound(), open(&copy).is_ok(), report.clean_close, report.torn_bytes)
    };
    // Of the last segment, where the summary stands behind the last group, and two pages of table behind that.
    assert_eq!(verified(1, ends[1]), (true, true, false, 0));
    assert_eq!(verified(1, ends[1] + PAGE), (true, true, false, 3 * PAGE));
    // Of the sealed one; opening asks its table for the first key.
    assert_eq!(verified(0, ends[0]), (false, true, true, 0));
    assert_eq!(verified(0, ends[0] + PAGE), (false, false, true, 0));

    // The file ends within the table: its entry alone had made it so long.
    let sim = SimStorage::new(5);
    let mut log = create(&sim, 0);
    support::append(&mut log, 0..1, 0, 40_000);
    log.close().unwrap();
    sim.damage(&segment(&sim, 0), |bytes| bytes.truncate(bytes.len() - 4096));
    let report = verify(&sim, Path::new(DIR), &options()).unwrap();
    assert_eq!((report.is_sound(), report.clean_close, report.torn_bytes), (true, false, 3 * PAGE));
    assert_eq!(open(&sim).unwrap().range(), 0..1);
}

#[test]
fn verify_finds_damage_in_a_sealed_segment_that_opening_does_not_read() {
    let (sim, _) = closed();
    let report = verify(&sim, Path::new(DIR), &options()).unwrap();
    assert!(report.is_sound() && report.clean_close, "{report:?}");
    assert_eq!((report.entries, report.range, report.segments), (5, 0..5, 2));
    let path = segment(&sim, 0);
    sim.flip_bit(&path, (PAGE + 1000) * 8);
    let report = verify(&sim, Path::new(DIR), &options()).unwrap();
    assert!(matches!(&report.damage[..], [WalError::Corrupt { index: Some(0), .. }]), "{report:?}");
    let log = open(&sim).unwrap();
    let read = log.reader().get(0);
    assert!(matches!(read, Err(WalError::Corrupt { index: Some(0), .. })), "{read:?}");
    assert!(log.reader().get(1).unwrap().is_some(), "the others are served");
}
