//! Configuring and starting a data layer.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use actix::System;
use roadbed_messages::Committee;
use roadbed_messages::api::{StartError, StopReason};
use roadbed_wal::{FileSystem, Storage};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::handle::Roadbed;
use crate::metrics::Metrics;
use crate::state::core::Core;
use crate::state::{
    Disk, Environment, IoThreads, Replies, Space, State, StateParts, StopCell, configured_options,
};
use crate::store::{SpaceSampler, StorePaths, prepare};
use crate::supervision::{Ended, Faults, panic_message, spawn_watched};

/// Configures a data layer; [`Builder::start`] starts it.
#[must_use = "nothing is started yet"]
pub struct Builder {
    committee: Committee,
    config: Config,
    place: Option<Place>,
    storage: Arc<dyn Storage>,
    faults: Faults,
}

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
        }
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

    /// Starts it on a thread of its own; answers when recovery is done.
    ///
    /// # Errors
    /// Why it can't be started. Nothing was written then that recovery could not take back; a refusal leaves every
    /// file as it was.
    pub async fn start(self) -> Result<Roadbed, StartError> {
        self.config.check()?;
        if self.place.is_none() {
            return Err(StartError::Config("call data_dir(path) or in_memory() on the builder".to_owned()));
        }
        let stop = StopCell::default();
        let metrics = Arc::new(Metrics::default());
        let (started, wait) = oneshot::channel();
        let (addr_sender, addr) = oneshot::channel();
        let (thread_stop, thread_metrics) = (stop.clone(), Arc::clone(&metrics));
        let failed = |detail: String| StartError::Failed { detail };
        thread::Builder::new()
            .name("roadbed".to_owned())
            .spawn(move || {
                let io_threads = IoThreads::default();
                match self.environment(thread_metrics, io_threads.clone()) {
                    Ok(environment) => run(environment, started, addr_sender, &thread_stop),
                    Err(error) => {
                        thread_stop.set(StopReason::Start(error.clone()));
                        // Nobody may be waiting for the start any more.
                        drop(started.send(Err(error)));
                    }
                }
                io_threads.wait();
                thread_stop.ended();
            })
            .map_err(|error| failed(format!("can't start a thread: {error}")))?;
        match wait.await {
            Ok(Ok(recovered)) => {
                let addr = addr.await.map_err(|_| failed("State ended while it started".to_owned()))?;
                Ok(Roadbed::new(addr, stop, recovered, metrics))
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
        io_threads: IoThreads,
    ) -> Result<Environment, StartError> {
        let Self { committee, config, place, storage, faults } = self;
        let disk = match place {
            Some(Place::Dir(dir)) => {
                let paths = StorePaths::new(dir);
                let options = |wal| configured_options(&committee, &config, wal);
                let lock = prepare(&storage, &paths, &committee, options)?;
                Some(Disk::new(storage, paths, lock))
            }
            _ => None,
        };
        Ok(Environment { committee, config, faults, metrics, disk, io_threads })
    }
}

/// The body of the subsystem's thread: an actix System of its own, with State on it, until State ends.
fn run(
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
    let parts = StateParts { core, environment, started, stop: stop.clone(), replies: replies.clone() };
    let system = System::new();
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
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(system))) {
        tracing::error!(
            panic = panic_message(panic.as_ref()),
            "the subsystem's runtime panicked while it was dropped"
        );
    }
}
