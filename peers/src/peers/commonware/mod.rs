use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use commonware_runtime::buffer::paged::{CacheRef, page_size};
use commonware_runtime::tokio::{Config, Context, Runner};
use commonware_runtime::{BLOB_PAGE_SIZE, ReadOptions, Runner as _, Supervisor as _};
use commonware_storage::journal::contiguous::{Contiguous as _, variable as contiguous};
use commonware_storage::journal::contiguous::{Many, variable};
use commonware_storage::journal::segmented::variable as segmented;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::peer::{Candidate, FILE_BYTES, Need, Peer, look_at};

pub const SEGMENTED: Candidate = Candidate {
    name: "commonware segmented 2026.10",
    setup: "`segmented::variable` on the tokio runtime, `append` and `sync` of the section; sections of 64 MiB, buffers of \
            8 MiB, pages of its benchmarks, no compression. It has to be replayed before it takes entries again, so \
            opening includes that",
    lacks: &[(Need::DropTail, "only while it is opened")],
    open: open_segmented,
};

pub const CONTIGUOUS: Candidate = Candidate {
    name: "commonware contiguous 2026.10",
    setup: "`contiguous::variable` on the tokio runtime, `append_many` and `commit`, which its documents call durable; the \
            same sizes",
    lacks: &[(Need::DropTail, "only while it is opened")],
    open: open_contiguous,
};

const BUFFER_BYTES: NonZeroUsize = NonZeroUsize::new(8 << 20).unwrap();
const PAGE_BYTES: NonZeroU16 = page_size(BLOB_PAGE_SIZE);
const CACHED_PAGES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Its runtime, on a thread of its own as long as this lives; futures are polled where they are waited for.
struct Runtime {
    handle: Handle,
    context: Context,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start(dir: &Path) -> Result<Self> {
        let config = Config::new().with_storage_directory(dir);
        let (started, context) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            Runner::new(config).start(|context| async move {
                let _told = started.send((Handle::current(), context));
                let _stopped = stopped.await;
            });
        });
        let (handle, context) = context.recv().context("its runtime does not start")?;
        Ok(Self { handle, context, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn per_section(entry_bytes: u64) -> NonZeroU64 {
    NonZeroU64::new(FILE_BYTES / entry_bytes.max(1)).unwrap_or(NonZeroU64::MIN)
}

/// Its journals are moved into each operation and out of it again.
fn taken<T>(journal: &mut Option<T>) -> Result<T> {
    journal.take().ok_or_else(|| anyhow!("an operation failed before"))
}

struct Segmented {
    journal: Option<segmented::Journal<Context, Bytes>>,
    per_section: u64,
    next: u64,
    /// Last, so that the journal goes first.
    runtime: Runtime,
}

fn open_segmented(dir: &Path, entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let runtime = Runtime::start(dir)?;
    let config = segmented::Config {
        partition: "log".to_owned(),
        compression: None,
        codec_config: (..).into(),
        page_cache: CacheRef::new(PAGE_BYTES, CACHED_PAGES),
        write_buffer: BUFFER_BYTES,
    };
    let context = runtime.context.child("storage");
    let journal = runtime.handle.block_on(segmented::Journal::init(context, config))?;
    let per_section = per_section(entry_bytes).get();
    let first = journal.oldest_section().unwrap_or(0) * per_section;
    let mut log = Segmented { journal: Some(journal), per_section, next: first, runtime };
    log.next += log.read()?.0;
    Ok(Box::new(log))
}

impl Segmented {
    /// Reads all of it; answers entries and bytes.
    fn read(&mut self) -> Result<(u64, u64)> {
        let journal = taken(&mut self.journal)?;
        let (journal, seen) = self.runtime.handle.block_on(async move {
            let mut seen = (0, 0);
            let mut replay = journal.replay(0, 0, BUFFER_BYTES, ReadOptions::default()).await?;
            while let Some(entry) = replay.next().await {
                seen.0 += 1;
                seen.1 += look_at(&entry?.3);
            }
            Ok::<_, anyhow::Error>((replay.finish()?, seen))
        })?;
        self.journal = Some(journal);
        Ok(seen)
    }
}

impl Peer for Segmented {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        let payload = Bytes::copy_from_slice(payload);
        let mut journal = taken(&mut self.journal)?;
        let (next, per_section) = (self.next, self.per_section);
        let journal = self.runtime.handle.block_on(async move {
            for index in next..next + entries {
                (journal, _, _) = journal.append(index / per_section, &payload).await?;
            }
            let (first, last) = (next / per_section, (next + entries - 1) / per_section);
            if first == last { journal.sync(first).await } else { journal.sync([first, last]).await }
        })?;
        self.journal = Some(journal);
        self.next += entries;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        let journal = taken(&mut self.journal)?;
        let (journal, _) = self.runtime.handle.block_on(journal.prune(index / self.per_section))?;
        self.journal = Some(journal);
        Ok(())
    }

    fn drop_tail(&mut self, _index: u64) -> Result<()> {
        anyhow::bail!("not there")
    }

    fn replay(&mut self) -> Result<u64> {
        Ok(self.read()?.1)
    }
}

struct Contiguous {
    journal: Option<contiguous::Journal<Context, Bytes>>,
    runtime: Runtime,
}

fn open_contiguous(dir: &Path, entry_bytes: u64) -> Result<Box<dyn Peer>> {
    let runtime = Runtime::start(dir)?;
    let config = variable::Config {
        partition: "log".to_owned(),
        items_per_section: per_section(entry_bytes),
        compression: None,
        codec_config: (..).into(),
        page_cache: CacheRef::new(PAGE_BYTES, CACHED_PAGES),
        write_buffer: BUFFER_BYTES,
        replay_buffer: BUFFER_BYTES,
    };
    let context = runtime.context.child("storage");
    let journal = runtime.handle.block_on(contiguous::Journal::init(context, config))?;
    Ok(Box::new(Contiguous { journal: Some(journal), runtime }))
}

impl Peer for Contiguous {
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()> {
        let group = vec![Bytes::copy_from_slice(payload); usize::try_from(entries)?];
        let journal = taken(&mut self.journal)?;
        let journal = self.runtime.handle.block_on(async move {
            let (journal, _) = journal.append_many(Many::Flat(&group)).await?;
            journal.commit().await
        })?;
        self.journal = Some(journal);
        Ok(())
    }

    fn next(&self) -> u64 {
        self.journal.as_ref().map_or(0, contiguous::Journal::size)
    }

    fn drop_front(&mut self, index: u64) -> Result<()> {
        let journal = taken(&mut self.journal)?;
        let (journal, _) = self.runtime.handle.block_on(journal.prune(index))?;
        self.journal = Some(journal);
        Ok(())
    }

    fn drop_tail(&mut self, _index: u64) -> Result<()> {
        anyhow::bail!("not there")
    }

    fn replay(&mut self) -> Result<u64> {
        let journal = taken(&mut self.journal)?;
        let (journal, bytes) = self.runtime.handle.block_on(async move {
            let (journal, reader) = journal.snapshot().await?;
            let mut bytes = 0;
            let batches = reader.replay(reader.bounds(), BUFFER_BYTES, ReadOptions::default()).await?;
            let mut batches = std::pin::pin!(batches);
            while let Some(batch) = batches.next().await {
                bytes += batch?.into_iter().map(|(_, entry)| look_at(&entry)).sum::<u64>();
            }
            Ok::<_, anyhow::Error>((journal, bytes))
        })?;
        self.journal = Some(journal);
        Ok(bytes)
    }
}
