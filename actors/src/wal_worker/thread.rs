//! The I/O thread: it owns the log from the lock to the end, and carries out orders as they come.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation, WalOrder, WalStart};
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
pub(crate) struct Tenancy(Arc<Mutex<Tenant>>);

/// The life that has the log.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    latest: Option<Generation>,
    /// What it leaves to the next one.
    pub(crate) left: Option<Log>,
}

impl Tenancy {
    /// For as long as this is held no other life begins. `None` for a life that a later one has overtaken while both
    /// waited: it knows an older durable point than the log has by now, and must not touch it.
    ///
    /// A panic of the life before has told its own story, and has left no log.
    pub(crate) fn hold(&self, generation: Generation) -> Option<MutexGuard<'_, Tenant>> {
        let mut tenant = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tenant.latest.is_some_and(|latest| generation < latest) {
            return None;
        }
        tenant.latest = Some(generation);
        Some(tenant)
    }
}

/// What a thread needs besides its orders.
pub(crate) struct ThreadContext {
    pub(crate) log: LogContext,
    pub(crate) tenancy: Tenancy,
    pub(crate) generation: Generation,
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
        let Self { log, tenancy, generation, store_lock, worker } = self;
        let heartbeat = worker.heartbeat.clone();
        // Its beginning and its end may hang as well: behind the life before, and in files that are being closed.
        let whole = AssertUnwindSafe(|| {
            let mut tenant = heartbeat.during(CallId(0), || tenancy.hold(generation))?;
            let mut driver = LogDriver::new(log, start, tenant.left.take());
            let lived = catch_unwind(AssertUnwindSafe(|| worker.live(&mut driver, orders, &report)));
            heartbeat.during(CallId(0), || match lived {
                Ok(Err(Failure::Abandoned)) => {
                    drop(driver);
                    None
                }
                Ok(Err(failure)) => {
                    let (end, log) = driver.fail(failure);
                    tenant.left = log;
                    Some(end)
                }
                Ok(Ok(())) => {
                    drop(driver);
                    Some(Event::Closed)
                }
                Err(panic) => {
                    drop(driver);
                    Some(panicked(&*panic))
                }
            })
        });
        let end = catch_unwind(whole).unwrap_or_else(|panic| Some(panicked(&*panic)));
        drop(store_lock);
        if let Some(end) = end {
            report(end);
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Event {
    died(Cause::Panic, panic_message(panic))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_was_overtaken_never_begins() {
        let tenancy = Tenancy::default();
        for (generation, begins) in [(1, true), (3, true), (2, false), (3, true), (4, true), (1, false)] {
            assert_eq!(tenancy.hold(Generation(generation)).is_some(), begins, "{generation}");
        }
    }
}
