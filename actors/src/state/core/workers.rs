//! The workers' lives as State sees them: which generation counts, when the next one starts, when to give up.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::rand_core::RngCore as _;
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation, Report, WalStart};
use roadbed_messages::api::{ActorKind, StopReason, WalKind, WorkerState};

use super::{Core, Effect, Phase};
use crate::supervision::{FailureLog, Verdict};

/// One supervised worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) actor: ActorKind,
    /// The life that counts. Reports of any other are ignored.
    pub(super) generation: Generation,
    pub(super) state: WorkerState,
    pub(super) restarts: u64,
    /// The same by what ended the life before.
    pub(super) restarts_by_cause: BTreeMap<Cause, u64>,
    pub(super) last_error: Option<String>,
    /// When the next life begins, while it waits for its backoff.
    pub(super) start_at: Option<Duration>,
    /// Since when its present life has been ready.
    up_since: Option<Duration>,
    /// How long its operation has been running, as of the last beat.
    pub(super) running_for: Option<Duration>,
    /// It failed for want of disk space and has not made progress since.
    pub(super) disk_full: bool,
    failures: FailureLog,
}

impl Worker {
    fn is_alive(&self) -> bool {
        matches!(self.state, WorkerState::Starting | WorkerState::Up | WorkerState::Hung)
    }
}

/// All supervised workers.
#[derive(Debug)]
pub(super) struct Workers {
    list: Vec<Worker>,
}

impl Workers {
    /// Workers that have not begun; the WAL actors are missing where there are no logs.
    pub(super) fn new(with_logs: bool) -> Self {
        let wal = |actor| matches!(actor, ActorKind::QcWal | ActorKind::BlockWal);
        let list = ActorKind::WORKERS
            .into_iter()
            .filter(|actor| with_logs || !wal(*actor))
            .map(|actor| Worker {
                actor,
                generation: Generation(0),
                state: WorkerState::Stopped,
                restarts: 0,
                restarts_by_cause: BTreeMap::new(),
                last_error: None,
                start_at: None,
                up_since: None,
                running_for: None,
                disk_full: false,
                failures: FailureLog::default(),
            })
            .collect();
        Self { list }
    }

    pub(super) fn all(&self) -> &[Worker] {
        &self.list
    }

    fn get_mut(&mut self, actor: ActorKind) -> Option<&mut Worker> {
        self.list.iter_mut().find(|worker| worker.actor == actor)
    }

    fn get(&self, actor: ActorKind) -> Option<&Worker> {
        self.list.iter().find(|worker| worker.actor == actor)
    }

    /// The life of a worker that takes orders, if it has one.
    pub(super) fn up(&self, actor: ActorKind) -> Option<Generation> {
        let up = |worker: &&Worker| matches!(worker.state, WorkerState::Up | WorkerState::Hung);
        self.get(actor).filter(up).map(|worker| worker.generation)
    }

    /// The present life of a worker.
    pub(super) fn generation(&self, actor: ActorKind) -> Option<Generation> {
        self.get(actor).map(|worker| worker.generation)
    }

    /// Whether a worker has a life that is not over.
    pub(super) fn is_alive(&self, actor: ActorKind) -> bool {
        self.get(actor).is_some_and(Worker::is_alive)
    }

    /// When the next life begins.
    pub(super) fn next_start(&self) -> Option<Duration> {
        self.list.iter().filter_map(|worker| worker.start_at).min()
    }

    /// Ends all lives, and those that were to begin; answers whose they are.
    pub(super) fn end(&mut self) -> Vec<ActorKind> {
        for worker in &mut self.list {
            worker.state = WorkerState::Stopped;
            worker.start_at = None;
        }
        self.list.iter().map(|worker| worker.actor).collect()
    }

    pub(super) fn progressed(&mut self, actor: ActorKind) {
        if let Some(worker) = self.get_mut(actor) {
            worker.failures.progressed();
            worker.disk_full = false;
        }
    }

    pub(super) fn set_state(&mut self, actor: ActorKind, state: WorkerState) {
        if let Some(worker) = self.get_mut(actor) {
            worker.state = state;
        }
    }
}

impl Core {
    /// Begins the lives of all workers.
    pub(super) fn begin(&mut self) {
        let actors: Vec<_> = self.workers.list.iter().map(|worker| worker.actor).collect();
        for actor in actors {
            self.start_worker(actor);
        }
        if self.logs.is_none() {
            self.run_in_memory();
        }
    }

    /// Begins a new life of a worker.
    fn start_worker(&mut self, actor: ActorKind) {
        let wal = wal_of(actor).map(|wal| match (&self.phase, &self.logs) {
            (Phase::Recovering(_), _) | (_, None) => WalStart::Judge,
            (_, Some(logs)) => logs.of(wal).resume(),
        });
        let Some(worker) = self.workers.get_mut(actor) else { return };
        worker.generation = Generation(worker.generation.0 + 1);
        worker.state = WorkerState::Starting;
        worker.start_at = None;
        worker.up_since = None;
        worker.running_for = None;
        let generation = worker.generation;
        self.effects.push(Effect::Start { actor, generation, wal });
    }

    /// Whether a report has an effect. The first report of a failure ends a life; whatever else that life says comes
    /// too late.
    pub fn counts(&self, report: &Report) -> bool {
        self.workers.generation(report.actor) == Some(report.generation)
            && self.workers.is_alive(report.actor)
    }

    pub(super) fn on_report(&mut self, report: Report) {
        if !self.counts(&report) {
            return;
        }
        let Report { actor, generation, event } = report;
        match (event, wal_of(actor)) {
            (Event::Up, _) => self.on_up(actor),
            (Event::Judged(facts), Some(wal)) => self.on_judged(wal, facts),
            (Event::Refused(error), _) => self.on_refused(actor, error),
            (Event::Opened { next_index }, Some(wal)) => {
                self.workers.set_state(actor, WorkerState::Up);
                self.on_opened(wal, generation, next_index);
            }
            (Event::Durable { next_index, upto }, Some(wal)) => self.on_durable(wal, next_index, upto),
            (Event::Truncated { first }, Some(wal)) => self.on_truncated(wal, first),
            (Event::Closed, Some(wal)) => self.on_closed(wal),
            (Event::Verified(done), _) => self.on_verified(done),
            (Event::Beat { running_for_seconds, job }, _) => {
                // What no duration can hold has been running for ever.
                let running_for = running_for_seconds
                    .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
                self.on_beat(actor, running_for, job);
            }
            (Event::Died { cause, error, job }, _) => self.on_died(actor, cause, error, job),
            (event, None) => unreachable!("{actor} has no log, yet reports {event:?}"),
        }
    }

    fn on_up(&mut self, actor: ActorKind) {
        if let Some(worker) = self.workers.get_mut(actor) {
            worker.state = WorkerState::Up;
            worker.up_since = Some(self.now);
        }
    }

    /// A worker's life ended: let go of it, take back what it was given, and decide what comes next.
    fn on_died(&mut self, actor: ActorKind, cause: Cause, error: String, job: Option<CallId>) {
        tracing::warn!(%actor, cause = cause.name(), error, "worker failed");
        let jitter = f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let Some(worker) = self.workers.get_mut(actor) else { return };
        worker.last_error = Some(error.clone());
        worker.running_for = None;
        worker.disk_full |= cause == Cause::DiskFull;
        self.effects.push(Effect::Retire { actor });
        // The pruner finishes nothing that could count as progress: a long life does. Else a failure now and then
        // would end the subsystem after years.
        let lived = worker.up_since.map_or(Duration::ZERO, |since| self.now.saturating_sub(since));
        if actor == ActorKind::Pruner && lived >= self.config.restart.window {
            worker.failures.progressed();
        }
        let verdict = match cause {
            Cause::Corruption => Verdict::Escalate,
            Cause::DiskFull => {
                Verdict::RestartAfter(worker.failures.outside_budget(&self.config.restart, jitter))
            }
            _ => worker.failures.failed(&self.config.restart, self.now, jitter),
        };
        match verdict {
            Verdict::RestartAfter(delay) => {
                worker.restarts += 1;
                *worker.restarts_by_cause.entry(cause).or_default() += 1;
                worker.start_at = Some(self.now.saturating_add(delay));
                worker.state =
                    if cause == Cause::DiskFull { WorkerState::DiskFull } else { WorkerState::Backoff };
            }
            Verdict::Escalate => {
                worker.state = WorkerState::Stopped;
                worker.start_at = None;
            }
        }
        match wal_of(actor) {
            Some(wal) => {
                if let Some(logs) = &mut self.logs {
                    logs.of_mut(wal).failed();
                }
                if let Phase::Recovering(_) = self.phase
                    && verdict != Verdict::Escalate
                {
                    self.restart_recovery(wal);
                }
            }
            None if actor == ActorKind::Verifier => self.requeue_jobs(job, &error),
            None => {}
        }
        if verdict == Verdict::Escalate {
            self.escalate(StopReason::Escalated { actor, error });
        }
    }

    /// Ends a life that did nothing wrong, to begin another one at once.
    pub(super) fn replace_worker(&mut self, actor: ActorKind) {
        self.effects.push(Effect::Retire { actor });
        self.start_worker(actor);
    }

    /// An operation that runs for too long degrades its worker, and ends it where that is safe: a hung log keeps
    /// its lock and is never opened a second time.
    fn on_beat(&mut self, actor: ActorKind, running_for: Option<Duration>, job: Option<CallId>) {
        let (hung_after, give_up_after) = (self.config.hung_after, self.config.give_up_after);
        let Some(worker) = self.workers.get_mut(actor) else { return };
        worker.running_for = running_for;
        let running_for = running_for.unwrap_or_default();
        if running_for < hung_after {
            if worker.state == WorkerState::Hung {
                worker.state = WorkerState::Up;
            }
            return;
        }
        let error = format!("an operation has been running for {:.1} s", running_for.as_secs_f64());
        if actor == ActorKind::Verifier {
            return self.on_died(actor, Cause::Hung, error, job);
        }
        worker.last_error = Some(error.clone());
        if running_for >= give_up_after {
            worker.state = WorkerState::Stopped;
            self.effects.push(Effect::Retire { actor });
            if let (Some(wal), Some(logs)) = (wal_of(actor), &mut self.logs) {
                logs.of_mut(wal).failed();
            }
            self.escalate(StopReason::Escalated { actor, error });
        } else if worker.state == WorkerState::Up {
            tracing::warn!(%actor, error, "worker hangs");
            worker.state = WorkerState::Hung;
        }
    }

    pub(super) fn on_tick(&mut self) {
        let due = |worker: &&Worker| worker.start_at.is_some_and(|at| at <= self.now);
        let due: Vec<_> = self.workers.list.iter().filter(due).map(|worker| worker.actor).collect();
        for actor in due {
            self.start_worker(actor);
        }
    }
}

/// The log that an actor owns, if it owns one.
pub(super) fn wal_of(actor: ActorKind) -> Option<WalKind> {
    WalKind::BOTH.into_iter().find(|wal| wal.actor() == actor)
}
