use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use commonware_runtime::tokio::Context;
use commonware_runtime::{Handle, ReadOptions};
use commonware_storage::journal::segmented::variable::{Config, Journal};

use super::{BUFFER_BYTES, Runtime, cache, per_section, taken};
use crate::peer::{Candidate, Looker, Need, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "commonware segmented 2026.10",
    setup: "`segmented::variable` on the tokio runtime, `append` and `sync` of the section (fdatasync), in the sustained case `start_sync`, waited for when the next group is appended; sections of 64 MiB, \
            buffers of 8 MiB, pages of its benchmarks and a cache of 160 MB, no compression. It has to be replayed before \
            it takes entries again, so opening includes that, and so does dropping a tail, which it does while it is opened",
    lacks: &[(Need::ReadBeside, "an operation takes the journal, and gives it back when it is over")],
    open,
};

struct Log {
    journal: Arc<Mutex<Option<Journal<Context, Bytes>>>>,
    payloads: Payloads,
    per_section: u64,
    first: u64,
    /// Where the entries are, from the first one on.
    offsets: Vec<u64>,
    /// The next entries.
    ready: Vec<Bytes>,
    /// The sync of what was sent on its way last.
    on_its_way: Option<Handle<()>>,
    /// Last, so that the journal goes first.
    runtime: Runtime,
}

fn config() -> Config<<Bytes as commonware_codec::Read>::Cfg> {
    Config {
        partition: "log".to_owned(),
        compression: None,
        codec_config: (..).into(),
        page_cache: cache(),
        write_buffer: BUFFER_BYTES,
    }
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let mut runtime = Runtime::start(setup.dir)?;
    let context = runtime.context();
    let journal = runtime.handle.block_on(Journal::init(context, config()))?;
    let per_section = per_section(setup.payloads).get();
    let mut log = Log {
        first: journal.oldest_section().unwrap_or(0) * per_section,
        journal: Arc::new(Mutex::new(Some(journal))),
        payloads: setup.payloads.clone(),
        per_section,
        offsets: Vec::new(),
        ready: Vec::new(),
        on_its_way: None,
        runtime,
    };
    log.replay(Looker::default())?;
    Ok(Box::new(log))
}

impl Log {
    fn journal(&self) -> MutexGuard<'_, Option<Journal<Context, Bytes>>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the entries that are ready; answers the journal, and the first and the last section that they are in.
    fn put(&mut self, entries: u64) -> Result<(Journal<Context, Bytes>, [u64; 2])> {
        let (ready, next, per_section) = (std::mem::take(&mut self.ready), self.next(), self.per_section);
        let mut journal = taken(&mut self.journal())?;
        let offsets = &mut self.offsets;
        let journal = self.runtime.handle.block_on(async move {
            for (index, payload) in (next..).zip(&ready) {
                let offset;
                (journal, offset, _) = journal.append(index / per_section, payload).await?;
                offsets.push(offset);
            }
            Ok::<_, anyhow::Error>(journal)
        })?;
        Ok((journal, [next / per_section, (next + entries - 1) / per_section]))
    }
}

impl Peer for Log {
    fn prepare(&mut self, entries: u64) {
        self.ready = (self.next()..self.next() + entries).map(|index| self.payloads.shared(index)).collect();
    }

    fn append(&mut self, entries: u64) -> Result<()> {
        let (journal, sections) = self.put(entries)?;
        let journal = self.runtime.handle.block_on(async move {
            match sections {
                [first, last] if first == last => journal.sync(first).await,
                both => journal.sync(both).await,
            }
        })?;
        *self.journal() = Some(journal);
        Ok(())
    }

    fn stream(&mut self, entries: u64) -> Result<()> {
        let (journal, sections) = self.put(entries)?;
        let (journal, sync) = self.runtime.handle.block_on(journal.start_sync(sections))?;
        *self.journal() = Some(journal);
        self.settle()?;
        self.on_its_way = Some(sync);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.on_its_way.take().map_or(Ok(()), |sync| Ok(self.runtime.handle.block_on(sync)?))
    }

    fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        let journal = taken(&mut self.journal())?;
        let (journal, _) = self.runtime.handle.block_on(journal.prune(index / self.per_section))?;
        *self.journal() = Some(journal);
        let first = index / self.per_section * self.per_section;
        if first > self.first {
            self.offsets.drain(..usize::try_from(first - self.first)?);
            self.first = first;
        }
        Ok(())
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        let keep = usize::try_from(index - self.first)?;
        let end = *self.offsets.get(keep).context("an entry that is there")?;
        drop(taken(&mut self.journal())?);
        let context = self.runtime.context();
        let reopened = Journal::init_at_most(context, config(), index / self.per_section, end);
        let journal = self.runtime.handle.block_on(reopened)?;
        *self.journal() = Some(journal);
        self.offsets.truncate(keep);
        Ok(())
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        let journal = taken(&mut self.journal())?;
        let offsets = &mut self.offsets;
        offsets.clear();
        let (journal, looker) = self.runtime.handle.block_on(async move {
            let mut replay = journal.replay(0, 0, BUFFER_BYTES, ReadOptions::default()).await?;
            while let Some(entry) = replay.next().await {
                let (_, offset, _, payload) = entry?;
                offsets.push(offset);
                looker.look(&payload);
            }
            Ok::<_, anyhow::Error>((replay.finish()?, looker))
        })?;
        *self.journal() = Some(journal);
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let (journal, handle) = (self.journal.clone(), self.runtime.handle.clone());
        let (first, per_section, offsets) = (self.first, self.per_section, self.offsets.clone());
        Ok(Box::new(move |index, look| {
            let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let journal = journal.as_ref().context("an operation failed before")?;
            let (section, offset) = (index / per_section, offsets[usize::try_from(index - first)?]);
            match journal.try_get_sync(section, offset) {
                Some(payload) => look(&payload),
                None => look(&handle.block_on(journal.get(section, offset))?),
            }
            Ok(())
        }))
    }
}
