//! The thin shell around the core.

use std::sync::Arc;

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message, SpawnHandle};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{CallId, Event, Loaded, Report};
use roadbed_messages::api::{
    ActorKind, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, GetStatus, NeedBlock,
    NextBlock, PruneBefore, PushAppHash, PushBlock, PushQc, Recovered, Shutdown, StartError, StopReason,
    Subscribe, TryGetBlock,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::StopCell;
use super::core::{Answer, Core, Effect, Input, ReadError, Request, Retention};
use super::meter::Meter;
use super::replies::{Deferred, FromAnswer, Replies};
use super::workers::{Beat, Environment, Lives};
use crate::metrics::{Msg, Outcome, Phase};
use crate::reader::{ReaderPool, Source};
use crate::supervision::Heartbeat;

/// Asks what the retention policies need to know.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Retention, Error>")]
pub struct GetRetention;

/// What is free on the disk, in bytes, if anybody knows.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Space(pub(crate) Option<u64>);

/// A reader has answered.
#[derive(Message)]
#[rtype(result = "()")]
struct ReadDone(CallId, Result<Answer, ReadError>);

/// Recovery has read and verified what belongs in memory.
#[derive(Message)]
#[rtype(result = "()")]
struct LoadDone(Result<Loaded, StartError>);

/// A message that State sends itself to see how long messages wait.
#[derive(Message)]
#[rtype(result = "()")]
struct Probe(std::time::Instant);

/// What State is made of.
pub(crate) struct StateParts {
    pub(crate) core: Core,
    pub(crate) environment: Environment,
    /// Told when recovery is done, or why the start failed.
    pub(crate) started: oneshot::Sender<Result<Recovered, StartError>>,
    pub(crate) stop: StopCell,
    pub(crate) replies: Replies,
}

/// The root actor. Its address takes every message of [`roadbed_messages::api`].
pub struct State {
    core: Core,
    epoch: Instant,
    environment: Environment,
    meter: Meter,
    heartbeat: Heartbeat,
    lives: Lives,
    source: Option<Arc<Source>>,
    readers: Option<ReaderPool>,
    replies: Replies,
    next_call: u64,
    wake: Option<(Instant, SpawnHandle)>,
    started: Option<oneshot::Sender<Result<Recovered, StartError>>>,
    stop: StopCell,
}

impl State {
    pub(crate) fn new(parts: StateParts) -> Self {
        let metrics = &parts.environment.metrics;
        let heartbeat = Heartbeat::new(&parts.environment.monotonic);
        metrics.actor(ActorKind::State).began(vec![heartbeat.clone()]);
        Self {
            core: parts.core,
            epoch: Instant::now(),
            meter: Meter::new(Arc::clone(metrics), parts.environment.clock.clone()),
            heartbeat,
            lives: Lives::default(),
            source: parts.environment.source(),
            readers: None,
            replies: parts.replies,
            next_call: 0,
            wake: None,
            started: Some(parts.started),
            stop: parts.stop,
            environment: parts.environment,
        }
    }

    fn call<R: FromAnswer>(&mut self, request: Request, ctx: &mut Context<Self>) -> Deferred<R> {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let (deferred, reply) = Deferred::new();
        self.replies.owe(call, reply);
        let span = request.span(call);
        self.meter.begin();
        self.meter.arrived(call, &request, span);
        self.run(request.msg(), Input::Call { call, request }, ctx);
        deferred
    }

    fn input(&mut self, msg: Msg, input: Input, ctx: &mut Context<Self>) {
        self.meter.begin();
        self.run(msg, input, ctx);
    }

    /// Gives the core its input; the handler has begun.
    fn run(&mut self, msg: Msg, input: Input, ctx: &mut Context<Self>) {
        self.heartbeat.clone().during(CallId(0), || {
            let effects = self.core.handle(self.meter.begun() - self.epoch, input);
            let changes = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::Start { .. } | Effect::Retire { .. } | Effect::Running(_) | Effect::Stop(_)
                )
            };
            let began_to_run = effects.iter().any(|effect| matches!(effect, Effect::Running(_)));
            let publish = effects.iter().any(changes);
            self.meter.settled(&self.core, began_to_run);
            if publish {
                self.meter.publish(&self.core);
            }
            for effect in effects {
                self.meter.ordered(&effect);
                self.carry_out(effect, ctx);
            }
            self.arm_timer(ctx);
        });
        self.meter.handled(msg);
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Reply { call, answer } => self.replies.answer(call, answer),
            Effect::Start { actor, generation, wal } => {
                self.lives.start(&self.environment, actor, generation, wal, &ctx.address());
            }
            Effect::Retire { actor } => self.lives.retire(actor),
            Effect::QcWal(order) => self.delivered(ActorKind::QcWal, self.lives.order_qcs(order)),
            Effect::BlockWal(order) => self.delivered(ActorKind::BlockWal, self.lives.order_blocks(order)),
            Effect::Verify(order) => self.delivered(ActorKind::Verifier, self.lives.verify(order)),
            Effect::Read { call, read } => match &self.readers {
                Some(readers) => readers.read(call, read),
                None => ctx.notify(ReadDone(call, Err(ReadError::Missing))),
            },
            Effect::Load { first, verify_from, next_block, next_qc } => {
                let load = self.environment.load(first, verify_from, next_block, next_qc);
                let state = ctx.address();
                load.spawn(move |result| state.do_send(LoadDone(result)));
            }
            Effect::Running(recovered) => {
                if let Some(started) = self.started.take() {
                    // Nobody waits for the start any more: then nobody will ever stop it.
                    if started.send(Ok(recovered)).is_err() {
                        ctx.notify(Shutdown);
                    }
                }
            }
            Effect::Stop(reason) => {
                self.stop.set(reason.clone());
                if let Some(started) = self.started.take() {
                    drop(started.send(Err(self.start_failure(reason))));
                }
                self.readers = None;
                self.lives.end();
                ctx.stop();
            }
        }
    }

    fn delivered(&self, actor: ActorKind, delivered: bool) {
        if !delivered {
            self.meter.undelivered(actor);
        }
    }

    /// Arms one timer for the core's next deadline.
    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(deadline) = self.core.next_deadline() else { return };
        let at = self.epoch + deadline;
        if self.wake.is_some_and(|(armed, _)| armed <= at) {
            return;
        }
        if let Some((_, timer)) = self.wake.take() {
            ctx.cancel_future(timer);
        }
        let delay = at.saturating_duration_since(Instant::now());
        let timer = ctx.run_later(delay, |state, ctx| {
            state.wake = None;
            state.input(Msg::Timer, Input::Tick, ctx);
            state.meter.ended(Msg::Timer, Outcome::Ok);
        });
        self.wake = Some((at, timer));
    }

    /// Looks at the age of running operations and at who no longer waits; then again after the interval.
    fn beat(&mut self, ctx: &mut Context<Self>) {
        let faults = &self.environment.faults;
        if let Err(injected) = self.heartbeat.during(CallId(0), || faults.strike(ActorKind::State)) {
            // State has no operation that may fail.
            panic!("{injected}");
        }
        if faults.strike_actor(ActorKind::State, ctx) {
            return;
        }
        for Beat { actor, generation, running } in self.lives.beats() {
            let running_for_seconds = running.map(|(running_for, _)| running_for.as_secs_f64());
            let job = running.map(|(_, job)| job);
            let event = Event::Beat { running_for_seconds, job };
            self.input(Msg::Timer, Input::Report(Report { actor, generation, event }), ctx);
        }
        let running_for = self.readers.as_ref().and_then(ReaderPool::running_for);
        self.input(Msg::Timer, Input::Reading { running_for }, ctx);
        self.forget_abandoned(ctx);
        self.meter.ended(Msg::Timer, Outcome::Ok);
        self.meter.publish(&self.core);
        self.environment.metrics.actor(ActorKind::State).seen();
        ctx.address().do_send(Probe(std::time::Instant::now()));
        ctx.run_later(self.environment.config.beat_interval, Self::beat);
    }

    /// Why a start failed, for who waits for it.
    fn start_failure(&self, reason: StopReason) -> StartError {
        match (reason, &self.environment.disk) {
            // The core knows no directories.
            (StopReason::Start(StartError::WouldLose { detail }), Some(disk)) => {
                StartError::WouldLose { detail: format!("{}: {detail}", disk.paths.dir.display()) }
            }
            (StopReason::Start(error), _) => error,
            (reason, _) => StartError::Failed { detail: reason.to_string() },
        }
    }

    fn forget_abandoned(&mut self, ctx: &mut Context<Self>) {
        let abandoned = self.replies.take_abandoned();
        self.meter.abandoned(&abandoned);
        for call in abandoned {
            self.input(Msg::Timer, Input::Forget { call }, ctx);
        }
    }
}

impl Actor for State {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(source) = &self.source {
            let state = ctx.address();
            let done = move |(call, result)| state.do_send(ReadDone(call, result));
            let threads = 0..self.environment.config.read_threads;
            let heartbeats = threads.map(|_| Heartbeat::new(&self.environment.monotonic)).collect();
            match ReaderPool::start(heartbeats, source, done) {
                Ok(readers) => self.readers = Some(readers),
                Err(error) => panic!("can't start the readers' threads: {error}"),
            }
        }
        self.input(Msg::Timer, Input::Begin, ctx);
        self.beat(ctx);
    }
}

macro_rules! handle_requests {
    ($($message:ident => $reply:ty),* $(,)?) => {
        $(impl Handler<$message> for State {
            type Result = Deferred<$reply>;

            fn handle(&mut self, message: $message, ctx: &mut Context<Self>) -> Self::Result {
                self.call(Request::$message(message), ctx)
            }
        })*
    };
}

handle_requests! {
    PushQc => (),
    PushBlock => (),
    PushAppHash => (),
    GetQc => Arc<roadbed_messages::FullCommitQc>,
    GetBlock => Arc<roadbed_messages::Block>,
    GetGlobalBlock => roadbed_messages::GlobalBlock,
    GetAppProposal => roadbed_messages::AppProposal,
    TryGetBlock => Arc<roadbed_messages::Block>,
    GetBlockByHash => roadbed_messages::GlobalBlock,
    NeedBlock => bool,
    Subscribe => Vec<roadbed_messages::GlobalBlock>,
    PruneBefore => std::ops::Range<BlockNumber>,
}

impl Handler<NextBlock> for State {
    type Result = Deferred<roadbed_messages::api::Cursors>;

    fn handle(&mut self, _: NextBlock, ctx: &mut Context<Self>) -> Self::Result {
        self.call(Request::NextBlock, ctx)
    }
}

impl Handler<GetStatus> for State {
    type Result = Deferred<roadbed_messages::api::Status>;

    fn handle(&mut self, _: GetStatus, ctx: &mut Context<Self>) -> Self::Result {
        // Who no longer waits is not counted.
        self.forget_abandoned(ctx);
        self.call(Request::GetStatus, ctx)
    }
}

impl Handler<Shutdown> for State {
    type Result = Deferred<roadbed_messages::api::ShutdownReport>;

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        self.call(Request::Shutdown, ctx)
    }
}

impl Handler<GetRetention> for State {
    type Result = Result<Retention, Error>;

    fn handle(&mut self, _: GetRetention, _: &mut Context<Self>) -> Self::Result {
        self.meter.begin();
        let retention = self.environment.retention(&self.core);
        self.meter.handled(Msg::GetRetention);
        self.meter.ended(Msg::GetRetention, Outcome::Ok);
        Ok(retention)
    }
}

impl Handler<Probe> for State {
    type Result = ();

    fn handle(&mut self, Probe(sent): Probe, _: &mut Context<Self>) {
        self.environment.metrics.actor(ActorKind::State).mailbox_wait.observe_duration(sent.elapsed());
    }
}

impl Handler<Report> for State {
    type Result = ();

    fn handle(&mut self, report: Report, ctx: &mut Context<Self>) {
        let publish =
            matches!(report.event, Event::Up | Event::Opened { .. } | Event::Closed | Event::Refused(_));
        self.meter.begin();
        self.meter.reported(&report, self.core.counts(&report));
        self.run(Msg::Report, Input::Report(report), ctx);
        self.meter.ended(Msg::Report, Outcome::Ok);
        if publish {
            self.meter.publish(&self.core);
        }
    }
}

impl Handler<ReadDone> for State {
    type Result = ();

    fn handle(&mut self, ReadDone(call, result): ReadDone, ctx: &mut Context<Self>) {
        let outcome = Outcome::from(&result);
        self.input(Msg::ReadDone, Input::ReadDone { call, result }, ctx);
        self.meter.ended(Msg::ReadDone, outcome);
    }
}

impl Handler<Space> for State {
    type Result = ();

    fn handle(&mut self, Space(free_bytes): Space, ctx: &mut Context<Self>) {
        self.input(Msg::Space, Input::Space { free_bytes }, ctx);
        self.meter.ended(Msg::Space, Outcome::Ok);
    }
}

impl Handler<LoadDone> for State {
    type Result = ();

    fn handle(&mut self, LoadDone(result): LoadDone, ctx: &mut Context<Self>) {
        let outcome = Outcome::from(&result);
        self.meter.phase_ends(Phase::Load);
        self.input(Msg::LoadDone, Input::Loaded(result), ctx);
        self.meter.ended(Msg::LoadDone, outcome);
    }
}
