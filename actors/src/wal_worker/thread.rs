//! The I/O thread: it owns the log from the lock to the end, and carries out orders as they come.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use roadbed_messages::api::workers::{CallId, Cause, Event, WalOrder, WalStart};
use roadbed_wal::Log;

use super::driver::{Failure, LogContext, LogDriver, Step, died};
use super::{Record, Stamped};
use crate::metrics::{ErrorKind, Metrics, Msg, Operation, Outcome};
use crate::store::StoreLock;
use crate::supervision::{Faults, Heartbeat, panic_message};

/// A log to which nothing comes for so long does its housekeeping.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Between two steps of it, so that the other log's writes find the disk free.
const IDLE_STEP_PAUSE: Duration = Duration::from_millis(2);

/// Held by a log's I/O thread for its whole life: lives of one worker follow each other, they never overlap. A life that
/// ended for want of space leaves its log to the next one, for opening it anew would take a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenancy(Arc<Mutex<Option<Log>>>);

impl Tenancy {
    /// For as long as this is held no other life begins. A panic of the life before has told its own story, and has left
    /// no log.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Option<Log>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread needs besides its orders.
pub(crate) struct ThreadContext {
    pub(crate) log: LogContext,
    pub(crate) tenancy: Tenancy,
    /// A thread that hangs keeps the whole directory from being opened again.
    pub(crate) store_lock: Arc<StoreLock>,
    pub(crate) worker: Worker,
}

/// How the thread is watched, and what is injected into it.
pub(crate) struct Worker {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) faults: Faults,
    pub(crate) metrics: Arc<Metrics>,
}

impl ThreadContext {
    /// The thread's body. `report` is called with the end of it last, when the log is closed or dropped.
    pub(crate) fn run<R: Record>(
        self,
        start: WalStart,
        orders: &Receiver<Stamped<WalOrder<R>>>,
        report: impl Fn(Event) + Send,
    ) {
        let Self { log, tenancy, store_lock, worker } = self;
        let life = AssertUnwindSafe(|| {
            let mut left = tenancy.hold();
            let mut driver = LogDriver::new(log, start, left.take());
            match worker.live(&mut driver, orders, &report) {
                Ok(()) => Some(Event::Closed),
                Err(Failure::Abandoned) => None,
                Err(failure) => {
                    let end;
                    (end, *left) = driver.fail(failure);
                    Some(end)
                }
            }
        });
        let end = catch_unwind(life)
            .unwrap_or_else(|panic| Some(died(Cause::Panic, panic_message(panic.as_ref()))));
        drop(store_lock);
        if let Some(end) = end {
            report(end);
        }
    }
}

impl Worker {
    /// Carries out orders until the one to close.
    fn live<R: Record>(
        &self,
        driver: &mut LogDriver<R>,
        orders: &Receiver<Stamped<WalOrder<R>>>,
        report: &impl Fn(Event),
    ) -> Result<(), Failure> {
        let counts = self.metrics.enabled();
        let metrics = self.metrics.actor(R::WAL.actor());
        self.operation::<R, _>(|| driver.begin(report))?;
        let mut next = None;
        loop {
            let mut waits = self.metrics.waits(R::WAL.actor());
            let mut taken = |order: Stamped<WalOrder<R>>| {
                waits.taken(order.at);
                order.message
            };
            let order = match next.take() {
                Some(order) => order,
                None => taken(self.next_order(driver, orders)?),
            };
            let msg = msg_of(&order);
            let mut orders_done = 1;
            let more = || {
                let order = taken(orders.try_recv().ok()?);
                orders_done += u64::from(matches!(order, WalOrder::Append { .. }));
                Some(order)
            };
            let began = counts.then(Instant::now);
            let step = self.operation::<R, _>(|| driver.carry_out(order, more, report));
            if let Some(began) = began {
                metrics.handled(msg, began.elapsed());
                metrics.ended_many(msg, Outcome::from(&step), orders_done);
            }
            match step? {
                Step::Wait => {}
                Step::Next(order) => next = Some(order),
                Step::Closed => return Ok(()),
            }
        }
    }

    /// Waits for an order; while none comes, the log does its housekeeping in small steps.
    fn next_order<R: Record>(
        &self,
        driver: &mut LogDriver<R>,
        orders: &Receiver<Stamped<WalOrder<R>>>,
    ) -> Result<Stamped<WalOrder<R>>, Failure> {
        let mut more = true;
        let mut pause = IDLE_AFTER;
        while more {
            match orders.recv_timeout(pause) {
                Ok(order) => return Ok(order),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Abandoned),
                Err(RecvTimeoutError::Timeout) => {
                    more = self.heartbeat.during(CallId(0), || driver.idle())?;
                    pause = IDLE_STEP_PAUSE;
                }
            }
        }
        orders.recv().map_err(|_| Failure::Abandoned)
    }

    /// Runs one operation between two beats, with the faults that were injected for it.
    fn operation<R: Record, T>(&self, operation: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.heartbeat.during(CallId(0), || {
            if let Err(injected) = self.faults.strike(R::WAL.actor()) {
                self.metrics.wal(R::WAL).failed(Operation::Sync, ErrorKind::Injected);
                return Err(injected.into());
            }
            operation()
        })
    }
}

fn msg_of<R>(order: &WalOrder<R>) -> Msg {
    match order {
        WalOrder::Open(_) => Msg::Open,
        WalOrder::Append { .. } => Msg::Append,
        WalOrder::TruncateBefore { .. } => Msg::TruncateBefore,
        WalOrder::Close => Msg::Close,
    }
}
