//! A model of everything around the core: callers, logs, readers, the verifier, a clock, and what must always hold.
//!
//! ```text
//! ask, forget ──▶ Core ──effects──▶ fake logs, verifier, readers ──work──▶ outboxes ──deliver──▶ Core
//!                   └──replies──▶ oracle: against the chain that was pushed and what the fake logs hold durably
//! ```
//!
//! Nothing happens by itself: tests let single workers work and single reports arrive, or [`World::run`] everything.

mod callers;
mod disk;
mod luck;
mod oracle;
mod readers;
mod source;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _};
use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::calls::{Bound, Kind};
use roadbed::state::core::{Answer, Bounds, Core, Effect, Input, Read, Request};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{
    CallId, Cause, Event, Generation, Loaded, Order, Report, Verified, VerifyJob, WalOrder, WalStart,
};
use roadbed_messages::api::{ActorKind, Cursors, Error, Recovered, StartError, StopReason, WalKind};
use roadbed_messages::testing::{self, ChainShape, TestCommittee};

pub use callers::hash;
pub use disk::Record;
pub use luck::Luck;
pub use oracle::Asked;
pub use source::Source;
pub use workers::{FakeLog, Life};

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub members: usize,
    pub first_block: u64,
    pub blocks_per_qc: usize,
    /// Bytes of the one transaction of each block.
    pub tx_bytes: usize,
    /// QCs of the chain.
    pub qcs: usize,
    pub config: Config,
    pub with_logs: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            members: 4,
            first_block: 0,
            blocks_per_qc: 3,
            tx_bytes: 16,
            qcs: 20,
            config: Config { verify_threads: 1, ..Config::default() },
            with_logs: true,
        }
    }
}

/// Bounds that are full after a few calls.
pub fn small_bounds() -> Bounds {
    let bound = Bound { calls_max: 6, bytes_max: 20_000 };
    Bounds { push_qc: bound, push_block: bound, push_app_hash: bound, get: bound, prune: bound }
}

pub struct World {
    pub source: Source,
    pub config: Config,
    pub core: Core,
    pub now: Duration,
    pub luck: Luck,
    /// Both logs; unused without a directory.
    pub qcs: FakeLog,
    pub blocks: FakeLog,
    pub verifier: Option<Life>,
    pub pruner: Option<Life>,
    pub with_logs: bool,
    /// Workers that do nothing for now, however much there is to do.
    pub held: BTreeSet<ActorKind>,
    /// Jobs that kill the verifier, by their calls.
    pub poison: BTreeSet<CallId>,
    /// Blocks that the readers find damaged.
    pub damaged: BTreeSet<u64>,
    generations: BTreeMap<ActorKind, u64>,
    outboxes: BTreeMap<(ActorKind, Generation), VecDeque<Event>>,
    reads: VecDeque<(CallId, Read)>,
    /// What recovery's loader will answer, with the lives of the logs that it reads.
    loads: VecDeque<(Loaded, [Option<Generation>; 2])>,
    next_call: u64,
    pending: BTreeMap<CallId, Asked>,
    answers: BTreeMap<CallId, Result<Answer, Error>>,
    /// The jobs that the verifier was given and has not answered, with their bytes.
    with_verifier: BTreeMap<CallId, u64>,
    /// Calls whose callers have gone, but whose reads are still under way.
    forgotten_reads: BTreeMap<CallId, Kind>,
    pub running: Option<Recovered>,
    pub stopped: Option<StopReason>,
    /// An ordered shutdown was asked for in this life of the core.
    shutting_down: bool,
    /// Something happened that no restart of a worker can mend, or its budget may be spent.
    pub may_escalate: bool,
    /// Something happened for which a start may be refused.
    pub may_refuse: bool,
    /// The logs can't be read.
    pub may_fail_to_load: bool,
    /// The effects of the last input, without replies.
    pub effects: Vec<Effect>,
    ledger: oracle::Ledger,
    /// A digest of all effects so far, where one is wanted.
    pub digest: Option<DefaultHasher>,
    /// Which requests were answered how, and how starts and ends went.
    pub seen: BTreeSet<(&'static str, &'static str)>,
}

impl World {
    /// A world in which nothing was started yet, and in which all goes well unless told otherwise.
    pub fn new(setup: &Setup) -> Self {
        let first_block = BlockNumber(setup.first_block);
        let members = testing::committee_from(setup.seed, setup.members, first_block);
        Self::with_members(setup, &members)
    }

    pub fn with_members(setup: &Setup, members: &TestCommittee) -> Self {
        let shape = ChainShape {
            blocks_per_qc: setup.blocks_per_qc,
            txs_per_block: 1,
            tx_bytes: setup.tx_bytes,
            ..ChainShape::default()
        };
        let source = Source::new(setup.seed, members, shape, setup.qcs);
        let first_block = source.first();
        Self {
            core: Core::new(members.committee.clone(), setup.config.clone(), setup.with_logs, setup.seed),
            source,
            config: setup.config.clone(),
            now: Duration::ZERO,
            luck: Luck::none(),
            qcs: FakeLog::new(WalKind::Qcs, first_block),
            blocks: FakeLog::new(WalKind::Blocks, first_block),
            verifier: None,
            pruner: None,
            with_logs: setup.with_logs,
            held: BTreeSet::new(),
            poison: BTreeSet::new(),
            damaged: BTreeSet::new(),
            generations: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            reads: VecDeque::new(),
            loads: VecDeque::new(),
            next_call: 0,
            pending: BTreeMap::new(),
            answers: BTreeMap::new(),
            with_verifier: BTreeMap::new(),
            forgotten_reads: BTreeMap::new(),
            running: None,
            stopped: None,
            shutting_down: false,
            may_escalate: false,
            may_refuse: false,
            may_fail_to_load: false,
            effects: Vec::new(),
            ledger: oracle::Ledger::new(first_block),
            digest: None,
            seen: BTreeSet::new(),
        }
    }

    /// A world that has started and is running.
    pub fn started(setup: &Setup) -> Self {
        let mut world = Self::new(setup);
        world.begin();
        world.run();
        assert!(world.running.is_some(), "it did not start: {:?}", world.stopped);
        world
    }

    pub fn begin(&mut self) {
        self.input(Input::Begin);
    }

    pub fn cursors(&self) -> Cursors {
        self.core.cursors()
    }

    pub fn log(&self, wal: WalKind) -> &FakeLog {
        match wal {
            WalKind::Qcs => &self.qcs,
            WalKind::Blocks => &self.blocks,
        }
    }

    fn log_mut(&mut self, wal: WalKind) -> &mut FakeLog {
        match wal {
            WalKind::Qcs => &mut self.qcs,
            WalKind::Blocks => &mut self.blocks,
        }
    }

    // ---- callers ----------------------------------------------------------------------------------------------

    /// Sends a request of an honest caller.
    pub fn ask(&mut self, request: Request) -> CallId {
        self.ask_as(request, true)
    }

    /// Sends a request; `honest` says whether what it pushes belongs to the chain.
    pub fn ask_as(&mut self, request: Request, honest: bool) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.shutting_down |= matches!(request, Request::Shutdown);
        let asked = Asked::new(request.clone(), honest, self.cursors());
        self.ledger.asked(&asked);
        self.pending.insert(call, asked);
        self.input(Input::Call { call, request });
        call
    }

    /// Sends a request and answers its reply, which must come at once.
    pub fn ask_now(&mut self, request: Request) -> Result<Answer, Error> {
        let call = self.ask(request);
        self.answers.remove(&call).unwrap_or_else(|| panic!("{call:?} is not answered at once"))
    }

    pub fn forget(&mut self, call: CallId) {
        if let Some(asked) = self.pending.remove(&call) {
            self.ledger.over(&asked);
            if self.reads.iter().any(|(reading, _)| *reading == call) {
                self.forgotten_reads.extend(asked.kind.map(|kind| (call, kind)));
            }
        }
        self.input(Input::Forget { call });
    }

    /// The reply to a call, if it has come.
    pub fn answer(&self, call: CallId) -> Option<&Result<Answer, Error>> {
        self.answers.get(&call)
    }

    pub fn is_pending(&self, call: CallId) -> bool {
        self.pending.contains_key(&call)
    }

    pub fn pending_calls(&self) -> Vec<CallId> {
        self.pending.keys().copied().collect()
    }

    /// The reply to a call, if it has come; it comes once.
    pub fn take_answer(&mut self, call: CallId) -> Option<Result<Answer, Error>> {
        self.answers.remove(&call)
    }

    /// Lets go of all replies but these.
    pub fn drop_answers_but(&mut self, calls: &[CallId]) {
        self.answers.retain(|call, _| calls.contains(call));
    }

    // ---- inputs and effects -----------------------------------------------------------------------------------

    pub fn input(&mut self, input: Input) {
        let before = self.core.cursors();
        let effects = self.core.handle(self.now, input);
        if let Some(digest) = &mut self.digest {
            format!("{effects:?}").hash(digest);
        }
        self.effects.clear();
        let ended = self.stopped.is_some();
        for effect in effects {
            let late_reply = ended && matches!(effect, Effect::Reply { .. });
            assert!(self.stopped.is_none() || late_reply, "an effect behind the end: {effect:?}");
            self.carry_out(effect);
        }
        self.check_after(&before);
        let more = self.core.handle(self.now, Input::Forget { call: CallId(u64::MAX) });
        assert!(more.is_empty(), "something was left undone: {more:?}");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect.clone() {
            Effect::Reply { call, answer } => {
                let Some(asked) = self.pending.remove(&call) else {
                    panic!("{call:?} was never asked, or is answered twice: {answer:?}")
                };
                self.check_reply(call, &asked, &answer);
                self.seen.insert((asked.name(), answer.as_ref().map_or_else(Error::reason, |_| "ok")));
                self.answers.insert(call, answer);
                return;
            }
            Effect::Start { actor, generation, wal } => self.start(actor, generation, wal),
            Effect::Retire { actor } => self.retire(actor),
            Effect::QcWal(Order { generation, order }) => {
                let order = any_order(order, Record::Qc);
                self.check_append(WalKind::Qcs, &order);
                self.qcs.order(generation, order);
            }
            Effect::BlockWal(Order { generation, order }) => {
                let order = any_order(order, Record::Block);
                self.check_append(WalKind::Blocks, &order);
                self.blocks.order(generation, order);
            }
            Effect::Verify(Order { generation, order }) => {
                let Some(life) = &mut self.verifier else { panic!("a job for nobody: {order:?}") };
                assert_eq!(life.generation, generation, "a job for a life that is over");
                let bytes = self.pending[&order.call].bytes;
                let again = self.with_verifier.insert(order.call, bytes);
                assert!(again.is_none(), "a job is with the verifier once");
                assert!(self.with_verifier.len() <= self.config.verify_jobs_max);
                let bytes: u64 = self.with_verifier.values().sum();
                let bytes_max = [self.config.bounds.push_qc, self.config.bounds.push_block]
                    .iter()
                    .fold(0_u64, |sum, bound| sum.saturating_add(bound.bytes_max));
                assert!(self.with_verifier.len() == 1 || bytes <= bytes_max, "{bytes} bytes are with it");
                if !life.dead {
                    life.jobs.push(order);
                }
            }
            Effect::Read { call, read } => {
                assert!(self.with_logs, "there is nothing to read from: {read:?}");
                self.reads.push_back((call, read));
            }
            Effect::Load { first, verify_from, next_block, next_qc } => {
                assert!(first <= verify_from && verify_from <= next_block && next_block <= next_qc);
                let loaded = self.load(verify_from.0, next_block.0, next_qc.0);
                let lives = self.log_lives();
                self.loads.push_back((loaded, lives));
            }
            Effect::Running(recovered) => {
                self.check_recovered(&recovered);
                self.seen.insert(("start", if recovered.lost.is_some() { "lost" } else { "ok" }));
                self.running = Some(recovered);
            }
            Effect::Stop(reason) => {
                self.forgotten_reads.clear();
                self.check_stop(&reason);
                self.seen.insert((
                    "stop",
                    match reason {
                        StopReason::Shutdown(_) => "shutdown",
                        StopReason::Start(_) => "refused",
                        _ => "escalated",
                    },
                ));
                self.stopped = Some(reason);
            }
        }
        self.effects.push(effect);
    }

    fn start(&mut self, actor: ActorKind, generation: Generation, wal: Option<WalStart>) {
        let last = self.generations.entry(actor).or_default();
        assert!(generation.0 > *last, "{actor}: {generation} after {last}");
        *last = generation.0;
        let wal_kind = WalKind::BOTH.into_iter().find(|wal| wal.actor() == actor);
        match (wal_kind, wal) {
            (Some(kind), Some(start)) => {
                assert!(self.with_logs);
                assert_eq!(matches!(start, WalStart::Judge), self.running.is_none(), "{actor}: {start:?}");
                self.log_mut(kind).start(generation, &start);
            }
            (None, None) => {
                let life = if actor == ActorKind::Verifier { &mut self.verifier } else { &mut self.pruner };
                assert!(life.is_none(), "{actor}: a life begins only when the one before was let go of");
                *life = Some(Life::new(generation));
            }
            (_, start) => panic!("{actor} does not start with {start:?}"),
        }
    }

    fn retire(&mut self, actor: ActorKind) {
        match actor {
            ActorKind::State => panic!("State does not retire"),
            ActorKind::QcWal => self.qcs.retire(&mut self.luck),
            ActorKind::BlockWal => self.blocks.retire(&mut self.luck),
            ActorKind::Verifier => {
                self.verifier = None;
                self.with_verifier.clear();
            }
            ActorKind::Pruner => self.pruner = None,
        }
    }

    // ---- workers ----------------------------------------------------------------------------------------------

    pub fn can_work(&self, actor: ActorKind) -> bool {
        if self.held.contains(&actor) {
            return false;
        }
        let has_work = |life: &Life| !life.dead && (!life.reported_up || !life.jobs.is_empty());
        match actor {
            ActorKind::State => false,
            ActorKind::QcWal => self.qcs.can_work(),
            ActorKind::BlockWal => self.blocks.can_work(),
            ActorKind::Verifier => self.verifier.as_ref().is_some_and(has_work),
            ActorKind::Pruner => self.pruner.as_ref().is_some_and(has_work),
        }
    }

    /// Lets a worker do one thing; what it reports is put into its outbox.
    pub fn work(&mut self, actor: ActorKind) {
        let (generation, event) = match actor {
            ActorKind::State => return,
            ActorKind::QcWal | ActorKind::BlockWal => {
                let log = if actor == ActorKind::QcWal { &mut self.qcs } else { &mut self.blocks };
                let generation = log.life.as_ref().map(|life| life.generation);
                (generation, log.work(&mut self.luck))
            }
            ActorKind::Verifier | ActorKind::Pruner => {
                let life = if actor == ActorKind::Verifier { &mut self.verifier } else { &mut self.pruner };
                let Some(life) = life.as_mut().filter(|life| !life.dead) else { return };
                let generation = Some(life.generation);
                if !std::mem::replace(&mut life.reported_up, true) {
                    (generation, Some(Event::Up))
                } else if life.jobs.is_empty() {
                    return;
                } else {
                    let position = usize::try_from(self.luck.below(life.jobs.len() as u64)).unwrap();
                    let job = life.jobs.remove(position);
                    if self.poison.contains(&job.call) {
                        return self.kill_with(actor, Cause::Panic, Some(job.call));
                    }
                    (generation, Some(Event::Verified(vec![(job.call, self.verify(&job))])))
                }
            }
        };
        if let (Some(generation), Some(event)) = (generation, event) {
            self.report(actor, generation, event);
        }
    }

    fn verify(&self, job: &VerifyJob) -> Verified {
        let qc = job.qc.as_ref().map(|qc| self.source.verify_qc(qc)).transpose()?;
        let blocks = job.blocks.iter().map(|block| self.source.verify_block(block));
        Ok((qc, blocks.collect::<Result<_, _>>()?))
    }

    /// Ends a worker's present life, which State hears of once that is delivered.
    pub fn kill(&mut self, actor: ActorKind, cause: Cause) {
        self.kill_with(actor, cause, None);
    }

    /// Both logs die at once.
    pub fn kill_logs(&mut self, cause: Cause) {
        self.kill(ActorKind::QcWal, cause);
        self.kill(ActorKind::BlockWal, cause);
    }

    pub fn kill_with(&mut self, actor: ActorKind, cause: Cause, job: Option<CallId>) {
        let Some(generation) = self.alive(actor) else { return };
        match actor {
            ActorKind::State => {}
            ActorKind::QcWal => self.qcs.die(&mut self.luck),
            ActorKind::BlockWal => self.blocks.die(&mut self.luck),
            ActorKind::Verifier => self.verifier.as_mut().unwrap().dead = true,
            ActorKind::Pruner => self.pruner.as_mut().unwrap().dead = true,
        }
        let error = format!("{actor} was made to fail: {}", cause.name());
        self.report(actor, generation, Event::Died { cause, error, job });
    }

    /// A worker's log can't be opened, and trying again would not help.
    pub fn refuse(&mut self, actor: ActorKind) {
        let Some(generation) = self.alive(actor) else { return };
        if let Some(wal) = WalKind::BOTH.into_iter().find(|wal| wal.actor() == actor) {
            let Self { luck, qcs, blocks, .. } = self;
            if wal == WalKind::Qcs { qcs.die(luck) } else { blocks.die(luck) }
        }
        let error = StartError::Corrupt { detail: format!("{actor} was made to refuse") };
        self.report(actor, generation, Event::Refused(error));
    }

    /// The present life of a worker, unless it is over.
    pub fn alive(&self, actor: ActorKind) -> Option<Generation> {
        let of_log = |log: &FakeLog| log.life.as_ref().filter(|life| !life.dead).map(|life| life.generation);
        let of_life =
            |life: &Option<Life>| life.as_ref().filter(|life| !life.dead).map(|life| life.generation);
        match actor {
            ActorKind::State => None,
            ActorKind::QcWal => of_log(&self.qcs),
            ActorKind::BlockWal => of_log(&self.blocks),
            ActorKind::Verifier => of_life(&self.verifier),
            ActorKind::Pruner => of_life(&self.pruner),
        }
    }

    /// Tells State how long a worker's operation has been running.
    pub fn beat(&mut self, actor: ActorKind, running_for_seconds: Option<f64>, job: Option<CallId>) {
        let Some(generation) = self.alive(actor) else { return };
        self.deliver_now(actor, generation, Event::Beat { running_for_seconds, job });
    }

    /// Puts a report into the outbox of a life.
    pub fn report(&mut self, actor: ActorKind, generation: Generation, event: Event) {
        self.outboxes.entry((actor, generation)).or_default().push_back(event);
    }

    /// The lives that have something to report, the present ones and those that are long over.
    pub fn reporting(&self) -> Vec<(ActorKind, Generation)> {
        self.outboxes.iter().filter(|(_, events)| !events.is_empty()).map(|(life, _)| *life).collect()
    }

    /// Lets State hear the next report of a life.
    pub fn deliver(&mut self, (actor, generation): (ActorKind, Generation)) {
        let Some(events) = self.outboxes.get_mut(&(actor, generation)) else { return };
        let Some(event) = events.pop_front() else { return };
        if events.is_empty() {
            self.outboxes.remove(&(actor, generation));
        }
        self.deliver_now(actor, generation, event);
    }

    fn deliver_now(&mut self, actor: ActorKind, generation: Generation, event: Event) {
        match actor {
            ActorKind::QcWal => self.qcs.is_heard(generation, &event),
            ActorKind::BlockWal => self.blocks.is_heard(generation, &event),
            ActorKind::Verifier => {
                let present = self.verifier.as_ref().is_some_and(|life| life.generation == generation);
                if let Event::Verified(done) = &event
                    && present
                {
                    for (call, _) in done {
                        self.with_verifier.remove(call);
                    }
                }
            }
            _ => {}
        }
        let give_up_after = self.config.give_up_after.as_secs_f64();
        match &event {
            Event::Died { cause: Cause::Corruption, .. } => self.may_escalate = true,
            Event::Beat { running_for_seconds: Some(age), .. } if *age >= give_up_after => {
                self.may_escalate = true
            }
            Event::Refused(_) => (self.may_escalate, self.may_refuse) = (true, true),
            _ => {}
        }
        self.input(Input::Report(Report { actor, generation, event }));
    }

    // ---- time and everything at once ---------------------------------------------------------------------------

    /// Lets time pass, up to whatever the core wants to be woken for.
    pub fn tick(&mut self) -> bool {
        let Some(deadline) = self.core.next_deadline() else { return false };
        self.now = self.now.max(deadline);
        self.input(Input::Tick);
        true
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Tick);
    }

    /// Does one thing that can be done without waiting for time; answers whether there was one.
    pub fn run_once(&mut self) -> bool {
        if let Some(actor) = ActorKind::WORKERS.into_iter().find(|actor| self.can_work(*actor)) {
            self.work(actor);
        } else if let Some(life) = self.reporting().first() {
            self.deliver(*life);
        } else if !self.loads.is_empty() {
            self.finish_load();
        } else if !self.reads.is_empty() {
            self.finish_read(0);
        } else {
            return false;
        }
        true
    }

    /// Does at most so many things.
    pub fn run_steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.run_once();
        }
    }

    /// Lets State hear everything that has been reported.
    pub fn run_reports(&mut self) {
        while let Some(life) = self.reporting().first() {
            self.deliver(*life);
        }
    }

    /// Lets everything happen that needs no time.
    pub fn run(&mut self) {
        while self.run_once() {}
    }

    /// As [`World::run`], and lets time pass for as long as a worker waits for its next life.
    pub fn run_on(&mut self) {
        self.run();
        while self.stopped.is_none() && self.tick() {
            self.run();
        }
    }

    /// The process ends here and now: whoever waited waits for ever, and the logs keep what was durable and perhaps
    /// some more. A new core is there, not begun.
    pub fn crash(&mut self, config: Config) {
        for log in [&mut self.qcs, &mut self.blocks] {
            let kept = self.luck.part_of(log.disk.unsynced());
            log.disk.crash(kept);
            log.life = None;
        }
        self.reset(config);
    }

    fn reset(&mut self, config: Config) {
        let committee = self.source.members.committee.clone();
        let seed = self.luck.below(u64::MAX);
        self.ledger.crashed(self.with_logs);
        self.core = Core::new(committee, config.clone(), self.with_logs, seed);
        self.config = config;
        self.now = Duration::ZERO;
        self.verifier = None;
        self.pruner = None;
        self.held.clear();
        self.poison.clear();
        self.generations.clear();
        self.outboxes.clear();
        self.reads.clear();
        self.loads.clear();
        self.pending.clear();
        self.answers.clear();
        self.with_verifier.clear();
        self.forgotten_reads.clear();
        self.running = None;
        self.stopped = None;
        self.shutting_down = false;
        self.may_escalate = false;
        self.may_refuse = false;
        self.may_fail_to_load = false;
    }

    /// Crashes, and starts again with the same settings.
    pub fn restart(&mut self) {
        self.crash(self.config.clone());
        self.begin();
        self.run();
    }
}

fn any_order<R>(order: WalOrder<R>, record: fn(R) -> Record) -> WalOrder<Record> {
    match order {
        WalOrder::Open(plan) => WalOrder::Open(plan),
        WalOrder::Append { first_index, records } => {
            WalOrder::Append { first_index, records: records.into_iter().map(record).collect() }
        }
        WalOrder::TruncateBefore { first } => WalOrder::TruncateBefore { first },
        WalOrder::Close => WalOrder::Close,
    }
}
