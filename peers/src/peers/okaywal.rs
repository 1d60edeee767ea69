use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use crate::peer::{Candidate, FILE_BYTES, Need, Peer, look_at};

pub const CANDIDATE: Candidate = Candidate {
    name: "okaywal 0.3.1",
    setup: "a commit waits for its fsync; files of 64 MiB made ahead and recycled, 1 MiB of buffer. It gives its files back \
            by itself, whole and when they are full, once the owner says that they are checkpointed (here at once, but for \
            replay and opening, where it keeps one file); it is read only while it is opened",
    lacks: &[
        (Need::DropFront, "only whole files go, when they are full"),
        (Need::DropTail, "nothing goes but from the front"),
    ],
    open,
};

const BUFFER_BYTES: usize = 1 << 20;

/// What was read while it was opened.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<(u64, u64)>>);

impl LogManager for Seen {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = entry.read_all_chunks()?.unwrap_or_default();
        let mut seen = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        seen.0 += chunks.len() as u64;
        seen.1 += chunks.iter().map(|chunk| look_at(chunk)).sum::<u64>();
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct Log {
    wal: Option<WriteAheadLog>,
    dir: PathBuf,
    /// Whether files are never given back, so that all of it can be read again.
    keeps: bool,
    next: u64,
}

/// Opens it; answers the log, and entries and bytes that were read.
fn start(dir: &Path, keeps: bool) -> Result<(WriteAheadLog, (u64, u64))> {
    let seen = Seen::default();
    let wal = Configuration::default_for(dir)
        .preallocate_bytes(u32::try_from(FILE_BYTES)?)
        .checkpoint_after_bytes(if keeps { u64::MAX } else { FILE_BYTES - FILE_BYTES / 16 })
        .buffer_bytes(BUFFER_BYTES)
        .open(seen.clone())?;
    let seen = *seen.0.lock().map_err(|_| anyhow::anyhow!("a panic"))?;
    Ok((wal, seen))
}

fn open(dir: &Path, _entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let keeps = dir.components().any(|part| part.as_os_str() == KEEPS);
    let (wal, (next, _)) = start(dir, keeps)?;
    Ok(Box::new(Log { wal: Some(wal), dir: dir.to_owned(), keeps, next }))
}

/// A directory with this name above the log: everything will be read again.
pub const KEEPS: &str = "keeps";

impl Log {
    fn stop(&mut self) -> Result<()> {
        self.wal.take().map_or(Ok(()), |wal| Ok(wal.shutdown()?))
    }
}

impl Peer for Log {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        let wal = self.wal.as_ref().context("an open log")?;
        let mut group = wal.begin_entry()?;
        for _ in 0..entries {
            group.write_chunk(payload)?;
        }
        group.commit()?;
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, _index: u64) -> Result<()> {
        Ok(())
    }

    fn drop_tail(&mut self, _index: u64) -> Result<()> {
        anyhow::bail!("not there")
    }

    fn replay(&mut self) -> Result<u64> {
        self.stop()?;
        let (wal, (entries, bytes)) = start(&self.dir, self.keeps)?;
        ensure!(entries == self.next, "{entries} entries were recovered of {}", self.next);
        self.wal = Some(wal);
        Ok(bytes)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Its thread ends with it; there is nothing to do about a failure.
        let _stopped = self.stop();
    }
}
