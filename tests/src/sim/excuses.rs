//! Why a worker may die, a call fail and the subsystem give up: each fault causes what it can cause, and what happens
//! without one is a failure of the run. So is a fault that is passed over in silence.
//!
//! An operation runs as a whole on the simulator's only thread, so that it is known which calls of the disk failed in it:
//! its end must come from one of those, or from what was injected into this very operation. How many ends are too many is
//! counted here a second time, by plainer means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roadbed::supervision::{Fault, RestartPolicy};
use roadbed_messages::HeaderHash;
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation, VerifyJob};
use roadbed_messages::api::{ActorKind, WalKind};
use roadbed_wal::SyncPoint;
use roadbed_wal::sim::{Failure, How, SimStorage};

/// What may end because of what happened to one process.
#[derive(Debug, Default)]
pub(super) struct Excuses {
    /// As State has it: it does not go back.
    clock: Duration,
    deaths: BTreeMap<ActorKind, Deaths>,
    /// Lives that are over, so that another one may begin.
    ended: BTreeSet<ActorKind>,
    /// Workers that are never started again, and when the first of them was given up.
    given_up: BTreeSet<ActorKind>,
    given_up_at: Option<Duration>,
    /// Faults of the verifier's next batches.
    pub(super) verifier_faults: usize,
    pub(super) poisoned: BTreeSet<HeaderHash>,
    /// How often a job was found to have ended a life of the verifier.
    blamed: BTreeMap<CallId, u32>,
    /// Reads under which the disk failed.
    pub(super) failed_reads: BTreeSet<CallId>,
    /// The disk failed while recovery loaded.
    pub(super) load_failed: bool,
}

/// The deaths of one worker that its budget counts.
#[derive(Debug, Default)]
struct Deaths {
    at: Vec<Duration>,
    since_progress: u32,
    up_since: Option<Duration>,
    all: usize,
}

impl Excuses {
    /// What State is about to be told happens at this time.
    pub(super) fn now(&mut self, clock: Duration) {
        self.clock = self.clock.max(clock);
    }

    /// A report that counts: a death is judged here as State must judge it.
    pub(super) fn reported(
        &mut self,
        actor: ActorKind,
        event: &Event,
        recovering: bool,
        policy: &RestartPolicy,
    ) {
        match event {
            Event::Up => self.deaths.entry(actor).or_default().up_since = Some(self.clock),
            Event::Durable { .. } | Event::Truncated { .. } | Event::Verified { .. } => {
                self.deaths.entry(actor).or_default().since_progress = 0;
            }
            Event::Refused(_) => self.give_up(actor),
            Event::Died { cause, job, .. } => {
                if let Some(job) = job {
                    *self.blamed.entry(*job).or_default() += 1;
                }
                self.died(actor, *cause, policy);
                // What the other log has done by then, its plan may no longer fit.
                let logs = WalKind::BOTH.map(WalKind::actor);
                if recovering && logs.contains(&actor) {
                    self.ended.extend(logs);
                }
            }
            _ => {}
        }
    }

    fn died(&mut self, actor: ActorKind, cause: Cause, policy: &RestartPolicy) {
        let now = self.clock;
        self.ended.insert(actor);
        let deaths = self.deaths.entry(actor).or_default();
        deaths.all += 1;
        let lived = deaths.up_since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if actor == ActorKind::Pruner && lived >= policy.window {
            deaths.since_progress = 0;
        }
        let too_many = match cause {
            Cause::DiskFull => false,
            Cause::Corruption => true,
            _ => {
                deaths.at.push(now);
                deaths.since_progress += 1;
                let recent = deaths.at.iter().filter(|at| now - **at < policy.window).count();
                recent > policy.restarts_max as usize
                    || deaths.since_progress > policy.failures_without_progress_max
            }
        };
        if too_many {
            self.give_up(actor);
        }
    }

    /// The verifier has been at this job for too long.
    pub(super) fn verifier_hangs(&mut self, job: Option<CallId>, policy: &RestartPolicy) {
        if let Some(job) = job {
            *self.blamed.entry(job).or_default() += 1;
        }
        self.died(ActorKind::Verifier, Cause::Hung, policy);
    }

    /// A worker must not be started again, and the subsystem must end.
    pub(super) fn give_up(&mut self, actor: ActorKind) {
        self.given_up.insert(actor);
        self.given_up_at.get_or_insert(self.clock);
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.given_up_at.is_some()
    }

    pub(super) fn has_given_up_on(&self, actor: ActorKind) -> bool {
        self.given_up.contains(&actor)
    }

    /// Since when it must be ending.
    pub(super) fn ending_for(&self) -> Option<Duration> {
        Some(self.clock - self.given_up_at?)
    }

    pub(super) fn deaths(&self, actor: ActorKind) -> usize {
        self.deaths.get(&actor).map_or(0, |deaths| deaths.all)
    }

    pub(super) fn blamed(&self, call: CallId) -> u32 {
        self.blamed.get(&call).copied().unwrap_or_default()
    }

    /// A life begins: the first, or one after a life that has ended.
    pub(super) fn check_start(&mut self, actor: ActorKind, generation: Generation) {
        assert!(!self.given_up.contains(&actor), "{actor} is started though it was to be given up");
        let first = generation == Generation(1);
        assert!(self.ended.remove(&actor) || first, "{actor} is started again, and nothing had ended it");
    }

    /// What the verifier told of a batch: its life has ended exactly if something was to end it.
    pub(super) fn check_batch(&mut self, jobs: &[VerifyJob], events: &[Event]) {
        let poisonous =
            |job: &VerifyJob| job.blocks.iter().any(|block| self.poisoned.contains(&block.header.hash()));
        let struck = self.verifier_faults > 0;
        let died = events.iter().find_map(|event| match event {
            Event::Died { cause, error, job } => Some((cause, error, job)),
            _ => None,
        });
        let wanted = struck || jobs.iter().any(poisonous);
        assert_eq!(died.is_some(), wanted, "the verifier's end is not what was injected: {died:?}");
        if let Some((cause, error, Some(culprit))) = died {
            let guilty = jobs.iter().any(|job| job.call == *culprit && poisonous(job));
            assert!(guilty, "{culprit:?} is blamed for nothing: {cause:?} {error}");
        }
        self.verifier_faults -= usize::from(struck);
    }
}

/// Looks whether a log's operation ended as it must after what it met, and what `left` says the one before it had met.
/// Answers what may only come to light in the next.
pub(super) fn check_operation(
    wal: WalKind,
    events: &[Event],
    left: &[Failure],
    injected: Option<&Fault>,
    disk: &SimStorage,
) -> Vec<Failure> {
    let mut met = disk.take_failures();
    if disk.has_crashed() {
        return Vec::new();
    }
    let new = met.clone();
    met.extend_from_slice(left);
    let mut ended = false;
    for event in events {
        let Event::Died { cause, error, .. } = event else {
            ended |= matches!(event, Event::Refused(_));
            continue;
        };
        ended = true;
        let excused = match (cause, injected) {
            (Cause::Panic, Some(Fault::Panic)) | (Cause::Error, Some(Fault::Error)) => true,
            (Cause::Panic, None) => met.iter().any(|failure| failure.how == How::Panic),
            // Before there is none left, some is kept free.
            (Cause::DiskFull, None) => met.iter().any(Failure::is_disk_full) || disk.is_limited(),
            (Cause::Error, None) => {
                met.iter().any(|failure| !failure.is_disk_full() && failure.how != How::Panic)
            }
            // Whoever reports it knows whether there was damage.
            (Cause::Corruption, None) => true,
            _ => false,
        };
        assert!(excused, "the {wal} log died without a reason: {} {error}; it met {met:?}", cause.name());
    }
    let passed_over = new.iter().find(|failure| ends_the_life(failure)).filter(|_| !ended);
    assert!(passed_over.is_none(), "the {wal} log goes on as if nothing had failed: {passed_over:?}");
    // The cut itself is durable by then; what it frees is not, and that poisons the log for whatever comes next.
    new.into_iter().filter(|failure| failure.call.point == Some(SyncPoint::Retire)).collect()
}

/// After these nothing is known of what is durable; the rest may be tried again, or done without.
fn ends_the_life(failure: &Failure) -> bool {
    let vital = matches!(
        failure.call.point,
        Some(
            SyncPoint::Group
                | SyncPoint::Footer
                | SyncPoint::Publish
                | SyncPoint::OpenDirectory
                | SyncPoint::OpenTail
        )
    );
    match failure.how {
        How::Errno(_) => vital,
        How::Short => false,
        How::Panic => true,
    }
}
