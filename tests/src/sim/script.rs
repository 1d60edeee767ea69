//! What a run does, drawn from its seed before it begins: so that a failing run can be replayed with parts left out.

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// Everything below is drawn from this generator; helpers that read well.
#[derive(Clone, Debug)]
pub(super) struct Luck(ChaCha8Rng);

impl Luck {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(super) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 for 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.next_u64() % end }
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Mostly near `from`, now and then up to `to`.
    pub(super) fn time(&mut self, from: Duration, to: Duration) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let span = nanos(to) - nanos(from);
        let shift = self.below(8);
        from + Duration::from_nanos(self.below((span >> shift).max(1)))
    }
}

macro_rules! acts {
    ($($(#[$meta:meta])* $act:ident => $name:literal),* $(,)?) => {
        /// One thing that happens to the subsystem from outside.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Act { $($(#[$meta])* $act),* }

        impl Act {
            /// As it is counted and logged.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$act => $name),* }
            }
        }
    };
}

acts! {
    /// Peers bring QCs, some of them again, out of order, or never.
    Qcs => "qcs",
    Blocks => "blocks",
    Invalid => "invalid input",
    Equivocating => "equivocating input",
    Execute => "execute",
    Poll => "poll a subscriber",
    Get => "get",
    Prune => "prune",
    Forget => "a caller goes",
    Flood => "flood",
    Status => "status",
    AppRestart => "application restarts behind",
    AppAhead => "application ahead",
    PowerLoss => "power loss",
    PowerLossWithin => "power loss within an operation",
    Kill => "kill",
    Shutdown => "shutdown",
    Eio => "EIO",
    Enospc => "ENOSPC",
    ShortWrite => "short write",
    DiskFull => "full disk",
    SlowDisk => "slow disk",
    StuckDisk => "stuck disk",
    ThreadPanic => "I/O thread panic",
    PanicWithin => "panic within an operation",
    ActorPanic => "actor panic",
    BothLogs => "both logs die",
    VerifierPanic => "verifier panic",
    VerifierError => "verifier error",
    VerifierHang => "verifier hang",
    Poison => "poisonous input",
    PrunerPanic => "pruner panic",
    ClockBack => "clock back",
    ClockForward => "clock forward",
    SecondProcess => "second process",
    BitRot => "bit rot",
    LoseLog => "log lost",
    LoseSegment => "segment lost",
    OldLog => "log put back to an older state",
    Heal => "faults end",
}

impl Act {
    /// The faults, each of which the coverage counts.
    pub(super) const FAULTS: [Self; 27] = [
        Self::Invalid,
        Self::Equivocating,
        Self::Flood,
        Self::AppRestart,
        Self::AppAhead,
        Self::PowerLoss,
        Self::PowerLossWithin,
        Self::Kill,
        Self::Shutdown,
        Self::Eio,
        Self::Enospc,
        Self::ShortWrite,
        Self::DiskFull,
        Self::SlowDisk,
        Self::StuckDisk,
        Self::ThreadPanic,
        Self::PanicWithin,
        Self::ActorPanic,
        Self::BothLogs,
        Self::VerifierPanic,
        Self::VerifierHang,
        Self::Poison,
        Self::PrunerPanic,
        Self::ClockBack,
        Self::ClockForward,
        Self::SecondProcess,
        Self::BitRot,
    ];
}

/// An act, the randomness that it and its consequences draw from, and the time until the next.
#[derive(Clone, Copy)]
pub struct Step {
    pub(super) act: Act,
    pub(super) seed: u64,
    pub(super) then: Duration,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (then {:?})", self.act.name(), self.then)
    }
}

/// How often each act comes, of the acts of its group.
const WORK: [(Act, u64); 11] = [
    (Act::Qcs, 40),
    (Act::Blocks, 12),
    (Act::Execute, 24),
    (Act::Poll, 14),
    (Act::Get, 10),
    (Act::Prune, 3),
    (Act::Forget, 2),
    (Act::Invalid, 4),
    (Act::Equivocating, 1),
    (Act::Flood, 1),
    (Act::Status, 2),
];

const FAULTS: [(Act, u64); 29] = [
    (Act::PowerLoss, 24),
    (Act::PowerLossWithin, 36),
    (Act::Kill, 8),
    (Act::Shutdown, 6),
    (Act::AppRestart, 4),
    (Act::AppAhead, 4),
    (Act::Eio, 14),
    (Act::Enospc, 6),
    (Act::ShortWrite, 8),
    (Act::DiskFull, 4),
    (Act::SlowDisk, 3),
    (Act::StuckDisk, 8),
    (Act::ThreadPanic, 8),
    (Act::PanicWithin, 6),
    (Act::ActorPanic, 8),
    (Act::BothLogs, 5),
    (Act::VerifierPanic, 4),
    (Act::VerifierError, 2),
    (Act::VerifierHang, 3),
    (Act::Poison, 3),
    (Act::PrunerPanic, 3),
    (Act::ClockBack, 3),
    (Act::ClockForward, 2),
    (Act::SecondProcess, 2),
    (Act::BitRot, 4),
    (Act::LoseLog, 2),
    (Act::LoseSegment, 1),
    (Act::OldLog, 5),
    (Act::Heal, 8),
];

fn draw(luck: &mut Luck, from: &[(Act, u64)]) -> Act {
    let total: u64 = from.iter().map(|(_, weight)| weight).sum();
    let mut at = luck.below(total);
    for (act, weight) in from {
        if at < *weight {
            return *act;
        }
        at -= weight;
    }
    from[0].0
}

/// The acts of a seed. Every seed leaves some kinds of faults out, so that the others meet for longer.
pub fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut luck = Luck::new(seed ^ 0x5c41_97a1);
    let faults: Vec<_> = FAULTS.into_iter().filter(|_| !luck.one_in(3)).collect();
    // One fault in so many steps.
    let rarity = luck.pick(&[8, 12, 20, 40]);
    let hurry = luck.pick(&[1, 4, 20]);
    let mut steps_left: Vec<Step> = Vec::with_capacity(steps);
    // In the very first writes of a store.
    let early = luck.one_in(3).then(|| luck.index(16));
    for at in 0..steps {
        let act = if early == Some(at) {
            Act::PowerLossWithin
        } else if !faults.is_empty() && luck.one_in(rarity) {
            draw(&mut luck, &faults)
        } else {
            draw(&mut luck, &WORK)
        };
        let then = match luck.below(60) {
            0 => luck.time(Duration::from_millis(10), Duration::from_secs(8)),
            1..20 => Duration::ZERO,
            _ => luck.time(Duration::ZERO, Duration::from_micros(500 * hurry)),
        };
        steps_left.push(Step { act, seed: luck.any(), then });
    }
    steps_left
}
