//! The ratios that are checked in: what moved since then is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::args::workspace;
use crate::report::Report;

/// A ratio that moved by more than this part of what it was is worth a line.
const MOVED: f64 = 0.1;

/// Ratios by case.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Baseline(BTreeMap<String, f64>);

fn path() -> PathBuf {
    workspace().join("benches/baseline.json")
}

impl Baseline {
    /// The one that is checked in; an empty one where there is none.
    pub(crate) fn read() -> Result<Self> {
        match fs::read_to_string(path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path().display())),
            Ok(text) => {
                let ratios = serde_json::from_str(&text);
                Ok(Self(ratios.with_context(|| format!("{} is no list of ratios", path().display()))?))
            }
        }
    }

    /// The ratios of a report.
    pub(crate) fn of(report: &Report) -> Self {
        let ratio = |ratio: f64| (ratio * 1000.0).round() / 1000.0;
        Self(report.cases.iter().map(|case| (case.id.clone(), ratio(case.ratio))).collect())
    }

    /// Writes these ratios over the checked-in ones; the cases that were not measured keep theirs.
    pub(crate) fn write(mut self, before: Self) -> Result<()> {
        for (id, ratio) in before.0 {
            self.0.entry(id).or_insert(ratio);
        }
        let text = serde_json::to_string_pretty(&self.0)? + "\n";
        fs::write(path(), text).with_context(|| format!("write {}", path().display()))
    }

    /// A line for each case that moved, or is new.
    pub(crate) fn moved_to(&self, now: &Self) -> Vec<String> {
        let line = |(id, now): (&String, &f64)| match self.0.get(id) {
            None => Some(format!("{id}: {now:.2}, not in the baseline")),
            Some(before) if (now / before - 1.0).abs() > MOVED => {
                let word = if now > before { "better" } else { "worse" };
                Some(format!(
                    "{id}: {before:.2} -> {now:.2}, {word} by {:.0} %",
                    (now / before - 1.0).abs() * 100.0
                ))
            }
            Some(_) => None,
        };
        now.0.iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moved_by_more_than_a_tenth_is_told() {
        let baseline = |ratios: &[(&str, f64)]| {
            Baseline(ratios.iter().map(|(id, ratio)| ((*id).to_owned(), *ratio)).collect())
        };
        let before = baseline(&[("a", 1.0), ("b", 1.0), ("c", 0.5), ("gone", 1.0)]);
        let lines = before.moved_to(&baseline(&[("a", 1.05), ("b", 0.8), ("c", 0.75), ("d", 2.0)]));
        assert_eq!(
            lines,
            [
                "b: 1.00 -> 0.80, worse by 20 %",
                "c: 0.50 -> 0.75, better by 50 %",
                "d: 2.00, not in the baseline"
            ]
        );
    }

    #[test]
    fn the_checked_in_baseline_is_readable() {
        Baseline::read().unwrap();
    }
}
