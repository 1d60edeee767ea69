//! App hashes: which blocks were executed, with which result.
//!
//! A jump covers the blocks between as a range, so that one entry stands for all of them. App hashes are not
//! durable: after a restart the application reports them again.
//!
//! However many blocks are retained, at most [`REPORTS_MAX`] reports are remembered (2.6 MB): the newest half one by one,
//! older ones ever more thinly. A block whose own report was let go is covered by the next one that was not, as if the
//! application had jumped there.

use std::collections::VecDeque;

use roadbed_messages::{AppHash, BlockNumber};

/// The most reports that are remembered.
pub const REPORTS_MAX: usize = 1 << 16;

/// The reported hashes, ascending by block.
#[derive(Debug, Default)]
pub struct AppHashes {
    reported: VecDeque<(BlockNumber, AppHash)>,
}

impl AppHashes {
    /// Notes the hash after `number`, which lies above all that were noted before.
    pub fn push(&mut self, number: BlockNumber, hash: AppHash) {
        debug_assert!(self.reported.back().is_none_or(|(last, _)| *last < number));
        if self.reported.len() == REPORTS_MAX {
            self.thin_out();
        }
        self.reported.push_back((number, hash));
    }

    /// The lowest remembered report that covers `number`.
    pub fn covering(&self, number: BlockNumber) -> Option<(BlockNumber, AppHash)> {
        self.reported.get(self.reported.partition_point(|(reported, _)| *reported < number)).copied()
    }

    /// Forgets the reports that cover nothing from `first` on.
    pub fn prune(&mut self, first: BlockNumber) {
        while self.reported.front().is_some_and(|(number, _)| *number < first) {
            self.reported.pop_front();
        }
    }

    /// Lets every second report of the older half go: of two neighbours the later one covers what both did.
    fn thin_out(&mut self) {
        let mut position = 0;
        self.reported.retain(|_| {
            position += 1;
            position > REPORTS_MAX / 2 || position % 2 == 0
        });
    }
}
