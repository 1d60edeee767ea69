//! One instance's parts without its threads, channels and clock: for the simulator of the whole subsystem.
//!
//! It decides nothing. Whoever drives it says when a worker's next step happens; what happens in it is the code that the
//! worker's threads run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roadbed_messages::api::workers::{Cause, Event, Generation, Loaded, VerifyJob, WalOrder, WalStart};
use roadbed_messages::api::{StartError, WalKind};
use roadbed_messages::{BlockNumber, Committee};
use roadbed_wal::Storage;

use crate::builder::Builder;
use crate::config::{Config, RetentionPolicy};
use crate::metrics::Metrics;
use crate::pruner::Retained;
use crate::reader::Source;
use crate::state::core::{Answer, Core, Read, ReadError};
use crate::state::{Environment, IoThreads, LogPlace};
use crate::store::StoreLock;
use crate::supervision::{Fault, Faults, Injected, Monotonic};
use crate::verifier::{PoolContext, Worker};
pub use crate::wal_worker::Record;
use crate::wal_worker::{Failure, LogDriver, Step, died};

/// Lives of a worker begin in their order here.
const SIMULATED: Generation = Generation(1);

/// One instance on a storage, as [`crate::Builder`] would start it.
pub struct Parts {
    environment: Environment,
    /// `None` without a directory.
    source: Option<Arc<Source>>,
    faults: Faults,
    verifier: Worker,
    pruned_by: Retained,
}

impl Parts {
    /// Takes the directory's lock and makes the store, if there is none.
    ///
    /// # Errors
    /// As a start.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: impl Into<PathBuf>,
        committee: Committee,
        config: Config,
    ) -> Result<Self, StartError> {
        let first_block = committee.first_block();
        Self::of(first_block, crate::Roadbed::builder(committee).data_dir(dir).storage(storage), config)
    }

    /// An instance that keeps everything in memory.
    ///
    /// # Errors
    /// As a start.
    pub fn in_memory(committee: Committee, config: Config) -> Result<Self, StartError> {
        let first_block = committee.first_block();
        Self::of(first_block, crate::Roadbed::builder(committee).in_memory(), config)
    }

    fn of(first_block: BlockNumber, builder: Builder, config: Config) -> Result<Self, StartError> {
        let faults = Faults::default();
        let metrics = Arc::new(Metrics::new(false, config.hung_after, first_block));
        let builder = builder.config(config).faults(faults.clone());
        let environment = builder.environment(metrics, Monotonic::default(), IoThreads::default())?;
        let (source, verifier) = (environment.source(), Worker::new(&pool(&environment)));
        Ok(Self { environment, source, faults, verifier, pruned_by: Retained::default() })
    }

    /// State's decisions, not begun.
    pub fn core(&self, seed: u64) -> Core {
        let Environment { committee, config, .. } = &self.environment;
        Core::new(committee.clone(), config.clone(), self.source.is_some(), seed)
    }

    /// A life of a log's worker, not begun. The life before must have ended.
    pub fn log<R: Record>(&self, start: WalStart) -> Option<LogLife<R>> {
        let disk = self.environment.disk.as_ref()?;
        let place = disk.place(R::WAL).clone();
        let left = place.tenancy.hold(SIMULATED)?.left.take();
        let driver = LogDriver::new(self.environment.log_context(disk, R::WAL), start, left);
        Some(LogLife {
            place,
            _store_lock: Arc::clone(&disk.lock),
            driver: Some(driver),
            begun: false,
            orders: VecDeque::new(),
        })
    }

    /// Carries out a read.
    ///
    /// # Errors
    /// As a reader.
    pub fn read(&self, read: &Read) -> Result<Answer, ReadError> {
        self.source.as_ref().ok_or(ReadError::Missing)?.read(read)
    }

    /// The indices that a log holds, as it was opened last.
    pub fn range(&self, wal: WalKind) -> Option<Range<u64>> {
        Some(self.environment.reader(wal)?.range())
    }

    /// Loads what recovery brings into memory.
    ///
    /// # Errors
    /// As recovery.
    pub fn load(
        &self,
        first: BlockNumber,
        verify_from: BlockNumber,
        next_block: BlockNumber,
        next_qc: BlockNumber,
    ) -> Result<Loaded, StartError> {
        self.environment.load(first, verify_from, next_block, next_qc).load()
    }

    /// Verifies a batch, as one thread of the verifier; answers what it reports, an end of its life last.
    pub fn verify(&self, jobs: &[VerifyJob]) -> Vec<Event> {
        let events = RefCell::<Vec<_>>::default();
        let end = self.verifier.work_on(jobs, None, &|event| events.borrow_mut().push(event));
        let mut events: Vec<_> = events.take();
        events.extend(end.err());
        events
    }

    /// The verifier's life is over, and with it what it knew.
    pub fn forget_verifier(&mut self) {
        self.verifier = Worker::new(&pool(&self.environment));
    }

    /// Where to inject faults into the verifier.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What the pruner would ask to retain from now on; a new life of it remembers nothing.
    pub fn retain_from(&mut self, policy: &RetentionPolicy, now: Duration, core: &Core) -> BlockNumber {
        self.pruned_by.retain_from(policy, now, &self.environment.retention(core))
    }

    /// The pruner's life is over, and with it what it remembered.
    pub fn forget_pruner(&mut self) {
        self.pruned_by = Retained::default();
    }

    /// Where a log's files are.
    pub fn dir(&self, wal: WalKind) -> Option<PathBuf> {
        Some(self.environment.disk.as_ref()?.paths.log(wal))
    }
}

/// A verifier of one thread, which is whoever drives it.
fn pool(environment: &Environment) -> PoolContext {
    PoolContext {
        committee: environment.committee.clone(),
        jobs_max: environment.config.verify_jobs_max,
        faults: environment.faults.clone(),
        metrics: Arc::clone(&environment.metrics),
        verdict: None,
        heartbeats: Vec::new(),
    }
}

/// One life of a log's worker. Dropping it is a panic of its thread.
pub struct LogLife<R: Record> {
    place: LogPlace,
    _store_lock: Arc<StoreLock>,
    driver: Option<LogDriver<R>>,
    begun: bool,
    orders: VecDeque<WalOrder<R>>,
}

impl<R: Record> LogLife<R> {
    /// Puts an order into its queue.
    pub fn order(&mut self, order: WalOrder<R>) {
        self.orders.push_back(order);
    }

    /// Whether there is something to do now: to begin, or an order.
    pub fn has_work(&self) -> bool {
        self.driver.is_some() && (!self.begun || !self.orders.is_empty())
    }

    /// Whether it was closed or has failed.
    pub fn has_ended(&self) -> bool {
        self.driver.is_none()
    }

    /// Begins, or carries out what is first in its queue, with what comes behind it in one group; answers what it
    /// reports, its end last.
    pub fn step(&mut self) -> Vec<Event> {
        let Some(mut driver) = self.driver.take() else { return Vec::new() };
        let events = RefCell::<Vec<_>>::default();
        let report = |event| events.borrow_mut().push(event);
        let step = if !self.begun {
            self.begun = true;
            driver.begin(&report).map(|()| Step::Wait)
        } else if let Some(order) = self.orders.pop_front() {
            driver.carry_out(order, || self.orders.pop_front(), &report)
        } else {
            Ok(Step::Wait)
        };
        match step {
            Ok(Step::Closed) => report(Event::Closed),
            Ok(step) => {
                if let Step::Next(order) = step {
                    self.orders.push_front(order);
                }
                self.driver = Some(driver);
            }
            Err(failure) => events.borrow_mut().extend(self.end(driver, failure)),
        }
        events.take()
    }

    /// A step of housekeeping; answers whether there is more to do, and its end, if it fails.
    pub fn idle(&mut self) -> (bool, Option<Event>) {
        let Some(mut driver) = self.driver.take() else { return (false, None) };
        match driver.idle() {
            Ok(more) => {
                self.driver = Some(driver);
                (more, None)
            }
            Err(failure) => (false, self.end(driver, failure)),
        }
    }

    /// Its next operation fails before it does anything.
    pub fn fail(&mut self, fault: &Fault) -> Option<Event> {
        let driver = self.driver.take()?;
        match fault {
            Fault::Error => self.end(driver, Failure::Injected(Injected::Error)),
            Fault::DiskFull => self.end(driver, Failure::Injected(Injected::DiskFull)),
            Fault::Panic | Fault::Hang(_) => {
                drop(driver);
                Some(died(Cause::Panic, format!("injected panic in {}", R::WAL.actor())))
            }
        }
    }

    fn end(&self, driver: LogDriver<R>, failure: Failure) -> Option<Event> {
        if matches!(failure, Failure::Abandoned) {
            return None;
        }
        let (event, left) = driver.fail(failure);
        self.place.tenancy.hold(SIMULATED)?.left = left;
        Some(event)
    }
}
