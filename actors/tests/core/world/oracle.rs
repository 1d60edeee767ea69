//! What must hold after every step.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roadbed::state::core::calls::{Bound, Kind};
use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::{CallId, WalOrder};
use roadbed_messages::api::{Cursors, Error, Recovered, RunState, StartError, StopReason, WalKind};
use roadbed_messages::{AppHash, AppProposal, BlockNumber, GlobalBlock, codec};

use super::{Record, World};

/// Calls beyond a full bound that are let in when they bring exactly what is needed next.
const RESERVE: usize = 16;

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub struct Asked {
    pub request: Request,
    /// What it pushes belongs to the chain.
    pub honest: bool,
    /// The cursors when it came.
    cursors: Cursors,
    /// Its row of the calls table, and the bytes that it holds there.
    kind: Option<Kind>,
    bytes: u64,
}

impl Asked {
    pub fn new(request: Request, honest: bool, cursors: Cursors) -> Self {
        let (kind, bytes) = (kind_of(&request), bytes_of(&request));
        Self { request, honest, cursors, kind, bytes }
    }

    pub fn name(&self) -> &'static str {
        match &self.request {
            Request::PushQc(_) => "push_qc",
            Request::PushBlock(_) => "push_block",
            Request::PushAppHash(_) => "push_app_hash",
            Request::GetQc(_) => "get_qc",
            Request::GetBlock(_) => "get_block",
            Request::GetGlobalBlock(_) => "get_global_block",
            Request::GetAppProposal(_) => "get_app_proposal",
            Request::TryGetBlock(_) => "try_get_block",
            Request::GetBlockByHash(_) => "get_block_by_hash",
            Request::NeedBlock(_) => "need_block",
            Request::NextBlock => "next_block",
            Request::GetStatus => "get_status",
            Request::Subscribe(_) => "subscribe",
            Request::PruneBefore(_) => "prune_before",
            Request::Shutdown => "shutdown",
        }
    }

    fn is_push(&self) -> bool {
        matches!(self.kind, Some(Kind::PushQc | Kind::PushBlock))
    }
}

/// The kind under which a request may have to wait.
fn kind_of(request: &Request) -> Option<Kind> {
    match request {
        Request::PushQc(_) => Some(Kind::PushQc),
        Request::PushBlock(_) => Some(Kind::PushBlock),
        Request::PushAppHash(_) => Some(Kind::PushAppHash),
        Request::GetQc(_) => Some(Kind::GetQc),
        Request::GetBlock(_) | Request::GetGlobalBlock(_) => Some(Kind::GetBlock),
        Request::GetAppProposal(_) => Some(Kind::GetAppProposal),
        Request::Subscribe(subscribe) if subscribe.only_durable => Some(Kind::SubscribeDurable),
        Request::Subscribe(_) => Some(Kind::Subscribe),
        // The last one waits for recovery only.
        Request::TryGetBlock(_) | Request::GetBlockByHash(_) | Request::NeedBlock(_) => Some(Kind::TryGet),
        Request::PruneBefore(_) => Some(Kind::PruneBefore),
        Request::Shutdown => Some(Kind::Shutdown),
        _ => None,
    }
}

fn bytes_of(request: &Request) -> u64 {
    let bytes = match request {
        Request::PushQc(push) => {
            let blocks: usize = push.blocks.iter().map(|block| codec::encoded_len(&**block)).sum();
            codec::encoded_len(&*push.qc) + blocks
        }
        Request::PushBlock(push) => codec::encoded_len(&*push.block),
        _ => 0,
    };
    bytes as u64
}

/// What was promised, over all lives of the core.
#[derive(Debug)]
pub struct Ledger {
    first_block: u64,
    /// The app hashes that were granted in this life.
    granted: Vec<(u64, AppHash)>,
    /// Blocks below were promised to survive a crash.
    promised: u64,
    /// Blocks below were promised never to come back.
    pruned: u64,
    /// What the present life's pending calls hold, by kind.
    held: BTreeMap<Kind, (usize, u64)>,
    /// The largest push so far.
    largest_push_bytes: u64,
}

impl Ledger {
    pub fn new(first_block: u64) -> Self {
        Self {
            first_block,
            granted: Vec::new(),
            promised: first_block,
            pruned: first_block,
            held: BTreeMap::new(),
            largest_push_bytes: 0,
        }
    }

    pub fn crashed(&mut self, with_logs: bool) {
        self.granted.clear();
        self.held.clear();
        if !with_logs {
            (self.promised, self.pruned) = (self.first_block, self.first_block);
        }
    }

    /// A log was lost from outside: what was promised is gone with it.
    pub fn excuse(&mut self) {
        (self.promised, self.pruned) = (self.first_block, self.first_block);
    }

    pub fn asked(&mut self, asked: &Asked) {
        if let Some(kind) = asked.kind {
            let held = self.held.entry(kind).or_default();
            *held = (held.0 + 1, held.1 + asked.bytes);
            self.largest_push_bytes = self.largest_push_bytes.max(asked.bytes);
        }
    }

    pub fn over(&mut self, asked: &Asked) {
        if let Some(kind) = asked.kind {
            let held = self.held.entry(kind).or_default();
            *held = (held.0 - 1, held.1 - asked.bytes);
        }
    }

    fn next_app_proposal(&self, first: BlockNumber) -> u64 {
        self.granted.last().map_or(first.0, |(number, _)| number + 1).max(first.0)
    }
}

impl World {
    fn bound(&self, kind: Kind) -> Bound {
        let bounds = &self.config.bounds;
        match kind {
            Kind::PushQc => bounds.push_qc,
            Kind::PushBlock => bounds.push_block,
            Kind::PushAppHash => bounds.push_app_hash,
            Kind::PruneBefore | Kind::Shutdown => bounds.prune,
            _ => bounds.get,
        }
    }

    /// A log was lost from outside.
    pub fn excuse_lost_promises(&mut self) {
        self.ledger.excuse();
    }

    pub(super) fn check_after(&self, before: &Cursors) {
        let now = self.cursors();
        assert!(now.in_order(), "{now:?}");
        self.check_bounds();
        self.check_end();
        if self.effects_began_running() || self.running.is_none() {
            return;
        }
        let went_on = [
            (before.first, now.first),
            (before.next_app_proposal, now.next_app_proposal),
            (before.next_block_to_persist, now.next_block_to_persist),
            (before.next_block, now.next_block),
            (before.next_qc, now.next_qc),
        ];
        assert!(went_on.iter().all(|(before, now)| before <= now), "a cursor went back: {before:?}, {now:?}");
        assert_eq!(now.next_app_proposal.0, self.ledger.next_app_proposal(now.first));
        if self.with_logs {
            let durable = self.qcs.disk.durable_end().min(self.blocks.disk.durable_end());
            assert!(now.next_block_to_persist.0 <= durable, "{now:?}, but durable is only {durable}");
            assert!(
                self.core.memory_bytes() <= self.memory_bytes_max(),
                "{} bytes held",
                self.core.memory_bytes()
            );
        } else {
            assert_eq!(now.next_block_to_persist, now.next_block);
        }
    }

    fn effects_began_running(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, roadbed::state::core::Effect::Running(_)))
    }

    /// What memory may hold: what is not durable with its QC yet, one QC around it, and the limit.
    fn memory_bytes_max(&self) -> u64 {
        let Cursors { next_block_to_persist, next_qc, .. } = self.cursors();
        let not_durable = self.source.bytes_between(next_block_to_persist.0, next_qc.0);
        self.config.memory_bytes_max.saturating_add(not_durable)
    }

    fn check_bounds(&self) {
        for kind in Kind::ALL {
            let (calls, bytes) = self.ledger.held.get(&kind).copied().unwrap_or_default();
            assert_eq!(self.core.waiting(kind), calls, "{}: a call is lost, or kept for ever", kind.name());
            let bound = self.bound(kind);
            assert!(calls <= bound.calls_max + RESERVE, "{}: {calls} calls wait", kind.name());
            let reserve = (RESERVE as u64 + 1) * self.ledger.largest_push_bytes;
            assert!(
                bytes <= bound.bytes_max.saturating_add(reserve),
                "{}: {bytes} bytes wait, at most {} may",
                kind.name(),
                bound.bytes_max
            );
        }
    }

    fn check_end(&self) {
        if self.stopped.is_some() {
            assert!(self.pending.is_empty(), "left without an answer at the end: {:?}", self.pending);
            assert_eq!(self.core.next_deadline(), None, "the end waits for nothing");
        }
    }

    /// Everything that still waits asks for a number in `range`.
    pub fn assert_waits_only_for(&self, range: RangeInclusive<u64>) {
        for (call, asked) in &self.pending {
            let number = match &asked.request {
                Request::PushBlock(push) => push.number,
                Request::PushAppHash(push) => push.number,
                Request::GetQc(get) => get.number,
                Request::GetBlock(get) => get.number,
                Request::GetGlobalBlock(get) => get.number,
                Request::GetAppProposal(get) => get.number,
                Request::Subscribe(subscribe) => subscribe.from,
                request => panic!("{call:?} is left waiting: {request:?}"),
            };
            assert!(range.contains(&number.0), "{call:?} is left waiting: {:?}", asked.request);
        }
    }

    pub(super) fn check_append(&self, wal: WalKind, order: &WalOrder<Record>) {
        match order {
            WalOrder::Append { first_index, records } => {
                for (record, index) in records.iter().zip(*first_index..) {
                    match record {
                        Record::Qc(qc) => {
                            let link = self.source.link(qc.range().start.0);
                            assert_eq!(**qc.qc(), *link.qc, "a QC that is not of the chain");
                        }
                        Record::Block(block) => {
                            assert_eq!(block.block(), self.source.block(index).block(), "not block {index}");
                        }
                    }
                }
            }
            WalOrder::TruncateBefore { first } => {
                assert!(*first <= self.cursors().first, "{wal}: {first} is still retained");
            }
            WalOrder::Open(_) | WalOrder::Close => {}
        }
    }

    pub(super) fn check_recovered(&self, recovered: &Recovered) {
        let now = self.cursors();
        let Recovered { first, next_block, next_qc, .. } = *recovered;
        // Calls that came early may have moved cursors already.
        assert!(first <= now.first && next_block <= now.next_block && next_qc <= now.next_qc);
        assert!(first <= next_block && next_block <= next_qc);
        assert!(first.0 >= self.ledger.pruned, "came back though pruned: {recovered:?}, {:?}", self.ledger);
        assert!(next_block.0 >= self.ledger.promised, "promised, but lost: {recovered:?}, {:?}", self.ledger);
        if self.with_logs {
            assert_eq!(first.0, self.blocks.disk.first(), "{recovered:?}");
            assert_eq!(next_block.0, self.blocks.disk.durable_end(), "{recovered:?}");
            assert_eq!(next_qc.0, self.qcs.disk.durable_end(), "{recovered:?}");
            assert!(self.qcs.disk.first() <= first.0, "{recovered:?}");
        }
    }

    pub(super) fn check_stop(&self, reason: &StopReason) {
        match reason {
            StopReason::Shutdown(cursors) => assert!(self.shutting_down && *cursors == self.cursors()),
            StopReason::Start(StartError::Corrupt { .. } | StartError::WouldLose { .. }) => {
                assert!(self.may_refuse && self.running.is_none(), "refused without a reason: {reason}");
            }
            StopReason::Start(StartError::Failed { .. }) => assert!(self.may_fail_to_load, "{reason}"),
            StopReason::Escalated { .. } => assert!(self.may_escalate, "gave up without a reason: {reason}"),
            reason => panic!("{reason}"),
        }
    }

    pub(super) fn check_reply(&mut self, call: CallId, asked: &Asked, answer: &Result<Answer, Error>) {
        self.ledger.over(asked);
        match answer {
            Ok(answer) => self.check_success(asked, answer),
            Err(error) => self.check_refusal(call, asked, error),
        }
    }

    fn check_success(&mut self, asked: &Asked, answer: &Answer) {
        let now = self.cursors();
        match (&asked.request, answer) {
            (Request::PushQc(push), Answer::Done) => {
                if asked.honest {
                    let range = push.qc.range(&self.source.members.committee).unwrap();
                    assert!(range.end <= now.next_qc, "not in: {range:?}");
                }
            }
            (Request::PushBlock(push), Answer::Done) => {
                assert!(push.number < now.next_qc, "answered before there was a QC");
            }
            (Request::PushAppHash(push), Answer::Done) => {
                let number = push.number.0;
                assert!(number >= self.ledger.next_app_proposal(asked.cursors.first));
                if self.with_logs {
                    let [qcs, blocks] = [&self.qcs, &self.blocks].map(|log| log.disk.durable_end());
                    assert!(number < qcs.min(blocks), "{number} is not durable: QCs {qcs}, blocks {blocks}");
                    self.ledger.promised = self.ledger.promised.max(number + 1);
                }
                self.ledger.granted.push((number, push.hash));
            }
            (Request::GetQc(get), Answer::Qc(qc)) => {
                assert!(now.first <= get.number && get.number < now.next_qc);
                assert_eq!(**qc, *self.source.link(get.number.0).qc);
            }
            (Request::GetBlock(get), Answer::Block(block)) => {
                assert!(now.first <= get.number && get.number < now.next_block);
                assert_eq!(block, self.source.block(get.number.0).block());
            }
            (Request::TryGetBlock(get), Answer::Block(block)) => {
                assert!(now.first <= get.number && get.number < now.next_block);
                assert_eq!(block, self.source.block(get.number.0).block());
            }
            (Request::GetGlobalBlock(get), Answer::GlobalBlock(block)) => {
                assert_eq!(block.number, get.number);
                self.check_served(block);
            }
            (Request::GetBlockByHash(get), Answer::GlobalBlock(block)) => {
                assert_eq!(block.header.hash(), get.hash);
                self.check_served(block);
            }
            (Request::GetAppProposal(get), Answer::AppProposal(proposal)) => {
                self.check_app_proposal(get.number, proposal);
            }
            (Request::Subscribe(subscribe), Answer::GlobalBlocks(blocks)) => {
                assert!(!blocks.is_empty() && blocks.len() <= subscribe.blocks_max.max(1));
                for (block, number) in blocks.iter().zip(subscribe.from.0..) {
                    assert_eq!(block.number.0, number);
                    self.check_served(block);
                }
                let last = blocks[blocks.len() - 1].number;
                assert!(!subscribe.only_durable || last < now.next_block_to_persist);
            }
            (Request::NeedBlock(need), Answer::Flag(needed)) => {
                assert!(!needed || need.number >= now.next_block);
            }
            (Request::NextBlock, Answer::Cursors(cursors)) => assert_eq!(*cursors, now),
            (Request::GetStatus, Answer::Status(status)) => {
                assert_eq!(status.cursors, now);
                assert!(status.cursors.in_order());
            }
            (Request::PruneBefore(_), Answer::Pruned(pruned)) => {
                assert!(pruned.start <= pruned.end && pruned.end <= now.first);
                if self.with_logs {
                    assert!(pruned.end.0 <= self.blocks.disk.first(), "blocks of {pruned:?} are still there");
                    assert!(
                        pruned.end.0 <= self.qcs.disk.first() || pruned.end.0 < self.qcs.disk.first_end(),
                        "QCs of {pruned:?} are still there"
                    );
                }
                self.ledger.pruned = self.ledger.pruned.max(pruned.end.0);
            }
            (Request::Shutdown, Answer::Shutdown(report)) => {
                assert_eq!(report.cursors, now);
                assert_eq!(report.not_durable, now.next_block_to_persist..now.next_block);
            }
            (request, answer) => panic!("{request:?} was answered with {answer:?}"),
        }
    }

    fn check_served(&self, block: &GlobalBlock) {
        let now = self.cursors();
        assert!(now.first <= block.number && block.number < now.next_block, "{}: {now:?}", block.number);
        assert_eq!(*block, self.source.global_block(block.number.0));
    }

    fn check_app_proposal(&self, number: BlockNumber, proposal: &AppProposal) {
        let granted = &self.ledger.granted;
        let (covering, hash) = granted[granted.partition_point(|(granted, _)| *granted < number.0)];
        let road_index = self.source.link(covering).qc.road_index();
        assert_eq!(*proposal, AppProposal { number: BlockNumber(covering), road_index, hash });
    }

    fn check_refusal(&self, call: CallId, asked: &Asked, error: &Error) {
        let now = self.cursors();
        match (&asked.request, error) {
            (_, Error::Stopped(_)) => {
                let state = self.core.status().state;
                assert!(matches!(state, RunState::Stopping | RunState::Stopped), "{state:?}: {error}");
            }
            (request, Error::Busy { number, waiting, .. }) => {
                assert!(!matches!(request, Request::NextBlock | Request::GetStatus), "{error}");
                assert!(*waiting > 0, "{error}");
                if asked.is_push() {
                    self.check_busy(call, asked, *number);
                }
            }
            (Request::PushQc(_), Error::InvalidQc(_) | Error::InvalidBlock(_))
            | (Request::PushBlock(_), Error::InvalidBlock(_) | Error::HeaderMismatch { .. }) => {
                assert!(!asked.honest, "refused though it is of the chain: {error}");
            }
            (Request::PushQc(_) | Request::PushBlock(_), Error::VerifierFailed { .. }) => {}
            (Request::PushAppHash(push), Error::AppHashOutOfOrder { number, next_app_proposal, .. }) => {
                assert_eq!(*number, push.number);
                assert!(number < next_app_proposal && *next_app_proposal <= now.next_app_proposal);
            }
            (request, Error::Pruned { number, first }) => {
                assert!(number < first && *first == now.first, "{error}: {now:?}");
                let asked_for = match request {
                    Request::GetQc(get) => get.number,
                    Request::GetBlock(get) => get.number,
                    Request::GetGlobalBlock(get) => get.number,
                    Request::GetAppProposal(get) => get.number,
                    Request::TryGetBlock(get) => get.number,
                    Request::Subscribe(subscribe) => subscribe.from,
                    Request::GetBlockByHash(get) => BlockNumber(self.source.number_of(&get.hash).unwrap()),
                    request => panic!("{request:?}: {error}"),
                };
                assert_eq!(*number, asked_for);
            }
            (Request::TryGetBlock(get), Error::NotFound) => assert!(get.number >= now.next_block),
            (Request::GetBlockByHash(get), Error::NotFound) => {
                let there = asked.cursors.first.0..asked.cursors.next_block.0;
                let number = self.source.number_of(&get.hash);
                let pruned = number.is_some_and(|number| number < now.first.0);
                assert!(
                    pruned || !number.is_some_and(|number| there.contains(&number)),
                    "{number:?}: {there:?}"
                );
            }
            (_, Error::Damaged { number, .. }) => assert!(self.damaged.contains(&number.0), "{error}"),
            (request, error) => panic!("{request:?}: {error}"),
        }
    }

    /// Nothing that could have made enough room stays above a push that is answered Busy.
    fn check_busy(&self, call: CallId, refused: &Asked, number: u64) {
        let committee = &self.source.members.committee;
        let (mut calls, mut bytes) = (0, 0);
        for asked in self.pending.values().filter(|asked| asked.kind == refused.kind) {
            let waits_for = match &asked.request {
                Request::PushQc(push) => push.qc.range(committee).unwrap().start.0,
                Request::PushBlock(push) => push.number.0,
                _ => continue,
            };
            if waits_for > number {
                (calls, bytes) = (calls + 1, bytes + asked.bytes);
            }
        }
        let Some(kind) = refused.kind.filter(|_| calls > 0) else { return };
        // It was refused itself, and even without all of those it would not have fitted.
        let (held, bound) = (self.ledger.held[&kind], self.bound(kind));
        let (left_calls, left_bytes) = (held.0 - calls, held.1 - bytes);
        let fits =
            left_calls == 0 || left_calls < bound.calls_max && left_bytes + refused.bytes <= bound.bytes_max;
        assert!(
            call.0 + 1 == self.next_call && !fits,
            "{call:?} for {number} is Busy, and {calls} above it wait"
        );
    }
}
