//! The published snapshot.

use roadbed_messages::api::{RunState, Status, WorkerState, WorkerStatus};

use super::calls::Kind;
use super::logs::APPEND_ORDERS_MAX;
use super::workers::{Worker, wal_of};
use super::{Core, Phase};

impl Core {
    /// One consistent snapshot.
    pub fn status(&self) -> Status {
        let cursors = self.cursors();
        let reasons = self.reasons();
        let buffered_blocks = self.chain.buffered_blocks();
        Status {
            state: match &self.phase {
                Phase::Recovering(_) => RunState::Recovering,
                Phase::Running if self.waits_for_space() => RunState::DiskFull,
                Phase::Running if reasons.is_empty() => RunState::Running,
                Phase::Running => RunState::Degraded,
                Phase::Stopping(_) => RunState::Stopping,
                Phase::Stopped(_) => RunState::Stopped,
            },
            cursors,
            workers: self.workers.all().iter().map(|worker| self.worker_status(worker)).collect(),
            recovered: self.recovered.clone(),
            waiters: Kind::ALL.iter().map(|kind| (kind.name().to_owned(), self.calls.count(*kind))).collect(),
            rejected: self.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            buffered_blocks,
            missing_blocks: cursors.next_qc.0 - cursors.next_block.0 - buffered_blocks as u64,
            memory_bytes: self.chain.memory_bytes(),
            free_bytes: self.free_bytes,
            reasons,
        }
    }

    fn worker_status(&self, worker: &Worker) -> WorkerStatus {
        let (mailbox, capacity) = match (wal_of(worker.actor), &self.logs) {
            // One truncation beside the orders to append.
            (Some(wal), Some(logs)) => (logs.of(wal).unanswered(), APPEND_ORDERS_MAX + 1),
            _ if worker.actor == roadbed_messages::api::ActorKind::Verifier => {
                (self.verifying.len(), self.config.verify_jobs_max)
            }
            _ => (0, 1),
        };
        WorkerStatus {
            actor: worker.actor,
            state: worker.state,
            generation: worker.generation.0,
            restarts: worker.restarts,
            last_error: worker.last_error.clone(),
            mailbox,
            capacity,
            running_for_seconds: worker.running_for.map(|running| running.as_secs_f64()),
        }
    }

    fn has_orders(&self, worker: &Worker) -> bool {
        let logs = self.logs.as_ref();
        wal_of(worker.actor).zip(logs).is_some_and(|(wal, logs)| logs.of(wal).unanswered() > 0)
    }

    /// Whether a worker opens on a full disk, only to fail with the next write.
    fn fails_again(&self, worker: &Worker) -> bool {
        worker.state == WorkerState::Up && worker.disk_full && self.has_orders(worker)
    }

    /// Whether something can't become durable for want of space.
    fn waits_for_space(&self) -> bool {
        let waits = |worker: &Worker| worker.state == WorkerState::DiskFull || self.fails_again(worker);
        self.workers.all().iter().any(waits)
    }

    /// Why the subsystem is not healthy.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for worker in self.workers.all() {
            if !matches!(worker.state, WorkerState::Up) {
                let error = worker.last_error.as_deref().unwrap_or("no error so far");
                reasons.push(format!("{} is {}: {error}", worker.actor, worker.state.name()));
            } else if self.fails_again(worker) {
                let error = worker.last_error.as_deref().unwrap_or("no error so far");
                reasons.push(format!(
                    "{} has made nothing durable since the disk was full: {error}",
                    worker.actor
                ));
            }
        }
        // Nothing can be done about it: the thread is the disk's, and other reads go on through the others.
        if let Some(reading_for) = self.reading_for.filter(|running| *running >= self.config.hung_after) {
            reasons.push(format!("a read has been running for {:.1} s", reading_for.as_secs_f64()));
        }
        let reserve = self.config.disk_reserve_bytes;
        if let Some(free) = self.free_bytes.filter(|free| *free < reserve) {
            reasons.push(format!("the disk is almost full: {free} bytes are free, {reserve} are kept free"));
        }
        reasons
    }
}
