//! Single entries at random: from the page cache, and while the writer is at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};

use super::{append, keeping, peer_of, timed};
use crate::peer::{Candidate, Payloads, Peer, ReadOne, look_at};
use crate::peers::OURS;

const ENTRY_BYTES: u64 = 1024;
const ENTRIES: u64 = 100_000;
const GROUP: u64 = 64;
const ROUNDS: [usize; 2] = [4, 9];
const READS: [u64; 2] = [2000, 10_000];
const GROUPS: [usize; 2] = [50, 150];

/// Any place, another one each time.
fn any(place: &mut u64) -> u64 {
    *place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*place >> 33) % ENTRIES
}

/// A log of so many entries, and a reader that was seen to give the right ones.
fn filled(candidate: &Candidate, bench: &Bench, payloads: &Payloads) -> Result<(Box<dyn Peer>, ReadOne)> {
    let dir = bench.data_dir().join("read").join(candidate.name);
    let mut log = keeping(candidate, &dir, payloads)?;
    // In the groups of the writer beside which it is read: some logs read a whole group for an entry.
    for _ in 0..ENTRIES.div_ceil(GROUP) {
        append(&mut *log, GROUP)?;
    }
    let mut read = log.reader()?;
    // All of them, so that what caches entries or pages has had its chance.
    for index in 0..ENTRIES {
        let mut right = false;
        read(index, &mut |payload| right = payload == payloads.at(index))?;
        ensure!(right, "entry {index} of {} has other bytes", candidate.name);
    }
    Ok((log, read))
}

/// Measures random reads.
pub fn random(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let _scratch = bench.scratch("read")?;
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let (_ours, mut ours) = filled(&OURS, bench, &payloads)?;
    let (_peer, mut peer) = filled(candidate, bench, &payloads)?;
    let reads = bench.pick(READS[0], READS[1]);
    let mut place = 1;
    let mut turn = |read: &mut ReadOne| -> Result<f64> {
        let took =
            timed(|| (0..reads).try_for_each(|_| read(any(&mut place), &mut |payload| look_at(payload))))?;
        Ok(took * 1e6 / reads as f64)
    };
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        rounds.push(Round::pair(turn(&mut ours)?, turn(&mut peer)?));
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", ENTRIES.into()),
        ("reads_per_round", reads.into()),
        ("cache", "warm".into()),
    ]);
    Ok(Measured { unit: Unit::Micros, limit: candidate.name.to_owned(), params, rounds })
}

/// Measures durable groups of 64 entries while another thread reads at random.
pub fn beside_writer(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let _scratch = bench.scratch("read")?;
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let (mut ours, mut read_ours) = filled(&OURS, bench, &payloads)?;
    let (mut peer, mut read_peer) = filled(candidate, bench, &payloads)?;
    let groups = bench.pick(GROUPS[0], GROUPS[1]);
    let (mut rounds, mut reads) = (Vec::new(), [0, 0]);
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let (ours, read) = turn(&mut *ours, &mut read_ours, groups)?;
        reads[0] += read;
        let (limit, read) = turn(&mut *peer, &mut read_peer, groups)?;
        reads[1] += read;
        rounds.push(Round { ours, limit });
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_per_sync", GROUP.into()),
        ("groups_per_round", groups.into()),
        ("reads", reads[0].into()),
        ("reads_of_the_peer", reads[1].into()),
    ]);
    Ok(Measured { unit: Unit::Micros, limit: candidate.name.to_owned(), params, rounds })
}

/// Microseconds of each group, and how many entries were read meanwhile.
fn turn(log: &mut dyn Peer, read: &mut ReadOne, groups: usize) -> Result<(Vec<f64>, u64)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut place, mut count) = (1, 0);
            while !over.load(Ordering::Relaxed) {
                read(any(&mut place), &mut |payload| look_at(payload))?;
                count += 1;
            }
            Ok::<u64, anyhow::Error>(count)
        });
        let took = (0..groups).map(|_| Ok(append(log, GROUP)? * 1e6)).collect::<Result<Vec<f64>>>();
        over.store(true, Ordering::Relaxed);
        let count = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((took?, count))
    })
}
