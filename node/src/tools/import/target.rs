//! The store that an import fills, or only the look of it: a dry run decides as an import does, and writes nothing.

use std::ops::Range;
use std::sync::Arc;

use roadbed::store::{
    StoreLock, StorePaths, append_block, append_qc, identify, log_options, prepare, read_marker, refuse_lost,
};
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee, VerifiedBlock, VerifiedQc};
use roadbed_wal::{FileSystem, Log, Storage};

use super::ImportArgs;
use crate::exit::NodeError;
use crate::output;
use crate::tools::facts::judge;
use crate::tools::mutate::with_segments;
use crate::tools::read_only::{ReadOnly, lock};

/// Where the store ends, and its logs unless this is a dry run.
pub(super) struct Target {
    /// The block that its QCs end before; none where it has no QC.
    pub(super) covered: Option<BlockNumber>,
    /// Its blocks; an empty range where there is none.
    pub(super) blocks: Range<u64>,
    logs: Option<Logs>,
}

struct Logs {
    qcs: Log,
    blocks: Log,
    _lock: StoreLock,
}

impl Target {
    /// Looks at the store as it is, and changes nothing.
    ///
    /// # Errors
    /// What an import would be refused for.
    pub(super) fn look(args: &ImportArgs, committee: &Committee) -> Result<Self, NodeError> {
        let storage = ReadOnly { locks: true };
        let paths = StorePaths::new(&args.dir);
        let marked = read_marker(&storage, &paths)?.is_some();
        let judge_one = |wal| judge(&paths, storage, wal, log_options(committee, wal));
        if !marked {
            for wal in WalKind::BOTH {
                if !judge_one(wal)?.facts().is_empty() {
                    return Err(NodeError::MarkerLost { dir: paths.dir.clone(), log: paths.log(wal) });
                }
            }
        }
        identify(&storage, &paths, committee)?;
        if !marked {
            refuse_lost(&storage, &paths)?;
        }
        let _held = lock(&paths)?;
        let (qcs, blocks) = (judge_one(WalKind::Qcs)?, judge_one(WalKind::Blocks)?);
        let (qcs, blocks) = (qcs.facts(), blocks.facts());
        for (facts, wal) in [(qcs, WalKind::Qcs), (blocks, WalKind::Blocks)] {
            if marked && !facts.exists {
                return Err(NodeError::Refused(format!(
                    "{} has no log, although STORE says that it was made: roadbed inspect {} shows what is there, \
                     roadbed repair makes it anew",
                    paths.log(wal).display(),
                    paths.dir.display()
                )));
            }
        }
        let torn_bytes = qcs.torn_bytes + blocks.torn_bytes;
        if torn_bytes > 0 {
            let dir = paths.dir.display();
            output::note(&format!(
                "{dir}: a torn tail of {torn_bytes} bytes is cut off first, as a start does"
            ));
        }
        let covered = qcs.last_key.filter(|_| qcs.first < qcs.next).map(BlockNumber);
        Ok(Self { covered, blocks: blocks.first..blocks.next, logs: None })
    }

    /// Takes over the store that was looked at, or makes one.
    ///
    /// # Errors
    /// In use, or what the storage says.
    pub(super) fn open(args: &ImportArgs, committee: &Committee) -> Result<Self, NodeError> {
        let paths = StorePaths::new(&args.dir);
        let storage: Arc<dyn Storage> = Arc::new(FileSystem);
        let options = |wal| with_segments(log_options(committee, wal), args.segment_bytes);
        let held = prepare(&storage, &paths, committee, options)?;
        let open = |wal| Log::open(storage.clone(), &paths.log(wal), options(wal));
        let (qcs, blocks) = (open(WalKind::Qcs)?, open(WalKind::Blocks)?);
        let covered = qcs.last_key().filter(|_| !qcs.range().is_empty()).map(BlockNumber);
        let range = blocks.range();
        Ok(Self { covered, blocks: range, logs: Some(Logs { qcs, blocks, _lock: held }) })
    }

    /// Appends a QC that follows.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn add_qc(&mut self, index: u64, qc: &VerifiedQc) -> Result<(), NodeError> {
        self.covered = Some(qc.range().end);
        let Some(Logs { qcs, .. }) = &mut self.logs else { return Ok(()) };
        if qcs.range().is_empty() && qcs.range().end != index {
            // An empty log whose cursor has moved looks like one that was lost: it does not stay so for a whole batch.
            qcs.reset(index)?;
            append_qc(qcs, index, qc)?;
            qcs.sync()?;
            return Ok(());
        }
        let next = qcs.range().end;
        append_qc(qcs, next, qc)?;
        Ok(())
    }

    /// Puts the cursor of a block log that holds nothing where the blocks begin.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn begin_blocks(&mut self, index: u64) -> Result<(), NodeError> {
        if !self.blocks.is_empty() || self.blocks.end == index {
            return Ok(());
        }
        self.blocks = index..index;
        if let Some(Logs { qcs, blocks, .. }) = &mut self.logs {
            // A block log that is ahead of all QCs would look as if they were lost.
            qcs.sync()?;
            blocks.reset(index)?;
        }
        Ok(())
    }

    /// Appends a block that follows.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn add_block(&mut self, number: BlockNumber, block: &VerifiedBlock) -> Result<(), NodeError> {
        self.blocks.end = number.0.saturating_add(1);
        if let Some(Logs { blocks, .. }) = &mut self.logs {
            append_block(blocks, number, block)?;
        }
        Ok(())
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn sync(&mut self) -> Result<(), NodeError> {
        if let Some(Logs { qcs, blocks, .. }) = &mut self.logs {
            // QCs first: blocks that no QC covers would be dropped by the next start.
            qcs.sync()?;
            blocks.sync()?;
        }
        Ok(())
    }

    /// Closes the logs in order.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn close(self) -> Result<(), NodeError> {
        if let Some(Logs { qcs, blocks, .. }) = self.logs {
            qcs.close()?;
            blocks.close()?;
        }
        Ok(())
    }
}
