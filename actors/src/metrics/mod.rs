//! The library's own counters: cheap to write, read without a message to any actor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use roadbed_messages::api::WalKind;

/// The longest time that is told apart, in microseconds: an hour.
const SYNC_US_MAX: u64 = 3_600_000_000;

/// Counters of one log, written by its I/O thread.
#[derive(Debug)]
pub struct WalStats {
    syncs_us: Mutex<Histogram<u64>>,
    groups: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Default for WalStats {
    fn default() -> Self {
        Self {
            // From a microsecond to an hour in two significant digits: a few kilobytes.
            syncs_us: Mutex::new(
                Histogram::new_with_bounds(1, SYNC_US_MAX, 2).expect("two significant digits are allowed"),
            ),
            groups: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

/// What one log has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Median time to make a group durable, in microseconds.
    pub sync_p50_us: u64,
    /// 99th percentile of it, in microseconds.
    pub sync_p99_us: u64,
    /// Groups made durable.
    pub groups: u64,
    /// Records made durable.
    pub records: u64,
    /// Their bytes, without frames and padding.
    pub bytes: u64,
}

impl WalStats {
    /// A group became durable.
    pub(crate) fn synced(&self, took: Duration, records: u64, bytes: u64) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.syncs_us.lock().unwrap_or_else(PoisonError::into_inner);
        // What takes longer than the bound counts as the bound.
        histogram.saturating_record(took_us);
        drop(histogram);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> LogStats {
        let histogram = self.syncs_us.lock().unwrap_or_else(PoisonError::into_inner);
        LogStats {
            sync_p50_us: histogram.value_at_quantile(0.5),
            sync_p99_us: histogram.value_at_quantile(0.99),
            groups: self.groups.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// All counters of one instance.
#[derive(Debug, Default)]
pub struct Metrics {
    qcs: std::sync::Arc<WalStats>,
    blocks: std::sync::Arc<WalStats>,
}

impl Metrics {
    /// The counters of one log.
    pub fn wal(&self, wal: WalKind) -> &std::sync::Arc<WalStats> {
        match wal {
            WalKind::Qcs => &self.qcs,
            WalKind::Blocks => &self.blocks,
        }
    }
}

/// What both logs have done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The QC log.
    pub qcs: LogStats,
    /// The block log.
    pub blocks: LogStats,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_tell_short_syncs_from_long_ones() {
        let stats = WalStats::default();
        for _ in 0..98 {
            stats.synced(Duration::from_micros(100), 10, 1000);
        }
        stats.synced(Duration::from_millis(20), 10, 1000);
        stats.synced(Duration::from_secs(100_000), 10, 1000);
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.sync_p50_us, 100);
        assert!((19_000..21_000).contains(&snapshot.sync_p99_us), "{snapshot:?}");
        assert_eq!((snapshot.groups, snapshot.records, snapshot.bytes), (100, 1000, 100_000));
    }
}
