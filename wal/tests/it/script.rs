//! A small language of what is done to a log, and what may be found of it after a crash.
//!
//! The oracle: acknowledged ⊆ recovered ⊆ issued, exact bytes, contiguous; a cut that was answered holds, one that was
//! under way happened or did not; nothing is refused that a crash can leave.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Entry, Log, LogOptions, StoredEntry, WalError, verify};

use crate::support::{STREAM, digest, payload};

pub(crate) const DIR: &str = "/data/log";

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// Appends so many entries of so many bytes.
    Append(u64, usize),
    Sync,
    /// Sends what waits on its way, and does not wait for it.
    Submit,
    /// Waits for what is on its way.
    Settle,
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
    /// The owner disappears, and the log is opened again so far below the durable point.
    OpenAt(u64),
    /// Cuts the front as long as keys are below that of the entry so far above first.
    While(u64),
    /// Looks up an entry near the log's range, by index, by key and by digest.
    Read(u64),
}

/// The key of an index: never goes down, stays for three entries.
fn key(index: u64) -> u64 {
    index - index % 3
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
    /// Everything below was sent on its way.
    submitted: u64,
    pub(crate) next: u64,
    pub(crate) life: u64,
    /// What an operation under way may turn the state into, besides what it is.
    pub(crate) underway: Option<Family>,
    /// Whether the log's making was answered.
    pub(crate) created: bool,
}

/// Small segments, and several writes in flight for every group of more than a page (where writes are direct).
pub(crate) fn options() -> LogOptions {
    LogOptions { segment_bytes: 32 << 10, pool_segments: 2, ahead_bytes: 4096, ..LogOptions::new(STREAM) }
}

impl Model {
    pub(crate) fn new(first: u64) -> Self {
        let issued = BTreeMap::new();
        Self {
            issued,
            first,
            acked: first,
            submitted: first,
            next: first,
            life: 0,
            underway: None,
            created: false,
        }
    }

    /// What a crash now may leave.
    pub(crate) fn families(&self) -> Vec<Family> {
        let now = Family { first: self.first..=self.first, next: self.acked..=self.next };
        [now].into_iter().chain(self.underway.clone()).collect()
    }

    fn entry(&self, index: u64) -> StoredEntry {
        let (life, len) = self.issued[&index];
        StoredEntry {
            index,
            key: key(index),
            digest: digest(index, life),
            payload: payload(index, life, len),
        }
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
        self.submitted = self.submitted.clamp(self.acked, self.next);
    }

    /// Carries one thing out, and holds what the log says afterwards against what it must be; an error ends the script.
    pub(crate) fn step(
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
        // First, the least that is durable, and next, once it went through.
        let (first, durable, end) = match what {
            Do::Append(count, len) => {
                self.append(held, count, len)?;
                (first, acked, next + count)
            }
            Do::Sync => {
                assert_eq!(held.sync()?, next);
                (first, next, next)
            }
            Do::Submit => {
                self.submitted = next;
                let durable = held.submit()?;
                assert!((acked..=next).contains(&durable), "{durable} of {acked}..={next}");
                (first, durable, next)
            }
            Do::Settle => {
                // A group that fills a segment is sent on its way as soon as the next one is begun.
                let durable = held.settle()?;
                assert!(
                    (self.submitted..=next).contains(&durable),
                    "{durable} of {}..={next}",
                    self.submitted
                );
                (first, durable, next)
            }
            Do::Before(by) => {
                let to = (first + by).min(next);
                self.family(first..=to, acked.max(to)..=next);
                held.truncate_before(to)?;
                (to, acked.max(to), next)
            }
            Do::BeforeAll => {
                self.family(first..=next, next..=next);
                held.truncate_before(next)?;
                (next, next, next)
            }
            Do::While(by) => {
                let below = key(first + by);
                let to = (first..next).find(|index| key(*index) >= below).unwrap_or(next);
                self.family(first..=to, acked.max(to)..=next);
                assert_eq!(held.truncate_while(|key| key < below)?, to);
                (to, acked.max(to), next)
            }
            Do::After(by) => {
                let to = next.saturating_sub(by).max(first);
                self.life += 1;
                if to < acked {
                    self.family(first..=first, to..=to);
                }
                held.truncate_after(to)?;
                (first, acked.min(to), to)
            }
            Do::AfterAll => {
                self.life += 1;
                self.family(first..=first, first..=first);
                held.truncate_after(first)?;
                (first, first, first)
            }
            Do::Reset(to) => {
                self.life += 1;
                self.family(to..=to, to..=to);
                held.reset(to)?;
                (to, to, to)
            }
            Do::Idle => {
                while held.idle()? {}
                (first, acked, next)
            }
            Do::Read(n) => {
                self.read(held, n)?;
                (first, acked, next)
            }
            Do::Close => {
                log.take().expect("a log").close()?;
                self.acked = next;
                *log = Some(open(None)?);
                (first, next, next)
            }
            Do::Reopen => {
                drop(log.take());
                // What waited is gone with its owner, but for what was on its way to the disk already.
                self.life += 1;
                let opened = log.insert(open(None)?);
                (first, acked, opened.range().end.clamp(acked, next))
            }
            Do::Recover | Do::OpenAt(_) => {
                drop(log.take());
                self.life += 1;
                let to = match what {
                    Do::OpenAt(by) => acked.saturating_sub(by).max(first),
                    _ => acked,
                };
                if to < acked {
                    self.family(first..=first, to..=to);
                }
                *log = Some(open(Some(to))?);
                (first, to, to)
            }
        };
        let held = log.as_ref().expect("a log");
        assert_eq!(held.range(), first..end, "after {what:?}");
        assert!((durable..=end).contains(&held.durable_next()), "after {what:?}");
        self.settle(held);
        Ok(())
    }

    /// Looks up what lies near the range, and what the model says of it.
    fn read(&self, log: &Log, n: u64) -> Result<(), WalError> {
        let reader = log.reader();
        let index = self.first.saturating_sub(2) + n % (self.next - self.first + 5);
        let durable = self.first..log.durable_next();
        let there = durable.contains(&index).then(|| self.entry(index));
        assert_eq!(reader.get(index)?, there, "entry {index} of {durable:?}");
        let by_key = durable.clone().find(|other| key(*other) > index).map(|other| self.entry(other));
        assert_eq!(reader.get_by_key(index)?, by_key, "key {index} of {durable:?}");
        if let Some(entry) = there {
            assert!(reader.find_digest(entry.digest)?.contains(&index), "digest of {index}");
        }
        // Whatever was cut is not found by its digest either.
        if let Some((life, _)) = self.issued.get(&index).filter(|_| !durable.contains(&index)) {
            let found = reader.find_digest(digest(index, *life))?;
            assert!(
                found.iter().all(|found| durable.contains(found) && *found != index),
                "cut {index}: {found:?}"
            );
        }
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
    no_spare_is_a_segment(sim, context);
    let report = verify(sim, Path::new(DIR), options);
    let opened = Log::open(Arc::new(sim.clone()), Path::new(DIR), options.clone());
    let log = match opened {
        Ok(log) => log,
        Err(WalError::Missing { .. }) if !model.created => {
            assert!(matches!(report, Err(WalError::Missing { .. })), "{context}: {report:?}");
            return None;
        }
        Err(error) => panic!("{context}: refused: {error}"),
    };
    let report = report.unwrap_or_else(|error| panic!("{context}: not verified: {error}"));
    assert!(report.is_sound(), "{context}: what opens is called damaged: {report:?}");
    check(&log, model, context);
    Some(log)
}

/// A file that a crash left under two names would be a spare that is taken, and written over, while its segment counts.
fn no_spare_is_a_segment(sim: &SimStorage, context: &str) {
    let named = |end: &str| {
        let files = sim.files().into_iter().filter(|path| path.extension().is_some_and(|found| found == end));
        files.map(|path| (sim.read_file(&path), path)).collect::<Vec<_>>()
    };
    let segments = named("seg");
    for (bytes, spare) in named("free") {
        for (other, segment) in &segments {
            assert!(bytes != *other, "{context}: {} is {}, too", spare.display(), segment.display());
        }
    }
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
