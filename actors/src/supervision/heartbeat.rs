//! How old the operation is that a worker's thread is at.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed_messages::api::workers::CallId;

const IDLE: u64 = 0;

/// Where ages come from: a clock that no one sets. Every part of one instance reads the same.
#[derive(Clone)]
pub(crate) struct Monotonic(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Monotonic {
    /// A clock that tells what `now` does; it must never go back.
    #[cfg(feature = "sim")]
    pub(crate) fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Instant {
        (self.0)()
    }
}

impl Default for Monotonic {
    /// The system's.
    fn default() -> Self {
        Self(Arc::new(Instant::now))
    }
}

impl fmt::Debug for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Monotonic")
    }
}

/// Beats before and after each operation of one thread; anyone may read the age of the running one.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Monotonic,
    epoch: Instant,
    /// Nanoseconds since `epoch` at which the running operation began, plus one; [`IDLE`] when none runs.
    began: AtomicU64,
    job: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new(&Monotonic::default())
    }
}

impl Heartbeat {
    /// Ages by this clock.
    pub(crate) fn new(clock: &Monotonic) -> Self {
        Self(Arc::new(Inner {
            clock: clock.clone(),
            epoch: clock.now(),
            began: AtomicU64::new(IDLE),
            job: AtomicU64::new(0),
        }))
    }

    /// Runs an operation between two beats. After a panic the operation counts as ended.
    pub fn during<T>(&self, job: CallId, operation: impl FnOnce() -> T) -> T {
        struct End<'a>(&'a Inner);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.began.store(IDLE, Ordering::Release);
            }
        }
        self.0.job.store(job.0, Ordering::Relaxed);
        self.0.began.store(self.0.now(), Ordering::Release);
        let _end = End(&self.0);
        operation()
    }

    /// The running operation has come to its next part, and its age counts from now. For the thread that runs it.
    pub fn again(&self) {
        if self.0.began.load(Ordering::Relaxed) != IDLE {
            self.0.began.store(self.0.now(), Ordering::Release);
        }
    }

    /// How long the running operation has been running, and its job; `None` when nothing runs.
    pub fn running_for(&self) -> Option<(Duration, CallId)> {
        let began = self.0.began.load(Ordering::Acquire);
        if began == IDLE {
            return None;
        }
        let began = Duration::from_nanos(began - 1);
        Some((self.0.elapsed().saturating_sub(began), CallId(self.0.job.load(Ordering::Relaxed))))
    }
}

impl Inner {
    fn elapsed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.epoch)
    }

    /// What `began` holds of an operation that begins now.
    fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
    }
}
