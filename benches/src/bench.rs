//! What a case is given, and what it answers.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Map, Value};

use crate::args::Args;
use crate::report::{Case, Limit, Ours};
use crate::scratch::Scratch;
use crate::stats;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// About a minute for everything.
    Quick,
    /// About five.
    Usual,
}

/// What every case is given.
#[derive(Debug)]
pub struct Bench {
    data: Scratch,
    scale: Scale,
}

impl Bench {
    /// Makes the directory for data.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(args: &Args) -> Result<Self> {
        let scale = if args.quick { Scale::Quick } else { Scale::Usual };
        Ok(Self { data: Scratch::new(args.data_dir())?, scale })
    }

    /// Where all data goes.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// An empty directory for one case.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self, name: &str) -> Result<Scratch> {
        Ok(Scratch::new(self.data.path().join(name))?)
    }

    /// One of two sizes.
    pub fn pick<T>(&self, quick: T, usual: T) -> T {
        match self.scale {
            Scale::Quick => quick,
            Scale::Usual => usual,
        }
    }

    /// Bytes of a segment: small ones where a store has to be warmed up in no time.
    pub fn segment_bytes(&self) -> u64 {
        self.pick(16 << 20, 64 << 20)
    }
}

/// What the numbers of a case mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Million bytes a second.
    MegabytesPerSecond,
    /// Blocks a second.
    BlocksPerSecond,
    /// KiB of memory.
    Kibibytes,
}

impl Unit {
    /// As the report spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::MegabytesPerSecond => "MB/s",
            Self::BlocksPerSecond => "blocks/s",
            Self::Kibibytes => "KiB",
        }
    }

    /// Whether more is better.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::MegabytesPerSecond | Self::BlocksPerSecond)
    }

    /// How near `ours` is to `limit`: 1 is the limit, more is better.
    fn ratio(self, ours: f64, limit: f64) -> f64 {
        if self.is_rate() { ours / limit } else { limit / ours }
    }

    /// What 99 of 100 samples are at least as good as.
    fn p99(self, samples: &[f64]) -> f64 {
        stats::quantile(samples, if self.is_rate() { 0.01 } else { 0.99 })
    }
}

/// A stretch of a case in which ours and its limit alternated; one ratio comes from it.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Ours.
    pub ours: Vec<f64>,
    /// The limit beside it.
    pub limit: Vec<f64>,
}

impl Round {
    /// A round of one pair.
    pub fn pair(ours: f64, limit: f64) -> Self {
        Self { ours: vec![ours], limit: vec![limit] }
    }
}

/// A case that was measured.
#[derive(Debug)]
pub struct Measured {
    /// What the numbers mean.
    pub unit: Unit,
    /// What the limit is, in a few words.
    pub limit: String,
    /// What was measured under which conditions.
    pub params: Map<String, Value>,
    /// The numbers.
    pub rounds: Vec<Round>,
}

/// The most samples that a report lists of one case.
const SAMPLES_MAX: usize = 1000;

impl Measured {
    /// As the report has it: the ratio is the median of the rounds' ratios, its interval their quartiles.
    ///
    /// # Errors
    /// When nothing was measured.
    pub fn into_case(mut self, id: &str, load_before: f64) -> Result<Case> {
        let all = |of: fn(&Round) -> &Vec<f64>| self.rounds.iter().flat_map(of).copied().collect::<Vec<_>>();
        let (ours, limit) = (all(|round| &round.ours), all(|round| &round.limit));
        ensure!(!ours.is_empty() && !limit.is_empty(), "nothing was measured");
        let ratio_of =
            |round: &Round| self.unit.ratio(stats::median(&round.ours), stats::median(&round.limit));
        let ratios: Vec<f64> = self.rounds.iter().map(ratio_of).collect();
        self.params.insert("rounds".to_owned(), ratios.len().into());
        self.params.insert("load_before".to_owned(), load_before.into());
        let stride = ours.len().div_ceil(SAMPLES_MAX);
        Ok(Case {
            id: id.to_owned(),
            params: self.params,
            unit: self.unit.name().to_owned(),
            ours: Ours {
                median: stats::median(&ours),
                p50: stats::median(&ours),
                p99: self.unit.p99(&ours),
                samples: ours.iter().step_by(stride).copied().collect(),
            },
            limit: Limit { name: self.limit, median: stats::median(&limit), p99: self.unit.p99(&limit) },
            ratio: stats::median(&ratios),
            ratio_low: stats::quantile(&ratios, 0.25),
            ratio_high: stats::quantile(&ratios, 0.75),
        })
    }
}

/// Parameters, from a list of names and values.
pub fn params<const N: usize>(list: [(&str, Value); N]) -> Map<String, Value> {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_better_whatever_the_unit() {
        let case = |unit| {
            let rounds = vec![Round::pair(10.0, 20.0), Round::pair(20.0, 20.0), Round::pair(5.0, 20.0)];
            let measured = Measured { unit, limit: "x".to_owned(), params: Map::new(), rounds };
            measured.into_case("a/b", 0.0).unwrap()
        };
        let rate = case(Unit::BlocksPerSecond);
        assert_eq!((rate.ratio, rate.ratio_low, rate.ratio_high), (0.5, 0.375, 0.75));
        assert!(rate.ours.p99 < rate.ours.p50, "the worst rate is the lowest");
        let time = case(Unit::Micros);
        assert_eq!((time.ratio, time.ratio_low, time.ratio_high), (2.0, 1.5, 3.0));
        assert!(time.ours.p99 > time.ours.p50, "the worst time is the longest");
    }
}
