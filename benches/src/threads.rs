//! Processor time by thread: what costs, even on a machine that others use too.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Nanoseconds on a processor, by the threads' names; numbered ones together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spent(BTreeMap<String, u64>);

impl Spent {
    /// What this process' threads have used so far; nothing where the kernel does not say.
    pub(crate) fn now() -> Self {
        let mut spent = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let used = read("schedstat").split(' ').next().and_then(|used| used.parse::<u64>().ok());
            let name = read("comm").trim().trim_end_matches(|end: char| end.is_ascii_digit()).to_owned();
            if let Some(used) = used {
                *spent.entry(name.trim_end_matches('-').to_owned()).or_default() += used;
            }
        }
        Self(spent)
    }

    /// What was used since.
    pub(crate) fn since(self, before: &Self) -> Self {
        let used = |(name, used): (String, u64)| {
            let earlier = before.0.get(&name).copied().unwrap_or(0);
            (name, used.saturating_sub(earlier))
        };
        Self(self.0.into_iter().map(used).collect())
    }

    /// Adds another stretch.
    pub(crate) fn add(&mut self, other: Self) {
        for (name, used) in other.0 {
            *self.0.entry(name).or_default() += used;
        }
    }

    /// Of the threads of one name.
    pub(crate) fn nanos_of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0) as f64
    }

    /// Of all threads.
    pub(crate) fn total_nanos(&self) -> f64 {
        self.0.values().sum::<u64>() as f64
    }

    /// Microseconds for each of `count` things, by thread, without those that did next to nothing.
    pub(crate) fn micros_each(&self, count: f64) -> Value {
        let each = |used: u64| (used as f64 / count / 10.0).round() / 100.0;
        let listed = self.0.iter().map(|(name, used)| (name.clone(), each(*used)));
        Value::Object(
            listed
                .filter(|(_, each)| *each >= 0.05)
                .map(|(name, each)| (name, each.into()))
                .collect::<Map<_, _>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_by_name() {
        let spent = |used| Spent(BTreeMap::from([("a".to_owned(), used)]));
        let mut sum = spent(5_000_000).since(&spent(1_000_000));
        sum.add(spent(1_000_000));
        assert_eq!(sum.micros_each(1000.0), serde_json::json!({"a": 5.0}));
        assert_eq!((sum.nanos_of("a"), sum.nanos_of("b"), sum.total_nanos()), (5e6, 0.0, 5e6));
        assert!(!Spent::now().0.is_empty());
    }
}
