//! The command line.

use std::path::{Path, PathBuf};

/// Measures Roadbed beside the limits of this machine.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Args {
    /// Only the cases whose id starts with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub only: String,
    /// Fewer and shorter rounds: about a minute
    #[arg(long)]
    pub quick: bool,
    /// Writes the table into docs/performance.md
    #[arg(long)]
    pub write_docs: bool,
    /// Writes the ratios over those in benches/baseline.json, with which later runs are compared
    #[arg(long)]
    pub write_baseline: bool,
    /// Where the report goes [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the data goes, on a real disk; removed afterwards [default: OUT/data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Args {
    /// Where the report goes.
    pub fn out_dir(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| workspace().join("target/bench"))
    }

    /// Where the data goes.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.out_dir().join("data"))
    }
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}
