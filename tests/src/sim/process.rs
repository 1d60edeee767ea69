//! One process: State's core, and the workers' lives with what they are at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use roadbed::sim::{LogLife, Parts, Record};
use roadbed::state::core::{Core, Request};
use roadbed::supervision::Fault;
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation, VerifyJob, WalOrder, WalStart};
use roadbed_messages::api::{Cursors, Recovered, StopReason, WalKind};
use roadbed_messages::{VerifiedBlock, VerifiedQc};
use roadbed_wal::sim::{Failure, SimStorage};

use super::excuses::{self, Excuses};

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Peer,
    Stream,
    Report,
    Subscriber(usize),
    Pruner,
    Other,
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) who: Who,
    /// What it pushes belongs to the chain.
    pub(super) honest: bool,
    /// The cursors when it came.
    pub(super) cursors: Cursors,
    /// How often the verifier had died by then.
    pub(super) verifier_deaths: usize,
}

pub(super) struct Process {
    pub(super) number: u64,
    pub(super) parts: Parts,
    pub(super) core: Core,
    /// When its clock showed zero, and how far the clock was set since, in nanoseconds.
    pub(super) began: Duration,
    pub(super) clock_set: i64,
    pub(super) qcs: Log<VerifiedQc>,
    pub(super) blocks: Log<VerifiedBlock>,
    pub(super) verifier: Option<Verifier>,
    pub(super) pruner: Option<Generation>,
    pub(super) pending: BTreeMap<CallId, Asked>,
    pub(super) next_call: u64,
    pub(super) running: Option<Recovered>,
    pub(super) stopped: Option<StopReason>,
    pub(super) shutting_down: bool,
    /// When the core is woken.
    pub(super) wake_at: Option<Duration>,
    /// What its workers' failures come to.
    pub(super) excuses: Excuses,
    /// What it was told of the free space last.
    pub(super) free_bytes: Option<u64>,
    /// Logs that died for want of space, and have made nothing durable since.
    pub(super) full: BTreeSet<WalKind>,
    /// App hashes that were granted, by block.
    pub(super) granted: Vec<(u64, roadbed_messages::AppHash)>,
}

impl Process {
    /// What its clock shows.
    pub(super) fn clock(&self, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.began);
        let set = Duration::from_nanos(self.clock_set.unsigned_abs());
        if self.clock_set >= 0 { elapsed + set } else { elapsed.saturating_sub(set) }
    }

    pub(super) fn has_lives(&self) -> bool {
        !self.qcs.lives.is_empty() || !self.blocks.lives.is_empty()
    }
}

/// The lives of one log's worker: the first is at work, the others wait for its end.
pub(super) struct Log<R: Record> {
    pub(super) lives: VecDeque<Life<R>>,
    pub(super) idle_due: u64,
    disk: SimStorage,
}

pub(super) struct Life<R: Record> {
    pub(super) generation: Generation,
    start: WalStart,
    life: Option<LogLife<R>>,
    /// Whether anybody still gives it orders.
    pub(super) attached: bool,
    /// Since when its operation has been running.
    pub(super) began: Option<Duration>,
    /// What the running operation will report, if it was carried out at its beginning.
    done: Option<Vec<Event>>,
    /// What happens to its next operation.
    pub(super) fault: Option<Fault>,
    /// What failed in its last operation without ending it, but may have poisoned its log.
    left: Vec<Failure>,
}

/// What the first life does next.
pub(super) enum Next {
    /// An operation, which is now running.
    Runs(Generation),
    /// Nothing until an order comes.
    Waits(Generation),
    /// Nothing: an operation runs, or there is no life.
    Busy,
}

impl<R: Record> Log<R> {
    pub(super) fn new(disk: &SimStorage) -> Self {
        Self { lives: VecDeque::new(), idle_due: 0, disk: disk.clone() }
    }

    pub(super) fn start(&mut self, generation: Generation, start: WalStart) {
        self.detach();
        self.lives.push_back(Life {
            generation,
            start,
            life: None,
            attached: true,
            began: None,
            done: None,
            fault: None,
            left: Vec::new(),
        });
    }

    /// Nobody gives orders to the newest life any more.
    pub(super) fn detach(&mut self) {
        if let Some(life) = self.lives.back_mut() {
            life.attached = false;
        }
    }

    /// The newest life, if it still takes orders.
    pub(super) fn attached(&mut self) -> Option<&mut Life<R>> {
        self.lives.back_mut().filter(|life| life.attached)
    }

    /// The next operation of the life that takes orders fails before it does anything.
    pub(super) fn next_fails(&mut self, fault: &Fault) {
        if let Some(life) = self.attached() {
            life.fault = Some(fault.clone());
        }
    }

    pub(super) fn order(&mut self, generation: Generation, order: WalOrder<R>) {
        let first = self.lives.len() == 1;
        let Some(life) = self.attached().filter(|life| life.generation == generation) else { return };
        assert!(first, "an order to a life that has not begun");
        if let Some(life) = &mut life.life {
            life.order(order);
        }
    }

    /// Begins the next operation, if there is one; `early` carries it out at its beginning, else at its end.
    pub(super) fn begin_operation(&mut self, parts: &Parts, now: Duration, early: bool) -> Next {
        while let Some(life) = self.lives.front_mut() {
            if life.began.is_some() {
                return Next::Busy;
            }
            if life.life.is_none() {
                life.life = parts.log(life.start.clone());
            }
            if life.has_work() || life.fault.is_some() {
                life.began = Some(now);
                if early {
                    life.done = Some(life.work(&self.disk));
                }
                return Next::Runs(life.generation);
            }
            if life.attached {
                return Next::Waits(life.generation);
            }
            // It ends for want of orders.
            self.lives.pop_front();
        }
        Next::Busy
    }

    /// How long the running operation has been running.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        Some(now - self.lives.front()?.began?)
    }

    /// Ends the running operation of this life; answers what it reports.
    pub(super) fn end_operation(&mut self, generation: Generation) -> Vec<Event> {
        let Some(life) = self.lives.front_mut().filter(|life| life.generation == generation) else {
            return Vec::new();
        };
        life.began = None;
        let events = match life.done.take() {
            Some(events) => events,
            None => life.work(&self.disk),
        };
        self.let_go_of_ended();
        events
    }

    /// A step of housekeeping; answers whether there is more to do, and how it failed.
    pub(super) fn idle(&mut self, generation: Generation) -> (bool, Option<Event>) {
        let ready = |life: &&mut Life<R>| life.generation == generation && life.began.is_none();
        let Some(life) = self.lives.front_mut().filter(ready) else { return (false, None) };
        if life.has_work() {
            return (false, None);
        }
        let result = life.idle(&self.disk);
        self.let_go_of_ended();
        result
    }

    fn let_go_of_ended(&mut self) {
        if self.lives.front().is_some_and(|life| life.life.as_ref().is_some_and(LogLife::has_ended)) {
            self.lives.pop_front();
        }
    }
}

impl<R: Record> Life<R> {
    fn has_work(&self) -> bool {
        self.life.as_ref().is_some_and(LogLife::has_work)
    }

    fn work(&mut self, disk: &SimStorage) -> Vec<Event> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let fault = self.fault.take();
        let events = match &fault {
            Some(fault) => life.fail(fault).into_iter().collect(),
            None => guarded(|| life.step()).unwrap_or_else(|died| vec![died]),
        };
        self.left = excuses::check_operation(R::WAL, &events, &self.left, fault.as_ref(), disk);
        events
    }

    fn idle(&mut self, disk: &SimStorage) -> (bool, Option<Event>) {
        let Some(life) = &mut self.life else { return (false, None) };
        let (more, event) = guarded(|| life.idle()).unwrap_or_else(|died| (false, Some(died)));
        self.left = excuses::check_operation(R::WAL, event.as_slice(), &self.left, None, disk);
        (more, event)
    }
}

/// A thread's guard: a panic ends its life, which the panic has dropped what belonged to.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Event> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let error = match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(_) => "a panic without a message".to_owned(),
        };
        Event::Died { cause: Cause::Panic, error, job: None }
    })
}

/// One life of the verifier.
pub(super) struct Verifier {
    pub(super) generation: Generation,
    pub(super) jobs: VecDeque<VerifyJob>,
    pub(super) threads: usize,
    /// The first job of each running batch, and since when it runs.
    pub(super) running: Vec<(CallId, Duration)>,
}

impl Verifier {
    /// Takes a batch for a thread that is free: what must be alone is alone.
    pub(super) fn take_batch(&mut self, most: usize, now: Duration) -> Option<Vec<VerifyJob>> {
        if self.running.len() >= self.threads {
            return None;
        }
        let mut batch = vec![self.jobs.pop_front()?];
        let shares = |job: &VerifyJob| !job.alone;
        while batch.len() < most && shares(&batch[0]) && self.jobs.front().is_some_and(shares) {
            batch.extend(self.jobs.pop_front());
        }
        self.running.push((batch[0].call, now));
        Some(batch)
    }
}
