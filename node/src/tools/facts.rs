//! What both logs hold, and what the next start would make of it.

use std::sync::Arc;

use roadbed::state::core::reconcile::{Plan, Refusal, reconcile};
use roadbed::store::StorePaths;
use roadbed_messages::api::WalKind;
use roadbed_messages::api::workers::LogFacts;
use roadbed_messages::{BlockNumber, Committee, FullCommitQc, codec};
use roadbed_wal::{Judged, Log, LogOptions, WalError};
use serde::Serialize;

use super::read_only::ReadOnly;
use super::store::Store;

/// One log, judged.
pub(crate) fn judge(
    paths: &StorePaths,
    storage: ReadOnly,
    wal: WalKind,
    options: LogOptions,
) -> Result<Judged, WalError> {
    Log::judge(Arc::new(storage), &paths.log(wal), options)
}

/// What the reconcile table is asked with.
///
/// # Errors
/// Why the oldest QC can't be read.
pub(crate) fn log_facts(
    wal: WalKind,
    judged: &Judged,
    committee: Option<&Committee>,
) -> Result<LogFacts, String> {
    let facts = judged.facts();
    let range = match (facts.last_key, wal) {
        (Some(last_key), _) if facts.first < facts.next => {
            let start = match wal {
                WalKind::Blocks => BlockNumber(facts.first),
                WalKind::Qcs => oldest_qc(judged, committee)?,
            };
            Some(start..BlockNumber(last_key))
        }
        _ => None,
    };
    Ok(LogFacts { exists: facts.exists, range, next_index: facts.next, torn_bytes: facts.torn_bytes })
}

/// The block that the oldest QC ends before; none where there is none or it can't be read.
pub(crate) fn oldest_qc_end(judged: &Judged) -> Option<BlockNumber> {
    let entry = judged.try_reader()?.get(judged.facts().first).ok()??;
    Some(BlockNumber(entry.key))
}

/// The first block of the oldest QC.
fn oldest_qc(judged: &Judged, committee: Option<&Committee>) -> Result<BlockNumber, String> {
    let index = judged.facts().first;
    let committee = committee.ok_or("without committee.json the range of a QC is unknown")?;
    let entry = judged.reader().get(index).map_err(|error| error.to_string())?;
    let entry = entry.ok_or_else(|| format!("the QC log's entry {index} is missing"))?;
    let qc: FullCommitQc = codec::decode(&entry.payload)
        .map_err(|error| format!("the QC log's entry {index} can't be decoded: {error}"))?;
    let range = qc.range(committee).map_err(|error| format!("the QC log's entry {index}: {error}"))?;
    Ok(range.start)
}

/// What the next start would do.
#[derive(Debug, Serialize)]
pub(crate) struct NextStart {
    /// Row of the reconcile table.
    pub(crate) reconcile_case: String,
    /// Whether it would be refused.
    pub(crate) refused: bool,
    /// What would be dropped or is lost, in words.
    pub(crate) notes: Vec<String>,
    /// The cursors that it would begin with.
    pub(crate) first: Option<BlockNumber>,
    /// Likewise.
    pub(crate) next_block: Option<BlockNumber>,
    /// Likewise.
    pub(crate) next_qc: Option<BlockNumber>,
    /// Durable data has vanished.
    pub(crate) lost: bool,
}

impl NextStart {
    /// Asks the reconcile table.
    ///
    /// `oldest_qc_end` is where the oldest QC ends.
    pub(crate) fn of(
        store: &Store,
        blocks: &LogFacts,
        qcs: &LogFacts,
        oldest_qc_end: Option<BlockNumber>,
    ) -> Self {
        match reconcile(store.marker.first_block, blocks, qcs, false) {
            Ok(mut plan) => {
                // A QC that reaches over the front stays: often nothing goes.
                plan.qcs.drop_below = plan.qcs.drop_below.filter(|front| oldest_qc_end <= Some(*front));
                Self::planned(plan)
            }
            Err(Refusal { case, detail }) => Self {
                reconcile_case: case.to_owned(),
                refused: true,
                notes: vec![format!("a start would be refused: {detail}")],
                first: None,
                next_block: None,
                next_qc: None,
                lost: true,
            },
        }
    }

    fn planned(plan: Plan) -> Self {
        let mut notes = Vec::new();
        for (what, log) in [("blocks", &plan.blocks), ("QCs", &plan.qcs)] {
            if let Some(index) = log.drop_from {
                notes.push(format!(
                    "{what} from index {index} on will be dropped: no QC for them is durable. A crash leaves that, and \
                     nothing had been promised for them then; if the QC log was put back from an older copy, put both \
                     logs back instead"
                ));
            }
            if let Some(number) = log.drop_below {
                notes.push(format!("{what} below block {number} will be dropped: they were pruned"));
            }
            if let Some(index) = log.reset_to {
                notes.push(format!("the log of {what} will be emptied and go on at {index}"));
            }
            if let Some(index) = log.create_at {
                notes.push(format!("the log of {what} will be made anew at {index}"));
            }
        }
        let lost = plan.lost.is_some();
        notes.extend(plan.lost.map(|lost| format!("LOST: {lost}")));
        Self {
            reconcile_case: plan.cases.join("+"),
            refused: false,
            notes,
            first: Some(plan.first),
            next_block: Some(plan.next_block),
            next_qc: Some(plan.next_qc),
            lost,
        }
    }
}
