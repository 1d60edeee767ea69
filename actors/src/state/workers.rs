//! Factories and lives of the workers: what the shell needs to begin a life, and to let go of one.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use roadbed_messages::api::workers::{
    CallId, Cause, Event, Generation, Order, Report, VerifyJob, WalOrder, WalStart,
};
use roadbed_messages::api::{ActorKind, WalKind};
use roadbed_messages::{BlockNumber, Committee, Timestamp, VerifiedBlock, VerifiedQc};
use roadbed_wal::{LogOptions, Reader, Storage};

use super::State;
use super::core::{APPEND_ORDERS_MAX, Core, Retention};
use crate::block_wal::BlockWal;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pruner::Pruner;
use crate::qc_wal::QcWal;
use crate::reader::{ReaderSlot, Source};
use crate::recovery::Load;
use crate::store::{StoreLock, StorePaths, log_options};
use crate::supervision::{Ended, Faults, Heartbeat, Monotonic, spawn_watched};
use crate::verifier::{PoolContext, Verdict, Verifier, start as start_pool};
use crate::wal_worker::{LogContext, Record, Stamped, Tenancy, ThreadContext, WalActor, Worker};

/// Tells the time that blocks are made at.
pub(crate) type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What outlives every life: configuration, storage, counters.
pub(crate) struct Environment {
    pub(crate) committee: Committee,
    pub(crate) config: Config,
    pub(crate) faults: Faults,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Option<WallClock>,
    pub(crate) monotonic: Monotonic,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) io_threads: IoThreads,
    /// `None` without a directory.
    pub(crate) disk: Option<Disk>,
}

/// A store's place on a disk.
pub(crate) struct Disk {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) paths: StorePaths,
    pub(crate) lock: Arc<StoreLock>,
    qcs: LogPlace,
    blocks: LogPlace,
}

/// What the lives of one log's worker hand on to each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogPlace {
    pub(crate) reader: ReaderSlot,
    pub(crate) tenancy: Tenancy,
}

impl Disk {
    pub(crate) fn new(storage: Arc<dyn Storage>, paths: StorePaths, lock: StoreLock) -> Self {
        Self { storage, paths, lock: Arc::new(lock), qcs: LogPlace::default(), blocks: LogPlace::default() }
    }

    /// Of the QC log and of the block log.
    pub(crate) fn readers(&self) -> [ReaderSlot; 2] {
        [self.qcs.reader.clone(), self.blocks.reader.clone()]
    }

    pub(crate) fn place(&self, wal: WalKind) -> &LogPlace {
        match wal {
            WalKind::Qcs => &self.qcs,
            WalKind::Blocks => &self.blocks,
        }
    }
}

/// The options of a log under a configuration.
pub(crate) fn configured_options(committee: &Committee, config: &Config, wal: WalKind) -> LogOptions {
    LogOptions {
        segment_bytes: config.segment_bytes,
        keep_free_bytes: config.disk_reserve_bytes,
        ..log_options(committee, wal)
    }
}

impl Environment {
    pub(crate) fn source(&self) -> Option<Arc<Source>> {
        let disk = self.disk.as_ref()?;
        let (qcs, blocks) = (disk.qcs.reader.clone(), disk.blocks.reader.clone());
        let metrics = Arc::clone(&self.metrics);
        Some(Arc::new(Source::new(
            self.committee.clone(),
            qcs,
            blocks,
            self.config.read_cache_bytes_max,
            metrics,
        )))
    }

    /// The reader of a log's latest opening.
    pub(crate) fn reader(&self, wal: WalKind) -> Option<Reader> {
        self.disk.as_ref()?.place(wal).reader.get()
    }

    pub(crate) fn load(
        &self,
        first: BlockNumber,
        verify_from: BlockNumber,
        next_block: BlockNumber,
        next_qc: BlockNumber,
    ) -> Load {
        Load {
            committee: self.committee.clone(),
            qcs: self.reader(WalKind::Qcs),
            blocks: self.reader(WalKind::Blocks),
            metrics: Arc::clone(&self.metrics),
            threads: self.config.verify_threads,
            memory_bytes_max: self.config.memory_bytes_max,
            first,
            verify_from,
            next_block,
            next_qc,
        }
    }

    /// What a log's driver needs.
    pub(crate) fn log_context(&self, disk: &Disk, wal: WalKind) -> LogContext {
        LogContext {
            committee: self.committee.clone(),
            storage: Arc::clone(&disk.storage),
            dir: disk.paths.log(wal),
            aside: disk.paths.aside(),
            options: configured_options(&self.committee, &self.config, wal),
            group_bytes_max: self.config.group_bytes_max,
            metrics: Arc::clone(self.metrics.wal(wal)),
            reader: disk.place(wal).reader.clone(),
        }
    }

    /// What the retention policies need to know.
    pub(crate) fn retention(&self, core: &Core) -> Retention {
        let mut retention = core.retention();
        if let Some(reader) = self.reader(WalKind::Blocks) {
            let sizes = reader.segments().into_iter();
            retention.sizes_bytes = sizes.map(|segment| (BlockNumber(segment.base), segment.bytes)).collect();
        }
        retention
    }

    fn thread_context(
        &self,
        disk: &Disk,
        wal: WalKind,
        generation: Generation,
        heartbeat: Heartbeat,
    ) -> ThreadContext {
        let place = disk.place(wal);
        ThreadContext {
            log: self.log_context(disk, wal),
            tenancy: place.tenancy.clone(),
            generation,
            store_lock: Arc::clone(&disk.lock),
            worker: Worker { heartbeat, faults: self.faults.clone(), metrics: Arc::clone(&self.metrics) },
        }
    }
}

/// One life of a worker: its address, and what it beats.
struct Life<A: Actor> {
    generation: Generation,
    addr: Addr<A>,
    heartbeats: Vec<Heartbeat>,
}

/// The I/O threads that may still be at work. Clones share the list.
#[derive(Clone, Default)]
pub(crate) struct IoThreads(Arc<Mutex<Vec<IoThread>>>);

struct IoThread {
    heartbeat: Heartbeat,
    hung_after: Duration,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl IoThread {
    fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }

    fn hangs(&self) -> bool {
        self.heartbeat.running_for().is_some_and(|(running_for, _)| running_for >= self.hung_after)
    }
}

impl IoThreads {
    fn add(&self, thread: IoThread) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.has_ended());
        threads.push(thread);
    }

    /// Waits until every thread has ended, so that the directory is free again. One that hangs is left behind, and
    /// keeps the directory's lock. Must be called when nobody gives orders any more.
    pub(crate) fn wait(&self) {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            while !thread.has_ended() && !thread.hangs() {
                // The end is an event; the timeout only leads to another look at the heartbeat.
                let _ = thread.ended.recv_timeout(HEARTBEAT_LOOK);
            }
        }
    }
}

/// How often a thread's heartbeat is looked at while its end is waited for.
const HEARTBEAT_LOOK: Duration = Duration::from_millis(100);

/// The oldest running operation of a worker's threads, if any runs, with its job.
pub(super) struct Beat {
    pub(super) actor: ActorKind,
    pub(super) generation: Generation,
    pub(super) running: Option<(Duration, CallId)>,
}

/// The present lives of all workers.
#[derive(Default)]
pub(super) struct Lives {
    qc_wal: Option<Life<QcWal>>,
    block_wal: Option<Life<BlockWal>>,
    verifier: Option<Life<Verifier>>,
    pruner: Option<Life<Pruner>>,
}

impl Lives {
    /// Begins a life of a worker; whatever life it had before is let go of.
    pub(super) fn start(
        &mut self,
        environment: &Environment,
        actor: ActorKind,
        generation: Generation,
        wal: Option<WalStart>,
        state: &Addr<State>,
    ) {
        self.retire(actor);
        let reporter = Reporter { actor, generation, state: state.clone() };
        match (actor, wal) {
            (ActorKind::QcWal, Some(start)) => {
                self.qc_wal = self.start_wal::<VerifiedQc>(environment, &reporter, start);
            }
            (ActorKind::BlockWal, Some(start)) => {
                self.block_wal = self.start_wal::<VerifiedBlock>(environment, &reporter, start);
            }
            (ActorKind::Verifier, _) => self.verifier = start_verifier(environment, &reporter),
            (ActorKind::Pruner, _) => self.pruner = start_pruner(environment, &reporter),
            (actor, _) => unreachable!("{actor} is not a worker that starts like this"),
        }
        environment.metrics.actor(actor).began(self.heartbeats(actor));
    }

    fn heartbeats(&self, actor: ActorKind) -> Vec<Heartbeat> {
        fn of<A: Actor>(life: Option<&Life<A>>) -> Vec<Heartbeat> {
            life.map_or(Vec::new(), |life| life.heartbeats.clone())
        }
        match actor {
            ActorKind::QcWal => of(self.qc_wal.as_ref()),
            ActorKind::BlockWal => of(self.block_wal.as_ref()),
            ActorKind::Verifier => of(self.verifier.as_ref()),
            ActorKind::Pruner | ActorKind::State => Vec::new(),
        }
    }

    fn start_wal<R: Record>(
        &self,
        environment: &Environment,
        reporter: &Reporter,
        start: WalStart,
    ) -> Option<Life<WalActor<R>>> {
        let disk = environment.disk.as_ref().expect("WAL actors start only where there is a directory");
        // Room for every order that State may give at once, and for the first and last one.
        let (orders, queue) = bounded::<Stamped<WalOrder<R>>>(APPEND_ORDERS_MAX + 3);
        let heartbeat = Heartbeat::new(&environment.monotonic);
        let context = environment.thread_context(disk, R::WAL, reporter.generation, heartbeat.clone());
        let (ended, end) = bounded::<()>(0);
        let report = reporter.clone();
        let body = move || {
            let _ended = ended;
            context.run(start, &queue, |event| report.tell(event));
        };
        let name = format!("roadbed-{}", R::WAL);
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            reporter.died(Cause::Error, format!("can't start a thread: {error}"));
            return None;
        }
        let hung_after = environment.config.hung_after;
        environment.io_threads.add(IoThread { heartbeat: heartbeat.clone(), hung_after, ended: end });
        let faults = environment.faults.clone();
        reporter.spawn(vec![heartbeat], |generation| WalActor::new(generation, orders, faults))
    }

    /// Lets go of a worker's life. Its thread ends by itself when it has nothing more to do.
    pub(super) fn retire(&mut self, actor: ActorKind) {
        match actor {
            ActorKind::State => {}
            ActorKind::QcWal => self.qc_wal = None,
            ActorKind::BlockWal => self.block_wal = None,
            ActorKind::Verifier => self.verifier = None,
            ActorKind::Pruner => self.pruner = None,
        }
    }

    /// Answers whether there was a life to take it.
    pub(super) fn order_qcs(&self, order: Order<WalOrder<VerifiedQc>>) -> bool {
        send(self.qc_wal.as_ref(), order)
    }

    /// Answers whether there was a life to take it.
    pub(super) fn order_blocks(&self, order: Order<WalOrder<VerifiedBlock>>) -> bool {
        send(self.block_wal.as_ref(), order)
    }

    /// Answers whether there was a life to take it.
    pub(super) fn verify(&self, order: Order<VerifyJob>) -> bool {
        send(self.verifier.as_ref(), order)
    }

    /// For each worker with threads: how long its oldest running operation has been running, and its job.
    pub(super) fn beats(&self) -> Vec<Beat> {
        fn beat<A: Actor>(actor: ActorKind, life: Option<&Life<A>>) -> Option<Beat> {
            let life = life?;
            let running = life.heartbeats.iter().filter_map(Heartbeat::running_for).max();
            Some(Beat { actor, generation: life.generation, running })
        }
        [
            beat(ActorKind::QcWal, self.qc_wal.as_ref()),
            beat(ActorKind::BlockWal, self.block_wal.as_ref()),
            beat(ActorKind::Verifier, self.verifier.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Lets go of everything.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

fn send<A, T>(life: Option<&Life<A>>, order: Order<T>) -> bool
where
    A: Actor<Context = Context<A>> + Handler<Order<T>>,
    T: Send + 'static,
{
    // A life that is over needs no orders: State learns of its end, and gives them anew.
    let life = life.filter(|life| life.generation == order.generation);
    if let Some(life) = life {
        life.addr.do_send(order);
    }
    life.is_some()
}

fn start_verifier(environment: &Environment, reporter: &Reporter) -> Option<Life<Verifier>> {
    let threads = 0..environment.config.verify_threads;
    let heartbeats = threads.map(|_| Heartbeat::new(&environment.monotonic)).collect();
    let context = PoolContext {
        committee: environment.committee.clone(),
        jobs_max: environment.config.verify_jobs_max,
        faults: environment.faults.clone(),
        metrics: Arc::clone(&environment.metrics),
        verdict: environment.verdict.clone(),
        heartbeats,
    };
    let report = reporter.clone();
    match start_pool(&context, move |event| report.tell(event)) {
        Ok(jobs) => {
            let faults = context.faults;
            let life =
                reporter.spawn(context.heartbeats, |generation| Verifier::new(generation, jobs, faults));
            reporter.tell(Event::Up);
            life
        }
        Err(error) => {
            reporter.died(Cause::Error, format!("can't start a thread: {error}"));
            None
        }
    }
}

fn start_pruner(environment: &Environment, reporter: &Reporter) -> Option<Life<Pruner>> {
    let (policy, faults) = (environment.config.retention.clone(), environment.faults.clone());
    let metrics = Arc::clone(&environment.metrics);
    let state = reporter.state.clone();
    let report = reporter.clone();
    let report: Box<dyn Fn(Event)> = Box::new(move |event| report.tell(event));
    reporter.spawn(Vec::new(), move |_| {
        Pruner::new(policy, state.clone().recipient(), state.recipient(), faults, metrics, report)
    })
}

/// Tells State what happens in one life of a worker.
#[derive(Clone)]
struct Reporter {
    actor: ActorKind,
    generation: Generation,
    state: Addr<State>,
}

impl Reporter {
    fn tell(&self, event: Event) {
        self.state.do_send(Report { actor: self.actor, generation: self.generation, event });
    }

    fn died(&self, cause: Cause, error: String) {
        self.tell(Event::Died { cause, error, job: None });
    }

    /// Starts the worker's actor under a death watch.
    fn spawn<A>(&self, heartbeats: Vec<Heartbeat>, build: impl FnOnce(Generation) -> A) -> Option<Life<A>>
    where
        A: Actor<Context = Context<A>>,
    {
        let (generation, reporter) = (self.generation, self.clone());
        let on_end = move |ended| match ended {
            Ended::Stopped => reporter.died(Cause::Stopped, "it stopped by itself".to_owned()),
            Ended::Cancelled => reporter.died(Cause::Stopped, "its arbiter dropped it".to_owned()),
            Ended::Panicked(why) => reporter.died(Cause::Panic, why),
        };
        let addr = spawn_watched(|_| build(generation), on_end)?;
        Some(Life { generation, addr, heartbeats })
    }
}
