//! Reading what the registry has gathered.

use prometheus::Registry;
use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

/// What was gathered at one moment.
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    pub(super) fn gather(registry: &Registry) -> Self {
        Self(registry.gather())
    }

    /// The series of a metric with these labels. `name` goes without `roadbed_`.
    pub(super) fn series<'a>(
        &'a self,
        name: &str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Metric> + 'a {
        let full_name = format!("roadbed_{name}");
        let family = self.0.iter().find(move |family| family.name() == full_name);
        family
            .into_iter()
            .flat_map(MetricFamily::get_metric)
            .filter(move |metric| labels.iter().all(|(name, value)| label(metric, name) == Some(*value)))
    }

    /// The number of one series; 0 where there is none. Of a counter or a gauge.
    pub(super) fn number(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let full_name = format!("roadbed_{name}");
        let family = self.0.iter().find(|family| family.name() == full_name);
        let counter = family.is_some_and(|family| family.get_field_type() == MetricType::COUNTER);
        let metric = self.series(name, labels).next();
        metric.map_or(0.0, |metric| match counter {
            true => metric.get_counter().get_value(),
            false => metric.get_gauge().get_value(),
        })
    }

    /// A histogram; empty where there is none.
    pub(super) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        self.series(name, labels).next().map(|metric| metric.get_histogram().clone()).unwrap_or_default()
    }
}

/// The value of a label.
pub(super) fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|label| label.name() == name).map(|label| label.value())
}

/// What a histogram observed since an earlier look.
pub(super) struct Since {
    /// Upper bounds, and what lies at or below each.
    cumulative: Vec<(f64, f64)>,
    count: f64,
    sum: f64,
}

impl Since {
    pub(super) fn new(now: &Histogram, before: Option<&Histogram>) -> Self {
        let earlier = |at: usize| {
            before
                .and_then(|before| before.get_bucket().get(at))
                .map_or(0, |bucket| bucket.cumulative_count())
        };
        let buckets = now.get_bucket().iter().enumerate();
        let cumulative = buckets
            .map(|(at, bucket)| {
                (bucket.upper_bound(), bucket.cumulative_count().saturating_sub(earlier(at)) as f64)
            })
            .collect();
        let count_before = before.map_or(0, Histogram::get_sample_count);
        let sum_before = before.map_or(0.0, Histogram::get_sample_sum);
        Self {
            cumulative,
            count: now.get_sample_count().saturating_sub(count_before) as f64,
            sum: now.get_sample_sum() - sum_before,
        }
    }

    /// The value below which this share lies, between the bounds of its bucket; `None` when nothing was observed.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0.0 {
            return None;
        }
        let rank = share * self.count;
        let (mut lower_bound, mut below) = (0.0, 0.0);
        for (upper_bound, upto) in &self.cumulative {
            if *upto >= rank && *upto > below {
                return Some(lower_bound + (upper_bound - lower_bound) * (rank - below) / (upto - below));
            }
            (lower_bound, below) = (*upper_bound, *upto);
        }
        Some(lower_bound)
    }

    /// The mean; `None` when nothing was observed.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::proto::Bucket;

    fn histogram(counts: [u64; 3], sum: f64) -> Histogram {
        let mut histogram = Histogram::default();
        let buckets = [1.0, 2.0, 4.0].iter().zip(counts).map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts[2]);
        histogram.set_sample_sum(sum);
        histogram
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let (before, now) = (histogram([100, 100, 100], 50.0), histogram([100, 110, 120], 110.0));
        let since = Since::new(&now, Some(&before));
        assert_eq!(since.quantile(0.25), Some(1.5));
        assert_eq!(since.quantile(0.99), Some(3.96));
        assert_eq!(since.mean(), Some(3.0));
        assert_eq!(Since::new(&now, Some(&now)).quantile(0.5), None);
    }
}
