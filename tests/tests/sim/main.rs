//! The simulator over fixed seeds: `make sim` runs it for as long as one likes.

use roadbed_tests::sim::{self, Mutation};
use roadbed_wal::SyncPoint;

/// Acts in a run: enough for some twenty lives of a node.
const STEPS: usize = 400;

#[test]
fn what_must_hold_holds_over_fixed_seeds() {
    for seed in 0..48 {
        let outcome = sim::run(seed, &sim::script(seed, STEPS), None, false);
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {failure}\nreplay it with: make sim SEED={seed} STEPS={STEPS}");
        }
    }
}

/// Seeds that found a bug, each of which is told in docs/testing.md.
const FOUND: [u64; 2] = [100_154, 1_883_068_043_362_573];

#[test]
fn what_was_found_stays_mended() {
    for seed in FOUND {
        let outcome = sim::run(seed, &sim::script(seed, 1500), None, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let [one, other] = [(); 2].map(|()| sim::run(7, &sim::script(7, STEPS), None, true));
    assert_eq!(one.log, other.log);
    assert_eq!(one.hash, other.hash);
    assert!(one.log.len() > STEPS);
    assert_ne!(one.hash, sim::run(8, &sim::script(8, STEPS), None, false).hash);
}

/// The first of so many seeds under which a deliberate mistake is found.
fn first_found(mutation: Mutation, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let outcome = sim::run(seed, &sim::script(seed, STEPS), Some(mutation), false);
        outcome.failure.map(|failure| (seed, failure))
    })
}

#[test]
fn a_group_that_is_acknowledged_without_a_sync_is_found() {
    let (seed, failure) = first_found(Mutation::Omit(SyncPoint::Group), 8).expect("it is found");
    println!("seed {seed}: {failure}");
}

#[test]
fn a_report_before_the_write_is_found() {
    let (seed, failure) = first_found(Mutation::ReportsEarly, 8).expect("it is found");
    println!("seed {seed}: {failure}");
}

#[test]
fn a_failure_becomes_small_and_stays_the_same() {
    let mutation = Some(Mutation::ReportsEarly);
    let (seed, failure) = first_found(Mutation::ReportsEarly, 8).expect("it is found");
    let script = sim::script(seed, STEPS);
    let (left, outcome) = sim::shrink(seed, &script, mutation, &failure, 200);
    assert!(left.len() < STEPS / 4, "{} of {STEPS} acts are left", left.len());
    let place = |failure: &str| failure.lines().next().unwrap_or_default().to_owned();
    assert_eq!(outcome.failure.as_deref().map(place), Some(place(&failure)));
    assert!(!outcome.log.is_empty());
}
