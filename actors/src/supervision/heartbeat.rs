//! How old the operation is that a worker's thread is at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed_messages::api::workers::CallId;

const IDLE: u64 = 0;

/// Beats before and after each operation of one thread; anyone may read the age of the running one.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    /// Nanoseconds since `epoch` at which the running operation began, plus one; [`IDLE`] when none runs.
    began: AtomicU64,
    job: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Inner { epoch: Instant::now(), began: AtomicU64::new(IDLE), job: AtomicU64::new(0) }))
    }
}

impl Heartbeat {
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
        Some((self.0.epoch.elapsed().saturating_sub(began), CallId(self.0.job.load(Ordering::Relaxed))))
    }
}

impl Inner {
    /// What `began` holds of an operation that begins now.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
    }
}
