use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::{Candidate, FILE_BYTES, Need, Peer, look_at};

pub const CANDIDATE: Candidate = Candidate {
    name: "raft-engine 0.4.2",
    setup: "`write` with sync; files of 64 MiB, recycled, purged from 256 MiB on; no compression (the entries are noise)",
    lacks: &[(Need::DropTail, "a tail goes only by writing other entries over it")],
    open,
};

const GROUP: u64 = 1;
/// How much is read at once for a replay.
const FETCH_ENTRIES: u64 = 64;

/// An entry is a protobuf message with an index; this one of protobuf's own has a number and bytes.
struct Entries;

impl MessageExt for Entries {
    type Entry = UninterpretedOption;

    fn index(entry: &Self::Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

struct Log {
    engine: Engine,
    next: u64,
}

fn open(dir: &Path, _entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let config = Config {
        dir: dir.to_str().context("a path in UTF-8")?.to_owned(),
        target_file_size: ReadableSize(FILE_BYTES),
        purge_threshold: ReadableSize(4 * FILE_BYTES),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let engine = Engine::open(config)?;
    let next = engine.last_index(GROUP).map_or(0, |last| last + 1);
    Ok(Box::new(Log { engine, next }))
}

impl Peer for Log {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        let entry = |index| {
            let mut entry = UninterpretedOption::new();
            entry.set_positive_int_value(index);
            entry.set_string_value(payload.to_vec());
            entry
        };
        let group: Vec<_> = (self.next..self.next + entries).map(entry).collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, &group)?;
        self.engine.write(&mut batch, true)?;
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        self.engine.compact_to(GROUP, index);
        // The compaction is written without a sync.
        self.engine.sync()?;
        self.engine.purge_expired_files()?;
        Ok(())
    }

    fn drop_tail(&mut self, _index: u64) -> Result<()> {
        anyhow::bail!("not there")
    }

    fn replay(&mut self) -> Result<u64> {
        let first = self.engine.first_index(GROUP).unwrap_or(self.next);
        let (mut at, mut bytes, mut entries) = (first, 0, Vec::new());
        while at < self.next {
            let end = (at + FETCH_ENTRIES).min(self.next);
            self.engine.fetch_entries_to::<Entries>(GROUP, at, end, None, &mut entries)?;
            bytes += entries.iter().map(|entry| look_at(entry.get_string_value())).sum::<u64>();
            entries.clear();
            at = end;
        }
        ensure!(at == self.next, "entries are missing");
        Ok(bytes)
    }
}
