//! The ordered stream of finalized blocks.

use std::collections::VecDeque;

use roadbed_messages::api::{Error, Subscribe};
use roadbed_messages::{BlockNumber, GlobalBlock};

use crate::handle::Roadbed;

/// Blocks that one request asks for.
const BLOCKS_PER_REQUEST: usize = 64;

/// A subscription: pulls stretches of the stream from State, so that State keeps nothing for it.
///
/// To resume after the subscriber's own restart, subscribe from [`Subscription::next_number`] of then.
pub struct Subscription {
    roadbed: Roadbed,
    next: BlockNumber,
    only_durable: bool,
    fetched: VecDeque<GlobalBlock>,
}

impl Subscription {
    pub(crate) fn new(roadbed: Roadbed, from: BlockNumber, only_durable: bool) -> Self {
        Self { roadbed, next: from, only_durable, fetched: VecDeque::new() }
    }

    /// The next block; waits until there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Pruned`] when what is next was pruned, [`Error::Damaged`] when it can't be served,
    /// [`Error::Stopped`] after the end. The subscription stays where it was: it may be asked again.
    pub async fn next(&mut self) -> Result<GlobalBlock, Error> {
        loop {
            if let Some(block) = self.fetched.pop_front() {
                self.next = block.number.saturating_add(1);
                return Ok(block);
            }
            let (from, only_durable) = (self.next, self.only_durable);
            let request = Subscribe { from, only_durable, blocks_max: BLOCKS_PER_REQUEST };
            self.fetched = self.roadbed.send(request).await?.into();
        }
    }

    /// The number of the block that [`Subscription::next`] gives next.
    pub fn next_number(&self) -> BlockNumber {
        self.next
    }
}
