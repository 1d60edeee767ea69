//! What a signature costs in a batch, beside what it costs alone.

use anyhow::Result;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source};
use crate::limits::{signatures_of, verify_one_batch, verify_singly};
use crate::stats;

const ROUNDS: [usize; 2] = [5, 15];
/// QCs whose signatures go into the large batch.
const QCS: usize = 50;

/// Measures the batch of one QC, by one thread.
pub(super) fn run(bench: &Bench, committee: usize) -> Result<Measured> {
    let mut source = Source::new(committee, SMALL);
    let qcs: Vec<_> =
        source.take(QCS).iter().map(|(qc, _)| signatures_of(&source.members.committee, qc)).collect();
    let all: Vec<_> = qcs.iter().flatten().copied().collect();
    let each = |seconds: f64, signatures: usize| seconds * 1e6 / signatures as f64;
    let (mut rounds, mut large_us) = (Vec::new(), Vec::new());
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let mut round = Round::default();
        for qc in qcs.iter().take(5) {
            round.ours.push(each(verify_one_batch(qc)?, qc.len()));
            round.limit.push(each(verify_singly(qc)?, qc.len()));
        }
        rounds.push(round);
        large_us.push(each(verify_one_batch(&all)?, all.len()));
    }
    let params = params([
        ("committee", committee.into()),
        ("signatures_per_qc", (all.len() / QCS).into()),
        ("qcs_in_large_batch", QCS.into()),
        ("large_batch_us_per_signature", stats::median(&large_us).into()),
    ]);
    Ok(Measured { unit: Unit::Micros, limit: "the same signatures one by one".to_owned(), params, rounds })
}
