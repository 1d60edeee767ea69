//! The end: an ordered shutdown, or an escalation. Both close what can be closed, and answer everyone.

use std::time::Duration;

use roadbed_messages::api::workers::{CallId, Order, WalOrder};
use roadbed_messages::api::{Cursors, Error, ShutdownReport, StopReason, WalKind, WorkerState};

use super::calls::{Kind, Pending, Stage};
use super::{Answer, Core, Effect, Phase};

/// How far the end has come.
#[derive(Debug)]
pub(super) struct Stopping {
    /// `None` for an ordered shutdown: its reason holds the last cursors.
    escalation: Option<StopReason>,
    deadline: Duration,
    /// The logs that were told to close and have not answered; `None` before they are told.
    closing: Option<Vec<WalKind>>,
}

impl Stopping {
    pub(super) fn is_escalation(&self) -> bool {
        self.escalation.is_some()
    }

    pub(super) fn reason(&self, cursors: Cursors) -> StopReason {
        self.escalation.clone().unwrap_or(StopReason::Shutdown(cursors))
    }
}

impl Core {
    pub(super) fn on_shutdown(&mut self, call: CallId) {
        self.admit(call, Kind::Shutdown, 0, 0, Stage::Finishing, Pending::Shutdown);
        if let Phase::Stopping(_) | Phase::Stopped(_) = self.phase {
            return;
        }
        let deadline = self.now.saturating_add(self.config.shutdown_deadline);
        self.phase = Phase::Stopping(Box::new(Stopping { escalation: None, deadline, closing: None }));
        self.answer_all([Kind::PushQc, Kind::PushBlock], &StopReason::Shutdown(self.cursors()));
    }

    /// A failure that no restart can mend: every caller learns of it at once, the healthy logs are closed. The first
    /// such failure counts.
    pub(super) fn escalate(&mut self, reason: StopReason) {
        let deadline = self.now.saturating_add(self.config.shutdown_deadline);
        let (deadline, closing) = match &self.phase {
            // Before recovery was done no log takes orders, not even for a clean end.
            Phase::Recovering(_) | Phase::Running => (deadline, None),
            Phase::Stopping(stopping) if stopping.is_escalation() => return,
            Phase::Stopping(stopping) => (stopping.deadline, stopping.closing.clone()),
            Phase::Stopped(_) => return,
        };
        tracing::error!(%reason, "the data layer stops");
        self.answer_all(Kind::ALL, &reason);
        self.phase = Phase::Stopping(Box::new(Stopping { escalation: Some(reason), deadline, closing }));
    }

    pub(super) fn stop_deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Stopping(stopping) => Some(stopping.deadline),
            _ => None,
        }
    }

    pub(super) fn on_closed(&mut self, wal: WalKind) {
        self.workers.set_state(wal.actor(), WorkerState::Stopped);
        if let Phase::Stopping(stopping) = &mut self.phase
            && let Some(closing) = &mut stopping.closing
        {
            closing.retain(|closing| *closing != wal);
        }
    }

    /// Goes on with the end: first the contiguous run becomes durable, then the logs close, then it is over. A log
    /// that died can't close and is not waited for; past the deadline nothing is.
    pub(super) fn settle_stop(&mut self) {
        let cursors = self.cursors();
        let Phase::Stopping(stopping) = &mut self.phase else { return };
        let late = self.now >= stopping.deadline;
        let durable = cursors.next_block_to_persist == cursors.next_block;
        if stopping.closing.is_none() && (durable || late || stopping.is_escalation()) {
            let mut closing = Vec::new();
            if let Some(logs) = &mut self.logs {
                if let Some(generation) = logs.qcs.close() {
                    closing.push(WalKind::Qcs);
                    self.effects.push(Effect::QcWal(Order { generation, order: WalOrder::Close }));
                }
                if let Some(generation) = logs.blocks.close() {
                    closing.push(WalKind::Blocks);
                    self.effects.push(Effect::BlockWal(Order { generation, order: WalOrder::Close }));
                }
            }
            stopping.closing = Some(closing);
        }
        let workers = &self.workers;
        let closed = stopping.closing.as_mut().is_some_and(|closing| {
            closing.retain(|wal| workers.is_alive(wal.actor()));
            closing.is_empty()
        });
        if closed || late {
            let reason = stopping.reason(cursors);
            self.finish(reason);
        }
    }

    fn finish(&mut self, reason: StopReason) {
        let cursors = self.cursors();
        let not_durable = cursors.next_block_to_persist..cursors.next_block;
        for call in self.calls.of_kind(Kind::Shutdown) {
            let report = ShutdownReport { cursors, not_durable: not_durable.clone() };
            self.answer(call, Ok(Answer::Shutdown(report)));
        }
        self.answer_all(Kind::ALL, &reason);
        for actor in self.workers.end() {
            self.effects.push(Effect::Retire { actor });
        }
        self.effects.push(Effect::Stop(reason.clone()));
        self.phase = Phase::Stopped(reason);
    }

    fn answer_all(&mut self, kinds: impl IntoIterator<Item = Kind>, reason: &StopReason) {
        for kind in kinds {
            for call in self.calls.of_kind(kind) {
                self.answer(call, Err(Error::Stopped(reason.clone())));
            }
        }
    }
}
