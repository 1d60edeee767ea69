//! Reads of what is retained but not in memory: a pool of threads over both logs, never the thread that writes.
//!
//! Everything is checked before it is served: its checksum by the log, a block's hash against its QC's header, a QC
//! in full. What was checked is kept in a cache bounded in bytes, so that it is checked once while it is in use.

mod pool;
mod source;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use roadbed_wal::{Reader, WalError};

pub(crate) use pool::ReaderPool;
pub(crate) use source::{Source, checked_block, decoded_qc};

/// Where a log's I/O thread leaves the log's reader. It outlives the thread: while a log restarts, reads go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReaderSlot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Counted up with each reader.
    latest: Mutex<(u64, Option<Reader>)>,
    changed: Condvar,
    reopening_wait: Duration,
}

impl Default for Inner {
    fn default() -> Self {
        Self { latest: Mutex::default(), changed: Condvar::new(), reopening_wait: REOPENING_WAIT }
    }
}

impl ReaderSlot {
    pub(crate) fn set(&self, reader: Option<Reader>) {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (latest.0 + 1, reader);
        self.0.changed.notify_all();
    }

    /// The reader of the log as it was last judged or opened; `None` before, and where there is no log.
    pub(crate) fn get(&self) -> Option<Reader> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads from the log. A restart may take a file away under a reader of the life before: a read that fails on the
    /// file system is tried again with the next reader, should one come soon.
    pub(crate) fn read<T>(
        &self,
        read: impl Fn(&Reader) -> Result<T, WalError>,
    ) -> Result<Option<T>, WalError> {
        for _ in 0..REOPENINGS_MAX {
            let (version, reader) = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(reader) = reader else { return Ok(None) };
            match read(&reader) {
                Err(WalError::Io { .. }) => {}
                answer => return answer.map(Some),
            }
            let latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |latest: &mut (u64, Option<Reader>)| latest.0 == version;
            drop(self.0.changed.wait_timeout_while(latest, self.0.reopening_wait, same));
        }
        self.get().map(|reader| read(&reader)).transpose()
    }
}

/// How often a read that fails on the file system is tried again.
const REOPENINGS_MAX: usize = 20;
/// How long it waits for the log's next reader before each try.
const REOPENING_WAIT: Duration = Duration::from_millis(100);
