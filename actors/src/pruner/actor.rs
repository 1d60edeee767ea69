//! The actor: a timer, a question to State, and a request.

use std::sync::Arc;

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Recipient, WrapFuture as _};
use roadbed_messages::api::workers::{Cause, Event};
use roadbed_messages::api::{ActorKind, PruneBefore};
use tokio::time::Instant;

use super::Retained;
use crate::config::RetentionPolicy;
use crate::metrics::{Metrics, Msg, Outcome};
use crate::state::GetRetention;
use crate::supervision::{Fault, Faults, Gate};

/// One life of the pruner.
pub(crate) struct Pruner {
    policy: RetentionPolicy,
    epoch: Instant,
    retained: Retained,
    retention: Recipient<GetRetention>,
    prune: Recipient<PruneBefore>,
    faults: Faults,
    metrics: Arc<Metrics>,
    /// When it wants to look next.
    due: Instant,
    /// Holds it, where a pause was injected.
    gate: Option<Gate>,
    report: Box<dyn Fn(Event)>,
}

impl Pruner {
    /// A pruner that asks State through these addresses.
    pub(crate) fn new(
        policy: RetentionPolicy,
        retention: Recipient<GetRetention>,
        prune: Recipient<PruneBefore>,
        faults: Faults,
        metrics: Arc<Metrics>,
        report: Box<dyn Fn(Event)>,
    ) -> Self {
        Self {
            policy,
            epoch: Instant::now(),
            retained: Retained::default(),
            retention,
            prune,
            faults,
            metrics,
            due: Instant::now(),
            gate: None,
            report,
        }
    }

    /// Looks again after the interval: one round at a time, and never a spin.
    fn look_later(&mut self, ctx: &mut Context<Self>) {
        self.due = Instant::now() + self.policy.interval;
        ctx.run_later(self.policy.interval, |pruner, ctx| {
            let began = std::time::Instant::now();
            let metrics = Arc::clone(&pruner.metrics);
            let pruner_metrics = metrics.actor(ActorKind::Pruner);
            pruner_metrics.mailbox_wait.observe_duration(pruner.due.elapsed());
            pruner_metrics.seen();
            pruner.look(ctx);
            pruner_metrics.handled(Msg::Look, began.elapsed());
        });
    }

    fn looked(&self, outcome: Outcome) {
        self.metrics.actor(ActorKind::Pruner).ended(Msg::Look, outcome);
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        // It shares a thread with State: it never blocks, whatever is injected.
        if self.gate.as_ref().is_some_and(|gate| !gate.is_open()) {
            return self.look_later(ctx);
        }
        if self.faults.strike_actor(ActorKind::Pruner, ctx) {
            return;
        }
        match self.faults.take(ActorKind::Pruner) {
            Some(Fault::Hang(gate)) => {
                self.gate = Some(gate);
                return self.look_later(ctx);
            }
            Some(fault) => {
                if let Err(injected) = fault.happen(ActorKind::Pruner) {
                    self.looked(Outcome::Error);
                    let error = injected.to_string();
                    return (self.report)(Event::Died { cause: Cause::Error, error, job: None });
                }
            }
            None => {}
        }
        let asked = self.retention.send(GetRetention).into_actor(self);
        ctx.spawn(asked.map(|answer, pruner, ctx| {
            // Without an answer State is about to end, and this actor with it.
            if let Ok(Ok(retention)) = answer {
                let retain_from =
                    pruner.retained.retain_from(&pruner.policy, pruner.epoch.elapsed(), &retention);
                if retain_from > retention.cursors.first {
                    let asked = pruner.prune.send(PruneBefore { retain_from }).into_actor(pruner);
                    ctx.spawn(asked.map(|answer, pruner, ctx| {
                        pruner.looked(Outcome::from(&answer));
                        pruner.look_later(ctx);
                    }));
                    return;
                }
            }
            pruner.looked(Outcome::Ok);
            pruner.look_later(ctx);
        }));
    }
}

impl Actor for Pruner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        (self.report)(Event::Up);
        self.look_later(ctx);
    }
}
