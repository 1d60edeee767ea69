//! Whether the subsystem is fit to serve, told without asking any actor.

use std::time::Duration;

use roadbed_messages::api::{ActorKind, RunState, StopReason, WorkerState};

use super::actors::ACTORS;
use super::{Metrics, Published};

/// Whether the subsystem is fit to serve. See [`Roadbed::health`](crate::Roadbed::health).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why it is not, for people; empty when it is.
    pub reasons: Vec<String>,
}

impl Health {
    /// Whether there is nothing to complain about.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl Metrics {
    /// State has ended: what it published last is shown on, as that of a data layer that has stopped. What it ended
    /// for is counted, unless it was told to.
    pub(crate) fn state_ended(&self, reason: &StopReason) {
        let Published { mut observed, oldest: _, .. } = Published::clone(&self.published());
        if observed.stopped.is_none() {
            observed.stopped = Some(reason.clone());
        }
        match &observed.stopped {
            Some(StopReason::Escalated { actor, .. }) => self.actor(*actor).escalated(),
            Some(StopReason::StateFailed { .. }) => self.actor(ActorKind::State).escalated(),
            _ => {}
        }
        for actor in ACTORS {
            self.actor(actor).retired();
        }
        observed.status.state = RunState::Stopped;
        for worker in &mut observed.status.workers {
            worker.state = WorkerState::Stopped;
        }
        self.publish(observed, [None; 5]);
    }

    /// What State has published, and what can be seen from outside should State itself hang.
    pub(crate) fn health(&self) -> Health {
        let Published { observed, at, .. } = &*self.published();
        let status = &observed.status;
        let mut reasons = status.reasons.clone();
        let silent_for = at.elapsed();
        let ended = matches!(status.state, RunState::Stopped);
        if !ended && silent_for >= self.hung_after {
            reasons.push(format!("state has published nothing for {} s", tenths(silent_for)));
        }
        for actor in ACTORS {
            let told = reasons.iter().any(|reason| reason.starts_with(actor.name()));
            if let Some(running_for) = self.actor(actor).running_for()
                && running_for >= self.hung_after
                && !told
            {
                reasons.push(format!("{actor} has been at one operation for {} s", tenths(running_for)));
            }
        }
        match status.state {
            RunState::Running | RunState::Degraded | RunState::DiskFull => {}
            RunState::Recovering => reasons.push("it is still recovering".to_owned()),
            RunState::Stopping => reasons.push("it is stopping".to_owned()),
            RunState::Stopped => reasons.push(match &observed.stopped {
                Some(reason) => format!("it has stopped: {reason}"),
                None => "it has stopped".to_owned(),
            }),
        }
        Health { reasons }
    }
}

fn tenths(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
