//! Histograms with fixed buckets: observing is a search and two atomic additions, never a lock. Whoever has many values
//! at once gathers them in a [`Batch`] first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

const US: f64 = 1e-6;
const MS: f64 = 1e-3;

/// Upper bounds for how long work takes, in seconds: from ten microseconds to a minute.
pub(crate) const WORK_SECONDS: &[f64] = &[
    10.0 * US,
    25.0 * US,
    50.0 * US,
    100.0 * US,
    250.0 * US,
    500.0 * US,
    MS,
    2.5 * MS,
    5.0 * MS,
    10.0 * MS,
    25.0 * MS,
    50.0 * MS,
    100.0 * MS,
    250.0 * MS,
    500.0 * MS,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
];

/// Upper bounds for how old a block is, in seconds: from a millisecond to a month, for blocks are pruned late.
pub(crate) const AGE_SECONDS: &[f64] = &[
    MS,
    2.5 * MS,
    5.0 * MS,
    10.0 * MS,
    25.0 * MS,
    50.0 * MS,
    100.0 * MS,
    250.0 * MS,
    500.0 * MS,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    3600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];

/// Upper bounds for records in a group.
pub(crate) const RECORDS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0];

/// Upper bounds for bytes in a group: from 1 KiB to 64 MiB.
pub(crate) const BYTES: &[f64] = &[
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    67_108_864.0,
];

/// Counts values by fixed upper bounds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above all of them.
    counts: Box<[AtomicU64]>,
    /// The bits of an f64.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    pub(crate) fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Counts a value `times` times.
    pub(crate) fn observe_many(&self, value: f64, times: u64) {
        self.add(self.bucket_of(value), times, value * times as f64);
    }

    /// Where a value falls: the place of the first bound that it does not exceed.
    pub(crate) fn bucket_of(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    /// What a bucket holds: above the first, up to the second.
    pub(crate) fn edges_of(&self, bucket: usize) -> (f64, f64) {
        let bound = |place: Option<usize>| place.and_then(|place| self.bounds.get(place).copied());
        (
            bound(bucket.checked_sub(1)).unwrap_or(f64::NEG_INFINITY),
            bound(Some(bucket)).unwrap_or(f64::INFINITY),
        )
    }

    /// Counts `times` values of one bucket, `added` together.
    pub(crate) fn add(&self, bucket: usize, times: u64, added: f64) {
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        // It only fails when another thread was faster, and then it is tried again.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            Some((f64::from_bits(bits) + added).to_bits())
        });
    }

    /// The sum of all values.
    pub(crate) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// What is exported. The count is that of the buckets, so that the two never contradict each other.
    pub(crate) fn export(&self) -> proto::Histogram {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            cumulative += count.load(Ordering::Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let above = self.counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
        let mut exported = proto::Histogram::default();
        exported.set_sample_count(cumulative + above);
        exported.set_sample_sum(self.sum());
        exported.set_bucket(buckets);
        exported
    }
}

/// Values on their way into histograms of the same bounds, each of which counts them with a weight of its own. They get
/// those that fall into one bucket one after the other at once. What is left comes when this is dropped.
pub(crate) struct Batch<'a, const N: usize = 1> {
    histograms: [&'a Histogram; N],
    bucket: usize,
    edges: (f64, f64),
    times: [u64; N],
    sums: [f64; N],
}

impl<'a> Batch<'a> {
    /// Into one.
    pub(crate) fn of(histogram: &'a Histogram) -> Self {
        Self::into_all([histogram])
    }

    pub(crate) fn observe_duration(&mut self, duration: Duration) {
        self.observe_many(duration.as_secs_f64(), [1]);
    }
}

impl<'a, const N: usize> Batch<'a, N> {
    /// Into several, which must have the same bounds.
    pub(crate) fn into_all(histograms: [&'a Histogram; N]) -> Self {
        debug_assert!(histograms.windows(2).all(|pair| pair[0].bounds == pair[1].bounds), "other bounds");
        // No value lies between these edges: the first one finds its bucket.
        let edges = (f64::INFINITY, f64::NEG_INFINITY);
        Self { histograms, bucket: 0, edges, times: [0; N], sums: [0.0; N] }
    }

    /// Counts a value so many times in each.
    pub(crate) fn observe_many(&mut self, value: f64, times: [u64; N]) {
        if !(self.edges.0 < value && value <= self.edges.1) {
            self.flush();
            self.bucket = self.histograms[0].bucket_of(value);
            self.edges = self.histograms[0].edges_of(self.bucket);
        }
        for ((all, sum), times) in self.times.iter_mut().zip(&mut self.sums).zip(times) {
            *all += times;
            *sum += value * times as f64;
        }
    }

    fn flush(&mut self) {
        for ((histogram, times), sum) in self.histograms.iter().zip(self.times).zip(self.sums) {
            if times > 0 {
                histogram.add(self.bucket, times, sum);
            }
        }
        (self.times, self.sums) = ([0; N], [0.0; N]);
    }
}

impl<const N: usize> Drop for Batch<'_, N> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_counts_what_its_values_alone_would() {
        let [alone, together, other] = std::array::from_fn(|_| Histogram::new(RECORDS));
        let values = [(3.0, 2), (4.0, 1), (4.5, 7), (-1.0, 1), (1.0, 1), (1e9, 3), (16_384.0, 1), (3.5, 0)];
        let mut batch = Batch::into_all([&together, &other]);
        for (value, times) in values {
            alone.observe_many(value, times);
            batch.observe_many(value, [times, 2 * times]);
        }
        drop(batch);
        assert_eq!(together.export(), alone.export());
        let twice = Histogram::new(RECORDS);
        values.iter().for_each(|(value, times)| twice.observe_many(*value, 2 * times));
        assert_eq!(other.export(), twice.export());
    }

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = Histogram::new(RECORDS);
        histogram.observe(1.0);
        histogram.observe_many(3.0, 5);
        histogram.observe(1e9);
        let exported = histogram.export();
        let counts: Vec<u64> = exported.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        assert_eq!(counts[..4], [1, 1, 6, 6]);
        assert_eq!(*counts.last().unwrap(), 6);
        assert_eq!(exported.get_sample_count(), 7);
        assert_eq!(exported.get_sample_sum(), 1.0 + 15.0 + 1e9);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [WORK_SECONDS, AGE_SECONDS, RECORDS, BYTES] {
            assert!(bounds.is_sorted() && bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
