use anyhow::Result;
use bytes::Bytes;
use commonware_runtime::tokio::Context;
use commonware_runtime::{Handle, ReadOptions};
use commonware_storage::journal::contiguous::variable::{Config, Journal};
use commonware_storage::journal::contiguous::{Contiguous as _, Many};
use futures_util::StreamExt as _;

use super::{BUFFER_BYTES, Runtime, cache, per_section, taken};
use crate::peer::{Candidate, Looker, Payloads, Peer, ReadOne, Setup};

pub const CANDIDATE: Candidate = Candidate {
    name: "commonware contiguous 2026.10",
    setup: "`contiguous::variable` on the tokio runtime, `append_many` and `commit` (fdatasync), which its documents call \
            durable; the same sizes. In the sustained case `start_sync`, whose handle is waited for when the next group is appended. A tail is dropped while it is opened, so that includes an opening",
    lacks: &[],
    open,
};

struct Log {
    journal: Option<Journal<Context, Bytes>>,
    payloads: Payloads,
    /// The next entries.
    ready: Vec<Bytes>,
    /// The sync of what was sent on its way last.
    on_its_way: Option<Handle<()>>,
    /// Last, so that the journal goes first.
    runtime: Runtime,
}

fn config(payloads: &Payloads) -> Config<<Bytes as commonware_codec::Read>::Cfg> {
    Config {
        partition: "log".to_owned(),
        items_per_section: per_section(payloads),
        compression: None,
        codec_config: (..).into(),
        page_cache: cache(),
        write_buffer: BUFFER_BYTES,
        replay_buffer: BUFFER_BYTES,
    }
}

fn open(setup: Setup<'_>) -> Result<Box<dyn Peer>> {
    let mut runtime = Runtime::start(setup.dir)?;
    let context = runtime.context();
    let journal = runtime.handle.block_on(Journal::init(context, config(setup.payloads)))?;
    let (journal, payloads) = (Some(journal), setup.payloads.clone());
    Ok(Box::new(Log { journal, payloads, ready: Vec::new(), on_its_way: None, runtime }))
}

impl Peer for Log {
    fn prepare(&mut self, entries: u64) {
        self.ready = (self.next()..self.next() + entries).map(|index| self.payloads.shared(index)).collect();
    }

    fn append(&mut self, _entries: u64) -> Result<()> {
        let (journal, ready) = (taken(&mut self.journal)?, std::mem::take(&mut self.ready));
        let journal = self.runtime.handle.block_on(async move {
            let (journal, _) = journal.append_many(Many::Flat(&ready)).await?;
            journal.commit().await
        })?;
        self.journal = Some(journal);
        Ok(())
    }

    fn stream(&mut self, _entries: u64) -> Result<()> {
        let (journal, ready) = (taken(&mut self.journal)?, std::mem::take(&mut self.ready));
        let (journal, sync) = self.runtime.handle.block_on(async move {
            let (journal, _) = journal.append_many(Many::Flat(&ready)).await?;
            journal.start_sync().await
        })?;
        self.journal = Some(journal);
        self.settle()?;
        self.on_its_way = Some(sync);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.on_its_way.take().map_or(Ok(()), |sync| Ok(self.runtime.handle.block_on(sync)?))
    }

    fn next(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::size)
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        let journal = taken(&mut self.journal)?;
        let (journal, _) = self.runtime.handle.block_on(journal.prune(index))?;
        self.journal = Some(journal);
        Ok(())
    }

    fn drop_tail(&mut self, index: u64) -> Result<()> {
        drop(taken(&mut self.journal)?);
        let reopened = Journal::init_at_most(self.runtime.context(), config(&self.payloads), index);
        self.journal = Some(self.runtime.handle.block_on(reopened)?);
        Ok(())
    }

    fn replay(&mut self, mut looker: Looker) -> Result<Looker> {
        let journal = taken(&mut self.journal)?;
        let (journal, looker) = self.runtime.handle.block_on(async move {
            let (journal, reader) = journal.snapshot().await?;
            let batches = reader.replay(reader.bounds(), BUFFER_BYTES, ReadOptions::default()).await?;
            let mut batches = std::pin::pin!(batches);
            while let Some(batch) = batches.next().await {
                batch?.items.iter().for_each(|payload| looker.look(payload));
            }
            Ok::<_, anyhow::Error>((journal, looker))
        })?;
        self.journal = Some(journal);
        Ok(looker)
    }

    fn reader(&mut self) -> Result<ReadOne> {
        let journal = taken(&mut self.journal)?;
        let (journal, reader) = self.runtime.handle.block_on(journal.snapshot())?;
        self.journal = Some(journal);
        let handle = self.runtime.handle.clone();
        Ok(Box::new(move |index, look| {
            match reader.try_read_sync(index) {
                Some(payload) => look(&payload),
                None => look(&handle.block_on(reader.read(index))?),
            }
            Ok(())
        }))
    }
}
