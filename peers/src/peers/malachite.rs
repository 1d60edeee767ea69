use std::fs;

use anyhow::{Result, bail};
use arc_malachitebft_wal::Log as MalachiteLog;

use crate::peer::{Candidate, Looker, Need, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "malachite wal 0.8.2",
    setup: "`append` and `flush` (fsync), no compression; one file, which it empties as a whole at the next height: in the \
            sustained case each time that the front is to go. The file's own directory is never synced",
    lacks: &[
        (Need::DropFront, "only all of it goes"),
        (Need::Read, "it is read in order only"),
        (Need::ReadBeside, "it is read in order only"),
    ],
    open,
};

struct Log {
    log: MalachiteLog,
    payloads: Payloads,
    /// Entries before the ones that are in the file.
    before: u64,
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    fs::create_dir_all(setup.dir)?;
    let log = MalachiteLog::open(setup.dir.join("log"))?;
    Ok(Box::new(Log { log, payloads: setup.payloads.clone(), before: 0 }))
}

impl Peer for Log {
    fn append(&mut self, entries: u64) -> Result<()> {
        for index in self.next()..self.next() + entries {
            self.log.append(self.payloads.at(index))?;
        }
        Ok(self.log.flush()?)
    }

    fn next(&self) -> u64 {
        self.before + self.log.len() as u64
    }

    fn drop_front(&mut self, _index: u64) -> Result<()> {
        self.before = self.next();
        Ok(self.log.reset(self.before)?)
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        Ok(self.log.truncate(index - self.before)?)
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        for entry in self.log.iter()? {
            looker.look(&entry?);
        }
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        bail!("not there")
    }
}
