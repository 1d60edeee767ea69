//! App hashes: which blocks were executed, with which result.
//!
//! A jump covers the blocks between as a range, so that one entry stands for all of them. App hashes are not
//! durable: after a restart the application reports them again.

use std::collections::VecDeque;

use roadbed_messages::{AppHash, BlockNumber};

/// The reported hashes, ascending by block.
#[derive(Debug, Default)]
pub struct AppHashes {
    reported: VecDeque<(BlockNumber, AppHash)>,
}

impl AppHashes {
    /// Notes the hash after `number`, which lies above all that were noted before.
    pub fn push(&mut self, number: BlockNumber, hash: AppHash) {
        debug_assert!(self.reported.back().is_none_or(|(last, _)| *last < number));
        self.reported.push_back((number, hash));
    }

    /// The lowest report that covers `number`.
    pub fn covering(&self, number: BlockNumber) -> Option<(BlockNumber, AppHash)> {
        self.reported.get(self.reported.partition_point(|(reported, _)| *reported < number)).copied()
    }

    /// Forgets the reports that cover nothing from `first` on.
    pub fn prune(&mut self, first: BlockNumber) {
        while self.reported.front().is_some_and(|(number, _)| *number < first) {
            self.reported.pop_front();
        }
    }
}
