//! The chaos actor: at random moments, from a seed, the next operation of a random worker panics, fails, finds the disk
//! full, or hangs for a while; or its actor panics or stops by itself; or the next write of a log fails, is cut short,
//! finds no space, or gets stuck. The run must not notice more than latency.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use roadbed::Config;
use roadbed::supervision::{ActorFault, DiskFault, Fault, Faults, Gate, RestartPolicy};
use roadbed_messages::api::ActorKind;

/// Between two faults.
const PAUSE_MS: std::ops::Range<u64> = 50..450;
/// How long a hanging operation hangs.
const HANG_MS: std::ops::Range<u64> = 50..600;

/// An operation that runs for longer hangs.
const HUNG_AFTER: Duration = Duration::from_millis(300);

/// What may happen. Every kind is listed from the start, so that a summary names also what did not happen.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Panic,
    Error,
    Hang,
    HandlerPanic,
    Stop,
    DiskFull,
    WriteError,
    ShortWrite,
    NoSpace,
    StuckDisk,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Panic,
        Self::Error,
        Self::Hang,
        Self::HandlerPanic,
        Self::Stop,
        Self::DiskFull,
        Self::WriteError,
        Self::ShortWrite,
        Self::NoSpace,
        Self::StuckDisk,
    ];

    /// Whether it can only happen to a log.
    fn needs_log(self) -> bool {
        !matches!(self, Self::Panic | Self::Error | Self::Hang | Self::HandlerPanic | Self::Stop)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::HandlerPanic => "handler_panic",
            Self::Stop => "stop",
            Self::DiskFull => "disk_full",
            Self::WriteError => "write_eio",
            Self::ShortWrite => "write_short",
            Self::NoSpace => "write_enospc",
            Self::StuckDisk => "write_stuck",
        }
    }
}

/// The actor.
pub(crate) struct Chaos {
    faults: Faults,
    targets: Vec<ActorKind>,
    /// What has not come in this turn.
    kinds: Vec<Kind>,
    rng: ChaCha8Rng,
    injected: BTreeMap<&'static str, u64>,
    gates: Vec<Gate>,
}

/// Ends it: what hangs goes on. Answers how many faults of each kind there were.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<&'static str, u64>")]
pub(crate) struct Calm;

/// Settings under which a run with chaos must survive: faults come faster than any disk's, and what hangs is noticed
/// while it does.
pub(crate) fn config(chaos: Option<u64>, config: Config) -> Config {
    if chaos.is_none() {
        return config;
    }
    let restart = RestartPolicy {
        restarts_max: 10_000,
        failures_without_progress_max: 1000,
        backoff_max: Duration::from_millis(200),
        ..config.restart
    };
    Config { restart, hung_after: HUNG_AFTER, beat_interval: HUNG_AFTER / 6, ..config }
}

impl Chaos {
    /// Injects into `faults`, from `seed`. Without a directory there are no logs to fail.
    pub(crate) fn new(seed: u64, faults: Faults, in_memory: bool) -> Self {
        let targets = ActorKind::WORKERS.into_iter().filter(|actor| !(in_memory && is_log(*actor))).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let injected = Kind::ALL.into_iter().map(|kind| (kind.name(), 0)).collect();
        Self { faults, targets, kinds: Vec::new(), rng, injected, gates: Vec::new() }
    }

    fn between(&mut self, range: &std::ops::Range<u64>) -> u64 {
        range.start + self.rng.next_u64() % (range.end - range.start)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap_or(0)
    }

    fn wait(&mut self, ctx: &mut Context<Self>) {
        let pause = Duration::from_millis(self.between(&PAUSE_MS));
        ctx.run_later(pause, |chaos, ctx| {
            chaos.strike(ctx);
            chaos.wait(ctx);
        });
    }

    /// Each kind comes once before any comes again.
    fn draw(&mut self) -> Kind {
        if self.kinds.is_empty() {
            let logs = self.targets.iter().any(|target| is_log(*target));
            self.kinds.extend(Kind::ALL.into_iter().filter(|kind| logs || !kind.needs_log()));
        }
        let at = self.below(self.kinds.len());
        self.kinds.swap_remove(at)
    }

    fn strike(&mut self, ctx: &mut Context<Self>) {
        let kind = self.draw();
        let targets: Vec<_> =
            self.targets.iter().copied().filter(|target| is_log(*target) || !kind.needs_log()).collect();
        let target = targets[self.below(targets.len())];
        tracing::info!(%target, fault = kind.name(), "injecting a fault");
        *self.injected.entry(kind.name()).or_default() += 1;
        let disk = match kind {
            Kind::Panic => return self.faults.inject(target, Fault::Panic),
            Kind::Error => return self.faults.inject(target, Fault::Error),
            Kind::Hang => {
                let gate = self.gate(ctx);
                return self.faults.inject(target, Fault::Hang(gate));
            }
            Kind::HandlerPanic => return self.faults.inject_actor(target, ActorFault::Panic),
            Kind::Stop => return self.faults.inject_actor(target, ActorFault::Stop),
            Kind::DiskFull => return self.faults.inject(target, Fault::DiskFull),
            Kind::WriteError => DiskFault::Error,
            Kind::ShortWrite => DiskFault::ShortWrite,
            Kind::NoSpace => DiskFault::Full,
            Kind::StuckDisk => DiskFault::Hang(self.gate(ctx)),
        };
        // The next write of either log meets it.
        self.faults.inject_disk(disk);
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

fn is_log(actor: ActorKind) -> bool {
    matches!(actor, ActorKind::QcWal | ActorKind::BlockWal)
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
        self.faults.clear();
        ctx.stop();
        actix::MessageResult(std::mem::take(&mut self.injected))
    }
}
