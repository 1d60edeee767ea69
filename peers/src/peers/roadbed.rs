use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use roadbed_wal::{Entry, FileSystem, Log, LogOptions, StreamId, WalError};

use crate::peer::{Candidate, FILE_BYTES, Looker, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "roadbed-wal",
    setup: "defaults; the sustained case sends a group on its way while the one before is written (`submit`)",
    lacks: &[],
    open,
};

struct Ours {
    log: Log,
    payloads: Payloads,
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let stream = StreamId { chain: [7; 32], kind: *b"peers\0\0\0" };
    let options = LogOptions { segment_bytes: FILE_BYTES, ..LogOptions::new(stream) };
    let log = match Log::open(Arc::new(FileSystem), setup.dir, options.clone()) {
        Err(WalError::Missing { .. }) => Log::create(Arc::new(FileSystem), setup.dir, options, 0),
        other => other,
    };
    Ok(Box::new(Ours { log: log?, payloads: setup.payloads.clone() }))
}

impl Ours {
    fn put(&mut self, entries: u64) -> Result<()> {
        for _ in 0..entries {
            let index = self.log.range().end;
            let payload = self.payloads.at(index);
            self.log.append(index, Entry { key: index, digest: index, payload })?;
        }
        Ok(())
    }
}

impl Peer for Ours {
    fn append(&mut self, entries: u64) -> Result<()> {
        self.put(entries)?;
        self.log.sync()?;
        Ok(())
    }

    fn stream(&mut self, entries: u64) -> Result<()> {
        self.put(entries)?;
        self.log.submit()?;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.log.settle()?;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.log.range().end
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        Ok(self.log.truncate_before(index)?)
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        Ok(self.log.truncate_after(index)?)
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        self.log.reader().visit(self.log.range(), |entry| {
            looker.look(entry.payload);
            ControlFlow::Continue(())
        })?;
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let reader = self.log.reader();
        Ok(Box::new(move |index, look| {
            look(&reader.get(index)?.context("an entry that is retained")?.payload);
            Ok(())
        }))
    }
}
