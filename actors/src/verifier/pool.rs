//! The threads that verify.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};
use roadbed_messages::api::ActorKind;
use roadbed_messages::api::workers::{CallId, Cause, Event, Verified, VerifyJob};
use roadbed_messages::{Block, Committee, Known};

use super::inbox::{Claims, Inbox, Work, tx_bytes_in};
use super::share::{Share, Team};
use crate::metrics::{Metrics, Msg};
use crate::supervision::{Faults, Heartbeat, Injected, panic_message};
use crate::wal_worker::Stamped;

/// Checking is throughput work, which should not delay State's replies. Not much nicer than others: beside an application
/// that computes on every processor it gets a tenth of each still, where the lowest priority would have it stand still, and be
/// taken for hung.
const NICENESS: i32 = 5;
/// Jobs are reported together until their transactions have this many bytes: each report wakes State, and none waits for
/// longer than it takes to hash so much.
const REPORT_BYTES_TARGET: usize = 256 << 10;

/// What is asked instead of verifying a job.
pub(crate) type Verdict = Arc<dyn Fn(&VerifyJob) -> Verified + Send + Sync>;

/// What the pool needs.
#[derive(Clone)]
pub(crate) struct PoolContext {
    pub(crate) committee: Committee,
    pub(crate) jobs_max: usize,
    pub(crate) faults: Faults,
    pub(crate) metrics: Arc<Metrics>,
    /// Only what tests and measurements set.
    pub(crate) verdict: Option<Verdict>,
    /// One for each thread.
    pub(crate) heartbeats: Vec<Heartbeat>,
}

/// Starts a thread for each heartbeat; `report` is called for every job, and for the end of a thread that fails.
///
/// The threads end when the sender is dropped.
///
/// # Errors
/// When a thread can't be started.
pub(crate) fn start(
    context: &PoolContext,
    report: impl Fn(Event) + Clone + Send + 'static,
) -> io::Result<Sender<Stamped<VerifyJob>>> {
    let (jobs, queue) = bounded(context.jobs_max);
    let (claims, known) = (Arc::new(Claims::default()), Arc::new(Known::default()));
    let team = Arc::new(Team::new(context.heartbeats.len()));
    for (index, heartbeat) in context.heartbeats.iter().enumerate() {
        let metrics = Arc::clone(&context.metrics);
        let mut inbox =
            Inbox::new(queue.clone(), Arc::clone(&team), Arc::clone(&claims), Arc::clone(&metrics));
        let worker =
            Worker { heartbeat: heartbeat.clone(), known: Arc::clone(&known), ..Worker::new(context) };
        let report = report.clone();
        thread::Builder::new().name(format!("roadbed-verify-{index}")).spawn(move || {
            // Without the permission to be nice the work is the same, only less polite.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "the verifier's threads keep their priority");
            }
            let live = || {
                while let Some(work) = inbox.gather() {
                    let batch = match work {
                        Work::Batch(batch) => batch,
                        Work::Share(share) => {
                            worker.help(&share)?;
                            continue;
                        }
                    };
                    let began = metrics.enabled().then(Instant::now);
                    // What is asked elsewhere is not worked out here.
                    let share = worker.verdict.is_none().then(|| inbox.share(&batch)).flatten();
                    let worked = worker.work_on(&batch, share.as_deref(), &report);
                    if let Some(began) = began {
                        metrics.actor(ActorKind::Verifier).handled(Msg::Verify, began.elapsed());
                    }
                    worked?;
                    inbox.finish(&batch);
                }
                Ok(())
            };
            // Whatever panics outside of a batch is told, too.
            let ended = catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
                Err(Event::Died { cause: Cause::Panic, error: panic_message(panic.as_ref()), job: None })
            });
            if let Err(died) = ended {
                report(died);
            }
        })?;
    }
    Ok(jobs)
}

/// One thread's tools.
pub(crate) struct Worker {
    committee: Committee,
    faults: Faults,
    heartbeat: Heartbeat,
    /// What this life of the pool has verified: a copy is not verified again.
    known: Arc<Known>,
    verdict: Option<Verdict>,
}

impl Worker {
    /// A thread's tools, shared with no other.
    pub(crate) fn new(context: &PoolContext) -> Self {
        Self {
            committee: context.committee.clone(),
            faults: context.faults.clone(),
            heartbeat: Heartbeat::default(),
            known: Arc::default(),
            verdict: context.verdict.clone(),
        }
    }

    /// Verifies blocks of another thread's batch, as long as there are any. Its verdicts are told by that thread, which
    /// finds what is valid among what is known; what is not it verifies itself.
    fn help(&self, share: &Share) -> Result<(), Event> {
        while let Some((call, block)) = share.take() {
            let verify = || self.heartbeat.during(*call, || self.make_known(block));
            catch_unwind(AssertUnwindSafe(verify)).map_err(|panic| {
                let error = panic_message(panic.as_ref());
                Event::Died { cause: Cause::Panic, error, job: Some(*call) }
            })?;
        }
        Ok(())
    }

    /// Verifies a block of a batch whose owner finds it known then, if it is valid.
    fn make_known(&self, block: &Arc<Block>) {
        drop(self.known.verify_block(&self.committee, Arc::clone(block)));
    }

    /// Verifies a batch and reports its jobs, few large ones or many small ones at a time. A panic ends the thread's
    /// life: the job that it came from is found by trying each alone, so that it harms no other's caller. Other threads
    /// may take part through `share`.
    pub(crate) fn work_on(
        &self,
        batch: &[VerifyJob],
        share: Option<&Share>,
        report: &impl Fn(Event),
    ) -> Result<(), Event> {
        let (mut done, mut done_bytes, mut undone_from) = (Vec::new(), 0, 0);
        let mut tell = |job: &VerifyJob, outcome| {
            done.push((job.call, outcome));
            done_bytes += tx_bytes_in(job);
            undone_from += 1;
            let next_bytes = batch.get(undone_from).map_or(0, tx_bytes_in);
            if done_bytes + next_bytes >= REPORT_BYTES_TARGET {
                report(Event::Verified(std::mem::take(&mut done)));
                done_bytes = 0;
            }
        };
        let died = |cause, error, job| Event::Died { cause, error, job };
        let attempt = |jobs: &[VerifyJob], first: bool, tell: &mut dyn FnMut(&VerifyJob, Verified)| {
            let verify = || {
                // A fault that was injected for an operation happens once; a poisoned input is one every time.
                if first {
                    self.struck(jobs)?;
                }
                // Who is alone panics for itself only.
                let share = share.filter(|_| first);
                self.verify(jobs, share, tell)
            };
            catch_unwind(AssertUnwindSafe(verify))
        };
        let attempted = attempt(batch, true, &mut tell);
        if !done.is_empty() {
            report(Event::Verified(done));
        }
        match attempted {
            Ok(Ok(())) => Ok(()),
            Ok(Err(injected)) => Err(died(Cause::Error, injected.to_string(), None)),
            Err(panic) => {
                let error = panic_message(panic.as_ref());
                let mut undone = batch[undone_from..].iter();
                let culprit =
                    undone.find(|job| attempt(std::slice::from_ref(job), false, &mut |_, _| ()).is_err());
                Err(died(Cause::Panic, error, culprit.map(|job| job.call)))
            }
        }
    }

    /// Lets a fault happen that was injected for the verifier's next operation.
    fn struck(&self, batch: &[VerifyJob]) -> Result<(), Injected> {
        let first = batch.first().map_or(CallId(0), |job| job.call);
        self.heartbeat.during(first, || self.faults.strike(ActorKind::Verifier))
    }

    /// Verifies jobs, in their order: all QCs' signatures in one batch, then each job's blocks. Each part of it is as old
    /// as itself to whoever looks for threads that hang.
    fn verify(
        &self,
        jobs: &[VerifyJob],
        share: Option<&Share>,
        tell: &mut dyn FnMut(&VerifyJob, Verified),
    ) -> Result<(), Injected> {
        if let Some(verdict) = &self.verdict {
            jobs.iter().for_each(|job| tell(job, verdict(job)));
            return Ok(());
        }
        let qcs = jobs.iter().filter_map(|job| job.qc.clone()).collect();
        let first_call = jobs.first().map_or(0, |job| job.call.0);
        let _span = tracing::debug_span!("verify", jobs = jobs.len(), first_call).entered();
        let first = jobs.first().map_or(CallId(0), |job| job.call);
        let mut qcs = self
            .heartbeat
            .during(first, || {
                self.faults.strike_input(jobs.iter().flat_map(|job| &job.blocks))?;
                Ok(self.known.verify_qcs(&self.committee, qcs, || self.heartbeat.again()))
            })?
            .into_iter();
        for job in jobs {
            // One answer comes for each QC, in their order.
            let qc = job.qc.as_ref().and_then(|_| qcs.next()).transpose();
            let outcome = self.heartbeat.during(job.call, || {
                let qc = qc?;
                let again = || self.heartbeat.again();
                while let Some((_, block)) = share.and_then(Share::take) {
                    again();
                    self.make_known(block);
                }
                let blocks = self.known.verify_blocks(&self.committee, qc.as_ref(), &job.blocks, again)?;
                Ok((qc, blocks))
            });
            tell(job, outcome);
        }
        Ok(())
    }
}
