//! Its runtime, and what its two journals have in common.

mod contiguous;
mod segmented;

use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use commonware_runtime::buffer::paged::{CacheRef, page_size};
use commonware_runtime::tokio::{Config, Context, Runner};
use commonware_runtime::{BLOB_PAGE_SIZE, Runner as _, Supervisor as _};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::peer::{FILE_BYTES, Payloads};

pub use contiguous::CANDIDATE as CONTIGUOUS;
pub use segmented::CANDIDATE as SEGMENTED;

const BUFFER_BYTES: NonZeroUsize = NonZeroUsize::new(8 << 20).unwrap();
const PAGE_BYTES: NonZeroU16 = page_size(BLOB_PAGE_SIZE);
/// 160 MB.
const CACHED_PAGES: NonZeroUsize = NonZeroUsize::new(40_000).unwrap();

/// On a thread of its own as long as this lives; futures are polled where they are waited for.
struct Runtime {
    handle: Handle,
    context: Context,
    /// Journals that were opened: each has metrics of its own.
    opened: u64,
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
        Ok(Self { handle, context, opened: 0, stop: Some(stop), thread: Some(thread) })
    }

    /// For a journal.
    fn context(&mut self) -> Context {
        self.opened += 1;
        self.context.child("storage").with_attribute("opened", self.opened)
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

fn cache() -> CacheRef {
    CacheRef::new(PAGE_BYTES, CACHED_PAGES)
}

fn per_section(payloads: &Payloads) -> NonZeroU64 {
    NonZeroU64::new(FILE_BYTES / payloads.bytes().max(1)).unwrap_or(NonZeroU64::MIN)
}

/// Its journals are moved into each operation and out of it again.
fn taken<T>(journal: &mut Option<T>) -> Result<T> {
    journal.take().ok_or_else(|| anyhow!("an operation failed before"))
}
