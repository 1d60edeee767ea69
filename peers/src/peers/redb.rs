use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::peer::{Candidate, Looker, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "redb 4.4.0",
    setup: "a transaction a group, `Durability::Immediate` (fdatasync); keys are indices. It checks its checksums only \
            when it is opened after an unclean end, not when it reads",
    lacks: &[],
    open,
};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

struct Log {
    db: Arc<Database>,
    payloads: Payloads,
    next: u64,
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    fs::create_dir_all(setup.dir)?;
    let db = Database::create(setup.dir.join("log"))?;
    let made = db.begin_write()?;
    made.open_table(ENTRIES)?;
    made.commit()?;
    let next = db.begin_read()?.open_table(ENTRIES)?.last()?.map_or(0, |(last, _)| last.value() + 1);
    Ok(Box::new(Log { db: Arc::new(db), payloads: setup.payloads.clone(), next }))
}

impl Log {
    fn write(&self, change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>) -> Result<()>) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        change(&mut transaction.open_table(ENTRIES)?)?;
        Ok(transaction.commit()?)
    }
}

impl Peer for Log {
    fn append(&mut self, entries: u64) -> Result<()> {
        let indices = self.next..self.next + entries;
        self.write(|table| {
            for index in indices {
                table.insert(index, self.payloads.at(index))?;
            }
            Ok(())
        })?;
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        self.write(|table| Ok(table.retain_in(..index, |_, _| false)?))
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        self.write(|table| Ok(table.retain_in(index.., |_, _| false)?))?;
        self.next = index;
        Ok(())
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        for entry in self.db.begin_read()?.open_table(ENTRIES)?.iter()? {
            looker.look(entry?.1.value());
        }
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        // What is read is there already: one transaction does for all of it.
        let table = self.db.begin_read()?.open_table(ENTRIES)?;
        Ok(Box::new(move |index, look| {
            look(table.get(index)?.context("an entry that is retained")?.value());
            Ok(())
        }))
    }
}
