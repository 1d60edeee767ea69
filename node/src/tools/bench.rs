//! `roadbed bench`: what the disk of a directory can do, beside what a validator needs.
//!
//! A validator's promise costs one durable write a QC in each of two logs, at the same time: so two logs are written side by
//! side, with the engine that a node uses, first in groups as QCs bring them, then in the largest ones.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use roadbed_wal::{Entry, FileSystem, Log, LogOptions, StreamId, WalError};
use serde::Serialize;

use super::interrupt;
use super::report::{bytes, print};
use crate::exit::{Code, NodeError};

/// Of each log's segments; a few of each log are in use at a time.
const SEGMENT_BYTES: u64 = 32 << 20;
/// Room that the measurement wants.
const ROOM_BYTES: u64 = 512 << 20;
/// A log's largest groups, and about the largest entry in them.
const GROUP_BYTES_MAX: u64 = 8 << 20;
const ENTRY_BYTES: u64 = 1 << 20;
/// A validator that uses more of what its disk can do has nothing left for a bad day.
const LOAD_MAX: f64 = 0.5;

/// Flags of `roadbed bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Directory on the disk in question; a scratch directory is made in it, and removed
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Blocks a second that the validator has to take
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Blocks that each QC finalizes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    blocks_per_qc: u64,
    /// Bytes of a block
    #[arg(long, value_name = "N", default_value_t = 1200)]
    block_bytes: u64,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::duration::parse)]
    duration: Duration,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// `good`, `tight` or `too_slow`.
    verdict: &'static str,
    dir: PathBuf,
    direct_io: bool,
    /// Time of a durable write of a QC's blocks, beside the other log's.
    sync_p50_us: u64,
    sync_p99_us: u64,
    syncs: usize,
    /// QCs a second that this disk makes durable one after the other, and that are needed.
    qcs_per_s: f64,
    qcs_per_s_needed: f64,
    /// Bytes a second in large groups, and that are needed.
    bytes_per_s: f64,
    bytes_per_s_needed: f64,
    /// The part of the disk that the validator would use: the larger of both.
    load: f64,
    free_bytes: u64,
    /// How long the free space lasts if nothing is pruned.
    full_after_hours: f64,
}

/// Measures and judges. Fails where the disk is too slow.
///
/// # Errors
/// When there is no room, or the disk fails.
pub(crate) fn bench(args: &BenchArgs) -> Result<Code, NodeError> {
    let failed = |error| NodeError::io(args.dir.display().to_string(), error);
    if !args.dir.is_dir() {
        return Err(NodeError::Usage(format!(
            "{} is no directory: name one on the disk",
            args.dir.display()
        )));
    }
    let free = rustix::fs::statvfs(&args.dir).map_err(|error| failed(error.into()))?;
    let free_bytes = free.f_bavail.saturating_mul(free.f_frsize);
    if free_bytes < ROOM_BYTES {
        return Err(NodeError::Failed(format!(
            "{} has {} free, the measurement wants {}: make room, or name another directory",
            args.dir.display(),
            bytes(free_bytes),
            bytes(ROOM_BYTES)
        )));
    }
    let interrupted = interrupt::catch()?;
    let scratch = Scratch::make(&args.dir).map_err(failed)?;
    let qc_bytes = args.block_bytes.saturating_mul(args.blocks_per_qc).clamp(1, GROUP_BYTES_MAX);
    let mut logs = [scratch.log("qcs")?, scratch.log("blocks")?];
    let direct_io = logs[0].writes_directly();
    let half = args.duration / 2;
    let Measured { mut syncs, syncs_per_s: qcs_per_s, .. } =
        side_by_side(&mut logs, qc_bytes, half, &interrupted)?;
    let Measured { bytes_per_s, .. } = side_by_side(&mut logs, GROUP_BYTES_MAX, half, &interrupted)?;
    drop(logs);
    syncs.sort_unstable();
    let at = |part: f64| {
        // A part of a length is no larger than the length.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let nth = ((syncs.len() - 1) as f64 * part) as usize;
        u64::try_from(syncs[nth].as_micros()).unwrap_or(u64::MAX)
    };
    let (sync_p50_us, sync_p99_us) = (at(0.5), at(0.99));
    let qcs_per_s_needed = args.rate as f64 / args.blocks_per_qc as f64;
    let bytes_per_s_needed = (args.rate as f64) * (args.block_bytes as f64);
    let load = (qcs_per_s_needed / qcs_per_s).max(bytes_per_s_needed / bytes_per_s);
    // A QC that is not durable when the next one comes waits: now and then is fine, always is not.
    let late = sync_p99_us as f64 * qcs_per_s_needed > 1e6;
    let verdict = match load {
        load if load >= 1.0 => "too_slow",
        load if load >= LOAD_MAX || late => "tight",
        _ => "good",
    };
    let report = Report {
        schema: "roadbed.disk/1",
        verdict,
        dir: args.dir.clone(),
        direct_io,
        sync_p50_us,
        sync_p99_us,
        syncs: syncs.len(),
        qcs_per_s,
        qcs_per_s_needed,
        bytes_per_s,
        bytes_per_s_needed,
        load,
        free_bytes,
        full_after_hours: free_bytes as f64 / bytes_per_s_needed.max(1.0) / 3600.0,
    };
    drop(scratch);
    print(args.json, &report, || report.text(args))?;
    Ok(if verdict == "too_slow" { Code::Failure } else { Code::Clean })
}

const SCRATCH: &str = ".roadbed-bench-";

/// A directory that goes away with everything in it.
struct Scratch {
    path: PathBuf,
    /// Its lock: nobody takes it for one that was left behind.
    _alive: File,
}

impl Scratch {
    /// Makes one in `dir`, and removes those there that a measurement left which was killed.
    fn make(dir: &Path) -> io::Result<Self> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let named = path.file_name().and_then(|name| name.to_str());
            let left = named.is_some_and(|name| name.starts_with(SCRATCH))
                && File::open(&path).is_ok_and(|left| left.try_lock().is_ok());
            if left {
                std::fs::remove_dir_all(&path)?;
            }
        }
        let path = dir.join(format!("{SCRATCH}{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let alive = File::open(&path)?;
        alive.lock()?;
        Ok(Self { path, _alive: alive })
    }

    fn log(&self, name: &str) -> Result<Log, WalError> {
        let stream = StreamId { chain: [0; 32], kind: *b"bench\0\0\0" };
        let options =
            LogOptions { segment_bytes: SEGMENT_BYTES, pool_segments: 2, ..LogOptions::new(stream) };
        Log::create(Arc::new(FileSystem), &self.path.join(name), options, 0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            crate::output::note(&format!("{}: {error}; remove it by hand", self.path.display()));
        }
    }
}

/// What both logs did side by side.
struct Measured {
    /// How long each sync took.
    syncs: Vec<Duration>,
    /// Syncs a second of the slower log, with all that came between them: a QC is durable when both have it.
    syncs_per_s: f64,
    /// Of both logs.
    bytes_per_s: f64,
}

impl Measured {
    fn of(logs: [(Vec<Duration>, Duration); 2], group: u64) -> Self {
        let per_s = |(syncs, elapsed): &(Vec<Duration>, Duration)| {
            syncs.len() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
        };
        let [qcs, blocks] = [per_s(&logs[0]), per_s(&logs[1])];
        let syncs = logs.into_iter().flat_map(|(syncs, _)| syncs).collect();
        Self { syncs, syncs_per_s: qcs.min(blocks), bytes_per_s: (qcs + blocks) * group as f64 }
    }
}

/// Writes groups of this size into both logs at once.
fn side_by_side(
    logs: &mut [Log; 2],
    group: u64,
    time: Duration,
    interrupted: &AtomicBool,
) -> Result<Measured, NodeError> {
    let [qcs, blocks] = thread::scope(|scope| {
        let threads =
            logs.each_mut().map(|log| scope.spawn(move || write_groups(log, group, time, interrupted)));
        threads.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(NodeError::Failed("a thread that measures has panicked".to_owned())))
        })
    });
    Ok(Measured::of([qcs?, blocks?], group))
}

/// Answers how long each sync took, and all of it.
fn write_groups(
    log: &mut Log,
    group: u64,
    time: Duration,
    interrupted: &AtomicBool,
) -> Result<(Vec<Duration>, Duration), NodeError> {
    let entry_bytes = group.min(ENTRY_BYTES);
    // Content that no disk can shorten.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = (0..entry_bytes.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let noise: Vec<u8> = noise.collect();
    let (began, mut syncs) = (Instant::now(), Vec::new());
    while syncs.is_empty() || began.elapsed() < time {
        if interrupted.load(Ordering::Relaxed) {
            return Err(NodeError::Failed(
                "interrupted before the measurement was over: no verdict".to_owned(),
            ));
        }
        let mut left = group;
        let started = Instant::now();
        while left > 0 {
            let length = left.min(entry_bytes);
            let payload = &noise[..usize::try_from(length).unwrap_or(noise.len())];
            let index = log.range().end;
            log.append(index, Entry { key: index, digest: 0, payload })?;
            left -= length;
        }
        log.sync()?;
        syncs.push(started.elapsed());
        if log.size_bytes() > 2 * SEGMENT_BYTES {
            log.truncate_before(log.range().end)?;
        }
    }
    Ok((syncs, began.elapsed()))
}

impl Report {
    fn text(&self, args: &BenchArgs) -> String {
        let percent = |part: f64| 100.0 * part;
        let Self { qcs_per_s, qcs_per_s_needed, bytes_per_s, bytes_per_s_needed, load, .. } = self;
        let mb = |rate: &f64| rate / 1e6;
        let how = if self.direct_io {
            "direct writes"
        } else {
            "writes and fdatasync: direct writes are refused here"
        };
        [
            format!("{}: {} ({:.1} % of the disk)", self.dir.display(), self.verdict.replace('_', " "), percent(*load)),
            format!("  wanted  {} blocks/s of {}, {} in a QC", args.rate, bytes(args.block_bytes), args.blocks_per_qc),
            format!(
                "  sync    p50 {} us, p99 {} us, both logs at once ({} syncs, {how})",
                self.sync_p50_us, self.sync_p99_us, self.syncs
            ),
            format!(
                "  QCs     {qcs_per_s:.0} a second, one after the other; {qcs_per_s_needed:.1} wanted ({:.1} %)",
                percent(qcs_per_s_needed / qcs_per_s)
            ),
            format!(
                "  bytes   {:.1} MB/s in large groups; {:.1} MB/s wanted ({:.1} %)",
                mb(bytes_per_s),
                mb(bytes_per_s_needed),
                percent(bytes_per_s_needed / bytes_per_s)
            ),
            format!("  space   {} free, full after {:.0} h if nothing is pruned", bytes(self.free_bytes), self.full_after_hours),
        ]
        .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_log_decides_and_the_time_between_syncs_counts() {
        let sync = Duration::from_millis(1);
        let second = Duration::from_secs(1);
        // Each sync took a millisecond, but the logs did only 100 and 50 of them in their second.
        let measured = Measured::of([(vec![sync; 100], second), (vec![sync; 50], second)], 10);
        assert_eq!((measured.syncs_per_s, measured.bytes_per_s), (50.0, 1500.0));
        assert_eq!(measured.syncs.len(), 150);
    }
}
