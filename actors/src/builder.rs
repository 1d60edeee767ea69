//! Configuring and starting a data layer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use actix::{System, SystemRunner};
use prometheus::Registry;
#[cfg(feature = "testing")]
use roadbed_messages::api::workers::{Verified, VerifyJob};
use roadbed_messages::api::{StartError, StopReason};
use roadbed_messages::{Committee, Timestamp};
use roadbed_wal::{FileSystem, Storage};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::handle::Roadbed;
use crate::metrics::{Metrics, Registration};
use crate::state::core::Core;
use crate::state::{
    Disk, Environment, IoThreads, Replies, Space, State, StateParts, StopCell, WallClock, configured_options,
};
use crate::store::{SpaceSampler, StorePaths, prepare};
use crate::supervision::{Ended, Faults, Monotonic, panic_message, spawn_watched};
use crate::verifier::Verdict;

/// Configures a data layer; [`Builder::start`] starts it.
#[must_use = "nothing is started yet"]
pub struct Builder {
    committee: Committee,
    config: Config,
    place: Option<Place>,
    storage: Arc<dyn Storage>,
    faults: Faults,
    clock: Option<WallClock>,
    registry: Option<Registry>,
    verdict: Option<Verdict>,
    runtime: RuntimeFactory,
}

/// Makes the runtime of the subsystem's thread, on that thread, and answers the clock that ages are measured with.
type RuntimeFactory = Box<dyn FnOnce() -> (SystemRunner, Monotonic) + Send>;

enum Place {
    Dir(PathBuf),
    Memory,
}

impl Builder {
    pub(crate) fn new(committee: Committee) -> Self {
        Self {
            committee,
            config: Config::default(),
            place: None,
            storage: Arc::new(FileSystem),
            faults: Faults::default(),
            clock: None,
            registry: None,
            verdict: None,
            runtime: Self::usual_runtime(),
        }
    }

    fn usual_runtime() -> RuntimeFactory {
        Box::new(|| (System::new(), Monotonic::default()))
    }

    /// Keeps everything in this directory, which is made if it is missing.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.place = Some(Place::Dir(dir.into()));
        self
    }

    /// Keeps everything in memory: the same behaviour, and nothing survives the process.
    pub fn in_memory(mut self) -> Self {
        self.place = Some(Place::Memory);
        self
    }

    /// Replaces the settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Replaces the file system, for tests.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Faults that can be injected while it runs, for rehearsals.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Exports metrics through this registry, under names that begin with `roadbed_`. They stay there, with the state
    /// `stopped` after the end, until the last handle is dropped.
    ///
    /// Each instance needs a registry of its own; one with common labels tells several apart in one scrape. Without
    /// this call nothing is exported, and what is only exported is not counted. The type is that of the crate
    /// `prometheus`, which is re-exported as [`roadbed::prometheus`](crate::prometheus).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use roadbed::Roadbed;
    /// use roadbed::prometheus::{Registry, TextEncoder};
    /// use roadbed_messages::testing;
    ///
    /// let registry = Registry::new();
    /// let committee = testing::committee(7, 4).committee;
    /// let roadbed = Roadbed::builder(committee).in_memory().metrics(&registry).start().await?;
    /// let text = TextEncoder::new().encode_to_string(&registry.gather())?;
    /// // Running, or degraded as long as a worker has not come up yet.
    /// assert!(text.contains("roadbed_state{state=\"recovering\"} 0"));
    /// # roadbed.shutdown().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn metrics(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// Replaces the clock that latencies since the production of a block are measured with; by default the system's.
    /// For chains whose time is not the world's, and for tests. Nothing but metrics depends on it.
    pub fn wall_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Asks `verdict` instead of verifying: to measure what is around verification. What it lets pass is served.
    #[cfg(feature = "testing")]
    pub fn verdict(mut self, verdict: impl Fn(&VerifyJob) -> Verified + Send + Sync + 'static) -> Self {
        self.verdict = Some(Arc::new(verdict));
        self
    }

    /// Replaces the runtime of the subsystem's thread, whose clock may be paused: then backoffs, budgets, deadlines and the
    /// age of what hangs pass with it. Threads do their work in no time of that clock, so it must not run ahead by itself.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn runtime(mut self, runtime: tokio::runtime::Runtime) -> Self {
        self.runtime = Box::new(move || {
            let handle = runtime.handle().clone();
            let clock = Monotonic::new(move || {
                let _entered = handle.enter();
                tokio::time::Instant::now().into_std()
            });
            (System::with_tokio_rt(move || runtime), clock)
        });
        self
    }

    /// Starts it on a thread of its own; answers when recovery is done.
    ///
    /// # Errors
    /// Why it can't be started. Nothing was written then that recovery could not take back; a refusal leaves every
    /// file as it was.
    pub async fn start(mut self) -> Result<Roadbed, StartError> {
        self.config.check()?;
        if self.place.is_none() {
            return Err(StartError::Config("call data_dir(path) or in_memory() on the builder".to_owned()));
        }
        let stop = StopCell::default();
        let first_block = self.committee.first_block();
        let metrics = Arc::new(Metrics::new(self.registry.is_some(), self.config.hung_after, first_block));
        let registration = self
            .registry
            .clone()
            .map(|registry| Registration::new(registry, Arc::clone(&metrics)))
            .transpose()?;
        let (started, wait) = oneshot::channel();
        let (addr_sender, addr) = oneshot::channel();
        let (thread_stop, thread_metrics) = (stop.clone(), Arc::clone(&metrics));
        let failed = |detail: String| StartError::Failed { detail };
        let runtime = std::mem::replace(&mut self.runtime, Self::usual_runtime());
        thread::Builder::new()
            .name("roadbed".to_owned())
            .spawn(move || {
                let io_threads = IoThreads::default();
                let whole = || {
                    let (system, monotonic) = runtime();
                    match self.environment(thread_metrics, monotonic, io_threads.clone()) {
                        Ok(environment) => run(system, environment, started, addr_sender, &thread_stop),
                        Err(error) => {
                            thread_stop.set(StopReason::Start(error.clone()));
                            // Nobody may be waiting for the start any more.
                            drop(started.send(Err(error)));
                        }
                    }
                };
                // No actor's death watch sees what panics before State lives, a storage that was handed in for one.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(whole)) {
                    thread_stop.set(StopReason::StateFailed { error: panic_message(panic.as_ref()) });
                }
                io_threads.wait();
                thread_stop.ended();
            })
            .map_err(|error| failed(format!("can't start a thread: {error}")))?;
        match wait.await {
            Ok(Ok(recovered)) => {
                let addr = addr.await.map_err(|_| failed("State ended while it started".to_owned()))?;
                Ok(Roadbed::new(addr, stop, recovered, metrics, registration))
            }
            // Until everything has ended the directory is not free.
            Ok(Err(error)) => {
                stop.wait().await;
                Err(error)
            }
            Err(_) => Err(failed(stop.wait().await.to_string())),
        }
    }

    /// Takes the directory's lock and makes the store, if there is a directory.
    pub(crate) fn environment(
        self,
        metrics: Arc<Metrics>,
        monotonic: Monotonic,
        io_threads: IoThreads,
    ) -> Result<Environment, StartError> {
        let Self { committee, config, place, storage, faults, clock, verdict, registry: _, runtime: _ } =
            self;
        let disk = match place {
            Some(Place::Dir(dir)) => {
                let paths = StorePaths::new(dir);
                let options = |wal| configured_options(&committee, &config, wal);
                let lock = prepare(&storage, &paths, &committee, options)?;
                Some(Disk::new(storage, paths, lock))
            }
            _ => None,
        };
        if let Some(disk) = &disk {
            metrics.set_readers(disk.readers());
        }
        Ok(Environment { committee, config, faults, metrics, clock, monotonic, verdict, disk, io_threads })
    }
}

/// The body of the subsystem's thread: an actix System of its own, with State on it, until State ends.
fn run(
    system: SystemRunner,
    environment: Environment,
    started: oneshot::Sender<Result<roadbed_messages::api::Recovered, StartError>>,
    addr: oneshot::Sender<actix::Addr<State>>,
    stop: &StopCell,
) {
    let seed = std::collections::hash_map::RandomState::new();
    let seed = std::hash::BuildHasher::hash_one(&seed, std::process::id());
    let with_logs = environment.disk.is_some();
    let disk = environment.disk.as_ref().map(|disk| (Arc::clone(&disk.storage), disk.paths.dir.clone()));
    let core = Core::new(environment.committee.clone(), environment.config.clone(), with_logs, seed);
    let replies = Replies::default();
    let metrics = Arc::clone(&environment.metrics);
    let parts = StateParts { core, environment, started, stop: stop.clone(), replies: replies.clone() };
    let (ended_sender, ended) = oneshot::channel();
    let stop_on_end = stop.clone();
    system.block_on(async move {
        let on_end = move |end| {
            let error = match end {
                Ended::Panicked(why) => why,
                Ended::Stopped => "it stopped by itself".to_owned(),
                Ended::Cancelled => "its arbiter dropped it".to_owned(),
            };
            // After an ordered end the reason is set already, and this one is not taken.
            let reason = StopReason::StateFailed { error };
            metrics.state_ended(&reason);
            stop_on_end.set(reason.clone());
            replies.state_failed(&reason);
            // The receiver lives as long as the System runs.
            let _ = ended_sender.send(());
        };
        let mut sampler = None;
        if let Some(state) = spawn_watched(|_| State::new(parts), on_end) {
            if let Some((storage, dir)) = disk {
                // It holds no address that would keep State alive.
                let weak = state.downgrade();
                let tell = move |free_bytes| {
                    if let Some(state) = weak.upgrade() {
                        state.do_send(Space(free_bytes));
                    }
                };
                sampler = SpaceSampler::start(storage, dir, tell)
                    .inspect_err(|error| tracing::warn!(%error, "can't sample the free space"))
                    .ok();
            }
            // Without a receiver the start was given up: then State ends with its last address.
            drop(addr.send(state));
        }
        // The sender is dropped only after it was used.
        drop(ended.await);
        drop(sampler);
    });
    if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(system))) {
        tracing::error!(
            panic = panic_message(panic.as_ref()),
            "the subsystem's runtime panicked while it was dropped"
        );
    }
}
