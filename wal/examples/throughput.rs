//! Durable appends beside raw writes of the same groups: into space that was written before, past the page cache, no
//! checksums, no framing.
//!
//! `cargo run --release -p roadbed-wal --example throughput -- [DIR] [MEGABYTES]`

#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "it is for people, on machines of 64 bits"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadbed_wal::{Entry, FileSystem, Log, LogOptions, OpenMode, Storage, StreamId, SyncPoint, WalError};

/// Entries of so many bytes, so many a sync.
const CASES: [(&str, usize, usize); 4] = [
    ("1k-sync1", 1 << 10, 1),
    ("1k-sync64", 1 << 10, 64),
    ("300k-sync1", 300 << 10, 1),
    ("300k-sync8", 300 << 10, 8),
];
const SEGMENT_BYTES: u64 = 64 << 20;
const FRAME_BYTES: usize = 56;

fn main() -> Result<(), WalError> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let megabytes: usize = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(512);
    let root = root.join(format!("roadbed-throughput-{}", std::process::id()));
    for (name, entry_bytes, group) in CASES {
        let groups = (megabytes << 20).div_ceil(entry_bytes * group).clamp(1, 4000);
        let dir = root.join(name);
        for round in 0..3 {
            let raw = raw(&dir, entry_bytes * group, groups).map_err(|error| other(&dir, &error))?;
            let ours = log(&dir, entry_bytes, group, groups)?;
            let bytes = (entry_bytes * group * groups) as f64 / 1e6;
            let rate = |times: &[Duration]| bytes / times.iter().sum::<Duration>().as_secs_f64();
            println!(
                "{name} round {round}: {:.0} MB/s of raw {:.0} ({:.2}), p50 {:?} of {:?}, p99 {:?} of {:?}",
                rate(&ours),
                rate(&raw),
                rate(&ours) / rate(&raw),
                percentile(&ours, 50),
                percentile(&raw, 50),
                percentile(&ours, 99),
                percentile(&raw, 99),
            );
        }
        let _removed = std::fs::remove_dir_all(&dir);
    }
    let _removed = std::fs::remove_dir_all(&root);
    Ok(())
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * percent / 100]
}

fn other(dir: &Path, error: &std::io::Error) -> WalError {
    WalError::Options { name: "directory", reason: format!("{}: {error}", dir.display()) }
}

fn raw(dir: &Path, group_bytes: usize, groups: usize) -> std::io::Result<Vec<Duration>> {
    let group_bytes = group_bytes.next_multiple_of(4096);
    FileSystem.create_dir(dir)?;
    let path = dir.join("raw");
    let file_bytes = SEGMENT_BYTES as usize / group_bytes * group_bytes;
    if !path.exists() {
        let file = FileSystem.open(&path, OpenMode::CreateNew)?;
        for at in (0..SEGMENT_BYTES).step_by(1 << 20) {
            file.write_at(&vec![1; 1 << 20], at, SyncPoint::Group)?;
        }
        file.sync_data(SyncPoint::Group)?;
    }
    let file = FileSystem.open(&path, OpenMode::WriteDirect)?;
    let memory = vec![7_u8; group_bytes + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let buffer = &memory[start..start + group_bytes];
    let mut times = Vec::with_capacity(groups);
    for nth in 0..groups {
        let begun = Instant::now();
        let at = (nth * group_bytes % file_bytes) as u64;
        assert_eq!(file.write_at(buffer, at, SyncPoint::Group)?, group_bytes);
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn log(dir: &Path, entry_bytes: usize, group: usize, groups: usize) -> Result<Vec<Duration>, WalError> {
    let dir = dir.join("log");
    let options = LogOptions::new(StreamId { chain: [0; 32], kind: *b"example\0" });
    let storage = Arc::new(FileSystem);
    let mut log = match Log::open(storage.clone(), &dir, options.clone()) {
        Err(WalError::Missing { .. }) => Log::create(storage, &dir, options, 0)?,
        other => other?,
    };
    let start = log.range().end;
    log.truncate_before(start)?;
    while log.idle()? {}
    let payload = vec![5; entry_bytes - FRAME_BYTES.min(entry_bytes)];
    let mut times = Vec::with_capacity(groups);
    let mut next = start;
    for nth in 0..groups {
        let begun = Instant::now();
        for _ in 0..group {
            log.append(next, Entry { key: next, digest: next, payload: &payload })?;
            next += 1;
        }
        log.sync()?;
        times.push(begun.elapsed());
        if nth % 16 == 15 {
            log.truncate_before(next - (group as u64))?;
        }
    }
    log.close()?;
    Ok(times)
}
