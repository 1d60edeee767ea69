//! What a thread of the pool takes next: batches that are worth their while, and no copy of what another thread is at.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use roadbed_messages::api::ActorKind;
use roadbed_messages::api::workers::VerifyJob;
use roadbed_messages::{PayloadHash, Signature};

use super::share::{Found, Share, Team};
use crate::metrics::Metrics;
use crate::wal_worker::Stamped;

/// The most jobs in one batch.
const BATCH_JOBS_MAX: usize = 128;
/// A batch ends with the job that brings it to this many signatures: with more of them none becomes much cheaper.
const BATCH_SIGNATURES_TARGET: usize = 2048;
/// A batch ends with the job that brings it to this many bytes of transactions: what is hashed last waits for no longer
/// than a few milliseconds.
const BATCH_BYTES_TARGET: usize = 8 << 20;

/// What a thread does next.
pub(super) enum Work {
    /// A batch that it has claimed.
    Batch(Vec<VerifyJob>),
    /// Another thread's blocks, for nothing else is to do.
    Share(Arc<Share>),
}

/// Fewer bytes of transactions are hashed sooner than another thread is awake.
const SHARE_BYTES_MIN: usize = 4 << 10;

/// The queue as one thread sees it.
pub(super) struct Inbox {
    queue: Receiver<Stamped<VerifyJob>>,
    /// The threads that share the queue.
    team: Arc<Team>,
    claims: Arc<Claims>,
    /// What this thread takes before it looks into the queue again.
    next: VecDeque<VerifyJob>,
    metrics: Arc<Metrics>,
}

impl Inbox {
    pub(super) fn new(
        queue: Receiver<Stamped<VerifyJob>>,
        team: Arc<Team>,
        claims: Arc<Claims>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { queue, team, claims, next: VecDeque::new(), metrics }
    }

    /// A thread's part of what is queued, up to a batch that is worth its while; waits for the first job, and answers
    /// `None` once there will be no more. A job that must be alone ends the batch, and comes next. While none is queued,
    /// the blocks of another thread's batch may be work too.
    ///
    /// The batch is claimed: a copy of one of its jobs, whichever thread takes it, waits for [`Inbox::finish`].
    pub(super) fn gather(&mut self) -> Option<Work> {
        let Self { queue, team, claims, next, metrics } = self;
        let mut waits = metrics.waits(ActorKind::Verifier);
        let mut taken = |job: Stamped<VerifyJob>| {
            waits.taken(job.at);
            job.message
        };
        let first = loop {
            let job = match next.pop_front() {
                Some(job) => job,
                None => match team.wait(queue)? {
                    Found::Queued(job) => taken(job),
                    Found::Share(share) => return Some(Work::Share(share)),
                },
            };
            if let Some(job) = claims.claim(job) {
                break job;
            }
        };
        let share = match first.alone {
            true => 1,
            false => (queue.len() + next.len() + 1).div_ceil(team.threads()).min(BATCH_JOBS_MAX),
        };
        let (mut signatures, mut bytes) = (signatures_in(&first), tx_bytes_in(&first));
        let mut batch = vec![first];
        while batch.len() < share
            && signatures < BATCH_SIGNATURES_TARGET
            && bytes < BATCH_BYTES_TARGET
            && let Some(job) = next.pop_front().or_else(|| Some(taken(queue.try_recv().ok()?)))
        {
            if job.alone {
                next.push_front(job);
                break;
            }
            let Some(job) = claims.claim(job) else { continue };
            signatures += signatures_in(&job);
            bytes += tx_bytes_in(&job);
            batch.push(job);
        }
        Some(Work::Batch(batch))
    }

    /// Offers the blocks of a batch to threads that have nothing to do, if it is worth their while and there are any.
    pub(super) fn share(&self, batch: &[VerifyJob]) -> Option<Arc<Share>> {
        let worth_it = batch.iter().map(tx_bytes_in).sum::<usize>() >= SHARE_BYTES_MIN;
        (worth_it && self.queue.is_empty()).then(|| self.team.share(batch)).flatten()
    }

    /// A batch is done: the copies that waited for it are this thread's next jobs, for what they ask is known by now.
    pub(super) fn finish(&mut self, batch: &[VerifyJob]) {
        self.next.extend(self.claims.release(batch));
    }
}

/// What tells copies of one job from other jobs, mostly: whether one is a copy is seen when it is verified. A stranger
/// that bears another's name only waits for one batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Qc(Signature),
    Block(PayloadHash),
}

fn name_of(job: &VerifyJob) -> Option<Name> {
    match &job.qc {
        Some(qc) => qc.qc.signatures.first().map(|one| Name::Qc(one.signature)),
        None => job.blocks.first().map(|block| Name::Block(block.header.payload)),
    }
}

/// What the pool's threads are at, and the copies of it that wait. It ends with its life of the pool, for State gives
/// the jobs anew that the life has not answered.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<Name, Vec<VerifyJob>>>);

impl Claims {
    /// The job, claimed, unless one of its name is under way: then it waits there.
    fn claim(&self, job: VerifyJob) -> Option<VerifyJob> {
        let Some(name) = name_of(&job) else { return Some(job) };
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match claims.get_mut(&name) {
            Some(waiting) => {
                waiting.push(job);
                None
            }
            None => {
                claims.insert(name, Vec::new());
                Some(job)
            }
        }
    }

    fn release(&self, batch: &[VerifyJob]) -> Vec<VerifyJob> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batch.iter().filter_map(name_of).filter_map(|name| claims.remove(&name)).flatten().collect()
    }
}

fn signatures_in(job: &VerifyJob) -> usize {
    job.qc.as_ref().map_or(0, |qc| qc.qc.signatures.len())
}

pub(super) fn tx_bytes_in(job: &VerifyJob) -> usize {
    job.blocks.iter().map(|block| block.payload.txs.total_bytes()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam_channel::unbounded;
    use roadbed_messages::BlockNumber;
    use roadbed_messages::api::workers::CallId;
    use roadbed_messages::testing::{self, ChainShape};

    use super::*;

    /// Copies of `qcs` QCs, each pushed `copies` times in a row, in a queue that two threads share.
    fn queue(qcs: usize, copies: u64) -> (Inbox, Inbox) {
        let members = testing::committee(1, 4);
        let shape = ChainShape { txs_per_block: 1, ..ChainShape::default() };
        let (jobs, queue) = unbounded();
        for (qc, blocks) in testing::chain(1, &members, shape).take(qcs) {
            let (qc, blocks) = (Arc::new(qc), blocks.into_iter().map(Arc::new).collect::<Vec<_>>());
            for _ in 0..copies {
                let call = CallId(jobs.len() as u64);
                let job = VerifyJob { call, qc: Some(qc.clone()), blocks: blocks.clone(), alone: false };
                assert!(jobs.send(Stamped::now(job)).is_ok());
            }
        }
        let (claims, team) = (Arc::new(Claims::default()), Arc::new(Team::new(2)));
        let metrics = Arc::new(Metrics::new(false, Duration::MAX, BlockNumber(0)));
        let inbox = |queue| Inbox::new(queue, team.clone(), claims.clone(), metrics.clone());
        (inbox(queue.clone()), inbox(queue))
    }

    fn batch(inbox: &mut Inbox) -> Option<Vec<VerifyJob>> {
        match inbox.gather()? {
            Work::Batch(batch) => Some(batch),
            Work::Share(_) => panic!("nobody shares here"),
        }
    }

    fn calls(batch: &[VerifyJob]) -> Vec<u64> {
        batch.iter().map(|job| job.call.0).collect()
    }

    #[test]
    fn copies_of_what_is_under_way_come_after_it() {
        let (mut one, mut other) = queue(2, 3);
        let first = batch(&mut one).unwrap_or_default();
        assert_eq!(calls(&first), [0, 3], "each once, whatever the share");
        // The other thread finds copies only, and then the end.
        assert!(other.gather().is_none());
        one.finish(&first);
        let mut later = Vec::new();
        while let Some(copies) = batch(&mut one) {
            later.extend(calls(&copies));
            one.finish(&copies);
        }
        later.sort_unstable();
        assert_eq!(later, [1, 2, 4, 5], "no job is lost");
    }

    #[test]
    fn threads_share_what_is_queued() {
        let (mut one, mut other) = queue(8, 1);
        let (first, second) = (batch(&mut one).unwrap_or_default(), batch(&mut other).unwrap_or_default());
        assert_eq!((calls(&first), calls(&second)), (vec![0, 1, 2, 3], vec![4, 5]));
    }
}
