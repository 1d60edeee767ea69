//! Sequences of operations, crashes and failures, against the model.

use super::input::Input;
use crate::life::{Failure, Life, OPS, Step};
use crate::script::Do;

/// Steps of one life: a longer input finds nothing that two shorter ones don't.
const STEPS_MAX: usize = 40;

/// Lives as the bytes say.
pub(crate) fn operations(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut life = Life::new(input.flag(), input.byte().into());
    for _ in 0..STEPS_MAX {
        if !input.is_empty() {
            let step = step(&mut input);
            life.step(step);
        }
    }
    life.end();
}

fn step(input: &mut Input<'_>) -> Step {
    match input.byte() % 16 {
        0 => Step::Crash(input.byte().into()),
        1 => Step::CrashIn(operation(input), u64::from(input.byte() % 8), input.byte().into()),
        2 => Step::Kill,
        3 => {
            let failure = match input.byte() % 3 {
                0 => Failure::Eio,
                1 => Failure::DiskFull,
                _ => Failure::Short(input.number()),
            };
            Step::Fail(failure, OPS[input.below(OPS.len())], 1 + u64::from(input.byte() % 8))
        }
        4 => Step::Fill(input.number() as u64 * 4),
        _ => Step::Do(operation(input)),
    }
}

fn operation(input: &mut Input<'_>) -> Do {
    let kind = input.byte() % 24;
    let argument = u64::from(input.byte());
    match kind {
        0..=4 => {
            let len = match input.byte() % 4 {
                0 => 0,
                1 => usize::from(input.byte()),
                2 => input.below(4000),
                _ => input.below(40_000),
            };
            Do::Append(1 + argument % 8, len)
        }
        5..=8 => Do::Sync,
        9 => Do::Before(argument % 16),
        10 => Do::BeforeAll,
        11 => Do::While(argument % 16),
        12 => Do::After(argument % 16),
        13 => Do::AfterAll,
        14 => Do::Reset(argument),
        15 => Do::Idle,
        16 => Do::Close,
        17 => Do::Reopen,
        18 => Do::OpenAt(argument % 8),
        19..=21 => Do::Submit,
        22 => Do::Settle,
        _ => Do::Read(argument),
    }
}
