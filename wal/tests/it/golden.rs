//! Scenario 23: directories that an earlier version wrote stay readable, and this version still writes the same bytes.
//!
//! `ROADBED_WAL_GOLDEN=write` writes the files anew: only for a new format version, into a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, StoredEntry, WalError, verify};

use crate::script::{DIR, contents, options};
use crate::support::{append, stored};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// A log with a segment of each kind that its chain can hold at once, and what it contains.
fn written(name: &str) -> (SimStorage, Vec<StoredEntry>) {
    let sim = SimStorage::new(2024);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 7).unwrap();
    let mut expected: Vec<StoredEntry> = Vec::new();
    append(&mut log, 7..12, 0, 300);
    log.sync().unwrap();
    match name {
        "create" => expected.extend((7..12).map(|index| stored(index, 0, 300))),
        "create-roll-cut" => {
            append(&mut log, 12..20, 0, 3000);
            log.sync().unwrap();
            log.truncate_after(18).unwrap();
            append(&mut log, 18..20, 1, 50);
            log.sync().unwrap();
            log.truncate_before(9).unwrap();
            expected.extend((9..12).map(|index| stored(index, 0, 300)));
            expected.extend((12..18).map(|index| stored(index, 0, 3000)));
            expected.extend((18..20).map(|index| stored(index, 1, 50)));
        }
        _ => {
            log.reset(100).unwrap();
            append(&mut log, 100..103, 2, 40);
            expected.extend((100..103).map(|index| stored(index, 2, 40)));
        }
    }
    log.close().unwrap();
    (sim, expected)
}

/// The segments of a simulated disk, without the zeros after what was written.
fn files(sim: &SimStorage) -> Vec<(String, Vec<u8>)> {
    let segments = sim.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg"));
    let trimmed = |path: PathBuf| {
        let mut bytes = sim.read_file(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used.next_multiple_of(4096));
        (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    segments.map(trimmed).collect()
}

fn check(name: &str) {
    let (sim, expected) = written(name);
    let dir = golden().join(name);
    if std::env::var("ROADBED_WAL_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::create_dir_all(&dir).unwrap();
        for (file, bytes) in files(&sim) {
            std::fs::write(dir.join(file), bytes).unwrap();
        }
    }
    let stored_disk = SimStorage::new(1);
    for (file, bytes) in files(&sim) {
        let golden = std::fs::read(dir.join(&file)).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
        assert!(golden == bytes, "{name}/{file}: this version writes other bytes");
        stored_disk.put_file(&Path::new(DIR).join(&file), &golden);
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), files(&sim).len());
    let report = verify(&stored_disk, Path::new(DIR), &options()).unwrap();
    assert!(report.is_sound() && report.clean_close, "{report:?}");
    let log = Log::open(Arc::new(stored_disk), Path::new(DIR), options()).unwrap();
    assert!(contents(&log).unwrap().1 == expected);
}

#[test]
fn scenario_23_a_log_of_one_segment() {
    check("create");
}

#[test]
fn scenario_23_a_rolled_and_cut_log() {
    check("create-roll-cut");
}

#[test]
fn scenario_23_a_log_that_was_reset() {
    check("reset");
}

#[test]
fn scenario_23_a_newer_version_is_refused_untouched() {
    let (sim, _) = written("create");
    let path = sim.files().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    // The lowest reader version: a newer one may keep even its checksum elsewhere.
    sim.damage(&path, |bytes| bytes[12] = 2);
    let before = (sim.files(), sim.read_file(&path));
    let refused = Log::open(Arc::new(sim.clone()), Path::new(DIR), options());
    assert!(matches!(refused, Err(WalError::NewerFormat { found: 2, supported: 1, .. })));
    assert!(before == (sim.files(), sim.read_file(&path)));
}
