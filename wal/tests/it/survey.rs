//! What a copy of a log needs of which file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, Surveyed, WalError, inspect, salt_of, survey};

use crate::script::{DIR, options};
use crate::support::{STREAM, append, contents};

const LEN: usize = 2500;

fn written(next: u64) -> (SimStorage, Log) {
    let sim = SimStorage::new(2);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 3).unwrap();
    append(&mut log, 3..next, 0, LEN);
    log.sync().unwrap();
    (sim, log)
}

fn surveyed(sim: &SimStorage) -> Vec<Surveyed> {
    survey(sim, Path::new(DIR), &options()).unwrap()
}

/// A copy of what the survey names, zeros behind it.
fn copied(sim: &SimStorage) -> SimStorage {
    let copy = SimStorage::new(9);
    for Surveyed { path, bytes, file_bytes, salt, .. } in surveyed(sim) {
        let mut content = sim.read_file(&path).unwrap();
        assert_eq!(content.len() as u64, file_bytes);
        content[usize::try_from(bytes).unwrap()..].fill(0);
        copy.put_file(&path, &content);
        assert_eq!(salt_of(&copy, &path).unwrap(), Some(salt));
    }
    copy
}

#[test]
fn a_survey_beside_the_writer_names_what_a_copy_needs() {
    let (sim, mut log) = written(60);
    log.truncate_before(14).unwrap();
    let segments = log.reader().segments();
    assert!(segments.len() > 3);
    let found = surveyed(&sim);
    assert_eq!(found.len(), segments.len());
    for (found, wanted) in found.iter().zip(&segments) {
        assert_eq!((&found.path, found.sequence), (&wanted.path, wanted.sequence));
        assert_eq!(found.entries, wanted.base..wanted.end);
        assert_eq!(found.sealed, wanted.end != 60);
        // A sealed one needs its footer too: the summary, a page of records and one of digests.
        assert_eq!(found.bytes, wanted.bytes + if found.sealed { 3 * 4096 } else { 0 });
    }
    let copy = Log::open(Arc::new(copied(&sim)), Path::new(DIR), options()).unwrap();
    assert_eq!(contents(&copy), contents(&log));
}

#[test]
fn a_survey_of_a_closed_log_takes_its_last_footer_along() {
    let (sim, log) = written(30);
    log.close().unwrap();
    let last = surveyed(&sim).pop().unwrap();
    let closed = copied(&sim);
    let report = roadbed_wal::verify(&closed, Path::new(DIR), &options()).unwrap();
    assert!(report.clean_close && report.is_sound(), "{report:?}");
    assert_eq!(last.entries.end, 30);
}

/// A group that is not whole yet is not copied: of it only what a crash could have left would be there.
#[test]
fn a_survey_ends_with_the_last_whole_group() {
    let (sim, mut log) = written(10);
    let before = surveyed(&sim);
    append(&mut log, 10..13, 0, 300);
    log.sync().unwrap();
    let last = surveyed(&sim).pop().unwrap();
    assert_eq!(last.entries.end, 13);
    // The group's last frame is not there: it is all of 3 frames of 300 bytes in one page.
    let end = usize::try_from(last.bytes).unwrap();
    assert!(sim.damage(&last.path, |bytes| bytes[end - 4096 + 800..end].fill(0)));
    assert_eq!(surveyed(&sim), before);
    let copy = Log::open(Arc::new(copied(&sim)), Path::new(DIR), options()).unwrap();
    assert_eq!(copy.range(), 3..10);
}

#[test]
fn a_recycled_file_has_another_salt_and_one_without_a_header_has_none() {
    let (sim, mut log) = written(40);
    let before = surveyed(&sim);
    log.truncate_before(40).unwrap();
    while log.idle().unwrap() {}
    append(&mut log, 40..80, 0, LEN);
    log.sync().unwrap();
    // The segment that was written to last goes on.
    let after = &surveyed(&sim)[1..];
    let kept = before.iter().filter(|old| salt_of(&sim, &old.path).is_ok_and(|salt| salt == Some(old.salt)));
    assert_eq!(kept.count(), 1);
    assert!(after.iter().all(|segment| before.iter().all(|old| old.salt != segment.salt)));
    let path = PathBuf::from(DIR).join("zeros");
    sim.put_file(&path, &[0; 8192]);
    assert_eq!(salt_of(&sim, &path).unwrap(), None);
    assert!(matches!(salt_of(&sim, Path::new("/data/log/none")), Err(WalError::Io { .. })));
    let nowhere = survey(&sim, Path::new("/data/none"), &options());
    assert!(matches!(nowhere, Err(WalError::Missing { .. })), "{nowhere:?}");
}

#[test]
fn an_inspection_tells_of_every_segment() {
    let (sim, mut log) = written(30);
    log.truncate_before(12).unwrap();
    let segments = log.reader().segments();
    let found = inspect(&sim, Path::new(DIR)).unwrap();
    // Those that were cut off are files still.
    assert!(found.len() > segments.len());
    for wanted in segments {
        let found = found.iter().find(|found| found.path == wanted.path).unwrap();
        let header = found.header.as_ref().unwrap();
        assert_eq!((header.stream, header.sequence, header.base), (STREAM, wanted.sequence, wanted.base));
    }
}
