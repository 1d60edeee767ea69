//! Supervision under virtual time: State's actor, its timers and the age of what its threads are at follow one paused
//! clock, which moves only when a test says so. The threads are real and do their work in no time; what hangs, hangs
//! at a gate.

use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadbed::Config;
use roadbed::prometheus::Registry;
use roadbed::supervision::{ActorFault, DiskFault, Fault, Faults, FaultyStorage, Gate, RestartPolicy};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{
    ActorKind, Error, GetBlock, GetQc, PushAppHash, PushQc, RunState, Shutdown, StartError, Status,
    StopReason, WorkerState,
};
use roadbed_tests::{Fixture, Rig, Scrape, Sent, app_hash, settings};
use roadbed_wal::{FileSystem, Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use crate::restarts::{LOGS, free_again};

/// A moment of virtual time. What is due is seen at the first one after it.
const STEP: Duration = Duration::from_millis(50);

/// The clock of one subsystem.
struct Time(Handle);

impl Time {
    /// A clock that stands still, and the runtime whose clock it is.
    fn new() -> (Self, Runtime) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        // A paused clock runs ahead whenever its runtime has nothing to do, but not beside a blocking task. This one
        // ends with the runtime, which drops what holds it back first.
        let (holds, held) = channel::<()>();
        runtime.spawn_blocking(move || held.recv());
        runtime.spawn(async move {
            let _holds = holds;
            std::future::pending::<()>().await;
        });
        (Self(runtime.handle().clone()), runtime)
    }

    /// Lets time pass, unless more threads than those that hang are at work: what takes them real time takes no other.
    async fn pass_beside(&self, registry: &Registry, hanging: usize, by: Duration) {
        while at_work(registry) > hanging {
            tokio::task::yield_now().await;
        }
        self.pass(by).await;
    }

    async fn pass(&self, by: Duration) {
        // Where it has ended meanwhile, it has no time any more.
        let _passed = self.0.spawn(tokio::time::advance(by)).await;
    }
}

/// How many workers are at an operation that began at an earlier moment.
fn at_work(registry: &Registry) -> usize {
    let scrape = Scrape::of(registry);
    let running_for = |actor: &&str| scrape.value("actor_current_handler_seconds", &[("actor", *actor)]);
    ["qc_wal", "block_wal", "verifier"].iter().filter(|actor| running_for(actor) > 0.0).count()
}

/// A data layer under virtual time. Derefs to the rig.
struct Slow {
    rig: Rig,
    time: Time,
    registry: Registry,
    /// Threads that are meant to hang.
    hanging: usize,
    dir: TempDir,
}

impl Deref for Slow {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl Slow {
    async fn start(seed: u64, qcs: usize, config: Config) -> Self {
        let faults = Faults::default();
        let storage = Arc::new(FaultyStorage::new(FileSystem, &faults));
        Self::start_on(storage, seed, qcs, config, faults).await
    }

    async fn start_on(
        storage: Arc<dyn Storage>,
        seed: u64,
        qcs: usize,
        config: Config,
        faults: Faults,
    ) -> Self {
        let (fixture, dir) = (Fixture::new(seed, 4, qcs), tempfile::tempdir().unwrap());
        let ((time, runtime), registry) = (Time::new(), Registry::new());
        let builder = fixture.builder().data_dir(dir.path()).storage(storage).runtime(runtime);
        let rig = Rig::started(builder.metrics(&registry), fixture, config, faults).await.unwrap();
        Self { rig, time, registry, hanging: 1, dir }
    }

    fn push(&self, at: usize) -> Sent<Result<(), Error>> {
        let (qc, blocks) = self.fixture.chain[at].clone();
        self.send(PushQc { qc, blocks })
    }

    fn vote(&self, distance: u64) -> Sent<Result<(), Error>> {
        let number = self.nth(distance);
        self.send(PushAppHash { number, hash: app_hash(number) })
    }

    /// Waits until the faults that were injected have struck: what hangs has begun to hang.
    async fn struck(&self, outstanding: usize) {
        while self.faults.outstanding() > outstanding {
            tokio::task::yield_now().await;
        }
    }

    /// The status once State has seen the moment, or why there is none any more.
    async fn seen(&self) -> Result<Status, StopReason> {
        let ask = async || match self.roadbed.status().await {
            Ok(status) => Ok(status),
            Err(Error::Stopped(reason)) => Err(reason),
            Err(other) => panic!("{other:?}"),
        };
        // The second one is sent when the timers of the moment have been run.
        ask().await?;
        ask().await
    }

    /// Lets time pass until something is seen, and answers how much has passed.
    async fn passes_until<T>(
        &self,
        shows: impl Fn(&Result<Status, StopReason>) -> Option<T>,
    ) -> (Duration, T) {
        let mut passed = Duration::ZERO;
        loop {
            let seen = self.seen().await;
            if let Some(shown) = shows(&seen) {
                return (passed, shown);
            }
            assert!(passed < Duration::from_secs(600), "it never shows: {seen:?}");
            self.time.pass_beside(&self.registry, self.hanging, STEP).await;
            passed += STEP;
        }
    }

    /// Lets time pass until it is given up, and answers how much has passed, and why.
    async fn passes_until_given_up(&self) -> (Duration, StopReason) {
        let ends = |status: &Status| status.state == RunState::Stopping;
        let (passed, ()) = self.passes_until(|seen| seen.as_ref().map_or(true, ends).then_some(())).await;
        // The other log is closed, which takes time, but none of this clock's.
        (passed, self.roadbed.stopped().await)
    }

    async fn passes_until_worker(&self, actor: ActorKind, state: WorkerState) -> Duration {
        let shows = |status: &Status| {
            status.workers.iter().any(|worker| worker.actor == actor && worker.state == state)
        };
        self.passes_until(|seen| seen.as_ref().is_ok_and(shows).then_some(())).await.0
    }

    /// What has happened by a limit is noticed with the next beat.
    fn is_in_time(&self, passed: Duration, limit: Duration) -> bool {
        (limit..=limit + self.config.beat_interval).contains(&passed)
    }
}

fn names(reason: &StopReason, actor: ActorKind) -> bool {
    matches!(reason, StopReason::Escalated { actor: named, error } if *named == actor && error.contains("running for"))
}

// ---- hangs -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_hung_disk_degrades_in_time_and_escalates_in_time_and_reads_go_on() {
    for seed in 0..2 {
        let config = Config { memory_bytes_max: 0, read_cache_bytes_max: 0, ..settings() };
        let slow = Slow::start(40 + seed, 8, config).await;
        slow.push_qcs(0..4).await;
        slow.until_durable().await;
        let gate = Gate::default();
        slow.faults.inject_disk(DiskFault::Hang(gate.clone()));
        slow.push_qcs(4..8).await;
        slow.struck(0).await;
        let mut vote = slow.vote(79);

        let degraded = |status: &Status| status.state == RunState::Degraded;
        let (passed, ()) = slow.passes_until(|seen| seen.as_ref().is_ok_and(degraded).then_some(())).await;
        assert!(slow.is_in_time(passed, slow.config.hung_after), "{passed:?}");
        let status = slow.status().await;
        let hung: Vec<_> = status.workers.iter().filter(|worker| worker.state == WorkerState::Hung).collect();
        let [hung] = hung[..] else { panic!("{:?}", status.workers) };
        assert_eq!((hung.generation, hung.restarts, status.reasons.len()), (1, 0, 1));
        slow.serves_what_it_retains().await;
        assert!(vote.waits());
        if seed == 0 {
            // It was only slow.
            gate.open();
            vote.reply().await.unwrap();
            slow.until_worker(hung.actor, |worker| worker.mailbox == 0).await;
            let passed = slow.passes_until_worker(hung.actor, WorkerState::Up).await;
            assert!(passed <= slow.config.beat_interval);
            let worker = slow.worker(hung.actor).await;
            assert_eq!((worker.generation, worker.restarts), (1, 0));
            continue;
        }
        let get = slow.send(GetQc { number: slow.nth(1000) });
        let (rest, reason) = slow.passes_until_given_up().await;
        assert!(slow.is_in_time(passed + rest, slow.config.give_up_after), "{passed:?} and {rest:?}");
        assert!(names(&reason, hung.actor), "{reason:?}");
        assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
        assert_eq!(get.reply().await, Err(Error::Stopped(reason.clone())));
        assert_eq!(slow.roadbed.stopped().await, reason);
        refused_until_it_ends(slow, &gate, 40).await;
    }
}

/// A start in the same process is refused while a hung thread lives, and finds what was durable when it has ended.
async fn refused_until_it_ends(slow: Slow, gate: &Gate, at_least: u64) {
    let Slow { rig, dir, .. } = slow;
    let fixture = rig.fixture.clone();
    let refused = fixture.builder().data_dir(dir.path()).start().await.map(|_| ()).unwrap_err();
    let told = |holder: &str| holder.starts_with("this process") && holder.contains("hangs");
    assert!(matches!(&refused, StartError::InUse { holder, .. } if told(holder)), "{refused:?}");
    gate.open();
    let rig = free_again(fixture, dir).await;
    assert!(rig.recovered().next_block >= rig.nth(at_least), "{:?}", rig.recovered());
    rig.push_all().await;
    rig.execute(BlockNumber(rig.fixture.end().0 - 1)).await.unwrap();
    rig.serves_what_it_retains().await;
}

#[tokio::test]
async fn a_hung_verifier_is_replaced_in_time() {
    let slow = Slow::start(42, 2, settings()).await;
    let gate = slow.hold(ActorKind::Verifier);
    let mut push = slow.push(0);
    slow.struck(0).await;
    let replaced = |status: &Status| {
        let verifier = status.workers.iter().find(|worker| worker.actor == ActorKind::Verifier).unwrap();
        assert!(verifier.generation == 2 || verifier.state != WorkerState::Hung);
        verifier.generation == 2
    };
    assert!(push.waits());
    let (passed, ()) = slow.passes_until(|seen| seen.as_ref().is_ok_and(replaced).then_some(())).await;
    assert!(slow.is_in_time(passed, slow.config.hung_after), "{passed:?}");
    push.reply().await.unwrap();
    gate.open();
    slow.settled().await;
    slow.execute(slow.nth(9)).await.unwrap();
}

#[tokio::test]
async fn a_log_that_hangs_while_it_is_judged_fails_the_start_in_time() {
    for actor in LOGS {
        let (fixture, dir) = (Fixture::new(43, 4, 1), tempfile::tempdir().unwrap());
        let (faults, gate) = (Faults::default(), Gate::default());
        faults.inject(actor, Fault::Hang(gate.clone()));
        let (time, runtime) = Time::new();
        let registry = Registry::new();
        let builder = fixture.builder().data_dir(dir.path()).faults(faults.clone()).runtime(runtime);
        let start = tokio::spawn(builder.metrics(&registry).start());
        while faults.outstanding() > 0 {
            tokio::task::yield_now().await;
        }
        let Config { give_up_after, beat_interval, .. } = Config::default();
        let mut passed = Duration::ZERO;
        while passed + STEP < give_up_after {
            time.pass_beside(&registry, 1, STEP).await;
            passed += STEP;
        }
        assert!(!start.is_finished());
        time.pass(STEP + beat_interval).await;
        let refused = start.await.unwrap().map(|_| ()).unwrap_err();
        let named = |detail: &str| detail.contains(actor.name()) && detail.contains("running for");
        assert!(matches!(&refused, StartError::Failed { detail } if named(detail)), "{refused:?}");
        gate.open();
        free_again(fixture, dir).await;
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_a_hung_log_no_longer_than_its_deadline() {
    for actor in LOGS {
        let slow = Slow::start(44, 4, settings()).await;
        slow.push_qcs(0..2).await;
        slow.until_durable().await;
        let gate = slow.hold(actor);
        slow.push_qcs(2..4).await;
        slow.struck(0).await;
        let shutdown = slow.send(Shutdown);
        let (passed, reason) = slow.passes_until(|seen| seen.as_ref().err().cloned()).await;
        let deadline = slow.config.shutdown_deadline;
        assert!((deadline..=deadline + STEP).contains(&passed), "{passed:?}");
        let report = shutdown.reply().await.unwrap();
        assert_eq!(report.not_durable, slow.nth(20)..slow.nth(40));
        assert_eq!(slow.roadbed.stopped().await, reason);
        refused_until_it_ends(slow, &gate, 20).await;
    }
}

/// The actor of a log dies while its thread hangs: the next life waits for that thread, and whoever waits is watched.
#[tokio::test]
async fn a_life_that_waits_for_a_hung_thread_is_watched_too() {
    for (seed, heals) in [(45, true), (46, false)] {
        for actor in LOGS {
            let slow = Slow::start(seed, 6, settings()).await;
            slow.push_qcs(0..2).await;
            slow.until_durable().await;
            let gate = slow.hold(actor);
            slow.push(2).reply().await.unwrap();
            slow.struck(0).await;
            slow.faults.inject_actor(actor, ActorFault::Stop);
            slow.push(3).reply().await.unwrap();
            slow.struck(0).await;
            slow.until_worker(actor, |worker| worker.generation == 2).await;
            let vote = slow.vote(39);
            // From the moment on at which its thread waits.
            let waits = |status: &Status| {
                let worker = status.workers.iter().find(|worker| worker.actor == actor)?;
                worker.running_for_seconds.map(Duration::from_secs_f64)
            };
            let (_, since) = slow.passes_until(|seen| seen.as_ref().ok().and_then(waits)).await;
            if heals {
                assert_eq!(slow.status().await.state, RunState::Degraded);
                gate.open();
                vote.reply().await.unwrap();
                slow.until(|status| status.state == RunState::Running).await;
                continue;
            }
            let (passed, reason) = slow.passes_until_given_up().await;
            assert!(slow.is_in_time(since + passed, slow.config.give_up_after), "{since:?} and {passed:?}");
            assert!(names(&reason, actor), "{reason:?}");
            assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
            assert_eq!(slow.roadbed.stopped().await, reason);
            refused_until_it_ends(slow, &gate, 20).await;
        }
    }
}

/// Nobody can end a read that the disk keeps: it is told, and everything else goes on.
#[tokio::test]
async fn a_hung_read_degrades_in_time_and_the_rest_goes_on() {
    let config = Config { memory_bytes_max: 0, read_cache_bytes_max: 0, ..settings() };
    let slow = Slow { hanging: 0, ..Slow::start(52, 8, config).await };
    slow.push_qcs(0..4).await;
    slow.execute(slow.nth(39)).await.unwrap();
    let gate = Gate::default();
    slow.faults.inject_read(DiskFault::Hang(gate.clone()));
    let mut get = slow.send(GetBlock { number: slow.nth(7) });
    slow.struck(0).await;
    let degraded = |status: &Status| status.state == RunState::Degraded;
    let (passed, ()) = slow.passes_until(|seen| seen.as_ref().is_ok_and(degraded).then_some(())).await;
    assert!(slow.is_in_time(passed, slow.config.hung_after), "{passed:?}");
    let reasons = slow.status().await.reasons;
    assert!(reasons.len() == 1 && reasons[0].starts_with("a read has been running for 5."), "{reasons:?}");
    // Beyond what a log is given.
    let (passed, ()) = slow
        .passes_until(|seen| {
            let reasons = &seen.as_ref().unwrap().reasons;
            reasons[0].starts_with("a read has been running for 70.").then_some(())
        })
        .await;
    assert!(passed > slow.config.give_up_after);
    slow.push_qcs(4..8).await;
    slow.execute(slow.nth(79)).await.unwrap();
    slow.serves_what_it_retains().await;
    assert!(get.waits());
    gate.open();
    assert_eq!(&get.reply().await.unwrap(), slow.fixture.block(slow.nth(7)));
    slow.passes_until(|seen| {
        seen.as_ref().is_ok_and(|status| status.state == RunState::Running).then_some(())
    })
    .await;
}

/// A file system on which letting go of the block log's lock hangs, once it is told to.
#[derive(Debug)]
struct StuckClose(Arc<Mutex<Option<Receiver<()>>>>);

#[derive(Debug)]
struct StuckLock {
    lock: Option<Box<dyn LockGuard>>,
    stuck: Arc<Mutex<Option<Receiver<()>>>>,
}

impl LockGuard for StuckLock {}

impl Drop for StuckLock {
    fn drop(&mut self) {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _freed = stuck.map(|stuck| stuck.recv());
        drop(self.lock.take());
    }
}

impl Storage for StuckClose {
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        FileSystem.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Option<Vec<Listed>>> {
        FileSystem.list(dir)
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> std::io::Result<()> {
        FileSystem.sync_dir(dir, point)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn StorageFile>> {
        FileSystem.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        FileSystem.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        let lock = FileSystem.lock(path)?;
        if !path.ends_with("blocks/LOCK") {
            return Ok(lock);
        }
        Ok(Box::new(StuckLock { lock: Some(lock), stuck: Arc::clone(&self.0) }))
    }

    fn free_bytes(&self, dir: &Path) -> std::io::Result<Option<u64>> {
        FileSystem.free_bytes(dir)
    }

    fn salt(&self) -> std::io::Result<u64> {
        FileSystem.salt()
    }
}

/// A log failed, and closing it hangs: State has not heard of the failure.
#[tokio::test]
async fn a_log_whose_end_hangs_degrades_in_time_and_escalates_in_time() {
    for fault in [Fault::Panic, Fault::Error] {
        let (faults, stuck) = (Faults::default(), Arc::<Mutex<Option<Receiver<()>>>>::default());
        let storage = Arc::new(StuckClose(Arc::clone(&stuck)));
        let slow = Slow::start_on(storage, 47, 4, settings(), faults).await;
        slow.push_qcs(0..2).await;
        slow.until_durable().await;
        let (frees, held): (Sender<()>, _) = channel();
        *stuck.lock().unwrap() = Some(held);
        slow.faults.inject(ActorKind::BlockWal, fault);
        slow.push_qcs(2..4).await;
        while stuck.lock().unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let passed = slow.passes_until_worker(ActorKind::BlockWal, WorkerState::Hung).await;
        assert!(slow.is_in_time(passed, slow.config.hung_after), "{passed:?}");
        let (rest, reason) = slow.passes_until_given_up().await;
        assert!(slow.is_in_time(passed + rest, slow.config.give_up_after), "{passed:?} and {rest:?}");
        assert!(names(&reason, ActorKind::BlockWal), "{reason:?}");
        assert_eq!(slow.roadbed.stopped().await, reason);
        let Slow { rig, dir, .. } = slow;
        let refused = rig.fixture.builder().data_dir(dir.path()).start().await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, StartError::InUse { .. }), "{refused:?}");
        drop(frees);
        free_again(rig.fixture, dir).await;
    }
}

// ---- backoff and budgets ---------------------------------------------------------------------------------------

/// Nothing hangs here, however much time passes at once while a thread is at work.
fn patient() -> Config {
    const LONG: Duration = Duration::from_secs(1 << 20);
    Config { hung_after: LONG, give_up_after: LONG, ..settings() }
}

#[tokio::test]
async fn backoff_follows_its_schedule() {
    for (actor, seed) in [(ActorKind::QcWal, 48), (ActorKind::BlockWal, 49)] {
        let restart = RestartPolicy { restarts_max: 100, ..RestartPolicy::default() };
        let slow = Slow::start(seed, 2, Config { restart, ..patient() }).await;
        let policy = slow.config.restart.clone();
        const FAILURES: u32 = 10;
        // The first strikes a group, the others each life that comes after it, as it begins.
        for _ in 0..FAILURES {
            slow.faults.inject(actor, Fault::Error);
        }
        slow.push(0).reply().await.unwrap();
        let vote = slow.vote(9);
        // The second life begins at once: no time passes.
        for failures in 2..=FAILURES {
            slow.struck((FAILURES - failures) as usize).await;
            let waits = slow
                .until_worker(actor, |worker| {
                    worker.restarts == u64::from(failures) && worker.state == WorkerState::Backoff
                })
                .await;
            assert_eq!(waits.generation, u64::from(failures));
            let longest = (policy.backoff_min * 2_u32.pow(failures - 2)).min(policy.backoff_max);
            // Jitter takes away up to half.
            slow.time.pass(longest / 2 - Duration::from_millis(1)).await;
            let status = slow.seen().await.unwrap();
            let still = status.workers.iter().find(|worker| worker.actor == actor).unwrap();
            assert_eq!((still.state, still.generation), (WorkerState::Backoff, u64::from(failures)));
            assert_eq!(status.state, RunState::Degraded);
            slow.time.pass(longest / 2 + Duration::from_millis(1)).await;
            slow.until_worker(actor, |worker| worker.generation == u64::from(failures) + 1).await;
        }
        vote.reply().await.unwrap();
        slow.until(|status| status.state == RunState::Running).await;
        // After progress it starts over.
        slow.faults.inject(actor, Fault::Error);
        slow.push(1).reply().await.unwrap();
        slow.vote(19).reply().await.unwrap();
        assert_eq!(slow.worker(actor).await.restarts, u64::from(FAILURES) + 1);
    }
}

#[tokio::test]
async fn a_budget_is_refilled_by_time_and_tells_everybody_when_it_is_spent() {
    for actor in LOGS {
        let slow = Slow::start(50, 40, patient()).await;
        let budget = slow.config.restart.restarts_max as usize;
        let mut at = 0;
        for window in 0..3 {
            for _ in 0..budget {
                slow.faults.inject(actor, Fault::Panic);
                slow.push(at).reply().await.unwrap();
                slow.vote(at as u64 * 10 + 9).reply().await.unwrap();
                at += 1;
            }
            assert_eq!(slow.worker(actor).await.restarts, (window + 1) * budget as u64);
            if window < 2 {
                slow.time.pass(slow.config.restart.window).await;
            }
        }
        // A moment before the window ends it is still spent.
        slow.time.pass(slow.config.restart.window - Duration::from_millis(1)).await;
        let (vote, get) = (slow.vote(at as u64 * 10 + 9), slow.send(GetQc { number: slow.nth(1000) }));
        slow.seen().await.unwrap();
        slow.faults.inject(actor, Fault::Panic);
        let push = slow.push(at);
        let reason = slow.roadbed.stopped().await;
        let error = format!("injected panic in {actor}");
        assert_eq!(reason, StopReason::Escalated { actor, error });
        assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
        assert_eq!(get.reply().await.unwrap_err(), Error::Stopped(reason.clone()));
        drop(push);
        let Slow { rig, dir, .. } = slow;
        let rig = Rig::in_dir(rig.fixture, settings(), dir).await.unwrap();
        assert!(rig.recovered().next_block >= rig.nth(at as u64 * 10));
    }
}

#[tokio::test]
async fn a_full_disk_is_retried_for_ever() {
    let slow = Slow::start(51, 4, patient()).await;
    slow.push_qcs(0..2).await;
    slow.until_durable().await;
    // Far more often than any budget allows, for minutes.
    const FAILURES: usize = 100;
    for _ in 0..FAILURES {
        slow.faults.inject(ActorKind::BlockWal, Fault::DiskFull);
    }
    slow.push_qcs(2..4).await;
    let mut vote = slow.vote(39);
    while slow.faults.outstanding() > 0 {
        let status = slow.seen().await.unwrap();
        assert!(slow.faults.outstanding() == 0 || status.state != RunState::Running);
        assert!(vote.waits() || slow.faults.outstanding() == 0);
        slow.time.pass(slow.config.restart.backoff_max).await;
    }
    // State may hear of the last failure only now, and begins its backoff then.
    while vote.waits() {
        slow.seen().await.unwrap();
        slow.time.pass(slow.config.restart.backoff_max).await;
    }
    vote.reply().await.unwrap();
    slow.until(|status| status.state == RunState::Running).await;
    assert_eq!(slow.worker(ActorKind::BlockWal).await.restarts, FAILURES as u64);
}
