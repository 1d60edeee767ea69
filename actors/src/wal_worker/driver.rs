//! The life of a log, step by step: judged or resumed, opened, fed group by group, cut, closed.
//!
//! ```text
//!           ┌─Judge──▶ Judged ──Open(plan)──┐
//! begin ────┤                               ├──▶ Open ⟲ Append, TruncateBefore, idle ──Close──▶ Closed
//!           └─Resume────────────────────────┘
//! ```
//!
//! It has no thread, no channel and waits for nothing: whoever drives it decides when a step happens, and what has come
//! by then.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use roadbed_messages::api::StartError;
use roadbed_messages::api::workers::{Cause, Event, LogFacts, LogPlan, WalOrder, WalStart};
use roadbed_messages::{BlockNumber, Committee};
use roadbed_wal::{Judged, Log, LogOptions, Storage, WalError};

use super::Record;
use super::set_aside::set_aside;
use crate::metrics::{Corruption, ErrorKind as FailureKind, Operation, Truncation, WalMetrics};
use crate::reader::ReaderSlot;
use crate::store::start_error;
use crate::supervision::Injected;

/// Where a log is and how it is kept.
pub(crate) struct LogContext {
    pub(crate) committee: Committee,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) aside: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) group_bytes_max: u64,
    pub(crate) metrics: Arc<WalMetrics>,
    pub(crate) reader: ReaderSlot,
}

/// One life of a log. Dropping it drops the log and its lock.
pub(crate) struct LogDriver<R> {
    context: LogContext,
    start: WalStart,
    /// Until the plan comes: nothing is written by then.
    judged: Option<Judged>,
    /// Open; before the life has begun, what the life before has left.
    log: Option<Log>,
    records: PhantomData<R>,
}

/// What a step leaves to do.
#[derive(Debug)]
pub(crate) enum Step<R> {
    /// To wait for the next order.
    Wait,
    /// To carry out this order, which ended the group before it.
    Next(WalOrder<R>),
    /// Nothing: the log was closed.
    Closed,
}

/// Why a life ends before it was told to close.
pub(crate) enum Failure {
    Wal(WalError),
    Injected(Injected),
    /// What is stored can't be what was written.
    Corrupt(String),
    /// Nobody gives orders any more.
    Abandoned,
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl From<Injected> for Failure {
    fn from(injected: Injected) -> Self {
        Self::Injected(injected)
    }
}

impl<R: Record> LogDriver<R> {
    /// A life that has not begun. `left` is the log that the life before has left, if it left one.
    pub(crate) fn new(context: LogContext, start: WalStart, left: Option<Log>) -> Self {
        Self { context, start, judged: None, log: left, records: PhantomData }
    }

    /// The first step: judges what is there, or resumes at the durable point.
    pub(crate) fn begin(&mut self, report: &impl Fn(Event)) -> Result<(), Failure> {
        let began = self.judge_or_resume(report);
        self.note(Operation::Open, &began);
        began
    }

    fn judge_or_resume(&mut self, report: &impl Fn(Event)) -> Result<(), Failure> {
        let left = self.log.take();
        match self.start {
            WalStart::Judge => {
                drop(left);
                let judged = self.context.judge()?;
                // Recovery reads what is there before anything is written.
                self.context.reader.set(judged.try_reader());
                report(Event::Judged(self.context.facts::<R>(&judged)?));
                self.judged = Some(judged);
                Ok(())
            }
            WalStart::Resume { next_index, drop_below } => {
                let log = match left.filter(|log| log.durable_next() == next_index) {
                    Some(log) => log,
                    None => self.context.judge()?.open_at(next_index)?,
                };
                let log = self.log.insert(log);
                // What waits beyond the durable point comes again.
                log.truncate_after(next_index)?;
                let first = log.range().start;
                drop_ended_by(log, drop_below)?;
                if log.range().start != first {
                    report(Event::Truncated { first: drop_below });
                }
                self.opened(report)
            }
        }
    }

    /// Carries out one order, and with an order to append whatever others `more` says have come since, up to the size
    /// of a group.
    pub(crate) fn carry_out(
        &mut self,
        order: WalOrder<R>,
        more: impl FnMut() -> Option<WalOrder<R>>,
        report: &impl Fn(Event),
    ) -> Result<Step<R>, Failure> {
        match order {
            WalOrder::Open(plan) => {
                let opened = self.open(&plan, report);
                self.note(Operation::Open, &opened);
                opened?;
            }
            WalOrder::Append { first_index, records } => {
                if let Some(next) = self.append_group(first_index, records, more, report)? {
                    return Ok(Step::Next(next));
                }
            }
            WalOrder::TruncateBefore { first } => {
                let truncated = self.log().and_then(|log| Ok(drop_ended_by(log, first)?));
                self.note(Operation::Truncate, &truncated);
                truncated?;
                self.context.metrics.truncated(Truncation::Front);
                report(Event::Truncated { first });
            }
            WalOrder::Close => {
                let closed = self.log.take().ok_or(Failure::Abandoned).and_then(|log| Ok(log.close()?));
                self.note(Operation::Close, &closed);
                closed?;
                return Ok(Step::Closed);
            }
        }
        Ok(Step::Wait)
    }

    fn open(&mut self, plan: &LogPlan, report: &impl Fn(Event)) -> Result<(), Failure> {
        let judged = self.judged.take().ok_or(Failure::Abandoned)?;
        self.log = Some(self.context.carry_out::<R>(judged, plan)?);
        self.opened(report)
    }

    /// Counts a failure of the log; what was injected around it is counted where it is injected.
    fn note<T>(&self, what: Operation, result: &Result<T, Failure>) {
        let kind = match result {
            Err(Failure::Wal(error)) => FailureKind::of(error),
            Err(Failure::Corrupt(_)) => FailureKind::Corruption,
            Ok(_) | Err(Failure::Injected(_) | Failure::Abandoned) => return,
        };
        let metrics = &self.context.metrics;
        metrics.failed(what, kind);
        if kind == FailureKind::Corruption {
            metrics.corrupt(match self.start {
                WalStart::Judge => Corruption::Start,
                WalStart::Resume { .. } => Corruption::Restart,
            });
        }
    }

    /// A small step of housekeeping, while no order comes; answers whether there is more to do.
    pub(crate) fn idle(&mut self) -> Result<bool, Failure> {
        match &mut self.log {
            Some(log) => Ok(log.idle()?),
            None => Ok(false),
        }
    }

    /// Ends this life after a failure: what State learns, and the log, where the next life can go on with it.
    pub(crate) fn fail(self, failure: Failure) -> (Event, Option<Log>) {
        if self.log.as_ref().is_some_and(|log| log.poisoned().is_some()) {
            self.context.metrics.set_poisoned(true);
        }
        let left = self.log.filter(|log| failure.is_disk_full() && log.poisoned().is_none());
        (failure.into_event(&self.context.dir, &self.start), left)
    }

    /// The open log: State orders nothing of this kind before it is.
    fn log(&mut self) -> Result<&mut Log, Failure> {
        self.log.as_mut().ok_or(Failure::Abandoned)
    }

    fn opened(&mut self, report: &impl Fn(Event)) -> Result<(), Failure> {
        let log = self.log()?;
        let (reader, next_index) = (log.reader(), log.range().end);
        self.context.reader.set(Some(reader));
        self.context.metrics.set_poisoned(false);
        report(Event::Opened { next_index });
        Ok(())
    }

    /// Makes one group durable: the records of one order, and of whatever has come since, up to the group's size.
    /// Answers the order that ended the group, if it was another kind. What became durable before a failure is reported
    /// all the same.
    fn append_group(
        &mut self,
        first_index: u64,
        records: Vec<R>,
        mut more: impl FnMut() -> Option<WalOrder<R>>,
        report: &impl Fn(Event),
    ) -> Result<Option<WalOrder<R>>, Failure> {
        let log = self.log.as_mut().ok_or(Failure::Abandoned)?;
        let mut index = first_index;
        let mut group = records;
        let mut ends = Vec::new();
        let mut next = None;
        let mut doing = Operation::Append;
        let began = Instant::now();
        let mut attempt = || {
            let (mut bytes, mut count) = (0, 0);
            loop {
                for record in group.drain(..) {
                    let length = record.encoded_len();
                    let end = record.end(index);
                    log.append_with(index, end.0, record.digest(), length, |buffer| {
                        record.encode_into(buffer)
                    })?;
                    ends.push(end);
                    index += 1;
                    count += 1;
                    bytes += length as u64;
                }
                if bytes >= self.context.group_bytes_max {
                    break;
                }
                match more() {
                    Some(WalOrder::Append { first_index, records }) => {
                        debug_assert_eq!(first_index, index);
                        group = records;
                    }
                    other => {
                        next = other;
                        break;
                    }
                }
            }
            doing = Operation::Sync;
            let appended = Instant::now();
            let _span =
                tracing::debug_span!("group", wal = %R::WAL, first_index, records = count, bytes).entered();
            log.sync()?;
            self.context.metrics.synced(appended - began, appended.elapsed(), count, bytes);
            Ok(())
        };
        let synced: Result<(), Failure> = attempt();
        let next_index = log.durable_next();
        let durable = usize::try_from(next_index.saturating_sub(first_index)).unwrap_or(usize::MAX);
        if let Some(upto) = durable.checked_sub(1).and_then(|last| ends.get(last)) {
            report(Event::Durable { next_index, upto: *upto });
        }
        self.note(doing, &synced);
        synced?;
        Ok(next)
    }
}

impl LogContext {
    fn judge(&self) -> Result<Judged, WalError> {
        let judged = Log::judge(Arc::clone(&self.storage), &self.dir, self.options.clone())?;
        // Until this life has a reader of its own, reads go on through that of the life before.
        Ok(match self.reader.get() {
            Some(before) => judged.after(&before),
            None => judged,
        })
    }

    fn facts<R: Record>(&self, judged: &Judged) -> Result<LogFacts, Failure> {
        let facts = judged.facts();
        let range = match facts.last_key {
            Some(last_key) if facts.first < facts.next => {
                let damaged = |detail: String| {
                    let dir = self.dir.display();
                    Failure::Corrupt(format!("{dir}: entry {} can't be read: {detail}", facts.first))
                };
                let entry =
                    judged.reader().get(facts.first)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
                Some(R::start_of(&entry, &self.committee).map_err(damaged)?..BlockNumber(last_key))
            }
            _ => None,
        };
        Ok(LogFacts { exists: facts.exists, range, next_index: facts.next, torn_bytes: facts.torn_bytes })
    }

    fn carry_out<R: Record>(&self, judged: Judged, plan: &LogPlan) -> Result<Log, Failure> {
        let mut log = if let Some(index) = plan.create_at {
            if plan.set_aside {
                // The store's lock and the tenancy keep everybody else out while the log's own lock is free.
                drop(judged);
                set_aside(&*self.storage, &self.dir, &self.aside, R::WAL.name())?;
                Log::create(Arc::clone(&self.storage), &self.dir, self.options.clone(), index)?
            } else {
                judged.create(index)?
            }
        } else {
            judged.open()?
        };
        if plan.set_aside {
            self.metrics.truncated(Truncation::SetAside);
        }
        if let Some(index) = plan.reset_to {
            log.reset(index)?;
            self.metrics.truncated(Truncation::Reset);
        }
        if let Some(index) = plan.drop_from {
            log.truncate_after(index)?;
            self.metrics.truncated(Truncation::Back);
        }
        if let Some(first) = plan.drop_below {
            drop_ended_by(&mut log, first)?;
            self.metrics.truncated(Truncation::Front);
        }
        Ok(log)
    }
}

/// Drops the records that end at or below `first`, durably.
fn drop_ended_by(log: &mut Log, first: BlockNumber) -> Result<(), WalError> {
    log.truncate_while(|end| end <= first.0).map(|_| ())
}

/// The end of a life, as State learns it.
pub(crate) fn died(cause: Cause, error: String) -> Event {
    Event::Died { cause, error, job: None }
}

impl Failure {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Wal(error) => error.is_disk_full(),
            Self::Injected(injected) => *injected == Injected::DiskFull,
            Self::Corrupt(_) | Self::Abandoned => false,
        }
    }

    /// What State learns. While a log is judged for the first time, an error that trying again can't mend refuses
    /// the start.
    fn into_event(self, dir: &Path, start: &WalStart) -> Event {
        match self {
            Self::Wal(error) if *start == WalStart::Judge && is_final(&error) => {
                Event::Refused(start_error(dir, &error))
            }
            Self::Wal(error) if error.is_disk_full() => died(Cause::DiskFull, error.to_string()),
            Self::Wal(error) if error.is_corruption() => died(Cause::Corruption, error.to_string()),
            Self::Wal(error) => died(Cause::Error, error.to_string()),
            Self::Injected(Injected::DiskFull) => died(Cause::DiskFull, Injected::DiskFull.to_string()),
            Self::Injected(Injected::Error) => died(Cause::Error, Injected::Error.to_string()),
            Self::Corrupt(detail) => Event::Refused(StartError::Corrupt { detail }),
            Self::Abandoned => died(Cause::Stopped, "nobody gives orders any more".to_owned()),
        }
    }
}

/// Whether trying again can't help.
fn is_final(error: &WalError) -> bool {
    match error {
        WalError::Io { kind, .. } => matches!(
            kind,
            ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::ReadOnlyFilesystem
        ),
        WalError::Poisoned { cause } => is_final(cause),
        _ => true,
    }
}
