//! `report.json` and `peers.json`: programs outside read them, so its names don't change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// Name and version of the form.
const SCHEMA: &str = "roadbed.bench/1";

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    /// Where.
    pub machine: Machine,
    /// Of which source; `-dirty` where it had changed.
    pub commit: String,
    /// In the order in which they ran.
    pub cases: Vec<Case>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
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
        Self { schema: SCHEMA, machine, commit, cases: Vec::new() }
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
