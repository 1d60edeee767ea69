//! What came of everything that was pushed, counted.

use std::collections::BTreeMap;

use roadbed_messages::api::Error;

use super::calls::Kind;

/// It is in the chain.
pub(super) const ACCEPTED: &str = "accepted";
/// The QC starts below `next_qc`: it is not inserted.
pub(super) const STALE: &str = "stale";
/// The block is there already.
pub(super) const DUPLICATE: &str = "duplicate";
/// The block came with a QC and is there already, or matches none of its headers.
pub(super) const IGNORED: &str = "ignored";
/// A reason that has no name of its own here.
const OTHER: &str = "other";

/// Everything that can come of a QC. Beside the first two: why it was refused.
pub const QC_RESULTS: &[&str] = &[
    ACCEPTED,
    STALE,
    "busy",
    "verifier_failed",
    "lane_count",
    "unknown_lane",
    "lane_order",
    "lane_backwards",
    "number_overflow",
    "timestamp_overflow",
    "empty",
    "lane_too_long",
    "header_count",
    "header_place",
    "header_chain",
    "no_quorum",
    "duplicate_signer",
    "signer_order",
    "unknown_signer",
    "invalid_signature",
    OTHER,
];

/// Everything that can come of a block. Beside the first three: why it was refused.
pub const BLOCK_RESULTS: &[&str] = &[
    ACCEPTED,
    DUPLICATE,
    IGNORED,
    "busy",
    "verifier_failed",
    "hash_mismatch",
    "unknown_lane",
    "too_many_txs",
    "tx_too_long",
    "txs_too_long",
    "payload_mismatch",
    OTHER,
];

/// Results by name. Every count is of one QC or of one block.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) qcs: BTreeMap<&'static str, u64>,
    pub(super) blocks: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn qc(&mut self, result: &'static str, count: u64) {
        *self.qcs.entry(named(QC_RESULTS, result)).or_default() += count;
    }

    pub(super) fn block(&mut self, result: &'static str, count: u64) {
        *self.blocks.entry(named(BLOCK_RESULTS, result)).or_default() += count;
    }

    /// A push was refused; the app hashes' are counted with the messages.
    pub(super) fn refused(&mut self, kind: Kind, error: &Error) {
        match (kind, error) {
            (_, Error::InvalidQc(error)) => self.qc(error.reason(), 1),
            (_, Error::InvalidBlock(error)) => self.block(error.reason(), 1),
            (Kind::PushQc, error) => self.qc(error.reason(), 1),
            (Kind::PushBlock, error) => self.block(error.reason(), 1),
            _ => {}
        }
    }
}

fn named(results: &[&'static str], result: &'static str) -> &'static str {
    let known = results.contains(&result);
    debug_assert!(known, "{result} is missing in the list of results");
    if known { result } else { OTHER }
}
