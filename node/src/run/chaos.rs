//! The chaos actor: at random moments, from a seed, the next operation of a random worker panics, fails, finds the disk
//! full, or hangs for a while. The run must not notice more than latency.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use roadbed::supervision::{Fault, Faults, Gate, RestartPolicy};
use roadbed_messages::api::ActorKind;

/// Between two faults.
const PAUSE_MS: std::ops::Range<u64> = 100..900;
/// How long a hanging operation hangs.
const HANG_MS: std::ops::Range<u64> = 50..600;

/// The actor.
pub(crate) struct Chaos {
    faults: Faults,
    targets: Vec<ActorKind>,
    rng: ChaCha8Rng,
    injected: BTreeMap<&'static str, u64>,
    gates: Vec<Gate>,
}

/// Ends it: what hangs goes on. Answers how many faults of each kind there were.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<&'static str, u64>")]
pub(crate) struct Calm;

/// The budget under which a run with chaos must survive: faults come faster than any disk's.
pub(crate) fn restart_policy() -> RestartPolicy {
    RestartPolicy {
        restarts_max: 10_000,
        failures_without_progress_max: 1000,
        backoff_max: Duration::from_millis(200),
        ..RestartPolicy::default()
    }
}

impl Chaos {
    /// Injects into `faults`, from `seed`. Without a directory there are no logs to fail.
    pub(crate) fn new(seed: u64, faults: Faults, in_memory: bool) -> Self {
        let is_log = |actor: &ActorKind| matches!(actor, ActorKind::QcWal | ActorKind::BlockWal);
        let targets = ActorKind::WORKERS.into_iter().filter(|actor| !(in_memory && is_log(actor))).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { faults, targets, rng, injected: BTreeMap::new(), gates: Vec::new() }
    }

    fn between(&mut self, range: &std::ops::Range<u64>) -> u64 {
        range.start + self.rng.next_u64() % (range.end - range.start)
    }

    fn wait(&mut self, ctx: &mut Context<Self>) {
        let pause = Duration::from_millis(self.between(&PAUSE_MS));
        ctx.run_later(pause, |chaos, ctx| {
            chaos.strike(ctx);
            chaos.wait(ctx);
        });
    }

    fn strike(&mut self, ctx: &mut Context<Self>) {
        let target = usize::try_from(self.rng.next_u64() % self.targets.len() as u64).unwrap_or(0);
        let target = self.targets[target];
        let is_log = matches!(target, ActorKind::QcWal | ActorKind::BlockWal);
        let kinds = if is_log { 4 } else { 3 };
        let (name, fault) = match self.rng.next_u64() % kinds {
            0 => ("panic", Fault::Panic),
            1 => ("error", Fault::Error),
            2 => ("hang", Fault::Hang(self.gate(ctx))),
            _ => ("disk_full", Fault::DiskFull),
        };
        tracing::info!(%target, fault = name, "injecting a fault");
        *self.injected.entry(name).or_default() += 1;
        self.faults.inject(target, fault);
    }

    /// A gate that opens after a while.
    fn gate(&mut self, ctx: &mut Context<Self>) -> Gate {
        let gate = Gate::default();
        self.gates.push(gate.clone());
        let after = Duration::from_millis(self.between(&HANG_MS));
        ctx.run_later(after, |chaos, _| {
            // Gates that opened too early for some only hang less.
            chaos.gates.drain(..).for_each(|gate| gate.open());
        });
        gate
    }
}

impl Actor for Chaos {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.wait(ctx);
    }
}

impl Handler<Calm> for Chaos {
    type Result = actix::MessageResult<Calm>;

    fn handle(&mut self, _: Calm, ctx: &mut Self::Context) -> Self::Result {
        self.gates.drain(..).for_each(|gate| gate.open());
        ctx.stop();
        actix::MessageResult(std::mem::take(&mut self.injected))
    }
}
