//! The I/O thread: it owns the log from the lock to the end.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use roadbed_messages::api::StartError;
use roadbed_messages::api::workers::{CallId, Cause, Event, LogFacts, LogPlan, WalOrder, WalStart};
use roadbed_messages::{BlockNumber, Committee};
use roadbed_wal::{Judged, Log, LogOptions, Storage, WalError};

use super::Record;
use super::set_aside::set_aside;
use crate::metrics::WalStats;
use crate::reader::ReaderSlot;
use crate::store::{StoreLock, start_error};
use crate::supervision::{Faults, Heartbeat, Injected, panic_message};

/// A log to which nothing comes for so long does its housekeeping.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Between two steps of it, so that the other log's writes find the disk free.
const IDLE_STEP_PAUSE: Duration = Duration::from_millis(2);

/// Held by a log's I/O thread for its whole life: lives of one worker follow each other, they never overlap. A life that
/// ended for want of space leaves its log to the next one, for opening it anew would take a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenancy(Arc<Mutex<Option<Log>>>);

/// What a thread needs besides its orders.
pub(crate) struct ThreadContext {
    pub(crate) committee: Committee,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) aside: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) group_bytes_max: u64,
    pub(crate) tenancy: Tenancy,
    /// A thread that hangs keeps the whole directory from being opened again.
    pub(crate) store_lock: Arc<StoreLock>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) faults: Faults,
    pub(crate) stats: Arc<WalStats>,
    pub(crate) reader: ReaderSlot,
}

/// Why a thread ends before it was told to close.
enum Failure {
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

impl ThreadContext {
    /// The thread's body. `report` is called with the end of it last, when the log is closed or dropped.
    pub(crate) fn run<R: Record>(
        self,
        start: WalStart,
        orders: &Receiver<WalOrder<R>>,
        report: impl Fn(Event) + Send,
    ) {
        let life = AssertUnwindSafe(|| {
            let tenancy = self.tenancy.clone();
            // A panic of the life before has told its own story, and has left no log.
            let mut left = tenancy.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.live(&start, orders, &report, &mut left)
        });
        let end = match catch_unwind(life) {
            Ok(Ok(())) => Event::Closed,
            Ok(Err(Failure::Abandoned)) => return,
            Ok(Err(failure)) => failure.into_event(&self.dir, &start),
            Err(panic) => died(Cause::Panic, panic_message(panic.as_ref())),
        };
        drop(self.store_lock);
        report(end);
    }

    fn live<R: Record>(
        &self,
        start: &WalStart,
        orders: &Receiver<WalOrder<R>>,
        report: &impl Fn(Event),
        left: &mut Option<Log>,
    ) -> Result<(), Failure> {
        let left_by_last_life = left.take();
        let mut log = match start {
            WalStart::Judge => {
                drop(left_by_last_life);
                let judged = self.operation(R::WAL, || Ok(self.judge()?))?;
                // Recovery reads what is there before anything is written.
                self.reader.set(judged.try_reader());
                report(Event::Judged(self.facts::<R>(&judged)?));
                let Ok(WalOrder::Open(plan)) = orders.recv() else { return Err(Failure::Abandoned) };
                self.operation(R::WAL, || self.carry_out::<R>(judged, &plan))?
            }
            WalStart::Resume { next_index, .. } => self.operation(R::WAL, || {
                match left_by_last_life.filter(|log| log.durable_next() == *next_index) {
                    Some(log) => Ok(log),
                    None => Ok(self.judge()?.open_at(*next_index)?),
                }
            })?,
        };
        match self.serve(&mut log, start, orders, report) {
            Ok(()) => self.operation(R::WAL, || Ok(log.close()?)),
            Err(failure) => {
                if failure.is_disk_full() && log.poisoned().is_none() {
                    *left = Some(log);
                }
                Err(failure)
            }
        }
    }

    /// Carries out orders until the one to close.
    fn serve<R: Record>(
        &self,
        log: &mut Log,
        start: &WalStart,
        orders: &Receiver<WalOrder<R>>,
        report: &impl Fn(Event),
    ) -> Result<(), Failure> {
        if let WalStart::Resume { next_index, drop_below } = start {
            // What waits beyond the durable point comes again.
            log.truncate_after(*next_index)?;
            let first = log.range().start;
            self.heartbeat.during(CallId(0), || drop_ended_by(log, *drop_below))?;
            if log.range().start != first {
                report(Event::Truncated { first: *drop_below });
            }
        }
        self.reader.set(Some(log.reader()));
        report(Event::Opened { next_index: log.range().end });
        loop {
            let mut next = Some(self.next_order::<R>(log, orders)?);
            while let Some(order) = next.take() {
                match order {
                    WalOrder::Append { first_index, records } => {
                        next = self.append_group(log, first_index, records, orders, report)?;
                    }
                    WalOrder::TruncateBefore { first } => {
                        self.operation(R::WAL, || Ok(drop_ended_by(log, first)?))?;
                        report(Event::Truncated { first });
                    }
                    WalOrder::Close => return Ok(()),
                    WalOrder::Open(_) => {}
                }
            }
        }
    }

    /// Waits for an order; while none comes, the log does its housekeeping in small steps.
    fn next_order<R: Record>(
        &self,
        log: &mut Log,
        orders: &Receiver<WalOrder<R>>,
    ) -> Result<WalOrder<R>, Failure> {
        let mut more = true;
        let mut pause = IDLE_AFTER;
        while more {
            match orders.recv_timeout(pause) {
                Ok(order) => return Ok(order),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Abandoned),
                Err(RecvTimeoutError::Timeout) => {
                    more = self.heartbeat.during(CallId(0), || log.idle())?;
                    pause = IDLE_STEP_PAUSE;
                }
            }
        }
        orders.recv().map_err(|_| Failure::Abandoned)
    }

    /// Makes one group durable: the records of one order, and of whatever has come since, up to the group's size.
    /// Answers the order that ended the group, if it was another kind. What became durable before a failure is reported
    /// all the same.
    fn append_group<R: Record>(
        &self,
        log: &mut Log,
        first_index: u64,
        records: Vec<R>,
        orders: &Receiver<WalOrder<R>>,
        report: &impl Fn(Event),
    ) -> Result<Option<WalOrder<R>>, Failure> {
        let mut index = first_index;
        let mut group = records;
        let mut ends = Vec::new();
        let mut next = None;
        let synced = self.operation(R::WAL, || {
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
                if bytes >= self.group_bytes_max {
                    break;
                }
                match orders.try_recv() {
                    Ok(WalOrder::Append { first_index, records }) => {
                        debug_assert_eq!(first_index, index);
                        group = records;
                    }
                    Ok(other) => {
                        next = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
            }
            let began = Instant::now();
            log.sync()?;
            self.stats.synced(began.elapsed(), count, bytes);
            Ok(())
        });
        let next_index = log.durable_next();
        let durable = usize::try_from(next_index.saturating_sub(first_index)).unwrap_or(usize::MAX);
        if let Some(upto) = durable.checked_sub(1).and_then(|last| ends.get(last)) {
            report(Event::Durable { next_index, upto: *upto });
        }
        synced.map(|()| next)
    }

    /// Runs one operation between two beats, with the faults that were injected for it.
    fn operation<T>(
        &self,
        wal: roadbed_messages::api::WalKind,
        operation: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.heartbeat.during(CallId(0), || {
            self.faults.strike(wal.actor())?;
            operation()
        })
    }

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
        if let Some(index) = plan.reset_to {
            log.reset(index)?;
        }
        if let Some(index) = plan.drop_from {
            log.truncate_after(index)?;
        }
        if let Some(first) = plan.drop_below {
            drop_ended_by(&mut log, first)?;
        }
        Ok(log)
    }
}

/// Drops the records that end at or below `first`, durably.
fn drop_ended_by(log: &mut Log, first: BlockNumber) -> Result<(), WalError> {
    log.truncate_while(|end| end <= first.0).map(|_| ())
}

fn died(cause: Cause, error: String) -> Event {
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
    fn into_event(self, dir: &std::path::Path, start: &WalStart) -> Event {
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
