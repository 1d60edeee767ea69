//! The threads that verify.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use roadbed_messages::api::workers::{CallId, Cause, Event, Verified, VerifyJob};
use roadbed_messages::api::{ActorKind, Error};
use roadbed_messages::{Committee, VerifiedBlock, verify_block, verify_qcs};

use crate::supervision::{Faults, Heartbeat, Injected, panic_message};

/// The most jobs in one batch.
const BATCH_JOBS_MAX: usize = 64;
/// A batch ends with the job that brings it to this many signatures: with more of them none becomes much cheaper.
const BATCH_SIGNATURES_TARGET: usize = 1024;
/// A batch ends with the job that brings it to this many bytes of transactions: what is hashed last waits for no longer
/// than a few milliseconds.
const BATCH_BYTES_TARGET: usize = 8 << 20;
/// Checking is throughput work: at the lowest priority it does not delay State's replies.
const NICENESS: i32 = 19;

/// What the pool needs.
#[derive(Clone)]
pub(crate) struct PoolContext {
    pub(crate) committee: Committee,
    pub(crate) jobs_max: usize,
    pub(crate) faults: Faults,
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
) -> io::Result<Sender<VerifyJob>> {
    let (jobs, queue) = bounded(context.jobs_max);
    for (index, heartbeat) in context.heartbeats.iter().enumerate() {
        let (context, heartbeat) = (context.clone(), heartbeat.clone());
        let (queue, report): (Receiver<VerifyJob>, _) = (queue.clone(), report.clone());
        thread::Builder::new().name(format!("roadbed-verify-{index}")).spawn(move || {
            // Without the permission to be nice the work is the same, only less polite.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "the verifier's threads keep their priority");
            }
            let mut next = None;
            while let Some(batch) = context.gather(&queue, &mut next) {
                if let Err(died) = context.work_on(&heartbeat, &batch, &report) {
                    return report(died);
                }
            }
        })?;
    }
    Ok(jobs)
}

impl PoolContext {
    /// A thread's share of what is queued, up to a batch that is worth its while; waits for the first job. A job that
    /// must be alone ends the batch, and is the `next` one.
    fn gather(&self, queue: &Receiver<VerifyJob>, next: &mut Option<VerifyJob>) -> Option<Vec<VerifyJob>> {
        let first = next.take().or_else(|| queue.recv().ok())?;
        let share = match first.alone {
            true => 1,
            false => (queue.len() + 1).div_ceil(self.heartbeats.len()).min(BATCH_JOBS_MAX),
        };
        let (mut signatures, mut bytes) = (signatures_in(&first), tx_bytes_in(&first));
        let mut batch = vec![first];
        while batch.len() < share
            && signatures < BATCH_SIGNATURES_TARGET
            && bytes < BATCH_BYTES_TARGET
            && let Ok(job) = queue.try_recv()
        {
            if job.alone {
                *next = Some(job);
                break;
            }
            signatures += signatures_in(&job);
            bytes += tx_bytes_in(&job);
            batch.push(job);
        }
        Some(batch)
    }

    /// Verifies a batch and reports each job as soon as it is done. A panic ends the thread's life: the job that it came
    /// from is found by trying each alone, so that it harms no other's caller.
    pub(crate) fn work_on(
        &self,
        heartbeat: &Heartbeat,
        batch: &[VerifyJob],
        report: &impl Fn(Event),
    ) -> Result<(), Event> {
        let mut done = 0;
        let mut tell = |call, outcome| {
            done += 1;
            report(Event::Verified { call, outcome });
        };
        let died = |cause, error, job| Event::Died { cause, error, job };
        let attempt = |jobs: &[VerifyJob], strike: bool, tell: &mut dyn FnMut(CallId, Verified)| {
            let verify = || {
                // A fault that was injected for an operation happens once; a poisoned input is one every time.
                if strike {
                    self.struck(heartbeat, jobs)?;
                }
                self.verify(heartbeat, jobs, tell)
            };
            catch_unwind(AssertUnwindSafe(verify))
        };
        match attempt(batch, true, &mut tell) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(injected)) => Err(died(Cause::Error, injected.to_string(), None)),
            Err(panic) => {
                let error = panic_message(panic.as_ref());
                let mut undone = batch[done..].iter();
                let culprit =
                    undone.find(|job| attempt(std::slice::from_ref(job), false, &mut |_, _| ()).is_err());
                Err(died(Cause::Panic, error, culprit.map(|job| job.call)))
            }
        }
    }

    /// Lets a fault happen that was injected for the verifier's next operation.
    fn struck(&self, heartbeat: &Heartbeat, batch: &[VerifyJob]) -> Result<(), Injected> {
        let first = batch.first().map_or(CallId(0), |job| job.call);
        heartbeat.during(first, || self.faults.strike(ActorKind::Verifier))
    }

    /// Verifies jobs, in their order: all QCs' signatures in one batch, then each job's blocks.
    fn verify(
        &self,
        heartbeat: &Heartbeat,
        jobs: &[VerifyJob],
        tell: &mut dyn FnMut(CallId, Verified),
    ) -> Result<(), Injected> {
        let qcs = jobs.iter().filter_map(|job| job.qc.clone()).collect();
        let first = jobs.first().map_or(CallId(0), |job| job.call);
        let mut qcs = heartbeat
            .during(first, || {
                self.faults.strike_input(jobs.iter().flat_map(|job| &job.blocks))?;
                Ok(verify_qcs(&self.committee, qcs))
            })?
            .into_iter();
        for job in jobs {
            // One answer comes for each QC, in their order.
            let qc = job.qc.as_ref().and_then(|_| qcs.next()).transpose();
            let outcome = heartbeat.during(job.call, || Ok((qc?, self.verify_blocks(job)?)));
            tell(job.call, outcome);
        }
        Ok(())
    }

    fn verify_blocks(&self, job: &VerifyJob) -> Result<Vec<VerifiedBlock>, Error> {
        let blocks = job.blocks.iter();
        blocks.map(|block| Ok(verify_block(&self.committee, Arc::clone(block))?)).collect()
    }
}

fn signatures_in(job: &VerifyJob) -> usize {
    job.qc.as_ref().map_or(0, |qc| qc.qc.signatures.len())
}

fn tx_bytes_in(job: &VerifyJob) -> usize {
    job.blocks.iter().map(|block| block.payload.txs.total_bytes()).sum()
}
