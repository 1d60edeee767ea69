use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use crate::peer::{Candidate, FILE_BYTES, Looker, Need, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "okaywal 0.3.1",
    setup: "a commit waits for its fdatasync; files of 64 MiB made ahead and recycled, 1 MiB of buffer. It gives its files \
            back by itself, whole and when they are full, once the owner says that they are checkpointed (here at once, but \
            where entries are read again: there it keeps one file). All of it is read only while it is opened; the \
            positions of single entries are the owner's to keep",
    lacks: &[
        (Need::DropFront, "only whole files go, when they are full"),
        (Need::DropTail, "nothing goes but from the front"),
        (Need::ReadBeside, "only in files that are not checkpointed: they would not be recycled"),
    ],
    open,
};

const BUFFER_BYTES: usize = 1 << 20;

/// What sees the entries while it is opened.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Recovered>>);

#[derive(Debug, Default)]
struct Recovered {
    looker: Looker,
    positions: Vec<LogPosition>,
    buffer: Vec<u8>,
}

impl LogManager for Seen {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut seen = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        let Recovered { looker, positions, buffer } = &mut *seen;
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            positions.push(chunk.log_position());
            buffer.clear();
            chunk.read_to_end(buffer)?;
            if !chunk.check_crc()? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            looker.look(buffer);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct Log {
    wal: Option<WriteAheadLog>,
    dir: PathBuf,
    payloads: Payloads,
    keeps: bool,
    next: u64,
    /// Where the entries are, if they are kept.
    positions: Vec<LogPosition>,
}

/// Opens it, and shows what it holds to the looker.
fn start(dir: &Path, keeps: bool, looker: Looker) -> Result<(WriteAheadLog, Recovered)> {
    let seen = Seen(Arc::new(Mutex::new(Recovered { looker, ..Recovered::default() })));
    let wal = Configuration::default_for(dir)
        .preallocate_bytes(u32::try_from(FILE_BYTES)?)
        .checkpoint_after_bytes(if keeps { u64::MAX } else { FILE_BYTES - FILE_BYTES / 16 })
        .buffer_bytes(BUFFER_BYTES)
        .open(seen.clone())?;
    let seen = std::mem::take(&mut *seen.0.lock().map_err(|_| anyhow!("a panic"))?);
    Ok((wal, seen))
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let Setup { dir, payloads, keeps } = setup;
    let (wal, Recovered { positions, .. }) = start(dir, keeps, Looker::default())?;
    let next = positions.len() as u64;
    let (dir, payloads) = (dir.to_owned(), payloads.clone());
    Ok(Box::new(Log { wal: Some(wal), dir, payloads, keeps, next, positions }))
}

impl Log {
    fn stop(&mut self) -> Result<()> {
        self.wal.take().map_or(Ok(()), |wal| Ok(wal.shutdown()?))
    }
}

impl Peer for Log {
    fn append(&mut self, entries: u64) -> Result<()> {
        let wal = self.wal.as_ref().context("an open log")?;
        let mut group = wal.begin_entry()?;
        for index in self.next..self.next + entries {
            let written = group.write_chunk(self.payloads.at(index))?;
            if self.keeps {
                self.positions.push(written.position);
            }
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
        bail!("not there")
    }

    fn replay(&mut self, looker: Looker) -> Result<Looker> {
        self.stop()?;
        let (wal, Recovered { looker, positions, .. }) = start(&self.dir, self.keeps, looker)?;
        self.wal = Some(wal);
        self.positions = positions;
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let wal = self.wal.clone().context("an open log")?;
        let positions = self.positions.clone();
        let mut payload = Vec::new();
        Ok(Box::new(move |index, look| {
            let position = positions.get(usize::try_from(index)?).context("an entry of this process")?;
            let mut chunk = wal.read_at(*position)?;
            payload.clear();
            chunk.read_to_end(&mut payload)?;
            ensure!(chunk.crc_is_valid()?, "entry {index} is damaged");
            look(&payload);
            Ok(())
        }))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Its thread ends with it; there is nothing to do about a failure.
        let _stopped = self.stop();
    }
}
