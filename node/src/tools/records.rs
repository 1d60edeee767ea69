//! QCs and blocks on their way out of a store and into one, in the order in which a store takes them: each QC, then its
//! blocks.

use std::iter::Peekable;
use std::ops::Range;

use roadbed_messages::api::WalKind;
use roadbed_wal::{Reader, Replay, StoredEntry, WalError};

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The log that it belongs to.
    pub(crate) wal: WalKind,
    /// Its index there; of a block the number.
    pub(crate) index: u64,
    /// The end of the blocks that it covers.
    pub(crate) key: u64,
    /// Its encoded bytes.
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    fn of(wal: WalKind, entry: StoredEntry) -> Self {
        Self { wal, index: entry.index, key: entry.key, payload: entry.payload }
    }
}

/// Reads both logs side by side; memory holds one record of each.
pub(crate) struct Records {
    qcs: Replay,
    blocks: Peekable<Replay>,
    /// The end of the QC that was given last.
    covered: u64,
    end: u64,
}

impl Records {
    /// The blocks of `range` that are there, and every QC that covers one of the range's numbers, but none that ends at
    /// or below `qcs_above`.
    ///
    /// # Errors
    /// Damage, or what the storage says.
    pub(crate) fn new(
        qcs: &Reader,
        blocks: Option<&Reader>,
        range: Range<u64>,
        qcs_above: u64,
    ) -> Result<Self, WalError> {
        let first = qcs.get_by_key(range.start.max(qcs_above))?;
        let first = first.map_or(qcs.range().end, |entry| entry.index);
        let held = blocks.map_or(0..0, |blocks| {
            let held = blocks.range();
            range.start.clamp(held.start, held.end)..range.end.clamp(held.start, held.end)
        });
        let replay = blocks.map_or_else(|| qcs.replay(0..0), |blocks| blocks.replay(held));
        let covered = qcs_above;
        Ok(Self {
            qcs: qcs.replay(first..qcs.range().end),
            blocks: replay.peekable(),
            covered,
            end: range.end,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Raw, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let covered = self.covered;
        if let Some(block) =
            self.blocks.next_if(|block| block.as_ref().map_or(true, |block| block.index < covered))
        {
            return Some(block.map(|entry| Raw::of(WalKind::Blocks, entry)));
        }
        if self.covered >= self.end {
            return None;
        }
        match self.qcs.next()? {
            Ok(entry) => {
                self.covered = entry.key;
                Some(Ok(Raw::of(WalKind::Qcs, entry)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
