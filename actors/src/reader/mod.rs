//! Reads of what is retained but not in memory: a pool of threads over both logs, never the thread that writes.
//!
//! Everything is checked before it is served: its checksum by the log, a block's hash against its QC's header, a QC
//! in full. What was checked is kept in a cache bounded in bytes, so that it is checked once while it is in use.

mod pool;
mod source;

use std::sync::{Arc, Mutex, PoisonError};

use roadbed_wal::Reader;

pub(crate) use pool::ReaderPool;
pub(crate) use source::{Source, checked_block, decoded_qc};

/// Where a log's I/O thread leaves the log's reader. It outlives the thread: while a log restarts, reads go on through
/// the reader of the life before, whose files the next life leaves alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReaderSlot(Arc<Mutex<Option<Reader>>>);

impl ReaderSlot {
    pub(crate) fn set(&self, reader: Option<Reader>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    /// The reader of the log as it was last judged or opened; `None` before, and where there is no log.
    pub(crate) fn get(&self) -> Option<Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
