//! Logs for the cases that measure the log engine alone.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use roadbed_wal::{Entry, FileSystem, Log, LogOptions, StreamId};

/// Bytes of the entries that warm a log up.
const WARM_ENTRY_BYTES: usize = 1 << 20;

/// The default settings.
pub(super) fn options() -> LogOptions {
    LogOptions::new(StreamId { chain: [7; 32], kind: *b"bench\0\0\0" })
}

/// A log in an empty directory.
pub(super) fn create(dir: &Path, options: LogOptions) -> Result<Log> {
    Ok(Log::create(Arc::new(FileSystem), dir, options, 0)?)
}

/// Opens a log.
pub(super) fn open(dir: &Path, options: LogOptions) -> Result<Log> {
    Ok(Log::open(Arc::new(FileSystem), dir, options)?)
}

/// A log that has run for a while: its segments, the one it writes to included, were written before.
pub(super) fn create_warm(dir: &Path, options: LogOptions) -> Result<Log> {
    let fresh = options.pool_segments + 2;
    let mut log = create(dir, options)?;
    let payload = vec![0x5a; WARM_ENTRY_BYTES];
    while log.segments() < fresh {
        append_group(&mut log, &payload, 8)?;
    }
    // The active segment was never written before either: the next one was.
    log.truncate_before(log.range().end)?;
    while log.segments() < 2 {
        append_group(&mut log, &payload, 8)?;
    }
    log.truncate_before(log.range().end)?;
    Ok(log)
}

/// When the caller of a group goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// When the group is durable.
    Each,
    /// As soon as there is room: one group is written while the next is put together.
    Stream,
}

/// Adds so many entries with this payload, as one group.
pub(super) fn put_group(log: &mut Log, payload: &[u8], entries: usize, pace: Pace) -> Result<()> {
    for _ in 0..entries {
        let index = log.range().end;
        log.append(index, Entry { key: index, digest: index, payload })?;
    }
    match pace {
        Pace::Each => log.sync()?,
        Pace::Stream => log.submit()?,
    };
    Ok(())
}

/// Adds so many entries with this payload and makes them durable.
pub(super) fn append_group(log: &mut Log, payload: &[u8], entries: usize) -> Result<()> {
    put_group(log, payload, entries, Pace::Each)
}

/// Appends groups until so many entries were added.
pub(super) fn fill(log: &mut Log, payload: &[u8], entries: u64, group: usize) -> Result<()> {
    let end = log.range().end + entries;
    while log.range().end < end {
        let left = usize::try_from(end - log.range().end)?;
        append_group(log, payload, group.min(left))?;
    }
    Ok(())
}
