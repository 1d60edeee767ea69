use std::path::Path;

use anyhow::{Context as _, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::peer::{Candidate, Peer, look_at};

pub const CANDIDATE: Candidate = Candidate {
    name: "fjall 3.1.13",
    setup: "a batch a group, `PersistMode::SyncData`; keys are indices; values are kept apart from keys from 4 KiB on; no \
            compression. What it took out of its journal while it was opened it reads from memory",
    lacks: &[],
    open,
};

/// Entries from this size on are kept apart.
const SEPARATED_BYTES: u64 = 4096;

struct Log {
    db: Database,
    entries: Keyspace,
    first: u64,
    next: u64,
}

fn open(dir: &Path, entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let db = Database::builder(dir).open()?;
    let options = || {
        let separated = (entry_bytes >= SEPARATED_BYTES).then(KvSeparationOptions::default);
        KeyspaceCreateOptions::default().with_kv_separation(separated)
    };
    let entries = db.keyspace("entries", options)?;
    let index = |found: Option<fjall::Guard>| found.map(|entry| index_of(&entry.key()?)).transpose();
    let first = index(entries.first_key_value())?.unwrap_or(0);
    let next = index(entries.last_key_value())?.map_or(0, |last| last + 1);
    Ok(Box::new(Log { db, entries, first, next }))
}

fn index_of(key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(key.try_into().context("a key of eight bytes")?))
}

impl Log {
    fn remove(&mut self, from: u64, to: u64) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for index in from..to {
            batch.remove(&self.entries, index.to_be_bytes());
        }
        Ok(batch.commit()?)
    }
}

impl Peer for Log {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for index in self.next..self.next + entries {
            batch.insert(&self.entries, index.to_be_bytes(), payload);
        }
        batch.commit()?;
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        self.remove(self.first, index)?;
        self.first = index;
        Ok(())
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        self.remove(index, self.next)?;
        self.next = index;
        Ok(())
    }

    fn replay(&mut self) -> Result<u64> {
        let mut bytes = 0;
        for entry in self.entries.iter() {
            bytes += look_at(&entry.value()?);
        }
        Ok(bytes)
    }
}
