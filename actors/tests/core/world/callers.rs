//! Requests in one word each.

use std::sync::Arc;

use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{
    Cursors, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock, PruneBefore,
    PushAppHash, PushBlock, PushQc, RunState, Status, Subscribe, TryGetBlock,
};
use roadbed_messages::{AppHash, Block, BlockNumber, FullCommitQc};

use super::World;

/// An app hash that can be told from others.
pub fn hash(byte: u8) -> AppHash {
    AppHash([byte; 32])
}

impl World {
    /// Pushes a link of the chain with all its blocks.
    pub fn push_link(&mut self, link: usize) -> CallId {
        let blocks = self.source.links[link].pushed_blocks();
        self.push_link_with(link, blocks)
    }

    /// Pushes the QC of a link without any block.
    pub fn push_qc_alone(&mut self, link: usize) -> CallId {
        self.push_link_with(link, Vec::new())
    }

    pub fn push_link_with(&mut self, link: usize, blocks: Vec<Arc<Block>>) -> CallId {
        let qc = self.source.links[link].qc.clone();
        self.ask(Request::PushQc(PushQc { qc, blocks }))
    }

    /// Pushes links with all their blocks, one after the other, and lets everything happen.
    pub fn push_links(&mut self, links: std::ops::Range<usize>) {
        for link in links {
            let call = self.push_link(link);
            self.run();
            assert_eq!(self.outcome(call), Ok(()), "link {link}");
        }
    }

    /// Pushes a QC that is not of the chain, with its blocks.
    pub fn push_lie(&mut self, (qc, blocks): (Arc<FullCommitQc>, Vec<Arc<Block>>)) -> CallId {
        self.ask_as(Request::PushQc(PushQc { qc, blocks }), false)
    }

    pub fn push_block(&mut self, number: u64) -> CallId {
        let block = self.source.block(number).block().clone();
        self.ask(Request::PushBlock(PushBlock { number: BlockNumber(number), block }))
    }

    /// Pushes a block under a number that is not its own, or one that is not of the chain.
    pub fn push_block_lie(&mut self, number: u64, block: Arc<Block>) -> CallId {
        self.ask_as(Request::PushBlock(PushBlock { number: BlockNumber(number), block }), false)
    }

    pub fn push_app_hash(&mut self, number: u64) -> CallId {
        self.push_app_hash_of(number, hash(1))
    }

    pub fn push_app_hash_of(&mut self, number: u64, hash: AppHash) -> CallId {
        self.ask(Request::PushAppHash(PushAppHash { number: BlockNumber(number), hash }))
    }

    /// Reports everything as executed that is durable.
    pub fn execute_all(&mut self) {
        let last = self.cursors().next_block_to_persist.0 - 1;
        let call = self.push_app_hash(last);
        assert_eq!(self.outcome(call), Ok(()));
    }

    pub fn prune(&mut self, retain_from: u64) -> CallId {
        self.ask(Request::PruneBefore(PruneBefore { retain_from: BlockNumber(retain_from) }))
    }

    pub fn get_qc(&mut self, number: u64) -> CallId {
        self.ask(Request::GetQc(GetQc { number: BlockNumber(number) }))
    }

    pub fn get_block(&mut self, number: u64) -> CallId {
        self.ask(Request::GetBlock(GetBlock { number: BlockNumber(number) }))
    }

    pub fn get_global_block(&mut self, number: u64) -> CallId {
        self.ask(Request::GetGlobalBlock(GetGlobalBlock { number: BlockNumber(number) }))
    }

    pub fn get_app_proposal(&mut self, number: u64) -> CallId {
        self.ask(Request::GetAppProposal(GetAppProposal { number: BlockNumber(number) }))
    }

    pub fn try_get_block(&mut self, number: u64) -> CallId {
        self.ask(Request::TryGetBlock(TryGetBlock { number: BlockNumber(number) }))
    }

    /// Asks for a block of the chain by its hash.
    pub fn get_by_hash(&mut self, number: u64) -> CallId {
        let hash = self.source.block(number).header_hash();
        self.ask(Request::GetBlockByHash(GetBlockByHash { hash }))
    }

    pub fn subscribe(&mut self, from: u64, only_durable: bool, blocks_max: usize) -> CallId {
        self.ask(Request::Subscribe(Subscribe { from: BlockNumber(from), only_durable, blocks_max }))
    }

    pub fn need_block(&mut self, number: u64) -> bool {
        match self.ask_now(Request::NeedBlock(NeedBlock { number: BlockNumber(number) })) {
            Ok(Answer::Flag(needed)) => needed,
            answer => panic!("{answer:?}"),
        }
    }

    pub fn status(&mut self) -> Status {
        match self.ask_now(Request::GetStatus) {
            Ok(Answer::Status(status)) => *status,
            answer => panic!("{answer:?}"),
        }
    }

    pub fn state(&mut self) -> RunState {
        self.status().state
    }

    /// Whether a call was answered, and with which error; panics while it still waits.
    pub fn outcome(&self, call: CallId) -> Result<(), Error> {
        match self.answer(call) {
            Some(answer) => answer.clone().map(|_| ()),
            None => panic!("{call:?} is not answered"),
        }
    }

    /// The short name of the error that a call was answered with, `"ok"`, or `"waits"`.
    pub fn fate(&self, call: CallId) -> &'static str {
        match self.answer(call) {
            Some(Ok(_)) => "ok",
            Some(Err(error)) => error.reason(),
            None if self.is_pending(call) => "waits",
            None => panic!("{call:?} was forgotten, or never asked"),
        }
    }

    /// The fates of several calls.
    pub fn fates(&self, calls: &[CallId]) -> Vec<&'static str> {
        calls.iter().map(|call| self.fate(*call)).collect()
    }

    /// The cursors as plain numbers, in their order.
    pub fn cursor_numbers(&self) -> [u64; 5] {
        let Cursors { first, next_app_proposal, next_block_to_persist, next_block, next_qc } = self.cursors();
        [first.0, next_app_proposal.0, next_block_to_persist.0, next_block.0, next_qc.0]
    }
}
