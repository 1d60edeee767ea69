//! Scenarios 14, 15 and 18: a crash at every I/O step of every script, with many images each, and again inside the
//! recovery.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, SyncPoint, verify};

use crate::script::Do::{self, *};
use crate::script::{DIR, Model, check, go_on, options, recover, run};
use crate::support;

const BIG: usize = 3000;
/// Images of each crash; of the first few, recovery is crashed too.
const IMAGES: u64 = 3;
const IMAGES_INSIDE: u64 = 1;

/// More images for a long run: `ROADBED_WAL_IMAGES=100`.
fn images() -> u64 {
    std::env::var("ROADBED_WAL_IMAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(IMAGES)
}

/// The scripts; of entries of 700 bytes about twenty fit a segment, of 3000 five, one of 20000 has its own.
pub(crate) const SCRIPTS: &[(&str, &[Do])] = &[
    ("create", &[]),
    ("append one", &[Append(1, 700), Sync]),
    ("append nothing", &[Sync, Sync]),
    ("append empty payloads", &[Append(3, 0), Sync, Append(1, 0), Sync]),
    ("append one by one", &[Append(1, 10), Sync, Append(1, 10), Sync, Append(1, 10), Sync]),
    ("append a batch", &[Append(10, 700), Sync]),
    ("append two batches", &[Append(5, 700), Sync, Append(5, 700), Sync]),
    ("append without sync", &[Append(5, 700), Sync, Append(5, 700)]),
    ("roll once", &[Append(4, BIG), Sync, Append(4, BIG), Sync]),
    ("roll inside a batch", &[Append(12, BIG), Sync]),
    ("roll again and again", &[Append(6, BIG), Sync, Append(6, BIG), Sync, Append(6, BIG), Sync]),
    (
        "roll with entries larger than a segment",
        &[Append(1, 20_000), Sync, Append(2, 20_000), Sync, Append(1, 5), Sync],
    ),
    ("small and large by turns", &[Append(3, 5), Append(1, 20_000), Append(3, 5), Sync, Append(1, 5), Sync]),
    ("front inside a segment", &[Append(10, 700), Sync, Before(4), Append(2, 700), Sync]),
    ("front with what waits", &[Append(3, 700), Sync, Append(7, 700), Before(5), Append(2, 700), Sync]),
    (
        "front beyond what is durable",
        &[Append(3, 700), Sync, Append(7, 700), Before(8), Append(2, 700), Sync],
    ),
    ("front over segments", &[Append(12, BIG), Sync, Before(8), Append(6, BIG), Sync]),
    ("front by and by", &[Append(9, BIG), Sync, Before(3), Before(3), Before(3), Append(3, BIG), Sync]),
    ("front up to next", &[Append(9, BIG), Sync, BeforeAll, Append(9, BIG), Sync, BeforeAll]),
    (
        "front when the segment is full",
        &[Append(3, BIG), Sync, Before(2), Before(1), Append(1, 5), Sync, Before(1)],
    ),
    ("front of nothing", &[BeforeAll, Before(3), Append(1, 5), Sync]),
    ("tail inside a segment", &[Append(10, 700), Sync, After(4), Append(3, 700), Sync]),
    ("tail at a segment's edge", &[Append(6, BIG), Sync, After(3), Append(3, BIG), Sync]),
    ("tail over segments", &[Append(12, BIG), Sync, After(7), Append(6, BIG), Sync]),
    ("tail of what waits", &[Append(3, 700), Sync, Append(5, 700), After(2), Append(3, 700), Sync]),
    ("tail through what waits", &[Append(6, 700), Sync, Append(5, 700), After(8), Append(3, 700), Sync]),
    ("tail completely", &[Append(12, BIG), Sync, AfterAll, Append(6, BIG), Sync]),
    ("tail twice", &[Append(12, BIG), Sync, After(3), After(3), Append(2, BIG), Sync]),
    (
        "tail twice where it was written last",
        &[Append(10, 700), Sync, After(3), After(2), Append(2, 700), Sync, After(4), After(1)],
    ),
    (
        "tail at the same place again",
        &[Append(10, 700), Sync, After(3), Append(2, 700), Sync, After(2), Append(1, 700), Sync],
    ),
    (
        "tail, write, tail",
        &[Append(6, BIG), Sync, After(2), Append(2, BIG), Sync, After(3), Append(4, BIG), Sync],
    ),
    (
        "tail of a shortened segment",
        &[Append(12, BIG), Sync, After(8), Reopen, After(2), Append(2, 700), Sync],
    ),
    ("front, then tail", &[Append(12, BIG), Sync, Before(5), After(3), Append(3, BIG), Sync]),
    ("tail, then front", &[Append(12, BIG), Sync, After(3), Before(5), Append(3, BIG), Sync, Before(4)]),
    ("reset of an empty log", &[Reset(50), Append(3, 700), Sync]),
    ("reset forwards", &[Append(6, BIG), Sync, Reset(500), Append(3, 700), Sync]),
    ("reset backwards", &[Append(6, BIG), Sync, Reset(2), Append(3, 700), Sync, Reset(1)]),
    ("reset with what waits", &[Append(6, 700), Sync, Append(3, 700), Reset(100), Append(1, 700), Sync]),
    ("reset twice", &[Append(2, 700), Sync, Reset(9), Reset(7)]),
    ("close", &[Append(6, 700), Sync, Close, Append(3, 700), Sync, Close]),
    ("close with what waits", &[Append(6, 700), Close, Append(3, 700), Close]),
    ("close a full segment", &[Append(3, BIG), Close, Append(3, BIG), Close, Append(1, 700), Sync]),
    ("close an empty log", &[Close, Close, Append(1, 700), Sync]),
    ("close after a cut", &[Append(6, BIG), Sync, After(2), Close, Append(1, 700), Sync]),
    ("reopen", &[Append(6, 700), Sync, Reopen, Append(6, 700), Sync, Reopen]),
    ("reopen after a roll", &[Append(7, BIG), Sync, Reopen, Append(7, BIG), Sync, Reopen]),
    ("reopen with what waits", &[Append(6, 700), Sync, Append(3, 700), Reopen, Append(1, 700), Sync]),
    (
        "recover",
        &[Append(6, 700), Sync, Append(3, 700), Recover, Append(3, 700), Sync, Recover, Append(1, 5), Sync],
    ),
    ("recover at an edge", &[Append(6, BIG), Sync, Recover, Recover, Append(1, BIG), Sync]),
    (
        "front by keys",
        &[Append(12, BIG), Sync, While(5), Append(3, 700), While(9), Append(6, BIG), Sync, While(40)],
    ),
    (
        "opened below the durable point",
        &[Append(12, BIG), Sync, OpenAt(3), Append(2, 700), Sync, OpenAt(5), OpenAt(100), Append(1, 5), Sync],
    ),
    ("idle", &[Append(1, 700), Sync, Idle, Append(1, 700), Sync, Idle]),
    ("idle, and a roll into filled space", &[Idle, Append(12, BIG), Sync, Idle]),
    (
        "recycled segments",
        &[Append(9, BIG), Sync, BeforeAll, Append(9, BIG), Sync, BeforeAll, Append(9, BIG), Sync],
    ),
    (
        "recycled segments, small groups",
        &[
            Append(9, BIG),
            Sync,
            BeforeAll,
            Append(1, 700),
            Sync,
            Append(1, 700),
            Sync,
            Append(5, BIG),
            Sync,
            Append(1, 5),
            Sync,
        ],
    ),
    ("submit one", &[Append(1, 700), Submit]),
    ("submit nothing", &[Submit, Settle, Append(1, 5), Submit, Settle, Submit]),
    ("one in flight while another waits", &[Append(3, 700), Submit, Append(3, 700)]),
    (
        "a stream",
        &[
            Append(3, 700),
            Submit,
            Append(2, 10),
            Submit,
            Append(1, BIG),
            Submit,
            Append(4, 700),
            Submit,
            Settle,
        ],
    ),
    ("a stream that ends in a sync", &[Append(3, 700), Submit, Append(3, 700), Submit, Append(3, 700), Sync]),
    (
        "a stream that ends with the owner",
        &[Append(3, 700), Submit, Append(3, 700), Submit, Reopen, Append(1, 5), Submit],
    ),
    ("a stream that ends in order", &[Append(3, 700), Submit, Append(3, 700), Submit, Append(3, 700), Close]),
    (
        "a stream over segments",
        &[Append(4, BIG), Submit, Append(4, BIG), Submit, Append(4, BIG), Submit, Settle],
    ),
    (
        "a stream of large entries",
        &[Append(1, 20_000), Submit, Append(2, 20_000), Submit, Append(1, 5), Submit, Settle],
    ),
    (
        "the front behind a stream",
        &[
            Append(4, BIG),
            Submit,
            Append(3, 700),
            Submit,
            Before(2),
            Append(2, 700),
            Submit,
            While(5),
            BeforeAll,
        ],
    ),
    (
        "the tail of a stream",
        &[
            Append(6, 700),
            Submit,
            Append(5, 700),
            Submit,
            After(3),
            Append(3, 700),
            Submit,
            Append(2, 5),
            After(4),
            Settle,
        ],
    ),
    (
        "a reset after a stream",
        &[Append(6, 700), Submit, Append(5, 700), Submit, Reset(50), Append(3, 700), Submit, Settle],
    ),
    (
        "a stream, and idle",
        &[
            Append(1, 700),
            Submit,
            Idle,
            Append(1, 700),
            Submit,
            Append(1, 700),
            Idle,
            Submit,
            Idle,
            Append(1, 5),
            Submit,
        ],
    ),
    (
        "a stream into recycled segments",
        &[
            Append(9, BIG),
            Submit,
            BeforeAll,
            Append(1, 700),
            Submit,
            Append(1, 700),
            Submit,
            Append(5, BIG),
            Submit,
            Settle,
        ],
    ),
    (
        "recover after a stream",
        &[Append(6, 700), Sync, Append(3, 700), Submit, Recover, Append(3, 700), Submit, Settle],
    ),
    (
        "everything",
        &[
            Append(9, BIG),
            Sync,
            Before(4),
            Append(2, 700),
            Sync,
            After(3),
            Append(5, 700),
            Close,
            Before(2),
            Reset(70),
            Append(4, BIG),
            Sync,
            Reopen,
            After(2),
            Append(1, 5),
            Sync,
        ],
    ),
];

fn crash_everywhere(direct: bool, part: usize, parts: usize) {
    let every = support::every();
    for (nth, (name, script)) in SCRIPTS.iter().enumerate().skip(part).step_by(parts) {
        let case = Case { name, script, direct, omit: None, images: images() };
        for step in (0..case.steps()).skip(nth % every).step_by(every) {
            case.crash_at(step);
        }
    }
}

/// A script and the disk that it runs on.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) script: &'a [Do],
    pub(crate) direct: bool,
    /// A sync point that is left out.
    pub(crate) omit: Option<SyncPoint>,
    pub(crate) images: u64,
}

impl Case<'_> {
    fn sim(&self) -> SimStorage {
        self.prepared(SimStorage::new(7).direct(self.direct))
    }

    fn prepared(&self, sim: SimStorage) -> SimStorage {
        if let Some(point) = self.omit {
            sim.omit(point);
        }
        sim
    }

    /// Steps of the whole script, which must go through.
    pub(crate) fn steps(&self) -> u64 {
        let sim = self.sim();
        let (model, log, error) = run(&sim, self.script, &options(), 3);
        assert!(error.is_none(), "{}: {error:?}", self.name);
        check(&log.expect("a log"), &model, self.name);
        sim.steps()
    }

    /// Crashes at a step, in many ways, and holds every recovery against the oracle.
    pub(crate) fn crash_at(&self, step: u64) {
        let sim = self.sim();
        sim.crash_at(step);
        let (model, log, error) = run(&sim, self.script, &options(), 3);
        let name = format!("{}, direct {}, step {step}", self.name, self.direct);
        assert!(sim.has_crashed(), "{name}: {error:?}");
        drop(log);
        for seed in 0..self.images {
            let context = format!("{name}, image {seed}");
            let image = || self.prepared(sim.crash(seed));
            let recovery_steps = self.recovers(&image(), &model, &context);
            // Crash again inside the recovery.
            let inside = seed < self.images.min(IMAGES_INSIDE * self.images.div_ceil(IMAGES));
            for inner in 0..if inside { recovery_steps } else { 0 } {
                let context = format!("{context}, step {inner} of the recovery");
                let image = image();
                image.crash_at(inner);
                drop(Log::open(Arc::new(image.clone()), Path::new(DIR), options()));
                let image = self.prepared(image.crash(seed ^ inner));
                let log = recover(&image, &model, &options(), &context);
                if let Some(log) = log.filter(|_| inner == step % recovery_steps) {
                    go_on(&image, log, &model, &options(), &context);
                }
            }
        }
        self.kill_at(&sim, &model, &format!("{name}, killed"));
    }

    /// Answers the steps that recovery took.
    fn recovers(&self, image: &SimStorage, model: &Model, context: &str) -> u64 {
        let verified = verify(image, Path::new(DIR), &options());
        let Some(log) = recover(image, model, &options(), context) else {
            return 0;
        };
        let (steps, range) = (image.steps(), log.range());
        assert_eq!(verified.expect("a log").range, range, "{context}: verify sees another log");
        drop(log);
        let again = recover(image, model, &options(), context).expect("a log");
        assert_eq!(again.range(), range, "{context}: recovery is not idempotent");
        go_on(image, again, model, &options(), context);
        steps
    }

    /// Only the process ends: the page cache survives. What the next owner saw must then survive a power loss.
    fn kill_at(&self, sim: &SimStorage, model: &Model, context: &str) {
        let image = self.prepared(sim.kill());
        let Some(log) = recover(&image, model, &options(), context) else {
            return;
        };
        let mut seen = model.clone();
        seen.settle(&log);
        drop(log);
        for seed in 0..self.images {
            let lost = self.prepared(image.crash(seed));
            recover(&lost, &seen, &options(), &format!("{context}, then crashed, image {seed}"));
        }
        if let Some(log) = recover(&image, &seen, &options(), context) {
            go_on(&image, log, &seen, &options(), context);
        }
    }
}

macro_rules! parts {
    ($($name:ident: $direct:expr, $part:expr;)*) => {
        $(#[test] fn $name() { crash_everywhere($direct, $part, 4); })*
    };
}

parts! {
    scenario_14_crash_at_every_step_plain_0: false, 0;
    scenario_14_crash_at_every_step_plain_1: false, 1;
    scenario_14_crash_at_every_step_plain_2: false, 2;
    scenario_14_crash_at_every_step_plain_3: false, 3;
    scenario_14_crash_at_every_step_direct_0: true, 0;
    scenario_14_crash_at_every_step_direct_1: true, 1;
    scenario_14_crash_at_every_step_direct_2: true, 2;
    scenario_14_crash_at_every_step_direct_3: true, 3;
}

#[test]
fn there_are_enough_scripts_and_none_is_there_twice() {
    let names: std::collections::BTreeSet<&str> = SCRIPTS.iter().map(|(name, _)| *name).collect();
    assert!(names.len() >= 40);
    assert_eq!(names.len(), SCRIPTS.len());
}
