use anyhow::{Context as _, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Slice};

use crate::peer::{Candidate, Looker, Payloads, Peer, ReadOne, Setup};

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
    payloads: Payloads,
    first: u64,
    next: u64,
    /// The next values.
    ready: Vec<Slice>,
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let db = Database::builder(setup.dir).open()?;
    let options = || {
        let separated = setup.payloads.bytes() >= SEPARATED_BYTES;
        KeyspaceCreateOptions::default().with_kv_separation(separated.then(KvSeparationOptions::default))
    };
    let entries = db.keyspace("entries", options)?;
    let index = |found: Option<fjall::Guard>| found.map(|entry| index_of(&entry.key()?)).transpose();
    let first = index(entries.first_key_value())?.unwrap_or(0);
    let next = index(entries.last_key_value())?.map_or(0, |last| last + 1);
    Ok(Box::new(Log { db, entries, payloads: setup.payloads.clone(), first, next, ready: Vec::new() }))
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
    fn prepare(&mut self, entries: u64) {
        let value = |index| Slice::from(self.payloads.at(index));
        self.ready = (self.next..self.next + entries).map(value).collect();
    }

    fn append(&mut self, entries: u64) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (index, value) in (self.next..self.next + entries).zip(self.ready.drain(..)) {
            batch.insert(&self.entries, index.to_be_bytes(), value);
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

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        for entry in self.entries.iter() {
            looker.look(&entry.value()?);
        }
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let entries = self.entries.clone();
        Ok(Box::new(move |index, look| {
            look(&entries.get(index.to_be_bytes())?.context("an entry that is retained")?);
            Ok(())
        }))
    }
}
