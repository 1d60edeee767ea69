//! What checksums can't show: that every QC is signed, that they follow each other without a gap, and that every block is
//! the one that its QC finalizes.

use roadbed_messages::{BlockNumber, Committee, VerifiedQc, codec, verify_block, verify_qcs};
use roadbed_wal::{Reader, StoredEntry};
use serde::Serialize;
use std::sync::Arc;

use super::meter::Meter;
use super::report::told;

/// QCs whose signatures are verified in one batch.
const QCS_PER_BATCH: usize = 64;
/// Findings that are told; of the rest only the number.
pub(crate) const FINDINGS_MAX: usize = 20;

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Deep {
    /// QCs that were verified.
    pub(crate) qcs: u64,
    /// Blocks that were verified and are the ones that their QCs finalize.
    pub(crate) blocks: u64,
    /// Blocks that no QC covers: the next start drops them.
    pub(crate) blocks_without_qc: u64,
    /// What is wrong, the first of it.
    pub(crate) findings: Vec<String>,
    /// How much is wrong.
    pub(crate) findings_total: u64,
}

impl Deep {
    fn found(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Reads both logs side by side; memory holds one batch of QCs and a block.
    pub(crate) fn check(committee: &Committee, qcs: &Reader, blocks: Option<&Reader>) -> Self {
        let mut deep = Self::default();
        let mut block_entries = blocks.map(|blocks| blocks.replay(blocks.range())).into_iter().flatten();
        let mut qc_entries = qcs.replay(qcs.range());
        let mut meter = Meter::new("verify signatures", qcs.range().end - qcs.range().start);
        let mut waiting = None;
        let mut next_start: Option<BlockNumber> = None;
        loop {
            let batch: Vec<_> = qc_entries.by_ref().take(QCS_PER_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            meter.add(batch.len() as u64);
            for qc in deep.verify_batch(committee, batch) {
                let range = qc.range();
                if let Some(expected) = next_start.replace(range.end)
                    && expected != range.start
                {
                    deep.found(format!(
                        "QCs: one ends at block {expected}, the next starts at {}",
                        range.start
                    ));
                }
                // Blocks ascend as QCs do: each belongs to this QC, to a later one, or to none.
                while let Some(entry) = waiting.take().or_else(|| block_entries.next()) {
                    match entry {
                        Ok(entry) if entry.index >= range.end.0 => {
                            waiting = Some(Ok(entry));
                            break;
                        }
                        Ok(entry) if entry.index < range.start.0 => deep.blocks_without_qc += 1,
                        Ok(entry) => deep.check_block(committee, &qc, &entry),
                        Err(error) => deep.found(format!("blocks: {}", told(&error))),
                    }
                }
            }
        }
        for entry in waiting.into_iter().chain(block_entries) {
            match entry {
                Ok(_) => deep.blocks_without_qc += 1,
                Err(error) => deep.found(format!("blocks: {}", told(&error))),
            }
        }
        deep
    }

    fn verify_batch(
        &mut self,
        committee: &Committee,
        entries: Vec<Result<StoredEntry, roadbed_wal::WalError>>,
    ) -> Vec<VerifiedQc> {
        let (mut decoded, mut places) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Err(error) => self.found(format!("QCs: {}", told(&error))),
                Ok(entry) => match codec::decode(&entry.payload) {
                    Ok(qc) => {
                        decoded.push(Arc::new(qc));
                        places.push((entry.index, entry.key));
                    }
                    Err(error) => self.found(format!("QC entry {} can't be decoded: {error}", entry.index)),
                },
            }
        }
        let mut verified = Vec::new();
        for (qc, (index, key)) in verify_qcs(committee, decoded).into_iter().zip(places) {
            match qc {
                Ok(qc) if qc.range().end.0 == key => {
                    self.qcs += 1;
                    verified.push(qc);
                }
                Ok(qc) => {
                    self.found(format!("QC entry {index} ends at {}, its key says {key}", qc.range().end))
                }
                Err(error) => self.found(format!("QC entry {index} is invalid: {error}")),
            }
        }
        verified
    }

    fn check_block(&mut self, committee: &Committee, qc: &VerifiedQc, entry: &StoredEntry) {
        let number = BlockNumber(entry.index);
        let checked = codec::decode(&entry.payload).map_err(|error| error.to_string()).and_then(|block| {
            let block = verify_block(committee, Arc::new(block)).map_err(|error| error.to_string())?;
            qc.match_block(number, &block).map_err(|error| error.to_string())
        });
        match checked {
            Ok(()) => self.blocks += 1,
            Err(error) => self.found(format!("block {number}: {error}")),
        }
    }
}
