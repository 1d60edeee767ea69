//! Reading single entries: at random, and while the writer is at work.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use roadbed_wal::Reader;

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::{RandomReads, files_of};

const ENTRY_BYTES: usize = 1024;
const ENTRIES: u64 = 100_000;
const GROUP: usize = 64;
const ROUNDS: [usize; 2] = [5, 15];
const READS: [u64; 2] = [2000, 5000];
/// Groups of a turn beside readers, and without.
const GROUPS: [usize; 2] = [100, 250];

/// Any place, another one each time.
fn any(place: &mut u64, below: u64) -> u64 {
    *place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*place >> 33) % below
}

fn read_one(reader: &Reader, place: &mut u64) -> Result<()> {
    let index = reader.range().start + any(place, ENTRIES);
    black_box(reader.get(index)?.context("an entry that is retained")?);
    Ok(())
}

/// Measures random reads from the page cache.
pub(super) fn random(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("read")?;
    let dir = scratch.path().join("log");
    let mut log = logs::create(&dir, logs::options())?;
    logs::fill(&mut log, &vec![0xa5; ENTRY_BYTES], ENTRIES, GROUP)?;
    let reader = log.reader();
    let segments = files_of(&dir, "seg")?.into_iter().zip(reader.segments());
    let written: Vec<(PathBuf, u64)> = segments.map(|(path, segment)| (path, segment.bytes)).collect();
    let mut raw = RandomReads::open(&written, ENTRY_BYTES)?;
    let reads = bench.pick(READS[0], READS[1]);
    let mut place = 1;
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let began = Instant::now();
        (0..reads).try_for_each(|_| read_one(&reader, &mut place))?;
        let ours = began.elapsed().as_secs_f64() * 1e6 / reads as f64;
        let began = Instant::now();
        (0..reads).try_for_each(|_| raw.read(any(&mut place, u64::from(u32::MAX))))?;
        rounds.push(Round::pair(ours, began.elapsed().as_secs_f64() * 1e6 / reads as f64));
    }
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", ENTRIES.into()),
        ("reads_per_round", reads.into()),
        ("cache", "warm".into()),
    ]);
    let limit = "pread + CRC32C of as many bytes at random places of the same files".to_owned();
    Ok(Measured { unit: Unit::Micros, limit, params, rounds })
}

/// Measures durable groups of 64 entries of 1 KiB while another thread reads at random, beside the same alone.
pub(super) fn beside_writer(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("beside")?;
    let mut log = logs::create_warm(&scratch.path().join("log"), logs::options())?;
    let payload = vec![0xa5; ENTRY_BYTES];
    logs::fill(&mut log, &payload, ENTRIES, GROUP)?;
    let reader = log.reader();
    let groups = bench.pick(GROUPS[0], GROUPS[1]);
    let mut turn = || -> Result<Vec<f64>> {
        let group = |_| {
            let began = Instant::now();
            logs::append_group(&mut log, &payload, GROUP)?;
            Ok(began.elapsed().as_secs_f64() * 1e6)
        };
        let took = (0..groups).map(group).collect();
        log.truncate_before(log.range().end - ENTRIES)?;
        took
    };
    let (mut reads, mut rounds) = (0, Vec::new());
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let over = AtomicBool::new(false);
        let (ours, read) = thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let (mut place, mut read) = (1, 0_u64);
                while !over.load(Ordering::Relaxed) {
                    // What the front has passed in the meantime is not there any more, and does not count.
                    read += u64::from(read_one(&reader, &mut place).is_ok());
                }
                read
            });
            let ours = turn();
            over.store(true, Ordering::Relaxed);
            (ours, reading.join())
        });
        reads += read.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        rounds.push(Round { ours: ours?, limit: turn()? });
    }
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_per_sync", GROUP.into()),
        ("groups_per_round", groups.into()),
        ("reads", reads.into()),
    ]);
    let limit = "the same groups of the same log while nobody reads".to_owned();
    Ok(Measured { unit: Unit::Micros, limit, params, rounds })
}
