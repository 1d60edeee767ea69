//! What the tests share.

use std::path::PathBuf;
use std::sync::Arc;

use roadbed_wal::{Entry, FileSystem, Log, LogOptions, Storage, StoredEntry, StreamId};

pub(crate) const STREAM: StreamId = StreamId { chain: [7; 32], kind: *b"test\0\0\0\0" };

/// How far apart are the cases that an exhaustive test takes: `ROADBED_WAL_EVERY=n` leaves out all but one in n, so that
/// a run is short enough to be repeated for each mutant.
pub(crate) fn every() -> usize {
    std::env::var("ROADBED_WAL_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(1)
}

/// Settings with small segments.
pub(crate) fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, pool_segments: 2, ..LogOptions::new(STREAM) }
}

/// A directory on the real file system.
pub(crate) struct Disk {
    root: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("log")
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(FileSystem)
    }

    pub(crate) fn create(&self, options: LogOptions, first: u64) -> Log {
        Log::create(self.storage(), &self.dir(), options, first).unwrap()
    }

    pub(crate) fn open(&self, options: LogOptions) -> Log {
        Log::open(self.storage(), &self.dir(), options).unwrap()
    }
}

/// The payload of an index in a life of the log: what is written after a cut differs from what was cut.
pub(crate) fn payload(index: u64, life: u64, len: usize) -> Vec<u8> {
    let seed = index.wrapping_mul(256).wrapping_add(life).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    seed.to_le_bytes().iter().copied().cycle().take(len).collect()
}

/// Appends `indices` with keys `index + 1` and digests that are a function of the payload.
pub(crate) fn append(log: &mut Log, indices: std::ops::Range<u64>, life: u64, len: usize) {
    for index in indices {
        let payload = payload(index, life, len);
        log.append(index, Entry { key: index + 1, digest: digest(index, life), payload: &payload }).unwrap();
    }
}

pub(crate) fn digest(index: u64, life: u64) -> u64 {
    index.wrapping_mul(31).wrapping_add(life) | 1 << 63
}

pub(crate) fn stored(index: u64, life: u64, len: usize) -> StoredEntry {
    StoredEntry { index, key: index + 1, digest: digest(index, life), payload: payload(index, life, len) }
}

/// Everything that a log holds, by replay; each entry is also asked for by index, key and digest.
pub(crate) fn contents(log: &Log) -> Vec<StoredEntry> {
    let reader = log.reader();
    let entries: Vec<StoredEntry> = reader.replay(reader.range()).map(Result::unwrap).collect();
    assert_eq!(entries.len() as u64, reader.range().end - reader.range().start);
    for (entry, index) in entries.iter().zip(reader.range()) {
        assert_eq!(entry.index, index);
        assert_eq!(reader.get(index).unwrap().as_ref(), Some(entry));
        let by_key = reader.get_by_key(entry.key - 1).unwrap().unwrap();
        assert!(by_key.key == entry.key && by_key.index <= index);
        assert!(entry.digest == 0 || reader.find_digest(entry.digest).unwrap().contains(&index));
    }
    entries
}
