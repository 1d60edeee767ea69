//! Counters of one log, written by its I/O thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram as Percentiles;
use roadbed_wal::WalError;

use super::histogram::{BYTES, Histogram, RECORDS, WORK_SECONDS};

/// The longest time that is told apart, in microseconds: an hour.
const SYNC_US_MAX: u64 = 3_600_000_000;

macro_rules! labels {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $kind { $($variant),* }

        impl $kind {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value of the label.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

labels! {
    /// What cut a log.
    Truncation { Front "front", Back "back", Reset "reset", SetAside "set_aside" }
}

labels! {
    /// Where damage was found.
    Corruption { Start "start", Serving "serving", Restart "restart" }
}

labels! {
    /// What a log was doing when it failed.
    Operation { Open "open", Append "append", Sync "sync", Truncate "truncate", Close "close" }
}

labels! {
    /// How an operation failed.
    ErrorKind { Io "io", DiskFull "disk_full", Corruption "corruption", Injected "injected", Other "other" }
}

impl ErrorKind {
    /// What kind of failure an error of the log is.
    pub(crate) fn of(error: &WalError) -> Self {
        match error {
            error if error.is_disk_full() => Self::DiskFull,
            error if error.is_corruption() => Self::Corruption,
            WalError::Io { .. } => Self::Io,
            WalError::Poisoned { cause } => Self::of(cause),
            _ => Self::Other,
        }
    }
}

/// Counters of one log over all lives of its worker.
#[derive(Debug)]
pub(crate) struct WalMetrics {
    syncs_us: Mutex<Percentiles<u64>>,
    pub(crate) syncs: Histogram,
    pub(crate) appends: Histogram,
    pub(crate) batch_records: Histogram,
    pub(crate) batch_bytes: Histogram,
    groups: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) truncations: [AtomicU64; Truncation::ALL.len()],
    pub(crate) corruptions: [AtomicU64; Corruption::ALL.len()],
    pub(crate) errors: [[AtomicU64; ErrorKind::ALL.len()]; Operation::ALL.len()],
    /// Bytes of torn tails that were cut off.
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) poisoned: AtomicBool,
    /// Records that recovery has brought into memory.
    pub(crate) recovered_records: AtomicU64,
}

impl Default for WalMetrics {
    fn default() -> Self {
        Self {
            // From a microsecond to an hour in two significant digits: a few kilobytes.
            syncs_us: Mutex::new(
                Percentiles::new_with_bounds(1, SYNC_US_MAX, 2).expect("two significant digits are allowed"),
            ),
            syncs: Histogram::new(WORK_SECONDS),
            appends: Histogram::new(WORK_SECONDS),
            batch_records: Histogram::new(RECORDS),
            batch_bytes: Histogram::new(BYTES),
            groups: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            truncations: Default::default(),
            corruptions: Default::default(),
            errors: Default::default(),
            torn_bytes: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            recovered_records: AtomicU64::new(0),
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

impl WalMetrics {
    /// A group was copied into the log's buffer in `append`, and became durable in `sync`.
    pub(crate) fn synced(&self, append: Duration, sync: Duration, records: u64, bytes: u64) {
        let sync_us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        let mut percentiles = self.syncs_us.lock().unwrap_or_else(PoisonError::into_inner);
        // What takes longer than the bound counts as the bound.
        percentiles.saturating_record(sync_us);
        drop(percentiles);
        self.appends.observe_duration(append);
        self.syncs.observe_duration(sync);
        self.batch_records.observe(records as f64);
        self.batch_bytes.observe(bytes as f64);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn truncated(&self, what: Truncation) {
        self.truncations[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A torn tail of so many bytes was cut off.
    pub(crate) fn repaired(&self, torn_bytes: u64) {
        self.torn_bytes.fetch_add(torn_bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_poisoned(&self, poisoned: bool) {
        self.poisoned.store(poisoned, Ordering::Relaxed);
    }

    pub(crate) fn corrupt(&self, found: Corruption) {
        self.corruptions[found as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, operation: Operation, kind: ErrorKind) {
        self.errors[operation as usize][kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    pub(crate) fn snapshot(&self) -> LogStats {
        let percentiles = self.syncs_us.lock().unwrap_or_else(PoisonError::into_inner);
        LogStats {
            sync_p50_us: percentiles.value_at_quantile(0.5),
            sync_p99_us: percentiles.value_at_quantile(0.99),
            groups: self.groups.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_tell_short_syncs_from_long_ones() {
        let stats = WalMetrics::default();
        let synced = |sync| stats.synced(Duration::from_micros(3), sync, 10, 1000);
        for _ in 0..98 {
            synced(Duration::from_micros(100));
        }
        synced(Duration::from_millis(20));
        synced(Duration::from_secs(100_000));
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.sync_p50_us, 100);
        assert!((19_000..21_000).contains(&snapshot.sync_p99_us), "{snapshot:?}");
        assert_eq!((snapshot.groups, snapshot.records, snapshot.bytes), (100, 1000, 100_000));
    }
}
