//! Reads of what is retained but not in memory: a pool of threads over both logs, never the thread that writes.
//!
//! Everything is checked before it is served: its checksum by the log, a block's hash against its QC's header, a QC
//! in full. What was checked is kept in a cache bounded in bytes, so that it is checked once while it is in use.

mod pool;
mod source;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadbed_wal::{Reader, WalError};

pub(crate) use pool::ReaderPool;
pub(crate) use source::{Source, checked_block, decoded_qc};

/// Where a log's I/O thread leaves the log's reader. It outlives the thread: while a log restarts, reads go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReaderSlot(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    latest: Mutex<Latest>,
    changed: Condvar,
}

#[derive(Clone, Debug)]
struct Latest {
    /// Counted up with each reader.
    version: u64,
    reader: Option<Reader>,
    reopening_wait: Duration,
}

impl Default for Latest {
    fn default() -> Self {
        Self { version: 0, reader: None, reopening_wait: REOPENING_WAIT }
    }
}

impl ReaderSlot {
    pub(crate) fn set(&self, reader: Option<Reader>) {
        let mut latest = self.latest();
        latest.version += 1;
        latest.reader = reader;
        self.0.changed.notify_all();
    }

    /// The reader of the log as it was last judged or opened; `None` before, and where there is no log.
    pub(crate) fn get(&self) -> Option<Reader> {
        self.latest().reader.clone()
    }

    /// For one thread that does everything: while it waited, nobody could bring the next reader.
    #[cfg(feature = "sim")]
    pub(crate) fn never_wait(&self) {
        self.latest().reopening_wait = Duration::ZERO;
    }

    /// Reads from the log. A restart may take a file away under a reader of the life before: a read that fails on the
    /// file system is tried again with the next reader, should one come soon.
    pub(crate) fn read<T>(
        &self,
        read: impl Fn(&Reader) -> Result<T, WalError>,
    ) -> Result<Option<T>, WalError> {
        for _ in 0..REOPENINGS_MAX {
            let Latest { version, reader, reopening_wait } = self.latest().clone();
            let Some(reader) = reader else { return Ok(None) };
            match read(&reader) {
                Err(WalError::Io { .. }) => {}
                answer => return answer.map(Some),
            }
            let same = |latest: &mut Latest| latest.version == version;
            drop(self.0.changed.wait_timeout_while(self.latest(), reopening_wait, same));
        }
        self.get().map(|reader| read(&reader)).transpose()
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a read that fails on the file system is tried again.
const REOPENINGS_MAX: usize = 20;
/// How long it waits for the log's next reader before each try.
const REOPENING_WAIT: Duration = Duration::from_millis(100);
