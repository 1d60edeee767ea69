//! `report.json`: programs outside read it, so its names don't change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// Name and version of the form.
const SCHEMA: &str = "roadbed.bench/1";

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    /// Where.
    pub(crate) machine: Machine,
    /// Of which source; `-dirty` where it had changed.
    pub(crate) commit: String,
    /// In the order in which they ran.
    pub(crate) cases: Vec<Case>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processor, as the kernel names it.
    pub(crate) cpu: String,
    /// Processors.
    pub(crate) cores: usize,
    /// Kernel.
    pub(crate) kernel: String,
    /// File system of the data, with its source.
    pub(crate) file_system: String,
    /// Compiler.
    pub(crate) rustc: String,
    /// Whether rounds were few and short.
    pub(crate) quick: bool,
    /// Runnable tasks, mean of a minute, when it began: others may have used the machine at the same time.
    pub(crate) load_before: f64,
    /// The same when it ended.
    pub(crate) load_after: f64,
}

/// One case.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) id: String,
    /// What was measured under which conditions.
    pub(crate) params: Map<String, Value>,
    /// What its numbers mean.
    pub(crate) unit: String,
    /// Ours.
    pub(crate) ours: Ours,
    /// The limit.
    pub(crate) limit: Limit,
    /// How near ours is to the limit: 1 is the limit, more is better.
    pub(crate) ratio: f64,
    /// First quartile of the ratios of all rounds.
    pub(crate) ratio_low: f64,
    /// Third quartile.
    pub(crate) ratio_high: f64,
}

/// What ours took or gave.
#[derive(Debug, Serialize)]
pub(crate) struct Ours {
    pub(crate) median: f64,
    pub(crate) p50: f64,
    /// What 99 of 100 samples are at least as good as.
    pub(crate) p99: f64,
    pub(crate) samples: Vec<f64>,
}

/// What the limit took or gave.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    /// What it is.
    pub(crate) name: String,
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Report {
    /// A report without cases.
    pub(crate) fn new(machine: Machine, commit: String) -> Self {
        Self { schema: SCHEMA, machine, commit, cases: Vec::new() }
    }

    /// Writes `report.json` into a directory, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let (path, unfinished) = (dir.join("report.json"), dir.join("report.json.tmp"));
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(&unfinished, json).with_context(|| format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}
