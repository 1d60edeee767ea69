//! A reader that finds damage looks once more, behind the page cache: beside direct writes that may show an older state
//! of the file. It looks once, and only for damage.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{Log, Reader, WalError};

use crate::script::{DIR, options};
use crate::support::{append, digest, stored};

const LEN: usize = 2500;
const NEXT: u64 = 30;
/// Bytes of a segment's header: its first frame follows.
const HEADER_BYTES: usize = 4096;

/// A way to ask for the first entry, and whether it is found by the table of its segment.
type Way = (&'static str, bool, fn(&Reader) -> Result<(), WalError>);

const WAYS: [Way; 6] = [
    ("index", false, |reader| reader.get(0).map(|found| assert_eq!(found, Some(stored(0, 0, LEN))))),
    ("key", true, |reader| reader.index_by_key(0).map(|found| assert_eq!(found, Some(0)))),
    ("digest", true, |reader| reader.find_digest(digest(0, 0)).map(|found| assert_eq!(found, [0]))),
    ("replay", false, |reader| {
        let first = reader.replay(0..1).next().unwrap();
        first.map(|found| assert_eq!(found, stored(0, 0, LEN)))
    }),
    ("parallel replay", false, |reader| {
        let first = reader.replay_parallel(0..1, 2, |entry| entry).next().unwrap();
        first.map(|found| assert_eq!(found, stored(0, 0, LEN)))
    }),
    ("visit", false, |reader| {
        let visited = reader.visit(0..1, |entry| {
            assert_eq!(entry.to_owned(), stored(0, 0, LEN));
            ControlFlow::Continue(())
        })?;
        assert_eq!(visited, 1);
        Ok(())
    }),
];

/// A log whose first segment is sealed.
fn log() -> (SimStorage, Log) {
    let sim = SimStorage::new(2);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    append(&mut log, 0..NEXT, 0, LEN);
    log.sync().unwrap();
    assert!(log.segments() > 1);
    (sim, log)
}

/// Where a way of asking for the first entry comes upon it.
fn place(log: &Log, by_table: bool) -> (PathBuf, Range<usize>) {
    let first = log.reader().segments().swap_remove(0);
    let end = usize::try_from(first.bytes).unwrap();
    (first.path, if by_table { end..usize::MAX } else { HEADER_BYTES..end })
}

fn damage(bytes: &mut [u8], place: &Range<usize>) {
    let end = place.end.min(bytes.len());
    bytes[place.start..end].iter_mut().for_each(|byte| *byte ^= 1);
}

#[test]
fn what_only_the_page_cache_shows_is_not_called_damage() {
    for (way, by_table, ask) in WAYS {
        let (sim, log) = log();
        let (path, place) = place(&log, by_table);
        assert!(sim.damage_cache(&path, |bytes| damage(bytes, &place)));
        ask(&log.reader()).unwrap_or_else(|error| panic!("{way}: {error}"));
    }
}

#[test]
fn what_the_disk_shows_too_is_damage() {
    for (way, by_table, ask) in WAYS {
        let (sim, log) = log();
        let (path, place) = place(&log, by_table);
        assert!(sim.damage(&path, |bytes| damage(bytes, &place)));
        sim.record_calls();
        let error = ask(&log.reader()).unwrap_err();
        assert!(error.is_corruption(), "{way}: {error}");
        let dropped = sim.calls().iter().filter(|call| call.op == Op::DropCache).count();
        assert_eq!(dropped, 1, "{way} looks once more");
    }
}

#[test]
fn an_error_of_the_disk_is_told_at_once() {
    for (way, _, ask) in WAYS {
        let (sim, log) = log();
        sim.record_calls();
        ask(&log.reader()).unwrap();
        let reads = sim.calls().iter().filter(|call| call.op == Op::Read).count() as u64;
        assert!(reads > 0, "{way}");
        for nth in 1..=reads {
            sim.fail(Fault::eio(Op::Read).nth(nth));
            let error = ask(&log.reader()).unwrap_err();
            assert!(matches!(error, WalError::Io { .. }), "{way}, read {nth}: {error}");
            ask(&log.reader()).unwrap_or_else(|error| panic!("{way} after read {nth} failed: {error}"));
        }
    }
}
