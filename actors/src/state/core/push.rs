//! Pushes: admission, verification, insertion, and the promise behind app hashes.

use std::collections::BTreeMap;

use roadbed_messages::api::workers::{CallId, Order, Verified, VerifyJob};
use roadbed_messages::api::{ActorKind, Cursors, Error, PushAppHash, PushBlock, PushQc};
use roadbed_messages::{BlockNumber, HeaderHash, VerifiedBlock, VerifiedQc, codec};

use super::calls::{Kind, Pending, Stage};
use super::chain::Chain;
use super::{Answer, Core, Effect, tally};

/// A job that ended this many lives of the verifier is not tried again.
const VERIFIER_DEATHS_MAX: u32 = 2;

impl Core {
    pub(super) fn on_push_qc(&mut self, call: CallId, push: PushQc) {
        match push.qc.range(&self.committee) {
            Ok(range) => {
                let bytes = qc_push_bytes(&push);
                self.admit(call, Kind::PushQc, range.start.0, bytes, Stage::Ahead, Pending::PushQc(push));
            }
            Err(error) => self.refuse(Kind::PushQc, call, error.into()),
        }
    }

    pub(super) fn on_push_block(&mut self, call: CallId, push: PushBlock) {
        let (number, bytes) = (push.number, size_bytes(&*push.block));
        self.admit(call, Kind::PushBlock, number.0, bytes, Stage::Queued, Pending::PushBlock(push));
    }

    pub(super) fn on_push_app_hash(&mut self, call: CallId, push: PushAppHash) {
        match self.out_of_order(&push) {
            Some(error) => self.refuse(Kind::PushAppHash, call, error),
            None => self.wait(call, Kind::PushAppHash, push.number, Pending::PushAppHash(push.hash)),
        }
    }

    fn out_of_order(&self, push: &PushAppHash) -> Option<Error> {
        let next_app_proposal = self.cursors().next_app_proposal;
        (push.number < next_app_proposal).then_some(Error::AppHashOutOfOrder {
            number: push.number,
            hash: push.hash,
            next_app_proposal,
        })
    }

    /// The first block at which a QC may not start yet: the window bounds what memory must hold, and is measured
    /// from where the application will be, so that a long recovered history can't shut it.
    fn window_end(&self) -> BlockNumber {
        let base = self.cursors().next_app_proposal.max(self.recovered_next_block);
        BlockNumber(base.0.saturating_add(self.config.window_blocks))
    }

    /// The first block that may not come in yet: the one without a QC, or the first whose QC starts beyond the window,
    /// which happens after a start on many QCs with few blocks. Measured from what is durable as well, for there the
    /// application can't go ahead.
    fn blocks_end(&self) -> BlockNumber {
        let Cursors { next_block_to_persist, next_qc, .. } = self.cursors();
        let window =
            next_block_to_persist.0.saturating_add(self.config.window_blocks).max(self.window_end().0);
        let last = self.chain.qc(BlockNumber(window.saturating_sub(1)));
        last.map_or(BlockNumber(window), |last| last.qc.range().end).min(next_qc)
    }

    /// Lets pushes go on whose wait is over; answers whether any block or QC may have come in.
    pub(super) fn settle_pushes(&mut self) -> bool {
        let mut progress = false;
        // Whatever the window takes is verified, so that all cores are busy and signatures share their batches; what
        // is valid then waits for its turn.
        while let Some(id) = self.calls.next_ahead(self.window_end().0) {
            self.calls.set_stage(id, Stage::Queued);
        }
        while let Some(id) = self.calls.next_below(Kind::PushQc, self.cursors().next_qc.0.saturating_add(1)) {
            progress = true;
            self.insert(id);
        }
        while let Some(id) = self.calls.next_below(Kind::PushBlock, self.blocks_end().0) {
            progress = true;
            self.match_block(id);
        }
        progress
    }

    /// Grants the app hashes that have become durable, in ascending order.
    pub(super) fn settle_app_hashes(&mut self) -> bool {
        let mut progress = false;
        while let Some(id) = self.calls.next_below(Kind::PushAppHash, self.cursors().next_block_to_persist.0)
        {
            progress = true;
            let Some((number, hash)) = self.calls.get(id).and_then(|call| match call.pending {
                Pending::PushAppHash(hash) => Some((BlockNumber(call.number), hash)),
                _ => None,
            }) else {
                unreachable!("calls of this kind hold an app hash")
            };
            let answer = match self.out_of_order(&PushAppHash { number, hash }) {
                Some(error) => Err(error),
                None => {
                    self.app.push(number, hash);
                    self.chain.set_executed(number.saturating_add(1));
                    Ok(Answer::Done)
                }
            };
            self.answer(id, answer);
        }
        progress
    }

    /// Gives the verifier what it can take, the lowest numbers first. Every other job is one that the chain may need
    /// to go on, so that a flood of pushes of what is long there can't keep those away.
    pub(super) fn issue_jobs(&mut self) {
        let Some(generation) = self.workers.up(ActorKind::Verifier) else { return };
        let bounds = &self.config.bounds;
        let bytes_max = bounds.push_qc.bytes_max.saturating_add(bounds.push_block.bytes_max);
        while self.verifying.len() < self.config.verify_jobs_max {
            let Cursors { next_block, next_qc, .. } = self.cursors();
            let needed = if self.needed_job_next { next_block.0 } else { 0 };
            let Some(id) = self.calls.next_queued(needed) else { return };
            let Some(call) = self.calls.get(id) else { return };
            let bytes = call.bytes;
            // Jobs whose callers have gone, or had to make room, are in no table, but in memory all the same.
            if !self.verifying.is_empty() && self.verifying_bytes.saturating_add(bytes) > bytes_max {
                return;
            }
            self.needed_job_next = !self.needed_job_next;
            let (qc, blocks) = match &call.pending {
                // The signatures of a stale QC need no check: it is not inserted.
                Pending::PushQc(push) if call.number < next_qc.0 => (None, push.blocks.clone()),
                Pending::PushQc(push) => (Some(push.qc.clone()), push.blocks.clone()),
                Pending::PushBlock(push) => (None, vec![push.block.clone()]),
                pending => unreachable!("only pushes are queued for verification, not {pending:?}"),
            };
            let alone = call.suspected;
            self.calls.set_stage(id, Stage::Verifying);
            self.verifying.insert(id, bytes);
            self.verifying_bytes = self.verifying_bytes.saturating_add(bytes);
            let order = VerifyJob { call: id, qc, blocks, alone };
            self.effects.push(Effect::Verify(Order { generation, order }));
        }
    }

    pub(super) fn on_verified(&mut self, done: Vec<(CallId, Verified)>) {
        for (id, outcome) in done {
            let Some(bytes) = self.verifying.remove(&id) else { continue };
            self.verifying_bytes = self.verifying_bytes.saturating_sub(bytes);
            self.workers.progressed(ActorKind::Verifier);
            match outcome {
                // The caller has gone, or had to make room.
                _ if self.calls.get(id).is_none() => {}
                Ok((qc, blocks)) => self.await_turn(id, qc, blocks),
                Err(error) => self.answer(id, Err(error)),
            }
        }
    }

    /// What a push brought is valid, and waits for its turn.
    fn await_turn(&mut self, id: CallId, qc: Option<VerifiedQc>, mut blocks: Vec<VerifiedBlock>) {
        let Some(pending) = self.calls.pending_mut(id) else { return };
        *pending = match pending {
            Pending::PushQc(push) => {
                let headers = push.qc.headers.len() as u64;
                Pending::InsertQc { headers, qc, blocks }
            }
            _ => match blocks.pop() {
                Some(block) => Pending::MatchBlock(block),
                None => unreachable!("the verifier answers with every block of its job"),
            },
        };
        self.calls.set_stage(id, Stage::Waiting);
    }

    /// Puts a verified QC at the end of the chain, if that is where it starts *now*, and the blocks that match the
    /// stored headers; all of it or nothing is what any later input sees.
    fn insert(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(id) else { return };
        let first = BlockNumber(call.number);
        let Pending::InsertQc { headers, qc, blocks } = call.pending else {
            unreachable!("a QC that waits for its turn is verified")
        };
        match qc.filter(|qc| qc.range().start == self.cursors().next_qc) {
            Some(qc) => {
                self.chain.insert_qc(qc);
                self.tally.qc(tally::ACCEPTED, 1);
            }
            None => self.tally.qc(tally::STALE, 1),
        }
        // What the pushed QC says of its own length is not verified when it was stale: its headers are counted, and no block
        // comes in that could not be pushed alone.
        let end = first.0.saturating_add(headers).min(self.blocks_end().0);
        let mut numbers = (first.max(self.cursors().next_block).0..end).map(BlockNumber).peekable();
        let mut others: BTreeMap<HeaderHash, VerifiedBlock> = BTreeMap::new();
        let (pushed, mut accepted, mut duplicate) = (blocks.len() as u64, 0, 0);
        let mut insert = |chain: &mut Chain, number, block| {
            if chain.insert_block(number, block) {
                accepted += 1;
            } else {
                duplicate += 1;
            }
        };
        for block in blocks {
            // They come in the order of the headers, mostly.
            let is_next = |number: &BlockNumber| self.chain.header_hash(*number) == Some(block.header_hash());
            match numbers.next_if(is_next) {
                Some(number) => insert(&mut self.chain, number, block),
                None => drop(others.insert(block.header_hash(), block)),
            }
        }
        for number in numbers {
            if others.is_empty() {
                break;
            }
            let block = self.chain.header_hash(number).and_then(|hash| others.remove(&hash));
            if let Some(block) = block {
                insert(&mut self.chain, number, block);
            }
        }
        self.tally.block(tally::ACCEPTED, accepted);
        self.tally.block(tally::DUPLICATE, duplicate);
        self.tally.block(tally::IGNORED, pushed - accepted - duplicate);
        self.answer(id, Ok(Answer::Done));
    }

    /// Matches a verified block against the header that its number was finalized with.
    fn match_block(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(id) else { return };
        let number = BlockNumber(call.number);
        let Pending::MatchBlock(block) = call.pending else {
            unreachable!("a block that waits for its QC is verified")
        };
        let known = number < self.cursors().next_block || self.chain.block(number).is_some();
        let found = block.header_hash();
        match self.chain.header_hash(number) {
            _ if known => self.tally.block(tally::DUPLICATE, 1),
            Some(expected) if expected == found => {
                self.chain.insert_block(number, block);
                self.tally.block(tally::ACCEPTED, 1);
            }
            Some(expected) => {
                let mismatch = Error::HeaderMismatch { number, expected, found };
                return self.refuse(Kind::PushBlock, id, mismatch);
            }
            None => unreachable!("QCs above next_block stay in memory"),
        }
        self.answer(id, Ok(Answer::Done));
    }

    /// Queues the verifier's unanswered jobs again, except one that has now ended too many of its lives.
    pub(super) fn requeue_jobs(&mut self, suspect: Option<CallId>, last_error: &str) {
        self.verifying_bytes = 0;
        for id in std::mem::take(&mut self.verifying).into_keys() {
            let Some(failures) = self.calls.suspect(id, suspect == Some(id)) else { continue };
            if failures >= VERIFIER_DEATHS_MAX {
                let last_error = last_error.to_owned();
                self.answer(id, Err(Error::VerifierFailed { failures, last_error }));
            } else {
                self.calls.set_stage(id, Stage::Queued);
            }
        }
    }
}

/// The bytes of a QC push with all that comes with it.
pub(super) fn qc_push_bytes(push: &PushQc) -> u64 {
    push.blocks.iter().fold(size_bytes(&*push.qc), |bytes, block| bytes.saturating_add(size_bytes(&**block)))
}

/// The bytes that a pushed value takes encoded, which is about what it takes in memory.
pub(super) fn size_bytes<T: codec::Wire>(value: &T) -> u64 {
    codec::encoded_len(value) as u64
}
