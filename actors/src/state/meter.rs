//! What the shell counts and traces of what passes through it, so that the core need not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use roadbed_messages::Timestamp;
use roadbed_messages::api::workers::{CallId, Event, Report, WalOrder};
use roadbed_messages::api::{ActorKind, Error, Recovered, WalKind};

use super::core::{Answer, Core, Effect, Request};
use super::workers::WallClock;
use crate::metrics::{Facts, Metrics, Msg, Outcome, Phase, Pipeline, Stage, Undelivered, prune_took};

/// A call between its arrival and its answer.
struct Passage {
    msg: Msg,
    arrived: Instant,
    verify_began: Option<Instant>,
    span: tracing::Span,
}

/// Counts and traces what passes through State.
pub(super) struct Meter {
    metrics: Arc<Metrics>,
    clock: WallClock,
    passages: BTreeMap<CallId, Passage>,
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
    pub(super) fn new(metrics: Arc<Metrics>, clock: WallClock) -> Self {
        Self {
            metrics,
            clock,
            passages: BTreeMap::new(),
            pipeline: Pipeline::default(),
            orders: Default::default(),
            truncating: [None; 2],
            torn_bytes: [0; 2],
            phase_began: Instant::now(),
        }
    }

    fn now_unix_us(&self) -> u64 {
        (self.clock)().unix_us()
    }

    /// A call arrives. `span` is the one of the whole message.
    pub(super) fn arrived(&mut self, call: CallId, request: &Request, span: tracing::Span) {
        if self.metrics.enabled() {
            let receive = self.metrics.stage(Stage::Receive);
            match request {
                Request::PushQc(push) if !push.blocks.is_empty() => {
                    receive.passed(self.now_unix_us(), push.blocks.iter().map(|block| Facts::from(&**block)));
                }
                Request::PushBlock(push) => receive.passed(self.now_unix_us(), [Facts::from(&*push.block)]),
                _ => {}
            }
        }
        let passage = Passage { msg: request.msg(), arrived: Instant::now(), verify_began: None, span };
        self.passages.insert(call, passage);
    }

    /// A handler of State ran since `began`.
    pub(super) fn handled(&self, msg: Msg, began: Instant) {
        if self.metrics.enabled() {
            self.metrics.actor(ActorKind::State).handled(msg, began.elapsed());
        }
    }

    /// A message that is no call came to its end.
    pub(super) fn ended(&self, msg: Msg, outcome: Outcome) {
        self.metrics.actor(ActorKind::State).ended(msg, outcome);
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
            (Event::Verified { call, outcome }, _) => {
                self.metrics.actor(*actor).ended(Msg::Verify, outcome.into());
                if let Some(passage) = self.passages.get_mut(call) {
                    let took = passage.verify_began.take().map(|began| began.elapsed());
                    tracing::debug!(parent: &passage.span, ok = outcome.is_ok(), "verified");
                    if let Some(took) = took {
                        self.metrics.stage(Stage::Verify).duration.observe_duration(took);
                    }
                }
                if let Ok((_, blocks)) = outcome
                    && self.metrics.enabled()
                {
                    let facts = blocks.iter().map(|block| Facts::from(&**block.block()));
                    self.metrics.stage(Stage::Verify).passed(self.now_unix_us(), facts);
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

    /// The core orders something.
    pub(super) fn ordered(&mut self, effect: &Effect) {
        match effect {
            Effect::Reply { call, answer } => self.answered(*call, answer),
            Effect::Verify(order) => {
                if let Some(passage) = self.passages.get_mut(&order.order.call) {
                    let now = Instant::now();
                    passage.verify_began = Some(now);
                    tracing::debug!(parent: &passage.span, generation = order.generation.0, "verifying");
                    let receive = self.metrics.stage(Stage::Receive);
                    receive.duration.observe_duration(now.duration_since(passage.arrived));
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
                self.orders[wal as usize].push_back(Instant::now());
            }
            WalOrder::TruncateBefore { .. } => self.truncating[wal as usize] = Some(Instant::now()),
            WalOrder::Open(_) | WalOrder::Close => {}
        }
    }

    fn answered(&mut self, call: CallId, answer: &Result<Answer, Error>) {
        let Some(passage) = self.passages.remove(&call) else { return };
        let result = answer.as_ref().map_or_else(Error::reason, |_| "ok");
        tracing::debug!(parent: &passage.span, result, "answered");
        self.metrics.actor(ActorKind::State).ended(passage.msg, answer.into());
        self.metrics.push_waited(passage.msg, passage.arrived.elapsed());
    }

    /// The callers of these calls have gone.
    pub(super) fn abandoned(&mut self, calls: &[CallId]) {
        let state = self.metrics.actor(ActorKind::State);
        state.undelivered(Undelivered::CallerGone, calls.len());
        for passage in calls.iter().filter_map(|call| self.passages.remove(call)) {
            tracing::debug!(parent: &passage.span, "abandoned");
            state.ended(passage.msg, Outcome::Abandoned);
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
        if self.metrics.enabled() && self.pipeline.is_behind(cursors) {
            let now_unix_us = self.now_unix_us();
            let facts_of = |number| core.block(number).map(|block| Facts::from(&**block.block()));
            self.pipeline.advance(cursors, now_unix_us, self.metrics.stages(), facts_of);
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
                let (road_index, headers) = (push.qc.road_index().0, push.qc.headers.len());
                tracing::debug_span!("message", msg, call, road_index, headers, blocks = push.blocks.len())
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

/// The system's clock.
pub(crate) fn system_clock() -> WallClock {
    Arc::new(|| Timestamp::from_unix_us(crate::metrics::unix_us()))
}
