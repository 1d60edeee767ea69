//! A small language of what is done to a log, and what may be found of it after a crash.
//!
//! The oracle: acknowledged ⊆ recovered ⊆ issued, exact bytes, contiguous; a cut that was answered holds, one that was
//! under way happened or did not; nothing is refused that a crash can leave.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Entry, Log, LogOptions, StoredEntry, WalError};

use crate::support::{STREAM, digest, payload};

pub(crate) const DIR: &str = "/data/log";

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// Appends so many entries of so many bytes.
    Append(u64, usize),
    Sync,
    /// Cuts the front so far above first.
    Before(u64),
    /// Cuts the front up to next.
    BeforeAll,
    /// Cuts the tail so far below next.
    After(u64),
    /// Cuts everything off from first on.
    AfterAll,
    Reset(u64),
    Idle,
    /// Ends in order, and opens again.
    Close,
    /// The owner disappears, and the log is opened again.
    Reopen,
    /// As after a failed write: opens again at the durable point.
    Recover,
}

/// What may be found.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) first: RangeInclusive<u64>,
    pub(crate) next: RangeInclusive<u64>,
}

/// What was done, as far as the doer knows.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Life and length of what was issued last for an index.
    pub(crate) issued: BTreeMap<u64, (u64, usize)>,
    pub(crate) first: u64,
    /// Everything below was acknowledged.
    pub(crate) acked: u64,
    pub(crate) next: u64,
    life: u64,
    /// What an operation under way may turn the state into, besides what it is.
    pub(crate) underway: Option<Family>,
    /// Whether the log's making was answered.
    pub(crate) created: bool,
}

/// Small segments, and a second write in flight for every group of more than a page (where writes are direct).
pub(crate) fn options() -> LogOptions {
    LogOptions { segment_bytes: 32 << 10, pool_segments: 2, ahead_bytes: 4096, ..LogOptions::new(STREAM) }
}

impl Model {
    pub(crate) fn new(first: u64) -> Self {
        let issued = BTreeMap::new();
        Self { issued, first, acked: first, next: first, life: 0, underway: None, created: false }
    }

    /// What a crash now may leave.
    pub(crate) fn families(&self) -> Vec<Family> {
        let now = Family { first: self.first..=self.first, next: self.acked..=self.next };
        [now].into_iter().chain(self.underway.clone()).collect()
    }

    fn entry(&self, index: u64) -> StoredEntry {
        let (life, len) = self.issued[&index];
        StoredEntry { index, key: index + 1, digest: digest(index, life), payload: payload(index, life, len) }
    }

    fn append(&mut self, log: &mut Log, count: u64, len: usize) -> Result<(), WalError> {
        for _ in 0..count {
            let index = self.next;
            self.issued.insert(index, (self.life, len));
            self.next += 1;
            let entry = self.entry(index);
            let (key, digest) = (entry.key, entry.digest);
            log.append(index, Entry { key, digest, payload: &entry.payload })?;
        }
        Ok(())
    }

    fn family(&mut self, first: RangeInclusive<u64>, next: RangeInclusive<u64>) {
        self.underway = Some(Family { first, next });
    }

    pub(crate) fn settle(&mut self, log: &Log) {
        self.underway = None;
        self.first = log.range().start;
        self.acked = log.durable_next();
        self.next = log.range().end;
    }

    /// Carries one thing out; an error ends the script.
    fn step(
        &mut self,
        log: &mut Option<Log>,
        sim: &SimStorage,
        what: Do,
        options: &LogOptions,
    ) -> Result<(), WalError> {
        let open = |at: Option<u64>| {
            let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), options.clone())?;
            match at {
                Some(at) => judged.open_at(at),
                None => judged.open(),
            }
        };
        let held = log.as_mut().expect("a log");
        let (first, acked, next) = (self.first, self.acked, self.next);
        match what {
            Do::Append(count, len) => return self.append(held, count, len),
            Do::Sync => {
                held.sync()?;
            }
            Do::Before(by) => {
                let to = (first + by).min(next);
                self.family(first..=to, acked.max(to)..=next);
                held.truncate_before(to)?;
            }
            Do::BeforeAll => {
                self.family(first..=next, next..=next);
                held.truncate_before(next)?;
            }
            Do::After(by) => {
                let to = next.saturating_sub(by).max(first);
                self.life += 1;
                if to < acked {
                    self.family(first..=first, to..=to);
                }
                held.truncate_after(to)?;
            }
            Do::AfterAll => {
                self.life += 1;
                self.family(first..=first, first..=first);
                held.truncate_after(first)?;
            }
            Do::Reset(to) => {
                self.life += 1;
                self.family(to..=to, to..=to);
                held.reset(to)?;
            }
            Do::Idle => while held.idle()? {},
            Do::Close => {
                log.take().expect("a log").close()?;
                self.acked = self.next;
                *log = Some(open(None)?);
            }
            Do::Reopen | Do::Recover => {
                drop(log.take());
                let at = matches!(what, Do::Recover).then_some(acked);
                // What waited is gone with its owner, but for what was on its way to the disk already.
                self.life += 1;
                *log = Some(open(at)?);
            }
        }
        self.settle(log.as_ref().expect("a log"));
        Ok(())
    }
}

/// Runs a script until its end or its first error; answers what may be found afterwards. A log of the same life as the
/// simulated machine is handed back.
pub(crate) fn run(
    sim: &SimStorage,
    script: &[Do],
    options: &LogOptions,
    first: u64,
) -> (Model, Option<Log>, Option<WalError>) {
    let mut model = Model::new(first);
    let mut log = match Log::create(Arc::new(sim.clone()), Path::new(DIR), options.clone(), first) {
        Ok(log) => Some(log),
        Err(error) => return (model, None, Some(error)),
    };
    model.created = true;
    for what in script {
        if let Err(error) = model.step(&mut log, sim, *what, options) {
            return (model, log, Some(error));
        }
    }
    (model, log, None)
}

/// Everything that a log holds.
pub(crate) fn contents(log: &Log) -> Result<(u64, Vec<StoredEntry>), WalError> {
    let reader = log.reader();
    let range = reader.range();
    let entries: Vec<StoredEntry> = reader.replay(range.clone()).collect::<Result<_, _>>()?;
    assert_eq!(entries.len() as u64, range.end - range.start);
    for entry in &entries {
        assert_eq!(reader.get(entry.index)?.as_ref(), Some(entry));
    }
    Ok((range.start, entries))
}

/// Opens what a crash left, and holds it against the oracle. Answers the log.
pub(crate) fn recover(sim: &SimStorage, model: &Model, options: &LogOptions, context: &str) -> Option<Log> {
    // Whatever has a segment's name has that segment's header, counted or not.
    let files =
        roadbed_wal::inspect(sim, Path::new(DIR)).unwrap_or_else(|error| panic!("{context}: {error}"));
    for file in files {
        assert!(
            file.header.is_ok(),
            "{context}: {} has no header of its own: {:?}",
            file.path.display(),
            file.header
        );
    }
    let opened = Log::open(Arc::new(sim.clone()), Path::new(DIR), options.clone());
    let log = match opened {
        Ok(log) => log,
        Err(WalError::Missing { .. }) if !model.created => return None,
        Err(error) => panic!("{context}: refused: {error}"),
    };
    check(&log, model, context);
    Some(log)
}

pub(crate) fn check(log: &Log, model: &Model, context: &str) {
    let (first, entries) = contents(log).unwrap_or_else(|error| panic!("{context}: {error}"));
    let next = first + entries.len() as u64;
    let families = model.families();
    let fits = families.iter().any(|family| family.first.contains(&first) && family.next.contains(&next));
    assert!(fits, "{context}: recovered {first}..{next}, allowed {families:?}");
    for entry in entries {
        assert!(entry == model.entry(entry.index), "{context}: entry {} has other bytes", entry.index);
    }
}

/// What was recovered becomes what is known; then the log must work on, and hold what it takes.
pub(crate) fn go_on(sim: &SimStorage, log: Log, model: &Model, options: &LogOptions, context: &str) {
    let mut model = model.clone();
    let mut log = log;
    model.settle(&log);
    model.life = 100;
    model.append(&mut log, 5, 700).unwrap_or_else(|error| panic!("{context}: {error}"));
    log.sync().unwrap_or_else(|error| panic!("{context}: {error}"));
    model.settle(&log);
    check(&log, &model, context);
    drop(log);
    for seed in 0..3 {
        recover(&sim.crash(seed), &model, options, context);
    }
}
