//! What a run met: counted, so that a simulator that no longer reaches something is noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::script::Act;

/// The rows of reconcile's table, as recovery names them.
const RECONCILE: [&str; 12] = ["1", "2a", "2b", "3", "4", "5", "6", "7", "8", "9", "10", "11"];

/// The rows of the failure table, as they were seen to end.
const FAILURES: [&str; 24] = [
    "crash: everything acknowledged is there",
    "crash inside recovery",
    "panic in a handler: restarted",
    "panic in an I/O thread: restarted",
    "panic within an operation: restarted",
    "panic in a verifier thread: restarted",
    "a hung log goes on",
    "a log that hangs too long ends it",
    "start refused while a thread hangs",
    "a hung verifier is replaced",
    "write or sync error: restarted",
    "disk full: goes on by itself",
    "disk full: the QC log",
    "disk full: the block log",
    "disk full: both logs",
    "disk full: the status says so",
    "little free space is told",
    "corruption at open: refused",
    "corruption while serving: not served",
    "invalid input: refused",
    "flood: busy",
    "a subscriber dies or lags",
    "second process: refused",
    "crash without a directory: begins anew",
];

/// A row that a long run reaches less often than this fails it.
const ROW_MIN: u64 = 20;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<(&'static str, String), u64>,
    /// Time that passed inside.
    pub simulated: Duration,
}

impl Coverage {
    pub(super) fn add(&mut self, group: &'static str, name: impl Into<String>, count: u64) {
        *self.counts.entry((group, name.into())).or_default() += count;
    }

    /// One of a group's counts.
    #[must_use]
    pub fn count(&self, group: &'static str, name: &str) -> u64 {
        self.counts.get(&(group, name.to_owned())).copied().unwrap_or_default()
    }

    /// Adds what another run met.
    pub fn merge(&mut self, other: &Self) {
        for ((group, name), count) in &other.counts {
            *self.counts.entry((group, name.clone())).or_default() += count;
        }
        self.simulated += other.simulated;
    }

    /// Recoveries after the loss of power or the end of the process, of the disk in use and of forks of it.
    #[must_use]
    pub fn crash_recoveries(&self) -> u64 {
        self.count("count", "crash recoveries")
    }

    /// Requests that State took, and orders and reports between it and its workers.
    #[must_use]
    pub fn messages(&self) -> u64 {
        ["requests", "orders", "reports"].iter().map(|name| self.count("count", name)).sum()
    }

    /// Fault kinds, reconcile cases and rows of the failure table that were met too rarely for a long run.
    #[must_use]
    pub fn too_rare(&self) -> Vec<String> {
        let faults = Act::FAULTS.iter().map(|act| ("fault", act.name()));
        let wanted = faults
            .chain(RECONCILE.iter().map(|row| ("reconcile", *row)))
            .chain(FAILURES.iter().map(|row| ("row", *row)));
        wanted
            .filter(|(group, name)| self.count(group, name) < ROW_MIN)
            .map(|(group, name)| format!("{group} {name:?}: {} times", self.count(group, name)))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for ((group, name), count) in &self.counts {
            if *group != last {
                writeln!(f, "{group}:")?;
                last = group;
            }
            writeln!(f, "  {count:>9}  {name}")?;
        }
        writeln!(f, "simulated: {:.1} hours", self.simulated.as_secs_f64() / 3600.0)
    }
}
