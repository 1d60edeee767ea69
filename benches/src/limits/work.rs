//! The cryptography that every block costs, with nothing around it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
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
    let batches: Vec<Vec<Signed>> = batches(input).map(|batch| signatures_in(committee, batch)).collect();
    all_valid_on_all_cores(&batches, |batch| verify_all(batch.iter()))
}

/// Everything that verification has to compute, hashes and signatures by the same threads, on all cores: the votes', the
/// headers' and the payloads' canonical hashes, and the signatures in batches of many QCs.
pub(crate) fn verify_in_full(committee: &Committee, input: &[Certified]) -> Result<Duration> {
    let batches: Vec<&[Certified]> = batches(input).collect();
    all_valid_on_all_cores(&batches, |batch| {
        verify_all(signatures_in(committee, batch).iter())
            && batch.iter().all(|(qc, blocks)| {
                let mut headers = qc.headers.iter().zip(blocks);
                headers.all(|(header, block)| {
                    black_box(header.hash());
                    block.payload.hash() == header.payload
                })
            })
    })
}

fn batches(input: &[Certified]) -> impl Iterator<Item = &[Certified]> {
    input.chunks(input.len().div_ceil(2 * cores()).clamp(1, BATCH_QCS_MAX))
}

fn signatures_in(committee: &Committee, batch: &[Certified]) -> Vec<Signed> {
    batch.iter().flat_map(|(qc, _)| signatures_of(committee, qc)).collect()
}

fn all_valid_on_all_cores<T: Sync>(items: &[T], is_valid: impl Fn(&T) -> bool + Sync) -> Result<Duration> {
    let invalid = AtomicBool::new(false);
    let took = on_all_cores(items, |(), item| {
        if !is_valid(item) {
            invalid.store(true, Ordering::Relaxed);
        }
    });
    ensure!(!invalid.into_inner(), "the input is not valid");
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
