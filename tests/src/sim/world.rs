//! The world: an agenda of what happens when, one process at a time, and everybody around it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roadbed::sim::Parts;
use roadbed::state::core::calls::Bound;
use roadbed::state::core::{Bounds, Effect, Input, Read, Request};
use roadbed::supervision::RestartPolicy;
use roadbed::{Config, RetentionPolicy};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{CallId, Event, Generation, Report, VerifyJob};
use roadbed_messages::api::{ActorKind, Cursors, StartError, StopReason, WalKind};
use roadbed_wal::sim::{How, SimStorage};

use super::chain::Chain;
use super::checks::Ledger;
use super::excuses::Excuses;
use super::process::{Asked, Log, Process, Who};
use super::script::{Luck, Step};
use super::tales::Tales;
use super::{DIR, Mutation};

/// Something that is going to happen. What concerns a process names it: after its end nothing of it happens any more.
#[derive(Debug)]
pub(super) enum Happening {
    /// The embedder starts the subsystem.
    Start,
    /// A request reaches State.
    Arrives {
        request: Request,
        who: Who,
        honest: bool,
    },
    /// A log's operation is over.
    LogDone {
        process: u64,
        wal: WalKind,
        generation: Generation,
    },
    /// Nothing has come to a log for a while.
    LogIdle {
        process: u64,
        wal: WalKind,
        generation: Generation,
        due: u64,
    },
    /// A thread of the verifier is done with its batch.
    Verified {
        process: u64,
        generation: Generation,
        jobs: Vec<VerifyJob>,
    },
    Read {
        process: u64,
        call: CallId,
        read: Read,
    },
    Load {
        process: u64,
        first: BlockNumber,
        verify_from: BlockNumber,
        next_block: BlockNumber,
        next_qc: BlockNumber,
    },
    Reports {
        process: u64,
        actor: ActorKind,
        generation: Generation,
        event: Event,
    },
    /// The core's deadline.
    Wake {
        process: u64,
    },
    Beat {
        process: u64,
    },
    PrunerLooks {
        process: u64,
        generation: Generation,
    },
    /// The free space was looked at.
    Space {
        process: u64,
    },
}

/// A follower of the stream, across all processes.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) next: u64,
    pub(super) only_durable: bool,
    pub(super) call: Option<CallId>,
}

/// The application: what it has executed outlives the node.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) next: u64,
    /// The app hashes below were accepted by the present process.
    pub(super) reported: u64,
    pub(super) call: Option<CallId>,
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) chain: Arc<Chain>,
    pub(super) config: Config,
    /// Without a directory: nothing outlives the process.
    pub(super) in_memory: bool,
    pub(super) disk: SimStorage,
    pub(super) now: Duration,
    pub(super) luck: Luck,
    pub(super) tales: Tales,
    agenda: BTreeMap<(Duration, u64), Happening>,
    seq: u64,
    pub(super) process: Option<Process>,
    /// A process that has stopped, but has a thread that hangs.
    pub(super) lingering: Option<Process>,
    processes: u64,
    pub(super) ledger: Ledger,
    pub(super) application: Application,
    pub(super) subscribers: Vec<Subscriber>,
    /// Operations take so many times longer until then.
    pub(super) slow_until: Duration,
    /// The next operation of a log takes so long.
    pub(super) stuck: BTreeMap<&'static str, Duration>,
    /// An older state of each log's files.
    pub(super) old: BTreeMap<&'static str, Vec<(PathBuf, Vec<u8>)>>,
    pub(super) mutation: Option<Mutation>,
}

const MILLI: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn new(seed: u64, mutation: Option<Mutation>, tales: Tales) -> Self {
        let mut luck = Luck::new(seed);
        let chain = Chain::of(seed);
        let first = chain.first_block;
        let disk = SimStorage::new(luck.any()).direct(!luck.one_in(3));
        let mut world = Self {
            seed,
            config: config(&mut luck),
            in_memory: luck.one_in(16),
            disk,
            now: Duration::ZERO,
            luck,
            tales,
            agenda: BTreeMap::new(),
            seq: 0,
            process: None,
            lingering: None,
            processes: 0,
            ledger: Ledger::new(first),
            application: Application { next: first, reported: first, call: None },
            subscribers: (0..4)
                .map(|at| Subscriber { next: first, only_durable: at % 2 == 0, call: None })
                .collect(),
            slow_until: Duration::ZERO,
            stuck: BTreeMap::new(),
            old: BTreeMap::new(),
            mutation,
            chain,
        };
        world.use_disk(world.disk.clone());
        world.after(Duration::ZERO, Happening::Start);
        world
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// One act, and what happens until the next.
    pub(super) fn step(&mut self, step: &Step) {
        self.luck = Luck::new(step.seed);
        self.tales.tell(self.now, format_args!("ACT {}", step.act.name()));
        self.act(step.act);
        self.notice_power();
        self.pass(step.then);
    }

    /// Lets time pass, and everything happen that happens in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(((at, _), _)) = self.agenda.first_key_value()
            && *at <= until
            && let Some(((at, _), happening)) = self.agenda.pop_first()
        {
            self.now = self.now.max(at);
            self.happens(happening);
            self.notice_power();
        }
        self.now = until;
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.seq += 1;
        self.agenda.insert((self.now + delay, self.seq), happening);
    }

    pub(super) fn tell(&self, what: std::fmt::Arguments<'_>) {
        self.tales.tell(self.now, what);
    }

    pub(super) fn use_disk(&mut self, disk: SimStorage) {
        self.disk = disk;
        if let Some(Mutation::Omit(point)) = self.mutation {
            self.disk.omit(point);
        }
    }

    pub(super) fn cursors(&self) -> Option<Cursors> {
        self.process
            .as_ref()
            .filter(|process| process.running.is_some())
            .map(|process| process.core.cursors())
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Start => self.start(),
            Happening::Arrives { request, who, honest } => drop(self.ask(request, who, honest)),
            Happening::LogDone { process, wal, generation } => self.log_done(process, wal, generation),
            Happening::LogIdle { process, wal, generation, due } => {
                self.log_idle(process, wal, generation, due);
            }
            Happening::Verified { process, generation, jobs } => self.verified(process, generation, &jobs),
            Happening::Read { process, call, read } => {
                let disk = self.disk.clone();
                if let Some(process) = self.present(process) {
                    let result = process.parts.read(&read);
                    if !disk.take_failures().is_empty() {
                        process.excuses.failed_reads.insert(call);
                    }
                    self.input(Input::ReadDone { call, result });
                }
            }
            Happening::Load { process, first, verify_from, next_block, next_qc } => {
                let disk = self.disk.clone();
                if let Some(process) = self.present(process) {
                    let loaded = process.parts.load(first, verify_from, next_block, next_qc);
                    process.excuses.load_failed = !disk.take_failures().is_empty();
                    self.input(Input::Loaded(loaded));
                }
            }
            Happening::Reports { process, actor, generation, event } => {
                if self.present(process).is_some() {
                    self.report(actor, generation, event);
                }
            }
            Happening::Wake { process } => {
                let now = self.now;
                if let Some(process) = self.present(process).filter(|process| process.wake_at == Some(now)) {
                    process.wake_at = None;
                    self.input(Input::Tick);
                }
            }
            Happening::Beat { process } => self.beat(process),
            Happening::PrunerLooks { process, generation } => self.pruner_looks(process, generation),
            Happening::Space { process } => self.sample_space(process),
        }
    }

    /// The process of this number, if it has not stopped.
    pub(super) fn present(&mut self, number: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| process.number == number)
    }

    // ---- the life of a process ---------------------------------------------------------------------------------

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let committee = self.chain.members.committee.clone();
        let storage = Arc::new(self.disk.clone());
        // A refused start leaves every file as it was.
        let before = self.ledger.damaged.then(|| self.disk.kill());
        let config = self.config.clone();
        let open = || match self.in_memory {
            true => Parts::in_memory(committee, config),
            false => Parts::open(storage, Path::new(DIR), committee, config),
        };
        let opened = catch_unwind(AssertUnwindSafe(open));
        let met = self.disk.take_failures();
        let parts = match opened {
            Ok(Ok(parts)) => parts,
            Ok(Err(_)) if self.disk.has_crashed() => return,
            Ok(Err(error)) => return self.start_failed(&error, before.as_ref(), !met.is_empty()),
            // A bug before there is anybody to restart anything ends the process.
            Err(_) if met.iter().any(|failure| failure.how == How::Panic) => return self.kill(),
            Err(panic) => resume_unwind(panic),
        };
        assert!(self.lingering.is_none(), "two processes have one directory");
        self.processes += 1;
        let number = self.processes;
        self.tell(format_args!("process {number} starts"));
        let core = parts.core(self.luck.any());
        self.process = Some(Process {
            number,
            parts,
            core,
            began: self.now,
            clock_set: 0,
            qcs: Log::new(&self.disk),
            blocks: Log::new(&self.disk),
            verifier: None,
            pruner: None,
            pending: BTreeMap::new(),
            next_call: 0,
            running: None,
            stopped: None,
            shutting_down: false,
            wake_at: None,
            excuses: Excuses::default(),
            free_bytes: None,
            full: BTreeSet::new(),
            granted: Vec::new(),
        });
        self.ledger.refusable = before;
        self.application.reported = self.chain.first_block;
        self.input(Input::Begin);
        self.after(self.config.beat_interval, Happening::Beat { process: number });
        if !self.in_memory {
            self.after(Duration::ZERO, Happening::Space { process: number });
        }
    }

    /// The embedder tries again later, unless the store is beyond repair: then it begins anew.
    /// `disk_failed`: the disk failed calls of this start.
    pub(super) fn start_failed(
        &mut self,
        error: &StartError,
        before: Option<&SimStorage>,
        disk_failed: bool,
    ) {
        self.tell(format_args!("start refused: {error}"));
        match error {
            StartError::InUse { .. } => {
                assert!(self.lingering.is_some(), "in use, but by whom? {error}");
                self.tales.count("row", "start refused while a thread hangs");
            }
            StartError::Failed { .. } => {
                assert!(disk_failed, "a start failed without a reason: {error}");
            }
            error => {
                assert!(self.ledger.damaged, "refused without a reason: {error}");
                self.check_untouched(before);
                self.count_refusal(error);
                self.wipe();
            }
        }
        let delay = self.luck.time(MILLI, Duration::from_secs(4));
        self.after(delay, Happening::Start);
    }

    /// A new disk: what the old one held is gone, and with it every promise.
    pub(super) fn wipe(&mut self) {
        let seed = self.luck.any();
        self.tell(format_args!("a new disk"));
        self.use_disk(SimStorage::new(seed).direct(seed.is_multiple_of(2)));
        self.old.clear();
        (self.process, self.lingering) = (None, None);
        self.callers_are_cut_off();
        self.ledger = Ledger::new(self.chain.first_block);
    }

    fn notice_power(&mut self) {
        if self.disk.has_crashed() {
            self.power_loss();
        }
    }

    /// The power fails: what was not durable may be lost, torn, or there.
    pub(super) fn power_loss(&mut self) {
        if self.process.as_ref().is_some_and(|process| process.running.is_none()) {
            self.tales.count("row", "crash inside recovery");
        }
        let seed = self.luck.any();
        self.tell(format_args!("the power fails ({seed})"));
        let left = self.disk.crash(seed);
        self.machine_ended(left);
    }

    /// The process is killed: the page cache survives.
    pub(super) fn kill(&mut self) {
        self.tell(format_args!("killed"));
        let left = self.disk.kill();
        self.machine_ended(left);
    }

    fn machine_ended(&mut self, left: SimStorage) {
        (self.process, self.lingering) = (None, None);
        self.use_disk(left);
        self.ledger.crashed();
        self.forget_what_was_in_memory();
        self.stuck.clear();
        self.callers_are_cut_off();
        let delay = self.luck.time(Duration::ZERO, Duration::from_secs(2));
        self.after(delay, Happening::Start);
    }

    /// Without a directory a store ends with its process, and with it every promise.
    fn forget_what_was_in_memory(&mut self) {
        if self.in_memory {
            self.tales.count("row", "crash without a directory: begins anew");
            self.ledger = Ledger::new(self.chain.first_block);
        }
    }

    fn callers_are_cut_off(&mut self) {
        self.application.call = None;
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.call = None);
    }

    fn stopped(&mut self, reason: &StopReason) {
        self.tell(format_args!("stopped: {reason}"));
        let Some(mut process) = self.process.take() else { return };
        assert!(process.pending.is_empty(), "left without an answer: {:?}", process.pending);
        process.qcs.detach();
        process.blocks.detach();
        let refusable = self.ledger.refusable.take();
        let (number, excuses) = (process.number, &process.excuses);
        let load_failed = excuses.load_failed;
        let refused = match reason {
            StopReason::Shutdown(_) => {
                assert!(process.shutting_down, "it stopped by itself: {reason}");
                assert!(!excuses.has_given_up(), "it has passed over what it must give up for");
                None
            }
            StopReason::Start(error) => Some(error),
            StopReason::Escalated { actor, .. } => {
                assert!(excuses.has_given_up_on(*actor), "gave up without a reason: {reason}");
                self.tales.count("count", "escalations");
                None
            }
            reason => panic!("there is no actor that could fail: {reason}"),
        };
        self.lingering = Some(process);
        self.callers_are_cut_off();
        self.forget_what_was_in_memory();
        for wal in WalKind::BOTH {
            self.next_operation(number, wal);
        }
        match refused {
            Some(error) => self.start_failed(error, refusable.as_ref(), load_failed),
            None => {
                let delay = self.luck.time(MILLI, Duration::from_secs(4));
                self.after(delay, Happening::Start);
            }
        }
    }

    // ---- requests ----------------------------------------------------------------------------------------------

    /// Sends a request, if there is a process.
    pub(super) fn ask(&mut self, request: Request, who: Who, honest: bool) -> Option<CallId> {
        let process = self.process.as_mut()?;
        let call = CallId(process.next_call);
        process.next_call += 1;
        process.shutting_down |= matches!(request, Request::Shutdown);
        let cursors = process.core.cursors();
        let verifier_deaths = process.excuses.deaths(ActorKind::Verifier);
        let asked = Asked { request: request.clone(), who, honest, cursors, verifier_deaths };
        process.pending.insert(call, asked);
        self.tales.count("count", "requests");
        self.tell(format_args!("? {} {}", call.0, super::checks::brief(&request)));
        self.input(Input::Call { call, request });
        Some(call)
    }

    /// Whether a call still waits for its reply.
    pub(super) fn is_pending(&self, call: CallId) -> bool {
        self.process.as_ref().is_some_and(|process| process.pending.contains_key(&call))
    }

    // ---- the core ----------------------------------------------------------------------------------------------

    pub(super) fn report(&mut self, actor: ActorKind, generation: Generation, event: Event) {
        self.tales.count("count", "reports");
        let report = Report { actor, generation, event };
        self.notice(&report);
        self.input(Input::Report(report));
    }

    pub(super) fn input(&mut self, input: Input) {
        let Some(process) = &mut self.process else { return };
        let number = process.number;
        let before = process.core.cursors();
        let was_running = process.running.is_some();
        let clock = process.clock(self.now);
        process.excuses.now(clock);
        let effects = process.core.handle(clock, input);
        for effect in effects {
            self.carry_out(number, effect);
        }
        if self.present(number).is_some() {
            self.check_cursors(before, was_running);
            self.arm();
        }
    }

    fn arm(&mut self) {
        let now = self.now;
        let Some(process) = &mut self.process else { return };
        let Some(deadline) = process.core.next_deadline() else { return };
        let delay = deadline.saturating_sub(process.clock(now));
        if process.wake_at.is_none_or(|at| at > now + delay) {
            process.wake_at = Some(now + delay);
            let process = process.number;
            self.after(delay, Happening::Wake { process });
        }
    }

    fn carry_out(&mut self, number: u64, effect: Effect) {
        match effect {
            Effect::Reply { call, answer } => self.replied(number, call, answer),
            Effect::Start { actor, generation, wal } => {
                self.tell(format_args!("! start {actor} {generation} {wal:?}"));
                if let Some(process) = self.present(number) {
                    process.excuses.check_start(actor, generation);
                }
                self.begin_life(number, actor, generation, wal);
            }
            Effect::Retire { actor } => self.retire(number, actor),
            Effect::QcWal(order) => {
                self.told_order(WalKind::Qcs, &order.order);
                if let Some(process) = self.present(number) {
                    process.qcs.order(order.generation, order.order);
                }
                self.next_operation(number, WalKind::Qcs);
            }
            Effect::BlockWal(order) => {
                self.told_order(WalKind::Blocks, &order.order);
                if let Some(process) = self.present(number) {
                    process.blocks.order(order.generation, order.order);
                }
                self.next_operation(number, WalKind::Blocks);
            }
            Effect::Verify(order) => {
                self.tales.count("count", "orders");
                if let Some(process) = self.present(number)
                    && let Some(verifier) = &mut process.verifier
                {
                    assert_eq!(verifier.generation, order.generation, "a job for a life that is over");
                    verifier.jobs.push_back(order.order);
                }
                self.next_batch(number);
            }
            Effect::Read { call, read } => {
                let delay = self.luck.time(Duration::from_micros(20), 30 * MILLI);
                self.after(delay, Happening::Read { process: number, call, read });
            }
            Effect::Load { first, verify_from, next_block, next_qc } => {
                let delay = self.luck.time(MILLI, Duration::from_secs(1));
                let process = number;
                self.after(delay, Happening::Load { process, first, verify_from, next_block, next_qc });
            }
            Effect::Running(recovered) => {
                self.tell(format_args!("running: {recovered:?}"));
                self.check_recovered(&recovered);
                if let Some(process) = self.present(number) {
                    process.running = Some(recovered);
                }
            }
            Effect::Stop(reason) => {
                if let Some(process) = self.present(number) {
                    process.stopped = Some(reason.clone());
                }
                self.stopped(&reason);
            }
        }
    }
}

/// Settings under which everything is met often.
fn config(luck: &mut Luck) -> Config {
    let calls_max = luck.pick(&[6, 24, 96]);
    let bound = Bound { calls_max, bytes_max: luck.pick(&[16 << 10, 256 << 10]) };
    let waits = Bound { calls_max: 24, bytes_max: u64::MAX };
    Config {
        window_blocks: luck.pick(&[8, 40, 200]),
        memory_bytes_max: luck.pick(&[4 << 10, 64 << 10, 1 << 20]),
        bounds: Bounds { push_qc: bound, push_block: bound, push_app_hash: waits, get: waits, prune: waits },
        verify_jobs_max: luck.pick(&[2, 16]),
        // What recovery loads is checked on this thread.
        verify_threads: 1,
        // All or nothing: what a cache lets go of is not up to the seed.
        read_cache_bytes_max: luck.pick(&[0, 1 << 30]),
        segment_bytes: 64 << 10,
        group_bytes_max: luck.pick(&[1, 8 << 10, 8 << 20]),
        restart: RestartPolicy {
            restarts_max: luck.pick(&[4, 10, 30]),
            window: Duration::from_secs(20),
            ..RestartPolicy::default()
        },
        hung_after: Duration::from_secs(1),
        give_up_after: Duration::from_secs(8),
        beat_interval: Duration::from_millis(200),
        shutdown_deadline: Duration::from_secs(2),
        verify_all_on_start: luck.one_in(3),
        accept_lost_qcs: luck.one_in(4),
        retention: RetentionPolicy {
            age_after_execution: luck.pick(&[None, None, Some(Duration::from_secs(2))]),
            blocks_max: luck.pick(&[None, Some(10), Some(60)]),
            bytes_max: luck.pick(&[None, None, Some(200 << 10)]),
            interval: 50 * MILLI,
        },
        disk_reserve_bytes: luck.pick(&[0, 128 << 10]),
        ..Config::default()
    }
}
