//! Reading what a registry exports.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed::prometheus::Registry;
use roadbed::prometheus::proto::{Metric, MetricFamily, MetricType};

/// How often the metrics are looked at while a test waits for them to show something.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A test that waits for so long will wait for ever: it fails with what it saw last.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// The labels of one series.
pub type Labels = BTreeMap<String, String>;

/// What a registry exports at one moment.
pub struct Scrape(Vec<MetricFamily>);

impl Scrape {
    /// Gathers from the registry.
    pub fn of(registry: &Registry) -> Self {
        Self(registry.gather())
    }

    /// Gathers until it shows what it must.
    ///
    /// # Panics
    /// When it never does.
    pub async fn until(registry: &Registry, what: &str, shows: impl Fn(&Self) -> bool) -> Self {
        let shown = async {
            loop {
                let scrape = Self::of(registry);
                if shows(&scrape) {
                    return scrape;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(GIVE_UP_AFTER, shown).await {
            Ok(scrape) => scrape,
            Err(_) => panic!("the metrics never show {what}"),
        }
    }

    /// All families.
    pub fn families(&self) -> &[MetricFamily] {
        &self.0
    }

    /// The labels of every series, by the name of the family.
    pub fn series(&self) -> Vec<(String, Labels)> {
        let labels = |family: &MetricFamily| {
            let name = family.name().to_owned();
            let of = |metric: &Metric| {
                let pairs = metric.get_label().iter();
                (name.clone(), pairs.map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect())
            };
            family.get_metric().iter().map(of).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(labels).collect()
    }

    /// A value: of a histogram the number of what was observed.
    ///
    /// # Panics
    /// When there is no such series; `name` goes without `roadbed_`.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let family = self.family(name);
        value_of(family, series_of(family, labels))
    }

    /// The sum of what a histogram observed.
    ///
    /// # Panics
    /// When there is no such series; `name` goes without `roadbed_`.
    pub fn sum_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        series_of(self.family(name), labels).get_histogram().get_sample_sum()
    }

    /// The values of all series of a metric together.
    ///
    /// # Panics
    /// When there is no such metric; `name` goes without `roadbed_`.
    pub fn sum(&self, name: &str) -> f64 {
        let family = self.family(name);
        family.get_metric().iter().map(|metric| value_of(family, metric)).sum()
    }

    fn family(&self, name: &str) -> &MetricFamily {
        let full_name = format!("roadbed_{name}");
        let family = self.0.iter().find(|family| family.name() == full_name);
        family.unwrap_or_else(|| panic!("no metric {full_name}"))
    }
}

fn series_of<'a>(family: &'a MetricFamily, labels: &[(&str, &str)]) -> &'a Metric {
    let has = |metric: &&Metric| {
        labels.iter().all(|(name, value)| {
            metric.get_label().iter().any(|pair| pair.name() == *name && pair.value() == *value)
        })
    };
    let metric = family.get_metric().iter().find(has);
    metric.unwrap_or_else(|| panic!("no {} with {labels:?}", family.name()))
}

fn value_of(family: &MetricFamily, metric: &Metric) -> f64 {
    match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::HISTOGRAM => metric.get_histogram().get_sample_count() as f64,
        _ => metric.get_gauge().get_value(),
    }
}
