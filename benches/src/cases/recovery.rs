//! From the start on a directory to the first answer, everything in the window read and verified.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use roadbed::Config;
use roadbed_messages::testing::ChainShape;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{Source, blocks_in, stored_bytes};
use crate::limits::{self, Piece, drop_cache, files_of, read_all};
use crate::stats;
use crate::store::{Store, runtime, wait_until_quiet};

const ROUNDS: [usize; 2] = [3, 7];
const COMMITTEE: usize = 20;

/// Measures it for so many QCs of ten blocks.
pub(super) fn run(bench: &Bench, shape: ChainShape, qcs: usize) -> Result<Measured> {
    let scratch = bench.scratch("recovery")?;
    let dir = scratch.path().join("store");
    let mut source = Source::new(COMMITTEE, shape);
    let input = source.take(qcs);
    let sizes = stored_bytes(&input);
    let runtime = runtime()?;
    let config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
    runtime.block_on(async {
        let store = Store::start(&dir, &source.members, config.clone()).await?;
        store.ingest(&input, 32).await?;
        wait_until_quiet().await?;
        store.stop().await
    })?;

    let (mut rounds, mut read_ms, mut hash_ms, mut verify_ms) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let logs = [dir.join("qcs"), dir.join("blocks")];
        forget(&logs)?;
        let began = Instant::now();
        let store = runtime.block_on(Store::start(&dir, &source.members, config.clone()))?;
        let ours = began.elapsed().as_secs_f64() * 1e3;
        let recovered = store.roadbed.recovered().next_block;
        ensure!(recovered == source.next(), "recovered up to block {recovered} of {}", source.next());
        runtime.block_on(store.stop())?;

        forget(&logs)?;
        let mut pieces = beginning_of(&logs[0], sizes.0)?;
        pieces.extend(beginning_of(&logs[1], sizes.1)?);
        let needs =
            [read_all(&pieces)?, limits::hash(&input), limits::verify(&source.members.committee, &input)?];
        let needs = needs.map(|need| need.as_secs_f64() * 1e3);
        // To verify is to hash and to check signatures, on the same cores; to read is the disk's part.
        rounds.push(Round::pair(ours, f64::max(needs[0], needs[1] + needs[2])));
        read_ms.push(needs[0]);
        hash_ms.push(needs[1]);
        verify_ms.push(needs[2]);
    }
    let params = params([
        ("committee", COMMITTEE.into()),
        ("blocks", blocks_in(&input).into()),
        ("bytes", (sizes.0 + sizes.1).into()),
        ("cache", "cold".into()),
        ("limit_read_ms", stats::median(&read_ms).into()),
        ("limit_hashes_ms", stats::median(&hash_ms).into()),
        ("limit_signatures_ms", stats::median(&verify_ms).into()),
    ]);
    let limit =
        "the slower of pread + CRC32C, and SHA-256 then batched ed25519, each on all cores".to_owned();
    Ok(Measured { unit: Unit::Millis, limit, params, rounds })
}

fn forget(logs: &[std::path::PathBuf]) -> Result<()> {
    logs.iter().try_for_each(|dir| drop_cache(&files_of(dir, "seg")?))
}

/// So many bytes of a log's segments, in order.
fn beginning_of(dir: &Path, mut bytes: u64) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for path in files_of(dir, "seg")? {
        let here = path.metadata()?.len().min(bytes);
        pieces.extend(Piece::of(&path, here)?);
        bytes -= here;
    }
    Ok(pieces)
}
