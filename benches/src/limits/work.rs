//! The cryptography that every block costs, with nothing around it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadbed_messages::signatures::{Signed, verify_all, verify_one};
use roadbed_messages::{Committee, FullCommitQc};
use sha2::{Digest as _, Sha256};

use super::cores::on_all_cores;
use crate::input::Certified;
use crate::machine::cores;

/// QCs whose signatures go into one batch, at the most: larger ones gain nothing more.
const BATCH_QCS_MAX: usize = 128;

/// SHA-256 of all payloads, on all cores.
pub(crate) fn hash(input: &[Certified]) -> Duration {
    on_all_cores(input, |(), (_, blocks)| {
        for block in blocks {
            black_box(Sha256::digest(block.payload.txs.data()));
        }
    })
}

/// The signatures of a QC, with the vote that they are of.
pub(crate) fn signatures_of(committee: &Committee, qc: &FullCommitQc) -> Vec<Signed> {
    let vote = qc.qc.proposal.vote_hash(&committee.chain_id());
    let signed = qc.qc.signatures.iter();
    signed.map(|one| Signed { signer: one.signer, signature: one.signature, vote }).collect()
}

/// All signatures, in batches of many QCs, on all cores.
pub(crate) fn verify(committee: &Committee, input: &[Certified]) -> Result<Duration> {
    let size = input.len().div_ceil(2 * cores()).clamp(1, BATCH_QCS_MAX);
    let signed = |batch: &[Certified]| {
        batch.iter().flat_map(|(qc, _)| signatures_of(committee, qc)).collect::<Vec<_>>()
    };
    let batches: Vec<Vec<Signed>> = input.chunks(size).map(signed).collect();
    let invalid = std::sync::atomic::AtomicBool::new(false);
    let took = on_all_cores(&batches, |(), batch| {
        if !verify_all(batch.iter()) {
            invalid.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    ensure!(!invalid.into_inner(), "the input's signatures are not valid");
    Ok(took)
}

/// Seconds for the signatures of one QC, in one batch.
pub(crate) fn verify_one_batch(signed: &[Signed]) -> Result<f64> {
    let began = Instant::now();
    ensure!(verify_all(signed.iter()), "the input's signatures are not valid");
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds for the signatures of one QC, one by one.
pub(crate) fn verify_singly(signed: &[Signed]) -> Result<f64> {
    let began = Instant::now();
    ensure!(signed.iter().all(verify_one), "the input's signatures are not valid");
    Ok(began.elapsed().as_secs_f64())
}
