//! Chance: seeded, or none at all.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// Decides what is left open. Without a seed everything goes as well as it can.
#[derive(Clone, Debug)]
pub struct Luck(Option<ChaCha8Rng>);

impl Luck {
    pub fn none() -> Self {
        Self(None)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(Some(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A number below `bound`, which is at least 1; without luck 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.0.as_mut().map_or(0, |rng| rng.next_u64() % bound)
    }

    /// How much of `max` is done: any part of it; without luck all.
    pub fn part_of(&mut self, max: u64) -> u64 {
        self.0.as_mut().map_or(max, |rng| rng.next_u64() % (max + 1))
    }

    /// Whether something happens that does so `percent` times in a hundred; without luck never.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.0.as_mut().is_some_and(|rng| rng.next_u64() % 100 < percent)
    }

    /// Any of these, without luck the first.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
