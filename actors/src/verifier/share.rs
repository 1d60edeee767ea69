//! Work on one batch by several threads: the owner of the batch checks its signatures while threads that have nothing to
//! do hash its blocks.
//!
//! What they verify they make known ([`roadbed_messages::Known`]), and the owner finds it there. So nobody waits for
//! anybody: what a helper has not finished, or what is invalid, the owner verifies like everything else, and every
//! verdict is its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded};
use roadbed_messages::Block;
use roadbed_messages::api::workers::{CallId, VerifyJob};
use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The blocks of a batch. Each is taken once, by whichever thread comes first.
pub(crate) struct Share {
    blocks: Vec<(CallId, Arc<Block>)>,
    taken: AtomicUsize,
}

impl Share {
    fn of(batch: &[VerifyJob]) -> Self {
        let blocks_of = |job: &VerifyJob| {
            let call = job.call;
            job.blocks.clone().into_iter().map(move |block| (call, block))
        };
        Self { blocks: batch.iter().flat_map(blocks_of).collect(), taken: AtomicUsize::new(0) }
    }

    /// A block that nobody has taken yet, with the call that brought it.
    pub(super) fn take(&self) -> Option<&(CallId, Arc<Block>)> {
        self.blocks.get(self.taken.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a thread that waited has come by.
pub(super) enum Found<T> {
    /// What was queued.
    Queued(T),
    /// Blocks of another thread's batch.
    Share(Arc<Share>),
}

/// The threads of one pool.
pub(super) struct Team {
    threads: usize,
    idle: Mutex<Idle>,
    /// A batch that is done by the time it is looked at keeps no memory.
    offers: (Sender<Weak<Share>>, Receiver<Weak<Share>>),
}

#[derive(Default)]
struct Idle {
    waiting: Vec<Pid>,
    sent_away: Vec<SentAway>,
}

/// A thread that waits and must not wake on a certain processor.
struct SentAway {
    thread: Pid,
    /// Where it may wake.
    elsewhere: CpuSet,
    /// The processors that it may use otherwise.
    usual: CpuSet,
}

impl Idle {
    /// Has a thread that waits wake on another processor than this one. Left alone the scheduler of a machine with few
    /// processors often wakes it behind the very thread that it should relieve.
    fn send_away(&mut self, thread: Pid) -> Result<(), Errno> {
        let usual = sched_getaffinity(Some(thread))?;
        let mut elsewhere = usual;
        elsewhere.unset(sched_getcpu());
        if elsewhere.count() > 0 {
            sched_setaffinity(Some(thread), &elsewhere)?;
            self.sent_away.push(SentAway { thread, elsewhere, usual });
        }
        Ok(())
    }

    /// Takes note that this thread has woken; answers whether it had been sent away.
    fn woken(&mut self, this: Pid) -> Option<SentAway> {
        self.waiting.retain(|thread| *thread != this);
        let place = self.sent_away.iter().position(|sent| sent.thread == this)?;
        Some(self.sent_away.swap_remove(place))
    }
}

impl SentAway {
    /// Lets this thread, which was sent away, go everywhere again: unless somebody else has meanwhile said where it may
    /// run.
    fn comes_back(&self) -> Result<(), Errno> {
        if sched_getaffinity(None)? == self.elsewhere { sched_setaffinity(None, &self.usual) } else { Ok(()) }
    }
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, idle: Mutex::default(), offers: bounded(threads) }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for what is queued, or meanwhile for blocks of another thread's batch; `None` once nothing will be queued
    /// any more.
    pub(super) fn wait<T>(&self, queue: &Receiver<T>) -> Option<Found<T>> {
        let offered = &self.offers.1;
        loop {
            match queue.try_recv() {
                Ok(queued) => return Some(Found::Queued(queued)),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            self.falls_idle();
            let mut select = Select::new();
            let of_queue = select.recv(queue);
            select.recv(offered);
            let ready = select.select();
            self.wakes();
            if ready.index() == of_queue {
                return ready.recv(queue).ok().map(Found::Queued);
            }
            if let Some(share) = ready.recv(offered).ok().and_then(|offer| offer.upgrade()) {
                return Some(Found::Share(share));
            }
        }
    }

    /// Offers the blocks of a batch to the threads that wait, if any do.
    pub(super) fn share(&self, batch: &[VerifyJob]) -> Option<Arc<Share>> {
        let mut idle = self.idle();
        if idle.waiting.is_empty() {
            return None;
        }
        let share = Arc::new(Share::of(batch));
        let signatures = batch.iter().any(|job| job.qc.is_some());
        let helpers_max = (share.blocks.len() + usize::from(signatures)).saturating_sub(1);
        let first = idle.waiting.len().saturating_sub(helpers_max);
        for thread in idle.waiting.split_off(first) {
            if let Err(error) = idle.send_away(thread) {
                tracing::debug!(%error, "a thread that helps wakes wherever it does");
            }
            // There is room for as many offers as there are threads: without it enough are open.
            let _ = self.offers.0.try_send(Arc::downgrade(&share));
        }
        Some(share)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics in the middle of a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn falls_idle(&self) {
        self.idle().waiting.push(gettid());
    }

    fn wakes(&self) {
        let sent = self.idle().woken(gettid());
        if let Some(Err(error)) = sent.map(|sent| sent.comes_back()) {
            tracing::warn!(%error, "a verifier's thread can't go back to all processors");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crossbeam_channel::unbounded;
    use roadbed_messages::testing::{self, ChainShape};

    use super::*;

    fn job() -> VerifyJob {
        let members = testing::committee(1, 4);
        let shape = ChainShape { txs_per_block: 1, ..ChainShape::default() };
        let (qc, blocks) = testing::chain(1, &members, shape).next().expect("a chain does not end");
        let blocks = blocks.into_iter().map(Arc::new).collect();
        VerifyJob { call: CallId(7), qc: Some(Arc::new(qc)), blocks, alone: false }
    }

    /// Offers the job until a thread has come to wait.
    fn share_when_idle(team: &Team, job: &VerifyJob) -> Arc<Share> {
        loop {
            match team.share(std::slice::from_ref(job)) {
                Some(share) => return share,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn thread_without_work_takes_part_and_no_block_is_taken_twice() {
        let (team, job) = (Team::new(2), job());
        let (_jobs, queue) = unbounded::<()>();
        let taken = |share: &Share| {
            let mut taken = Vec::new();
            while let Some((call, block)) = share.take() {
                taken.push((call.0, block.header));
            }
            taken
        };
        let all = thread::scope(|scope| {
            let before = sched_getaffinity(None).map(|cpus| cpus.count());
            let helper = scope.spawn(|| {
                let Some(Found::Share(share)) = team.wait(&queue) else { panic!("nothing is queued") };
                let usual = sched_getaffinity(None).map(|cpus| cpus.count());
                (taken(&share), usual)
            });
            let share = share_when_idle(&team, &job);
            let mut all = taken(&share);
            let (theirs, usual) = helper.join().expect("the helper does not panic");
            assert_eq!(usual, before, "whoever was sent away may go everywhere again");
            all.extend(theirs);
            all
        });
        let mut lanes: Vec<_> = all.iter().map(|(call, header)| (*call, header.hash())).collect();
        lanes.sort_unstable();
        let mut expected: Vec<_> = job.blocks.iter().map(|block| (7, block.header.hash())).collect();
        expected.sort_unstable();
        assert_eq!(lanes, expected);
    }

    #[test]
    fn what_is_done_by_the_time_it_is_looked_at_wakes_nobody_up_for_long() {
        let (team, (jobs, queue)) = (Team::new(2), unbounded());
        team.offers.0.send(Weak::new()).expect("there is room for it");
        thread::scope(|scope| {
            let waits = scope.spawn(|| matches!(team.wait(&queue), Some(Found::Queued(5))));
            while !team.offers.1.is_empty() {
                thread::yield_now();
            }
            jobs.send(5).expect("the queue is open");
            assert!(waits.join().expect("nothing panics"));
        });
        drop(jobs);
        assert!(team.wait(&queue).is_none(), "nothing will be queued any more");
    }

    #[test]
    fn where_somebody_else_says_that_a_thread_may_run_it_stays() {
        // In a thread of its own, which takes its processors along when it ends.
        let told = thread::spawn(|| {
            let this = gettid();
            let usual = sched_getaffinity(None).expect("a thread may ask where it may run");
            let mut idle = Idle::default();
            idle.waiting.push(this);
            idle.send_away(this).expect("a thread may be narrowed down");
            let sent = idle.woken(this);
            assert!(idle.waiting.is_empty() && idle.sent_away.is_empty());
            let Some(sent) = sent else {
                assert_eq!(usual.count(), 1, "there is nowhere else");
                return;
            };
            // It is narrowed down to the one that it was sent away from.
            let mut here = usual;
            (0..CpuSet::MAX_CPU).filter(|cpu| sent.elsewhere.is_set(*cpu)).for_each(|cpu| here.unset(cpu));
            sched_setaffinity(None, &here).expect("a thread may be narrowed down");
            sent.comes_back().expect("it asks only");
            assert_eq!(sched_getaffinity(None), Ok(here));
            // Left alone it goes everywhere again.
            sched_setaffinity(None, &sent.elsewhere).expect("a thread may be narrowed down");
            sent.comes_back().expect("it may go back");
            assert_eq!(sched_getaffinity(None), Ok(usual));
        });
        told.join().expect("it stays where it was told to");
    }

    #[test]
    fn nothing_is_offered_where_nobody_waits() {
        assert!(Team::new(2).share(&[job()]).is_none());
    }
}
