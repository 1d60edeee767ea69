use std::sync::Arc;

use anyhow::{Context as _, Result};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::{Candidate, FILE_BYTES, Looker, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "raft-engine 0.4.2",
    setup: "`write` with sync (fdatasync), its entries made before; files of 64 MiB, recycled, purged from 256 MiB on; no \
            compression (the entries are noise). The front goes with a compaction that is written with sync (`compact_to` \
            writes it without); purging, which frees the files, counts only in the sustained case. A tail goes as in raft: by writing the entry before it again",
    lacks: &[],
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
    engine: Arc<Engine>,
    payloads: Payloads,
    next: u64,
    /// The next entries.
    ready: Vec<UninterpretedOption>,
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let config = Config {
        dir: setup.dir.to_str().context("a path in UTF-8")?.to_owned(),
        target_file_size: ReadableSize(FILE_BYTES),
        purge_threshold: ReadableSize(4 * FILE_BYTES),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let engine = Arc::new(Engine::open(config)?);
    let next = engine.last_index(GROUP).map_or(0, |last| last + 1);
    Ok(Box::new(Log { engine, payloads: setup.payloads.clone(), next, ready: Vec::new() }))
}

impl Log {
    fn entry(&self, index: u64) -> UninterpretedOption {
        let mut entry = UninterpretedOption::new();
        entry.set_positive_int_value(index);
        entry.set_string_value(self.payloads.at(index).to_vec());
        entry
    }

    fn write(&self, entries: &[UninterpretedOption]) -> Result<()> {
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, entries)?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}

impl Peer for Log {
    fn prepare(&mut self, entries: u64) {
        self.ready = (self.next..self.next + entries).map(|index| self.entry(index)).collect();
    }

    fn append(&mut self, entries: u64) -> Result<()> {
        self.write(&self.ready)?;
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        // Not `compact_to` and `sync`: the one does not sync, and the other writes nothing where there is no batch.
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Compact { index });
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn free(&mut self) -> Result<()> {
        self.engine.purge_expired_files()?;
        Ok(())
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        self.write(&[self.entry(index - 1)])?;
        self.next = index;
        Ok(())
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        let (mut at, mut entries) = (self.engine.first_index(GROUP).unwrap_or(self.next), Vec::new());
        while at < self.next {
            let end = (at + FETCH_ENTRIES).min(self.next);
            self.engine.fetch_entries_to::<Entries>(GROUP, at, end, None, &mut entries)?;
            entries.iter().for_each(|entry| looker.look(entry.get_string_value()));
            entries.clear();
            at = end;
        }
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let engine = self.engine.clone();
        Ok(Box::new(move |index, look| {
            let entry = engine.get_entry::<Entries>(GROUP, index)?;
            look(entry.context("an entry that is retained")?.get_string_value());
            Ok(())
        }))
    }
}
