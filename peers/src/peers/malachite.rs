use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use arc_malachitebft_wal::Log as MalachiteLog;

use crate::peer::{Candidate, Need, Peer, look_at};

pub const CANDIDATE: Candidate = Candidate {
    name: "malachite wal 0.8.2",
    setup: "`append` and `flush` (fsync), no compression; one file, which it empties as a whole at the next height: in the \
            sustained case each time that the front is to go",
    lacks: &[(Need::DropFront, "only all of it goes")],
    open,
};

struct Log {
    log: MalachiteLog,
    /// Entries before the ones that are in the file.
    before: u64,
}

fn open(dir: &Path, _entry_bytes: u64) -> Result<Box<dyn Peer>> {
    fs::create_dir_all(dir)?;
    Ok(Box::new(Log { log: MalachiteLog::open(dir.join("log"))?, before: 0 }))
}

impl Peer for Log {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        for _ in 0..entries {
            self.log.append(payload)?;
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

    fn replay(&mut self) -> Result<u64> {
        let (mut bytes, mut entries) = (0, 0);
        for entry in self.log.iter()? {
            bytes += look_at(&entry?);
            entries += 1;
        }
        ensure!(entries == self.log.len(), "entries are missing");
        Ok(bytes)
    }
}
