//! Any sequence of operations, crashes and failures, against a plain model that is asked after every step.
//!
//! 10,000 sequences; a million with `PROPTEST_CASES=1000000` (`make properties`).

use proptest::prelude::*;

use crate::life::{Failure, Life, OPS, Step};
use crate::script::Do;

fn any_do() -> impl Strategy<Value = Do> {
    let len = prop_oneof![Just(0_usize), 1..200_usize, 200..4000_usize, Just(9000), Just(30_000)];
    prop_oneof![
        8 => (1..8_u64, len).prop_map(|(count, len)| Do::Append(count, len)),
        8 => Just(Do::Sync),
        6 => Just(Do::Submit),
        2 => Just(Do::Settle),
        4 => any::<u64>().prop_map(Do::Read),
        2 => (0..12_u64).prop_map(Do::Before),
        1 => Just(Do::BeforeAll),
        2 => (0..12_u64).prop_map(Do::While),
        2 => (0..12_u64).prop_map(Do::After),
        1 => Just(Do::AfterAll),
        1 => (0..1000_u64).prop_map(Do::Reset),
        1 => Just(Do::Idle),
        1 => Just(Do::Close),
        2 => Just(Do::Reopen),
        1 => Just(Do::Recover),
        1 => (0..6_u64).prop_map(Do::OpenAt),
    ]
}

fn any_fault() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![
        2 => Just(Failure::Eio),
        2 => Just(Failure::DiskFull),
        1 => (0..40_000_usize).prop_map(Failure::Short),
    ];
    let op = proptest::sample::select(&OPS[..]);
    prop_oneof![
        3 => any::<u64>().prop_map(Step::Crash),
        3 => (any_do(), 0..6_u64, any::<u64>()).prop_map(|(what, at, seed)| Step::CrashIn(what, at, seed)),
        1 => Just(Step::Kill),
        3 => (failure, op, 1..6_u64).prop_map(|(failure, op, nth)| Step::Fail(failure, op, nth)),
        1 => (0..200_000_u64).prop_map(Step::Fill),
    ]
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

fn live(direct: bool, first: u64, steps: Vec<Step>) {
    let mut life = Life::new(direct, first);
    steps.into_iter().for_each(|step| life.step(step));
    life.end();
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn scenario_18_any_sequence_does_what_the_model_does(
        steps in prop::collection::vec(any_do(), 1..25),
        direct: bool,
        first in prop_oneof![Just(0_u64), Just(1), 0..u64::MAX / 2],
    ) {
        live(direct, first, steps.into_iter().map(Step::Do).collect());
    }

    #[test]
    fn scenario_14_any_sequence_survives_crashes_and_failures_anywhere(
        steps in prop::collection::vec(prop_oneof![3 => any_do().prop_map(Step::Do), 1 => any_fault()], 1..25),
        direct: bool,
        first in 0..10_u64,
    ) {
        live(direct, first, steps);
    }
}
