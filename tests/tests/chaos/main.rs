//! Scenario 26: random kills of every worker under load; the chain that comes out is the chain that went in.
//!
//! `SEED` replays one seed; `ROADBED_CHAOS_SECONDS` says how long (`make soak` sets it from `SECONDS_MAX`).

use std::time::{Duration, Instant};

use roadbed::supervision::panic_message;
use roadbed_tests::chaos::{Report, round};

/// How long one round's faults last.
const ROUND: Duration = Duration::from_secs(10);
/// The short form.
const SECONDS_DEFAULT: u64 = 60;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name}={value} is not a number: {error}")))
}

/// What was injected is expected; whatever else panics is told.
fn expect_injected_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic_message(panic.payload()).starts_with("injected panic") {
            tell(panic);
        }
    }));
}

#[test]
fn scenario_26_the_chain_that_comes_out_is_the_chain_that_went_in() {
    expect_injected_panics();
    let seconds = number("ROADBED_CHAOS_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let first_seed = number("SEED");
    let began = Instant::now();
    let mut seed = first_seed.unwrap_or(1);
    let mut total = Report::default();
    loop {
        println!("chaos: seed {seed} (replay with SEED={seed})");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(round(seed, ROUND));
        println!("chaos: {report}");
        assert!(report.restarts.values().sum::<u64>() > 0, "{report}");
        assert!(report.acknowledged > 0 && report.forks > 0, "{report}");
        total.add(report);
        if first_seed.is_some() || began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        seed += 1;
    }
    println!("chaos: in all {total}");
}
