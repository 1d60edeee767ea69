//! Scenario 23: directories that an earlier version wrote stay readable, and this version still writes the same bytes.
//! The files of each version were written by that version's code.
//!
//! `ROADBED_WAL_GOLDEN=write` writes the files anew: only for a new format version, into a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, StoredEntry, WalError, verify};

use crate::script::{DIR, contents, options};
use crate::support::{append, stored};

/// The version that is written now.
const CURRENT: &str = "v2";

/// Bytes of an entry that is larger than a segment.
const LARGE: usize = 33_000;

fn golden(version: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version).join(name)
}

fn entries(indices: std::ops::Range<u64>, life: u64, len: usize) -> impl Iterator<Item = StoredEntry> {
    indices.map(move |index| stored(index, life, len))
}

/// A log with a segment of each kind that its chain can hold at once, and what it contains.
fn written(name: &str) -> (SimStorage, Vec<StoredEntry>) {
    let sim = SimStorage::new(2024);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 7).unwrap();
    let mut expected: Vec<StoredEntry> = Vec::new();
    append(&mut log, 7..12, 0, 300);
    log.sync().unwrap();
    match name {
        "create" => expected.extend(entries(7..12, 0, 300)),
        "create-roll-cut" => {
            append(&mut log, 12..20, 0, 3000);
            log.sync().unwrap();
            log.truncate_after(18).unwrap();
            append(&mut log, 18..20, 1, 50);
            log.sync().unwrap();
            log.truncate_before(9).unwrap();
            expected.extend(entries(9..12, 0, 300).chain(entries(12..18, 0, 3000)).chain(entries(
                18..20,
                1,
                50,
            )));
        }
        "reset" => {
            log.reset(100).unwrap();
            append(&mut log, 100..103, 2, 40);
            expected.extend(entries(100..103, 2, 40));
        }
        "unclosed" => {
            // The footer of the close is overwritten, and the last segment ends with none: a group, the mark of an idle
            // owner, a group, a trim mark.
            log.close().unwrap();
            log = Log::open(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
            for index in 12..19 {
                append(&mut log, index..index + 1, 0, 900);
                log.sync().unwrap();
                while index == 17 && log.idle().unwrap() {}
            }
            log.truncate_before(9).unwrap();
            expected.extend(entries(9..12, 0, 300).chain(entries(12..19, 0, 900)));
        }
        "large" => {
            // An entry that is larger than a segment has one of its own.
            append(&mut log, 12..13, 0, LARGE);
            append(&mut log, 13..15, 0, 300);
            log.sync().unwrap();
            assert_eq!(log.segments(), 3);
            expected.extend(entries(7..12, 0, 300).chain(entries(12..13, 0, LARGE)).chain(entries(
                13..15,
                0,
                300,
            )));
        }
        "repaired" => {
            append(&mut log, 12..17, 0, 1000);
            log.sync().unwrap();
            drop(log);
            // The last group of the only segment is torn in its third entry; what follows is evidence, and stays.
            sim.damage(&Path::new(DIR).join(format!("{:020}.seg", 1)), |bytes| {
                bytes[4096 * 3..4096 * 3 + 512].fill(0)
            });
            log = Log::open(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
            assert_eq!((log.range().start, log.segments()), (7, 2));
            let kept = log.range().end;
            assert!((13..17).contains(&kept));
            append(&mut log, kept..20, 1, 60);
            expected.extend(entries(7..12, 0, 300).chain(entries(12..kept, 0, 1000)).chain(entries(
                kept..20,
                1,
                60,
            )));
        }
        _ => {
            // Segments that were full, then retired, then segments again.
            for round in 0..6 {
                append(&mut log, 12 + round * 9..21 + round * 9, round, 2500);
                log.sync().unwrap();
                log.truncate_before(21 + round * 9).unwrap();
            }
            append(&mut log, 66..69, 7, 700);
            expected.extend(entries(66..69, 7, 700));
        }
    }
    if name != "unclosed" {
        log.close().unwrap();
    }
    (sim, expected)
}

/// The files of a simulated disk that say something, without the zeros after what was written.
fn files(sim: &SimStorage) -> Vec<(String, Vec<u8>)> {
    let says = |path: &PathBuf| path.ends_with("END") || path.extension().is_some_and(|end| end == "seg");
    let trimmed = |path: PathBuf| {
        let mut bytes = sim.read_file(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used.next_multiple_of(4096));
        (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    sim.files().into_iter().filter(says).map(trimmed).collect()
}

/// A golden directory holds what was written, and goes on.
fn is_readable(version: &str, name: &str, expected: &[StoredEntry]) {
    let disk = SimStorage::new(1);
    for file in std::fs::read_dir(golden(version, name)).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|end| end == "seg") {
            let segment_bytes = usize::try_from(options().segment_bytes).unwrap();
            bytes.resize(bytes.len().max(segment_bytes), 0);
        }
        disk.put_file(&Path::new(DIR).join(path.file_name().unwrap()), &bytes);
    }
    let report = verify(&disk, Path::new(DIR), &options()).unwrap();
    assert!(report.is_sound() && report.clean_close == (name != "unclosed"), "{version}/{name}: {report:?}");
    let mut log = Log::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap();
    assert!(contents(&log).unwrap().1 == expected, "{version}/{name}");
    let next = log.range().end;
    append(&mut log, next..next + 20, 9, 3000);
    log.close().unwrap();
    let log = Log::open(Arc::new(disk), Path::new(DIR), options()).unwrap();
    let (_, found) = contents(&log).unwrap();
    assert!(found == expected.iter().cloned().chain(entries(next..next + 20, 9, 3000)).collect::<Vec<_>>());
}

fn check(name: &str, versions: &[&str]) {
    let (sim, expected) = written(name);
    let dir = golden(CURRENT, name);
    if std::env::var("ROADBED_WAL_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::create_dir_all(&dir).unwrap();
        for (file, bytes) in files(&sim) {
            std::fs::write(dir.join(file), bytes).unwrap();
        }
    }
    for (file, bytes) in files(&sim) {
        let golden = std::fs::read(dir.join(&file)).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
        assert!(golden == bytes, "{name}/{file}: this version writes other bytes");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), files(&sim).len());
    for version in versions {
        is_readable(version, name, &expected);
    }
}

#[test]
fn scenario_23_a_log_of_one_segment() {
    check("create", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_rolled_and_cut_log() {
    check("create-roll-cut", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_log_that_was_reset() {
    check("reset", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_log_with_an_entry_larger_than_a_segment() {
    check("large", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_torn_and_repaired_log() {
    check("repaired", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_log_whose_owner_disappeared() {
    check("unclosed", &["v1", "v2"]);
}

#[test]
fn scenario_23_a_log_in_recycled_segments() {
    // Which file is taken again is no matter of the format: the bytes of the former life may differ.
    let (_, expected) = written("recycled");
    let mut files: Vec<_> =
        std::fs::read_dir(golden("v2", "recycled")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "a segment, and END");
    let last = std::fs::read(&files[0]).unwrap();
    let former = (0..6).flat_map(|round| entries(12 + round * 9..21 + round * 9, round, 24));
    let stands = |payload: &[u8]| last.windows(payload.len()).any(|bytes| bytes == payload);
    assert!(former.into_iter().any(|entry| stands(&entry.payload)), "a new file");
    is_readable("v1", "recycled", &expected);
    is_readable("v2", "recycled", &expected);
}

#[test]
fn scenario_23_a_newer_version_is_refused_untouched() {
    let (sim, _) = written("create");
    let path = sim.files().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    // The lowest reader version: a newer one may keep even its checksum elsewhere.
    sim.damage(&path, |bytes| bytes[12] = 3);
    let before = (sim.files(), sim.read_file(&path));
    let refused = Log::open(Arc::new(sim.clone()), Path::new(DIR), options());
    assert!(matches!(refused, Err(WalError::NewerFormat { found: 3, supported: 2, .. })));
    assert!(before == (sim.files(), sim.read_file(&path)));
}
