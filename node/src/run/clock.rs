//! The time of the demo's chain. Its blocks bear the times that the seed gives them, not the world's: latencies since
//! their production are measured on this clock, which goes at the world's pace from the newest block on.
//!
//! At the chain's own pace of ten QCs a second it is exact; at another one the age of what lags behind is told in the
//! chain's time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use roadbed_messages::Timestamp;

/// Clones share the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChainClock(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl ChainClock {
    /// Blocks with this time are made now.
    pub(crate) fn made_now(&self, created_at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((created_at, Instant::now()));
    }

    /// Reads the time.
    pub(crate) fn reader(self) -> impl Fn() -> Timestamp {
        move || match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((created_at, made)) => {
                let since_us = u64::try_from(made.elapsed().as_micros()).unwrap_or(u64::MAX);
                created_at.checked_add_us(since_us).unwrap_or(created_at)
            }
            None => Timestamp::default(),
        }
    }
}
