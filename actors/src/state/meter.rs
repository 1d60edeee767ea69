//! What the shell counts and traces of what passes through it, so that the core need not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use roadbed_messages::api::workers::{CallId, Event, Report, Verified, WalOrder};
use roadbed_messages::api::{ActorKind, Error, Recovered, WalKind};

use super::core::{Answer, Core, Effect, Request};
use super::workers::WallClock;
use crate::metrics::{
    Facts, Metrics, Moment, Msg, Outcome, Phase, Pipeline, Stage, Undelivered, prune_took, unix_us,
};

/// A call between its arrival and its answer.
struct Passage {
    msg: Msg,
    arrived: Instant,
    verify_began: Option<Instant>,
}

/// Counts and traces what passes through State. Where nobody supplied a registry nothing is counted, and where nobody
/// subscribes to spans none is kept.
pub(super) struct Meter {
    metrics: Arc<Metrics>,
    /// Whether anything is counted.
    counts: bool,
    /// What blocks are made by; `None` when it is the system's.
    clock: Option<WallClock>,
    /// When the running handler began, which is when all that it does happens.
    begun: tokio::time::Instant,
    now: Instant,
    /// The same, once somebody has asked for it.
    moment: Option<Moment>,
    passages: BTreeMap<CallId, Passage>,
    /// Of calls whose span somebody subscribes to.
    spans: BTreeMap<CallId, tracing::Span>,
    pipeline: Pipeline,
    /// When the orders were given that a log has not answered, oldest first.
    orders: [VecDeque<Instant>; 2],
    truncating: [Option<Instant>; 2],
    /// What the log's files said of torn bytes, until recovery is done.
    torn_bytes: [u64; 2],
    /// Since when the present phase of recovery runs.
    phase_began: Instant,
}

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Option<WallClock>) -> Self {
        Self {
            counts: metrics.enabled(),
            metrics,
            clock,
            begun: tokio::time::Instant::now(),
            now: Instant::now(),
            moment: None,
            passages: BTreeMap::new(),
            spans: BTreeMap::new(),
            pipeline: Pipeline::default(),
            orders: Default::default(),
            truncating: [None; 2],
            torn_bytes: [0; 2],
            phase_began: Instant::now(),
        }
    }

    /// A handler of State begins; its end is told to [`Meter::handled`].
    pub(super) fn begin(&mut self) {
        self.begun = tokio::time::Instant::now();
        self.now = self.begun.into_std();
        self.moment = None;
    }

    /// When the running handler began: one look at the clock does for all that it does.
    pub(super) fn begun(&self) -> tokio::time::Instant {
        self.begun
    }

    fn moment(&mut self) -> Moment {
        let (now, clock) = (self.now, &self.clock);
        *self.moment.get_or_insert_with(|| {
            let unix_us = unix_us();
            let wall_unix_us = clock.as_ref().map_or(unix_us, |clock| clock().unix_us());
            Moment { now, wall_unix_us, unix_us }
        })
    }

    /// A call arrives. `span` is the one of the whole message.
    pub(super) fn arrived(&mut self, call: CallId, request: &Request, span: tracing::Span) {
        if !span.is_disabled() {
            self.spans.insert(call, span);
        }
        if !self.counts {
            return;
        }
        if matches!(request, Request::PushQc(_) | Request::PushBlock(_)) {
            let moment = self.moment();
            let receive = self.metrics.stage(Stage::Receive);
            match request {
                Request::PushQc(push) => {
                    receive.passed(moment, push.blocks.iter().map(|block| Facts::from(&**block)));
                }
                Request::PushBlock(push) => receive.passed(moment, [Facts::from(&*push.block)]),
                _ => {}
            }
        }
        let passage = Passage { msg: request.msg(), arrived: self.now, verify_began: None };
        self.passages.insert(call, passage);
    }

    /// The handler that began last has ended.
    pub(super) fn handled(&self, msg: Msg) {
        if self.counts {
            self.metrics.actor(ActorKind::State).handled(msg, self.begun.elapsed());
        }
    }

    /// A message that is no call came to its end.
    pub(super) fn ended(&self, msg: Msg, outcome: Outcome) {
        if self.counts {
            self.metrics.actor(ActorKind::State).ended(msg, outcome);
        }
    }

    fn span_of(&self, call: CallId) -> Option<tracing::span::Id> {
        self.spans.get(&call).and_then(tracing::Span::id)
    }

    /// A worker reports; `counts` says whether the core will look at it.
    pub(super) fn reported(&mut self, report: &Report, counts: bool) {
        let Report { actor, event, .. } = report;
        if !counts {
            self.metrics.actor(ActorKind::State).undelivered(Undelivered::Stale, 1);
            return;
        }
        let wal = WalKind::BOTH.into_iter().find(|wal| wal.actor() == *actor);
        match (event, wal) {
            (Event::Verified(done), _) => {
                for (call, outcome) in done {
                    tracing::debug!(parent: self.span_of(*call), ok = outcome.is_ok(), "verified");
                    if self.counts {
                        self.verified(*call, outcome);
                    }
                }
            }
            (Event::Durable { next_index, upto }, Some(wal)) => {
                tracing::debug!(%wal, next_index, upto = upto.0, "durable");
            }
            (Event::Judged(facts), Some(wal)) => self.torn_bytes[wal as usize] = facts.torn_bytes,
            (Event::Truncated { first }, Some(wal)) => {
                tracing::debug!(%wal, first = first.0, "truncated");
                if let Some(began) = self.truncating[wal as usize].take() {
                    prune_took(self.metrics.stages(), began.elapsed());
                }
            }
            (Event::Opened { next_index }, Some(wal)) => tracing::info!(%wal, next_index, "log open"),
            _ => {}
        }
    }

    fn verified(&mut self, call: CallId, outcome: &Verified) {
        self.metrics.actor(ActorKind::Verifier).ended(Msg::Verify, outcome.into());
        let moment = self.moment();
        let verify = self.metrics.stage(Stage::Verify);
        if let Some(began) = self.passages.get_mut(&call).and_then(|passage| passage.verify_began.take()) {
            verify.duration.observe_duration(moment.now.saturating_duration_since(began));
        }
        if let Ok((_, blocks)) = outcome {
            verify.passed(moment, blocks.iter().map(|block| Facts::from(&**block.block())));
        }
    }

    /// The core orders something.
    pub(super) fn ordered(&mut self, effect: &Effect) {
        match effect {
            Effect::Reply { call, answer } => self.answered(*call, answer),
            Effect::Verify(order) => {
                let (call, generation) = (order.order.call, order.generation.0);
                tracing::debug!(parent: self.span_of(call), generation, "verifying");
                if let Some(passage) = self.passages.get_mut(&call) {
                    passage.verify_began = Some(self.now);
                    let receive = self.metrics.stage(Stage::Receive);
                    receive.duration.observe_duration(self.now.saturating_duration_since(passage.arrived));
                }
            }
            Effect::QcWal(order) => self.log_ordered(WalKind::Qcs, &order.order),
            Effect::BlockWal(order) => self.log_ordered(WalKind::Blocks, &order.order),
            Effect::Start { actor, generation, .. } => {
                if generation.0 > 1 {
                    tracing::warn!(%actor, generation = generation.0, "worker starts again");
                }
            }
            Effect::Retire { actor } => {
                self.metrics.actor(*actor).retired();
                if let Some(wal) = WalKind::BOTH.into_iter().find(|wal| wal.actor() == *actor) {
                    self.orders[wal as usize].clear();
                    self.truncating[wal as usize] = None;
                }
            }
            Effect::Load { .. } => self.phase_ends(Phase::Judge),
            Effect::Running(recovered) => self.running(recovered),
            Effect::Stop(reason) => tracing::info!(%reason, "the data layer has stopped"),
            Effect::Read { .. } => {}
        }
    }

    fn log_ordered<R>(&mut self, wal: WalKind, order: &WalOrder<R>) {
        match order {
            WalOrder::Append { first_index, records } => {
                tracing::debug!(%wal, first_index, records = records.len(), "persisting");
                if self.counts {
                    self.orders[wal as usize].push_back(self.now);
                }
            }
            WalOrder::TruncateBefore { .. } => {
                self.truncating[wal as usize] = self.counts.then_some(self.now);
            }
            WalOrder::Open(_) | WalOrder::Close => {}
        }
    }

    fn answered(&mut self, call: CallId, answer: &Result<Answer, Error>) {
        if let Some(span) = self.spans.remove(&call) {
            let result = answer.as_ref().map_or_else(Error::reason, |_| "ok");
            tracing::debug!(parent: &span, result, "answered");
        }
        if let Some(passage) = self.passages.remove(&call) {
            self.metrics.actor(ActorKind::State).ended(passage.msg, answer.into());
            let waited = self.now.saturating_duration_since(passage.arrived);
            self.metrics.push_waited(passage.msg, waited);
        }
    }

    /// The callers of these calls have gone.
    pub(super) fn abandoned(&mut self, calls: &[CallId]) {
        let state = self.metrics.actor(ActorKind::State);
        state.undelivered(Undelivered::CallerGone, calls.len());
        for call in calls {
            if let Some(span) = self.spans.remove(call) {
                tracing::debug!(parent: &span, "abandoned");
            }
            if let Some(passage) = self.passages.remove(call) {
                state.ended(passage.msg, Outcome::Abandoned);
            }
        }
    }

    /// An order met no life.
    pub(super) fn undelivered(&self, actor: ActorKind) {
        self.metrics.actor(actor).undelivered(Undelivered::NoLife, 1);
    }

    /// A phase of recovery ends, the next one begins.
    pub(super) fn phase_ends(&mut self, phase: Phase) {
        let now = Instant::now();
        self.metrics.recovery_took(phase, now.duration_since(self.phase_began));
        self.phase_began = now;
    }

    fn running(&mut self, recovered: &Recovered) {
        self.phase_ends(Phase::Open);
        for wal in WalKind::BOTH {
            self.metrics.wal(wal).repaired(self.torn_bytes[wal as usize]);
        }
        let Recovered { first, next_block, next_qc, torn_bytes, reconcile_case, .. } = recovered;
        let (first, next_block, next_qc) = (first.0, next_block.0, next_qc.0);
        tracing::info!(first, next_block, next_qc, reconcile_case, "recovered");
        if *torn_bytes > 0 {
            tracing::warn!(torn_bytes, "a crash left a torn tail, which was cut off");
        }
    }

    /// The core has taken in everything up to now.
    pub(super) fn settled(&mut self, core: &Core, began_to_run: bool) {
        let cursors = core.cursors();
        if began_to_run {
            self.pipeline.recovered(cursors);
        }
        self.metrics.publish_cursors(cursors);
        if self.counts && self.pipeline.is_behind(cursors) {
            let moment = self.moment();
            let facts_of = |range| core.blocks(range).map(|block| Facts::from(&**block.block()));
            self.pipeline.advance(cursors, moment, self.metrics.stages(), facts_of);
        }
    }

    /// Publishes a snapshot.
    pub(super) fn publish(&mut self, core: &Core) {
        let observed = core.observe();
        let mut oldest = [None; 5];
        oldest[ActorKind::State as usize] = self.passages.values().map(|passage| passage.arrived).min();
        oldest[ActorKind::Verifier as usize] =
            self.passages.values().filter_map(|passage| passage.verify_began).min();
        for wal in WalKind::BOTH {
            let worker = observed.status.workers.iter().find(|worker| worker.actor == wal.actor());
            let unanswered = worker.map_or(0, |worker| worker.mailbox);
            // After a death the core has taken its orders back already, and this table follows a moment later.
            let truncating = self.truncating[wal as usize].filter(|_| unanswered > 0);
            let appending = unanswered.saturating_sub(usize::from(truncating.is_some()));
            let orders = &mut self.orders[wal as usize];
            orders.drain(..orders.len().saturating_sub(appending));
            oldest[wal.actor() as usize] = orders.front().copied().into_iter().chain(truncating).min();
        }
        self.metrics.publish(observed, oldest);
    }
}

impl Request {
    /// The message that it is.
    pub(super) fn msg(&self) -> Msg {
        match self {
            Self::PushQc(_) => Msg::PushQc,
            Self::PushBlock(_) => Msg::PushBlock,
            Self::PushAppHash(_) => Msg::PushAppHash,
            Self::GetQc(_) => Msg::GetQc,
            Self::GetBlock(_) => Msg::GetBlock,
            Self::GetGlobalBlock(_) => Msg::GetGlobalBlock,
            Self::GetAppProposal(_) => Msg::GetAppProposal,
            Self::TryGetBlock(_) => Msg::TryGetBlock,
            Self::GetBlockByHash(_) => Msg::GetBlockByHash,
            Self::NeedBlock(_) => Msg::NeedBlock,
            Self::NextBlock => Msg::NextBlock,
            Self::GetStatus => Msg::GetStatus,
            Self::Subscribe(_) => Msg::Subscribe,
            Self::PruneBefore(_) => Msg::PruneBefore,
            Self::Shutdown => Msg::Shutdown,
        }
    }

    /// The span of the message from its arrival to its answer. It tells numbers, never contents.
    pub(super) fn span(&self, call: CallId) -> tracing::Span {
        let (call, msg) = (call.0, self.msg().name());
        let numbered = |number: u64| tracing::debug_span!("message", msg, call, number);
        match self {
            Self::PushQc(push) => {
                // What is asked of the QC here is asked only where somebody subscribes.
                let qc = &push.qc;
                tracing::debug_span!(
                    "message",
                    msg,
                    call,
                    road_index = qc.road_index().0,
                    headers = qc.headers.len(),
                    blocks = push.blocks.len()
                )
            }
            Self::PushBlock(push) => numbered(push.number.0),
            Self::PushAppHash(push) => numbered(push.number.0),
            Self::GetQc(get) => numbered(get.number.0),
            Self::GetBlock(get) => numbered(get.number.0),
            Self::GetGlobalBlock(get) => numbered(get.number.0),
            Self::GetAppProposal(get) => numbered(get.number.0),
            Self::TryGetBlock(get) => numbered(get.number.0),
            Self::NeedBlock(need) => numbered(need.number.0),
            Self::Subscribe(subscribe) => numbered(subscribe.from.0),
            Self::PruneBefore(prune) => numbered(prune.retain_from.0),
            Self::GetBlockByHash(_) | Self::NextBlock | Self::GetStatus | Self::Shutdown => {
                tracing::debug_span!("message", msg, call)
            }
        }
    }
}
