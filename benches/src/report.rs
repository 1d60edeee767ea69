//! `report.json` and `peers.json`: programs outside read them, so its names don't change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name and version of the form.
const SCHEMA: &str = "roadbed.bench/1";

/// Everything that one run measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    schema: String,
    /// Where.
    pub machine: Machine,
    /// Of which source; `-dirty` where it had changed.
    pub commit: String,
    /// In the order in which they ran.
    pub cases: Vec<Case>,
}

/// Where it was measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Machine {
    /// Processor, as the kernel names it.
    pub cpu: String,
    /// Processors.
    pub cores: usize,
    /// Kernel.
    pub kernel: String,
    /// File system of the data, with its source.
    pub file_system: String,
    /// Compiler.
    pub rustc: String,
    /// Whether rounds were few and short.
    pub quick: bool,
    /// Runnable tasks, mean of a minute, when it began: others may have used the machine at the same time.
    pub load_before: f64,
    /// The same when it ended.
    pub load_after: f64,
}

/// One case.
#[derive(Debug, Deserialize, Serialize)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// What was measured under which conditions.
    pub params: Map<String, Value>,
    /// What its numbers mean.
    pub unit: String,
    /// Ours.
    pub ours: Ours,
    /// The limit.
    pub limit: Limit,
    /// How near ours is to the limit: 1 is the limit, more is better.
    pub ratio: f64,
    /// First quartile of the ratios of all rounds.
    pub ratio_low: f64,
    /// Third quartile.
    pub ratio_high: f64,
}

/// What ours took or gave.
#[derive(Debug, Deserialize, Serialize)]
pub struct Ours {
    /// Of all samples.
    pub median: f64,
    /// The same.
    pub p50: f64,
    /// What 99 of 100 samples are at least as good as.
    pub p99: f64,
    /// At most a thousand of them.
    pub samples: Vec<f64>,
}

/// What the limit took or gave.
#[derive(Debug, Deserialize, Serialize)]
pub struct Limit {
    /// What it is.
    pub name: String,
    /// Of all samples.
    pub median: f64,
    /// What 99 of 100 samples are at least as good as.
    pub p99: f64,
}

impl Report {
    /// A report without cases.
    pub fn new(machine: Machine, commit: String) -> Self {
        Self { schema: SCHEMA.to_owned(), machine, commit, cases: Vec::new() }
    }

    /// Reads the one that an earlier run wrote.
    ///
    /// # Errors
    /// When there is none, or one of another form.
    pub fn read(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let json = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&json).with_context(|| format!("{} has another form", path.display()))
    }

    /// Takes over the cases of an earlier run, before its own.
    ///
    /// # Errors
    /// When they were measured on another machine, of another commit, or with other rounds.
    pub fn add(&mut self, earlier: Self) -> Result<()> {
        let of = |report: &Self| {
            let Machine { cpu, cores, kernel, file_system, rustc, quick, .. } = &report.machine;
            format!("{}, {cores} x {cpu}, {kernel}, {file_system}, {rustc}, quick: {quick}", report.commit)
        };
        let (before, now) = (of(&earlier), of(self));
        ensure!(before == now, "the report is of another run, and can't be added to: {before}; now {now}");
        self.machine.load_before = self.machine.load_before.max(earlier.machine.load_before);
        self.machine.load_after = self.machine.load_after.max(earlier.machine.load_after);
        self.cases.splice(..0, earlier.cases);
        Ok(())
    }

    /// Writes it into a directory under a name, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let (path, unfinished) = (dir.join(name), dir.join(format!("{name}.tmp")));
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(&unfinished, json).with_context(|| format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(commit: &str, ids: &[&str]) -> Report {
        let text = String::new;
        let machine = Machine {
            cpu: text(),
            cores: 2,
            kernel: text(),
            file_system: text(),
            rustc: text(),
            quick: false,
            load_before: 0.5,
            load_after: 1.5,
        };
        let case = |id: &&str| Case {
            id: (*id).to_owned(),
            params: Map::new(),
            unit: text(),
            ours: Ours { median: 1.0, p50: 1.0, p99: 2.0, samples: vec![1.0] },
            limit: Limit { name: text(), median: 1.0, p99: 1.0 },
            ratio: 1.0,
            ratio_low: 1.0,
            ratio_high: 1.0,
        };
        let mut report = Report::new(machine, commit.to_owned());
        report.cases = ids.iter().map(case).collect();
        report
    }

    #[test]
    fn an_earlier_run_of_the_same_commit_is_added_to_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        report("a", &["x", "y"]).write(dir.path(), "r.json").unwrap();
        let earlier = || Report::read(dir.path(), "r.json").unwrap();
        let mut now = report("a", &["z"]);
        now.add(earlier()).unwrap();
        assert_eq!(now.cases.iter().map(|case| &*case.id).collect::<Vec<_>>(), ["x", "y", "z"]);
        assert!(report("b", &[]).add(earlier()).is_err());
        assert!(Report::read(dir.path(), "other.json").is_err());
    }
}
