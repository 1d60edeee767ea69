//! The directory against the flags, before anything is written: not even a lock's words change.

use std::path::Path;

use roadbed::state::core::reconcile::reconcile;
use roadbed::store::{StorePaths, identify, log_options, read_marker, refuse_lost};
use roadbed_messages::api::WalKind;
use roadbed_messages::{Block, FullCommitQc, codec, testing};
use roadbed_wal::Judged;

use super::plan::Plan;
use crate::exit::NodeError;
use crate::tools::facts::{judge, log_facts};
use crate::tools::read_only::{ReadOnly, lock};
use crate::tools::store::read_committee;

/// Seeds that are tried to name the one that a directory was made with.
const SEEDS_TRIED: u64 = 256;

/// Refuses a directory that this run could not go on with.
///
/// # Errors
/// In use, of another chain or shape, damaged, or with a QC log that is lost. No file was touched.
pub(crate) fn check(dir: &Path, plan: &Plan, accept_lost_qcs: bool) -> Result<(), NodeError> {
    let paths = StorePaths::new(dir);
    let committee = &plan.members.committee;
    let storage = ReadOnly { locks: true };
    if !dir.is_dir() {
        return Ok(());
    }
    let marker = read_marker(&storage, &paths)?;
    let judge_one = |wal| judge(&paths, storage, wal, log_options(committee, wal));
    let Some(marker) = marker else {
        for wal in WalKind::BOTH {
            if !judge_one(wal)?.facts().is_empty() {
                return Err(NodeError::MarkerLost { dir: dir.to_path_buf(), log: paths.log(wal) });
            }
        }
        identify(&storage, &paths, committee)?;
        return Ok(refuse_lost(&storage, &paths)?);
    };
    if marker.chain != committee.chain_id() {
        let members = read_committee(&paths, &marker).ok().map(|committee| committee.len());
        let same = |seed: &u64| {
            members.is_some_and(|n| testing::committee(*seed, n).committee.chain_id() == marker.chain)
        };
        let found = match (members, (0..SEEDS_TRIED).find(same)) {
            (Some(members), Some(seed)) => format!("--seed {seed} --committee {members}"),
            (Some(members), None) => format!("another --seed and --committee {members}"),
            (None, _) => "another --seed or --committee".to_owned(),
        };
        let wanted = format!("--seed {} --committee {}", plan.seed, committee.len());
        return Err(NodeError::OtherChain { dir: dir.to_path_buf(), found, wanted });
    }
    let _lock = lock(&paths)?;
    if paths.committee().exists() {
        read_committee(&paths, &marker).map_err(NodeError::Damaged)?;
    }
    let (qcs, blocks) = (judge_one(WalKind::Qcs)?, judge_one(WalKind::Blocks)?);
    let facts = |wal, judged| log_facts(wal, judged, Some(committee)).map_err(NodeError::Damaged);
    let (qc_facts, block_facts) = (facts(WalKind::Qcs, &qcs)?, facts(WalKind::Blocks, &blocks)?);
    reconcile(marker.first_block, &block_facts, &qc_facts, accept_lost_qcs)
        .map_err(|refusal| NodeError::Start(refusal.into_start_error()))?;
    check_shape(dir, plan, &qcs, &blocks)
}

/// Refuses a directory whose blocks were made with other flags, before a difference in them looks like damage. What
/// can't be read here is left to the start, which has the words for it.
fn check_shape(dir: &Path, plan: &Plan, qcs: &Judged, blocks: &Judged) -> Result<(), NodeError> {
    let oldest = |judged: &Judged| {
        let entry = judged.try_reader()?.get(judged.facts().first).ok()??;
        Some(entry.payload)
    };
    let shape = plan.shape;
    let qc: Option<FullCommitQc> = oldest(qcs).and_then(|bytes| codec::decode(&bytes).ok());
    let block: Option<Block> = oldest(blocks).and_then(|bytes| codec::decode(&bytes).ok());
    let blocks_per_qc = qc.map_or(shape.blocks_per_qc, |qc| qc.headers.len());
    let (txs, bytes) = match block {
        // Without a transaction nothing tells how long it would be.
        Some(block) if block.payload.txs.is_empty() => (0, shape.tx_bytes),
        Some(block) => (block.payload.txs.len(), block.payload.txs.longest_bytes()),
        None => (shape.txs_per_block, shape.tx_bytes),
    };
    let flags = |blocks: usize, txs: usize, bytes: usize| {
        format!("--blocks-per-qc {blocks} --txs {txs} --tx-bytes {bytes}")
    };
    let (found, wanted) =
        (flags(blocks_per_qc, txs, bytes), flags(shape.blocks_per_qc, shape.txs_per_block, shape.tx_bytes));
    if found == wanted {
        return Ok(());
    }
    Err(NodeError::OtherShape { dir: dir.to_path_buf(), found, wanted })
}
