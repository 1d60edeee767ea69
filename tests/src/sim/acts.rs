//! Everybody around the subsystem: peers, the application, subscribers, operators, and what breaks.

use std::sync::Arc;
use std::time::Duration;

use roadbed::state::core::{Answer, Input, Request};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{
    Cursors, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock, PruneBefore,
    PushAppHash, PushBlock, PushQc, Subscribe, TryGetBlock,
};
use roadbed_messages::{BlockNumber, testing};

use super::chain::Link;
use super::process::{Asked, Who};
use super::script::Act;
use super::world::{Happening, Subscriber, World};

const MILLI: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn act(&mut self, act: Act) {
        self.check_bounds();
        let group = if Act::FAULTS.contains(&act) { "fault" } else { "act" };
        if self.process.is_some() || matches!(act, Act::AppAhead | Act::AppRestart) {
            self.tales.count(group, act.name());
        }
        match act {
            Act::Qcs => self.peers_push_qcs(),
            Act::Blocks => self.peers_push_blocks(),
            Act::Invalid => self.peers_lie(),
            Act::Equivocating => self.peers_equivocate(),
            Act::Execute => self.execute(),
            Act::Poll => self.poll(),
            Act::Get => self.get(),
            Act::Prune => self.prune(),
            Act::Forget => self.forget(),
            Act::Flood => self.flood(),
            Act::Status => {
                let request = if self.luck.one_in(2) { Request::GetStatus } else { Request::NextBlock };
                self.ask(request, Who::Other, true);
            }
            Act::AppRestart => {
                let back = self.luck.below(40);
                let first = self.chain.first_block;
                self.application.next = self.application.next.saturating_sub(back).max(first);
                self.application.call = None;
            }
            Act::AppAhead => {
                let ahead = self.luck.below(12);
                self.application.next = (self.application.next + ahead).min(self.chain.end());
            }
            Act::Shutdown => {
                self.ask(Request::Shutdown, Who::Other, true);
            }
            Act::Poison => self.poison(),
            Act::SecondProcess => self.second_process(),
            act => self.fault(act),
        }
    }

    // ---- peers -------------------------------------------------------------------------------------------------

    /// Sends it a while later, perhaps twice, perhaps never.
    fn send(&mut self, request: Request, who: Who, honest: bool) {
        let copies = match self.luck.below(20) {
            0 => 0,
            1 | 2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = self.luck.time(Duration::ZERO, 40 * MILLI);
            self.after(delay, Happening::Arrives { request: request.clone(), who, honest });
        }
    }

    /// Where the peers think that the node is.
    pub(super) fn tip(&self) -> (u64, u64) {
        let first = self.chain.first_block;
        self.process.as_ref().map_or((first, first), |process| {
            let cursors = process.core.cursors();
            (cursors.next_block.0, cursors.next_qc.0)
        })
    }

    fn links_around(&mut self) -> Vec<Arc<Link>> {
        let (next_block, next_qc) = self.tip();
        let start = match self.luck.below(10) {
            0 => next_block.saturating_sub(self.luck.below(20)),
            1 => next_block,
            2 => next_qc.saturating_add(self.luck.below(60)),
            _ => next_qc,
        };
        let mut links: Vec<Arc<Link>> = Vec::new();
        for _ in 0..=self.luck.below(4) {
            let at = links.last().map_or(start.max(self.chain.first_block), |link| link.end);
            links.extend(self.chain.link(at));
        }
        links
    }

    pub(super) fn peers_push_qcs(&mut self) {
        for link in self.links_around() {
            let blocks = match self.luck.below(6) {
                0 => Vec::new(),
                1 => link.blocks.iter().filter(|_| self.luck.one_in(2)).cloned().collect(),
                _ => link.blocks.clone(),
            };
            let push = PushQc { qc: Arc::clone(&link.qc), blocks };
            self.send(Request::PushQc(push), Who::Peer, true);
        }
    }

    fn peers_push_blocks(&mut self) {
        let (next_block, next_qc) = self.tip();
        let start = if self.luck.one_in(5) { next_qc } else { next_block };
        for ahead in 0..=self.luck.below(8) {
            let Some(block) = self.chain.block(start.saturating_add(ahead)) else { return };
            let number = BlockNumber(start + ahead);
            self.send(Request::PushBlock(PushBlock { number, block }), Who::Peer, true);
        }
    }

    fn peers_lie(&mut self) {
        let Some(link) = self.links_around().pop() else { return };
        let members = &self.chain.members;
        let position = self.luck.index(4);
        let lie = self.luck.below(8);
        let (qc, blocks) = match lie {
            0 => (testing::outsider_signed(members, &link.qc), link.blocks.clone()),
            1 => (testing::too_few_signatures(members, &link.qc), link.blocks.clone()),
            2 => (testing::duplicate_signer(&link.qc), link.blocks.clone()),
            3 => (testing::invalid_signature(&link.qc, position), link.blocks.clone()),
            4 => {
                let blocks: Vec<_> = link.blocks.iter().map(|block| (**block).clone()).collect();
                let (qc, blocks) = testing::tampered_headers(&link.qc, &blocks);
                (qc, blocks.into_iter().map(Arc::new).collect())
            }
            _ => {
                let at = self.luck.index(link.blocks.len());
                let number = BlockNumber(link.first + at as u64);
                let block = match lie {
                    5 => Arc::new(testing::wrong_payload(&link.blocks[at])),
                    // A block of the chain, under another number.
                    6 => self.chain.block(link.end).unwrap_or_else(|| Arc::clone(&link.blocks[at])),
                    _ => self.chain.fork_link(link.first).map_or_else(
                        || Arc::clone(&link.blocks[at]),
                        |fork| Arc::clone(&fork.blocks[at % fork.blocks.len()]),
                    ),
                };
                return self.send(Request::PushBlock(PushBlock { number, block }), Who::Peer, false);
            }
        };
        self.send(Request::PushQc(PushQc { qc: Arc::new(qc), blocks }), Who::Peer, false);
    }

    /// Another QC, as validly signed, for numbers that are finalized: it comes at once, for the node must have them.
    fn peers_equivocate(&mut self) {
        let Some(Cursors { first, next_qc, .. }) = self.cursors() else { return };
        if next_qc.0 <= self.chain.first_block {
            return;
        }
        let back = self.luck.below(30.min(next_qc.0 - first.0 + 1)) + 1;
        let at = next_qc.0.saturating_sub(back).max(self.chain.first_block);
        let Some(link) = self.chain.fork_link(at) else { return };
        let push = PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() };
        self.ask(Request::PushQc(push), Who::Peer, false);
    }

    fn flood(&mut self) {
        let (_, next_qc) = self.tip();
        for _ in 0..60 {
            let at = next_qc.saturating_add(self.luck.below(400));
            let Some(link) = self.chain.link(at) else { continue };
            let request = match self.luck.below(3) {
                0 => Request::PushQc(PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() }),
                1 => Request::PushBlock(PushBlock {
                    number: BlockNumber(link.first),
                    block: Arc::clone(&link.blocks[0]),
                }),
                _ => Request::GetBlock(GetBlock { number: BlockNumber(at) }),
            };
            self.ask(request, Who::Peer, true);
        }
        self.check_bounds();
    }

    // ---- application and subscribers ---------------------------------------------------------------------------

    pub(super) fn execute(&mut self) {
        let next = self.application.next;
        if self.application.call.is_none_or(|call| !self.is_pending(call)) {
            let blocks_max = 1 + self.luck.index(30);
            let subscribe = Subscribe { from: BlockNumber(next), only_durable: true, blocks_max };
            self.application.call = self.ask(Request::Subscribe(subscribe), Who::Stream, true);
        }
        // What was executed is told again to a node that has forgotten it: as far as the node has it, so that one that has
        // lost more than its window gets on.
        let durable = self.cursors().map_or(0, |cursors| cursors.next_block_to_persist.0);
        let known = next.min(durable);
        if known > self.application.reported {
            self.report_app_hash(known - 1);
        } else if next > durable && self.luck.one_in(8) {
            self.report_app_hash(next - 1);
        }
        if self.luck.one_in(12) {
            let number = next.saturating_sub(self.luck.below(5));
            self.report_app_hash(number);
        }
    }

    fn report_app_hash(&mut self, number: u64) {
        let number = BlockNumber(number);
        let hash = testing::app_hash(self.chain.seed, number);
        self.ask(Request::PushAppHash(PushAppHash { number, hash }), Who::Report, true);
    }

    fn poll(&mut self) {
        let at = self.luck.index(self.subscribers.len());
        if let Some(call) = self.subscribers[at].call
            && self.is_pending(call)
        {
            self.tales.count("row", "a subscriber dies or lags");
            if self.luck.one_in(4) {
                // It dies; it comes back, and resumes by number.
                self.caller_goes(call);
                self.subscribers[at].call = None;
            }
            return;
        }
        let blocks_max = 1 + self.luck.index(40);
        self.ask_for_more(at, blocks_max);
    }

    pub(super) fn ask_for_more(&mut self, at: usize, blocks_max: usize) {
        let Subscriber { next, only_durable, .. } = self.subscribers[at];
        let subscribe = Subscribe { from: BlockNumber(next), only_durable, blocks_max };
        self.subscribers[at].call = self.ask(Request::Subscribe(subscribe), Who::Subscriber(at), true);
    }

    pub(super) fn get(&mut self) {
        let Some(now) = self.cursors() else { return };
        let from = now.first.0.saturating_sub(2).max(self.chain.first_block);
        let number = BlockNumber(from + self.luck.below((now.next_qc.0 - from).saturating_add(4)));
        let request = match self.luck.below(7) {
            0 => Request::GetQc(GetQc { number }),
            1 => Request::GetBlock(GetBlock { number }),
            2 => Request::GetGlobalBlock(GetGlobalBlock { number }),
            3 => Request::GetAppProposal(GetAppProposal { number }),
            4 => Request::TryGetBlock(TryGetBlock { number }),
            5 => match self.chain.block(number.0) {
                Some(block) => Request::GetBlockByHash(GetBlockByHash { hash: block.header.hash() }),
                None => return,
            },
            _ => Request::NeedBlock(NeedBlock { number }),
        };
        self.ask(request, Who::Other, true);
    }

    fn prune(&mut self) {
        let Some(now) = self.cursors() else { return };
        let reach = now.next_app_proposal.0 - now.first.0;
        let retain_from = BlockNumber(now.first.0 + self.luck.below(reach + 3));
        self.ask(Request::PruneBefore(PruneBefore { retain_from }), Who::Other, true);
    }

    fn forget(&mut self) {
        let Some(process) = &self.process else { return };
        let pending = process.pending.keys().copied().collect::<Vec<_>>();
        if !pending.is_empty() {
            let call = pending[self.luck.index(pending.len())];
            if process.pending[&call].who != Who::Pruner {
                self.caller_goes(call);
            }
        }
    }

    fn caller_goes(&mut self, call: CallId) {
        if let Some(process) = &mut self.process {
            process.pending.remove(&call);
            self.tell(format_args!("the caller of {} goes", call.0));
            self.input(Input::Forget { call });
        }
    }

    pub(super) fn take_reply(&mut self, number: u64, asked: &Asked, answer: Result<Answer, Error>) {
        // Who has gone back, or died, no longer wants what it asked for before.
        let wanted = |next: u64| matches!(&asked.request, Request::Subscribe(asked) if asked.from.0 == next);
        match (asked.who, answer) {
            (Who::Stream, Ok(Answer::GlobalBlocks(blocks))) if wanted(self.application.next) => {
                self.application.next = blocks.last().map_or(0, |block| block.number.0 + 1);
                for block in &blocks {
                    // A jump stands for the blocks between.
                    if block.number.0 + 1 == self.application.next || self.luck.one_in(3) {
                        let request = Request::PushAppHash(PushAppHash {
                            number: block.number,
                            hash: testing::app_hash(self.chain.seed, block.number),
                        });
                        let delay = self.luck.time(Duration::ZERO, 5 * MILLI);
                        self.after(delay, Happening::Arrives { request, who: Who::Report, honest: true });
                    }
                }
            }
            // It was behind what is retained, and goes on from there.
            (Who::Stream, Err(Error::Pruned { first, .. })) => self.application.next = first.0,
            (Who::Report, Ok(_)) => {
                if let Request::PushAppHash(push) = &asked.request {
                    self.application.reported = self.application.reported.max(push.number.0 + 1);
                }
            }
            (Who::Report, Err(Error::AppHashOutOfOrder { next_app_proposal, .. })) => {
                self.application.reported = self.application.reported.max(next_app_proposal.0);
            }
            (Who::Subscriber(at), Ok(Answer::GlobalBlocks(blocks))) if wanted(self.subscribers[at].next) => {
                self.subscribers[at].next = blocks.last().map_or(0, |block| block.number.0 + 1);
            }
            (Who::Subscriber(at), Err(Error::Pruned { first, .. })) => self.subscribers[at].next = first.0,
            (Who::Pruner, _) => self.pruner_goes_on(number),
            _ => {}
        }
    }
}
