use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use roadbed_wal::{Entry, FileSystem, Log, LogOptions, StreamId, WalError};

use crate::peer::{Candidate, FILE_BYTES, Peer, look_at};

pub const CANDIDATE: Candidate = Candidate { name: "roadbed-wal", setup: "defaults", lacks: &[], open };

fn open(dir: &Path, _entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let stream = StreamId { chain: [7; 32], kind: *b"peers\0\0\0" };
    let options = LogOptions { segment_bytes: FILE_BYTES, ..LogOptions::new(stream) };
    let log = match Log::open(Arc::new(FileSystem), dir, options.clone()) {
        Err(WalError::Missing { .. }) => Log::create(Arc::new(FileSystem), dir, options, 0),
        other => other,
    };
    Ok(Box::new(log?))
}

impl Peer for Log {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        for _ in 0..entries {
            let index = self.range().end;
            Self::append(self, index, Entry { key: index, digest: index, payload })?;
        }
        self.sync()?;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.range().end
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        Ok(self.truncate_before(index)?)
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        Ok(self.truncate_after(index)?)
    }

    fn replay(&mut self) -> Result<u64> {
        let mut bytes = 0;
        self.reader().visit(self.range(), |entry| {
            bytes += look_at(entry.payload);
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }
}
