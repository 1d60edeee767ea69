//! What `verify` counts, compares and lets pass.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{Log, LogOptions, WalError, verify};

use crate::script::{DIR, options};
use crate::support;

/// Segments whose tables have several pages of each kind.
fn many_small() -> (SimStorage, Log) {
    let options = LogOptions { segment_bytes: 256 << 10, ..options() };
    let sim = SimStorage::new(7);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options, 5).unwrap();
    while log.segments() < 4 {
        let next = log.range().end;
        support::append(&mut log, next..next + 100, 0, 24);
        log.sync().unwrap();
    }
    (sim, log)
}

#[test]
fn verify_counts_what_is_retained_and_compares_every_page_of_the_tables() {
    let (sim, mut log) = many_small();
    let segments = log.reader().segments();
    let first = segments[1].base + 10;
    log.truncate_before(first).unwrap();
    let size_bytes = log.size_bytes();
    let end = log.range().end;
    drop(log);
    let options = LogOptions { segment_bytes: 256 << 10, ..options() };
    let report = verify(&sim, Path::new(DIR), &options).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.range.clone(), report.entries), (first..end, end - first));
    assert_eq!((report.segments, report.bytes), (3, size_bytes));
    // Each page of the tables of a sealed segment, damaged behind its checksum's back, is told.
    let second = &segments[1];
    let file_bytes = sim.read_file(&second.path).unwrap().len() as u64;
    let pages = (second.bytes..file_bytes).step_by(4096).filter(|at| {
        let at = usize::try_from(*at).unwrap();
        sim.read_file(&second.path).unwrap()[at..at + 4096].iter().any(|byte| *byte != 0)
    });
    let pages: Vec<u64> = pages.collect();
    assert!(pages.len() > 1 + 2 + 2, "{} pages", pages.len());
    for page in pages {
        let flip = || assert!(sim.flip_bit(&second.path, (page + 100) * 8));
        flip();
        let report = verify(&sim, Path::new(DIR), &options).unwrap();
        assert!(!report.is_sound(), "page at {page}");
        flip();
    }
    // What can't be read is not counted.
    let third = &segments[2];
    assert!(sim.flip_bit(&third.path, (4096 + 100) * 8));
    let report = verify(&sim, Path::new(DIR), &options).unwrap();
    assert_eq!((report.damage.len(), report.bytes), (1, size_bytes - third.bytes));
    assert!(report.entries < end - first, "{report:?}");
}

#[test]
fn a_failing_disk_is_no_damage_to_verify() {
    let (sim, log) = many_small();
    log.close().unwrap();
    let options = LogOptions { segment_bytes: 256 << 10, ..options() };
    sim.record_calls();
    verify(&sim, Path::new(DIR), &options).unwrap();
    let reads = sim.calls().iter().filter(|call| call.op == Op::Read).count() as u64;
    for nth in 0..reads {
        sim.fail(Fault::eio(Op::Read).nth(nth + 1));
        let found = verify(&sim, Path::new(DIR), &options);
        assert!(matches!(found, Err(WalError::Io { .. })), "read {nth} of {reads}: {found:?}");
        sim.heal();
    }
}
