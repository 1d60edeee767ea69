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

/// The most jobs whose signatures are checked in one batch.
const BATCH_JOBS_MAX: usize = 16;
/// A batch ends with the job that brings it to this many bytes of transactions: hashing them takes longer than sharing
/// a batch saves, and the other threads would have nothing to do.
const BATCH_BYTES_TARGET: usize = 256 << 10;
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
            while let Some(batch) = next_batch(&queue, &mut next) {
                if let Err(died) = context.work_on(&heartbeat, batch, &report) {
                    return report(died);
                }
            }
        })?;
    }
    Ok(jobs)
}

/// The jobs that are there, up to the size of a batch; waits for the first of them. A job that must be alone ends the
/// batch, and is the `next` one.
fn next_batch(queue: &Receiver<VerifyJob>, next: &mut Option<VerifyJob>) -> Option<Vec<VerifyJob>> {
    let first = next.take().or_else(|| queue.recv().ok())?;
    let (mut bytes, alone) = (tx_bytes(&first), first.alone);
    let mut batch = vec![first];
    while !alone
        && batch.len() < BATCH_JOBS_MAX
        && bytes < BATCH_BYTES_TARGET
        && let Ok(job) = queue.try_recv()
    {
        if job.alone {
            *next = Some(job);
            break;
        }
        bytes += tx_bytes(&job);
        batch.push(job);
    }
    Some(batch)
}

impl PoolContext {
    /// Verifies a batch and reports each job. A panic ends the thread's life: the job that it came from is found by
    /// trying each alone, so that it harms no other's caller.
    fn work_on(
        &self,
        heartbeat: &Heartbeat,
        batch: Vec<VerifyJob>,
        report: &impl Fn(Event),
    ) -> Result<(), Event> {
        let (calls, jobs): (Vec<CallId>, Vec<VerifyJob>) =
            batch.into_iter().map(|job| (job.call, job)).unzip();
        let attempt = |jobs: Vec<VerifyJob>, first: bool| {
            let job = jobs[0].call;
            let verify = || {
                // A fault that was injected for an operation happens once; a poisoned input is one every time.
                if first {
                    self.faults.strike(ActorKind::Verifier)?;
                }
                self.faults.strike_input(jobs.iter().flat_map(|job| &job.blocks))?;
                Ok::<_, Injected>(verify_jobs(&self.committee, jobs))
            };
            heartbeat.during(job, || catch_unwind(AssertUnwindSafe(verify)))
        };
        let died = |cause, error, job| Event::Died { cause, error, job };
        match attempt(jobs.clone(), true) {
            Ok(Ok(outcomes)) => {
                for (call, outcome) in calls.into_iter().zip(outcomes) {
                    report(Event::Verified { call, outcome });
                }
                Ok(())
            }
            Ok(Err(injected)) => Err(died(Cause::Error, injected.to_string(), None)),
            Err(panic) => {
                let error = panic_message(panic.as_ref());
                let culprit = jobs.into_iter().find(|job| attempt(vec![job.clone()], false).is_err());
                Err(died(Cause::Panic, error, culprit.map(|job| job.call)))
            }
        }
    }
}

fn tx_bytes(job: &VerifyJob) -> usize {
    job.blocks.iter().map(|block| block.payload.txs.total_bytes()).sum()
}

/// Verifies jobs, in their order: all QCs' signatures in one batch, then each job's blocks.
fn verify_jobs(committee: &Committee, jobs: Vec<VerifyJob>) -> Vec<Verified> {
    let qcs = jobs.iter().filter_map(|job| job.qc.clone()).collect();
    let mut verified_qcs = verify_qcs(committee, qcs).into_iter();
    jobs.into_iter()
        .map(|job| {
            // One answer comes for each QC, in their order.
            let qc = job.qc.and_then(|_| verified_qcs.next()).transpose()?;
            let blocks: Result<Vec<VerifiedBlock>, Error> = job
                .blocks
                .into_iter()
                .map(|block| verify_block(committee, Arc::clone(&block)).map_err(Error::from))
                .collect();
            Ok((qc, blocks?))
        })
        .collect()
}
