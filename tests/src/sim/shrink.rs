//! Making a failing script small: parts are left out as long as it still fails in the same way.

use super::{Mutation, Outcome, Step, run};

/// What makes two failures the same: where they were noticed, and their first words, without the numbers.
fn signature(failure: &str) -> String {
    let place = failure.lines().next().unwrap_or_default();
    let words = failure.lines().nth(1).unwrap_or_default();
    let words: String = words.chars().filter(|letter| !letter.is_ascii_digit()).take(30).collect();
    format!("{place} {words}")
}

/// The shortest script that was found to fail like `script`, and how it ends. At most `runs_max` runs are tried.
#[must_use]
pub fn shrink(
    seed: u64,
    script: &[Step],
    mutation: Option<Mutation>,
    failure: &str,
    runs_max: usize,
) -> (Vec<Step>, Outcome) {
    let wanted = signature(failure);
    let mut left = script.to_vec();
    let mut runs = 0;
    let mut fails = |script: &[Step]| {
        runs += 1;
        let same = |failure: &String| signature(failure) == wanted;
        runs <= runs_max && run(seed, script, mutation, false).failure.as_ref().is_some_and(same)
    };
    // Halves, quarters, …, single steps; as often as that still finds something.
    let mut part = left.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut smaller = false;
        while at < left.len() {
            let mut without = left.clone();
            without.drain(at..(at + part).min(left.len()));
            if fails(&without) {
                left = without;
                smaller = true;
            } else {
                at += part;
            }
        }
        part = match (part, smaller) {
            (1, true) => 1,
            (part, _) => part / 2,
        };
    }
    let outcome = run(seed, &left, mutation, true);
    (left, outcome)
}
