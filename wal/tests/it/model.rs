//! Any sequence of operations, against a plain model; and a crash in the middle of it.
//!
//! More cases: `PROPTEST_CASES=1000000`.

use proptest::prelude::*;
use roadbed_wal::sim::SimStorage;

use crate::script::Do;
use crate::script::{check, go_on, options, recover, run};

fn any_do() -> impl Strategy<Value = Do> {
    let len = prop_oneof![Just(0_usize), 1..200_usize, 200..4000_usize, Just(9000), Just(30_000)];
    prop_oneof![
        6 => (1..8_u64, len).prop_map(|(count, len)| Do::Append(count, len)),
        6 => Just(Do::Sync),
        2 => (0..12_u64).prop_map(Do::Before),
        1 => Just(Do::BeforeAll),
        2 => (0..12_u64).prop_map(Do::After),
        1 => Just(Do::AfterAll),
        1 => (0..1000_u64).prop_map(Do::Reset),
        1 => Just(Do::Idle),
        1 => Just(Do::Close),
        2 => Just(Do::Reopen),
        1 => Just(Do::Recover),
    ]
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn scenario_18_any_script_does_what_the_model_does(
        script in prop::collection::vec(any_do(), 1..25),
        direct: bool,
        first in prop_oneof![Just(0_u64), Just(1), 0..u64::MAX / 2],
    ) {
        let sim = SimStorage::new(11).direct(direct);
        let (model, log, error) = run(&sim, &script, &options(), first);
        prop_assert!(error.is_none(), "{:?}", error);
        check(&log.expect("a log"), &model, "at the end");
    }

    #[test]
    fn scenario_14_any_script_survives_a_crash_anywhere(
        script in prop::collection::vec(any_do(), 1..20),
        direct: bool,
        at in 0.0..1.0_f64,
        seed: u64,
    ) {
        let sim = SimStorage::new(11).direct(direct);
        let (_, log, error) = run(&sim, &script, &options(), 3);
        prop_assert!(error.is_none(), "{:?}", error);
        drop(log);
        #[allow(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any step will do")]
        let step = (sim.steps() as f64 * at) as u64;
        let sim = SimStorage::new(11).direct(direct);
        sim.crash_at(step);
        let (model, log, _) = run(&sim, &script, &options(), 3);
        drop(log);
        for image in [sim.crash(seed), sim.crash(seed.wrapping_add(1)), sim.kill()] {
            if let Some(log) = recover(&image, &model, &options(), &format!("step {step}")) {
                go_on(&image, log, &model, &options(), &format!("step {step}, going on"));
            }
        }
    }
}
