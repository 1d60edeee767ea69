//! Runs the simulator: `make sim`, or one seed of it with `make sim SEED=n`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed_tests::sim::{self, Coverage, Outcome};

/// Acts in one run.
const STEPS: usize = 1500;
/// Runs that are tried to make a failure small.
const SHRINK_RUNS_MAX: usize = 600;
/// What a run of a few minutes must reach.
const RECOVERIES_MIN: u64 = 10_000;
const MESSAGES_MIN: u64 = 1_000_000;
/// From so many seconds on, the minima above count.
const LONG_SECONDS: u64 = 120;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            eprintln!("{name} must be a number, not {value:?}");
            std::process::exit(2);
        }
    }
}

fn main() -> ExitCode {
    let steps = number("STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap_or(STEPS));
    match number("SEED") {
        Some(seed) => replay(seed, steps),
        None => {
            let seconds = number("SECONDS_MAX").unwrap_or(240);
            let first = number("FIRST_SEED").unwrap_or_else(|| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.map_or(0, |now| now.as_secs() << 20)
            });
            many(first, steps, Duration::from_secs(seconds))
        }
    }
}

/// Runs one seed; if it fails, makes it small and prints what happens in it.
fn replay(seed: u64, steps: usize) -> ExitCode {
    let script = sim::script(seed, steps);
    let outcome = sim::run(seed, &script, None, false);
    let Some(failure) = outcome.failure else {
        println!("{}seed {seed}: nothing found; hash {:016x}", outcome.coverage, outcome.hash);
        return ExitCode::SUCCESS;
    };
    println!("seed {seed}: {failure}\n\nlooking for the shortest way there...");
    let (left, outcome) = sim::shrink(seed, &script, None, &failure, SHRINK_RUNS_MAX);
    println!("{} of {steps} acts are left:", left.len());
    left.iter().for_each(|step| println!("  {step:?}"));
    println!("\nwhat happens (milliseconds, what):");
    outcome.log.iter().for_each(|line| println!("{line}"));
    println!("\n{}", outcome.failure.unwrap_or_default());
    ExitCode::FAILURE
}

/// Runs seed after seed on all cores.
fn many(first: u64, steps: usize, time: Duration) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let total = Mutex::new((Coverage::default(), Vec::<(u64, Outcome)>::new(), 0_u64));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while began.elapsed() < time {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = sim::run(seed, &sim::script(seed, steps), None, false);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.0.merge(&outcome.coverage);
                    total.2 += 1;
                    if let Some(failure) = &outcome.failure {
                        println!("seed {seed}: {failure}");
                        total.1.push((seed, outcome));
                    }
                }
            });
        }
    });
    let (coverage, failures, runs) = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print!("{coverage}");
    let seconds = began.elapsed().as_secs();
    println!(
        "{runs} runs from seed {first}, {} crash recoveries and {} messages in {seconds} s",
        coverage.crash_recoveries(),
        coverage.messages()
    );
    let mut bad = !failures.is_empty();
    for (seed, _) in &failures {
        println!("FAILED: make sim SEED={seed}");
    }
    if seconds >= LONG_SECONDS {
        for row in coverage.too_rare() {
            println!("FAILED: too rare: {row}");
            bad = true;
        }
        if coverage.crash_recoveries() < RECOVERIES_MIN || coverage.messages() < MESSAGES_MIN {
            println!("FAILED: fewer than {RECOVERIES_MIN} crash recoveries or {MESSAGES_MIN} messages");
            bad = true;
        }
    }
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
