//! What a process of its own measures, because it is about the whole process: this program runs itself again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use roadbed::Config;
use roadbed_messages::BlockNumber;
use serde::{Deserialize, Serialize};

use crate::input::members;
use crate::store::{Store, runtime};

/// Blocks that are read by number, and as many others by hash.
const READS: u64 = 64;

/// Members of the committee.
pub(crate) const COMMITTEE: usize = 4;

/// What a start took in a fresh process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// Until the first answer.
    pub(crate) start_ms: f64,
    /// A block by number, mean.
    pub(crate) by_number_us: f64,
    /// A block by hash, mean.
    pub(crate) by_hash_us: f64,
    /// The most memory that the process ever had (VmHWM), once it had started and at the end.
    pub(crate) peak_started_kib: f64,
    pub(crate) peak_kib: f64,
    /// Blocks that are retained.
    pub(crate) retained: u64,
}

/// Measures a start on a directory, and prints what came of it for the process that asked.
///
/// # Errors
/// When it can't be measured.
#[expect(clippy::print_stdout, reason = "what is printed is the answer")]
pub fn start_and_tell(dir: &Path) -> Result<()> {
    println!("{}", serde_json::to_string(&start(dir)?)?);
    Ok(())
}

/// Starts on a directory in a process of its own.
pub(crate) fn started(dir: &Path) -> Result<Started> {
    let program = std::env::current_exe().context("find this program")?;
    let child = Command::new(program).arg("--start").arg(dir).output();
    let child = child.context("run this program again")?;
    ensure!(child.status.success(), "{}: {}", child.status, String::from_utf8_lossy(&child.stderr).trim());
    serde_json::from_slice(&child.stdout).context("read what the other process measured")
}

fn start(dir: &Path) -> Result<Started> {
    let (members, runtime) = (members(COMMITTEE), runtime()?);
    let began = Instant::now();
    let store = runtime.block_on(Store::start(dir, &members, Config::default()))?;
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    let peak_started_kib = peak_kib()?;
    let recovered = store.roadbed.recovered();
    let (first, retained) = (recovered.first.0, recovered.next_block.0 - recovered.first.0);
    let spread = |nth: u64| BlockNumber(first + nth * (retained - 1) / (2 * READS));
    let (mut by_number, mut by_hash) = (Duration::ZERO, Duration::ZERO);
    runtime.block_on(async {
        for nth in 0..READS {
            let number = spread(2 * nth);
            let began = Instant::now();
            let block = store.roadbed.global_block(number).await?;
            by_number += began.elapsed();
            ensure!(block.number == number, "asked for block {number}, got {}", block.number);

            let number = spread(2 * nth + 1);
            let qc = store.roadbed.qc(number).await?;
            let within = number.0 - qc.range(&members.committee)?.start.0;
            let hash = qc.headers[usize::try_from(within)?].hash();
            let began = Instant::now();
            let block = store.roadbed.block_by_hash(hash).await?;
            by_hash += began.elapsed();
            ensure!(block.number == number, "asked for block {number} by its hash, got {}", block.number);
        }
        Ok(())
    })?;
    let mean_us = |all: Duration| all.as_secs_f64() * 1e6 / READS as f64;
    let started = Started {
        start_ms,
        by_number_us: mean_us(by_number),
        by_hash_us: mean_us(by_hash),
        peak_started_kib,
        peak_kib: peak_kib()?,
        retained,
    };
    runtime.block_on(store.stop())?;
    Ok(started)
}

/// The most memory that this process ever had.
fn peak_kib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.context("/proc/self/status does not say how much memory there was")?.parse()?)
}
