//! The counters as a `prometheus` collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::{Registry, proto};
use roadbed_messages::api::workers::Cause;
use roadbed_messages::api::{ActorKind, RunState, StartError, WalKind, WorkerState};

use super::actors::{ACTORS, CAUSES, MessageMetrics, Outcome, Undelivered, seconds};
use super::catalog::*;
use super::pipeline::Stage;
use super::wal::{Corruption, ErrorKind, Operation, Truncation};
use super::{Metrics, PUSHES, Phase, Published};
use crate::state::core::calls::Kind;
use crate::state::core::{BLOCK_RESULTS, QC_RESULTS};

/// Exports one instance's counters as long as it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    exported: Exported,
}

impl Registration {
    /// # Errors
    /// When another instance exports through this registry.
    pub(crate) fn new(registry: Registry, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let exported = Exported::new(metrics).map_err(|error| StartError::Config(error.to_string()))?;
        registry.register(Box::new(exported.clone())).map_err(|error| {
            StartError::Config(format!(
                "the metrics can't be registered ({error}): give each instance a registry of its own, and drop the last \
                 handle of an instance that has ended before its registry is used again"
            ))
        })?;
        Ok(Self { registry, exported })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // It is registered, unless the embedder took it out.
        drop(self.registry.unregister(Box::new(self.exported.clone())));
    }
}

#[derive(Clone, Debug)]
struct Exported {
    metrics: Arc<Metrics>,
    descriptions: Vec<Desc>,
}

impl Exported {
    fn new(metrics: Arc<Metrics>) -> prometheus::Result<Self> {
        let describe = |definition: &Definition| {
            let labels = definition.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(definition.name.to_owned(), definition.help.to_owned(), labels, Default::default())
        };
        let descriptions = CATALOG.iter().map(describe).collect::<prometheus::Result<_>>()?;
        Ok(Self { metrics, descriptions })
    }
}

impl Collector for Exported {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut families = Families::default();
        let published = self.metrics.published();
        self.metrics.collect_pipeline(&published, &mut families);
        self.metrics.collect_actors(&published, &mut families);
        self.metrics.collect_logs(&published, &mut families);
        families.0
    }
}

/// What is exported, one family after the other.
#[derive(Default)]
struct Families(Vec<proto::MetricFamily>);

/// A value of a metric.
enum Value {
    Number(f64),
    Histogram(proto::Histogram),
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<bool> for Value {
    fn from(set: bool) -> Self {
        Self::Number(f64::from(u8::from(set)))
    }
}

impl From<&AtomicU64> for Value {
    fn from(counter: &AtomicU64) -> Self {
        counter.load(Ordering::Relaxed).into()
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        duration.as_secs_f64().into()
    }
}

impl From<&super::histogram::Histogram> for Value {
    fn from(histogram: &super::histogram::Histogram) -> Self {
        Self::Histogram(histogram.export())
    }
}

impl Families {
    /// A metric without labels.
    fn one(&mut self, definition: Definition, value: impl Into<Value>) {
        self.all(definition, [([], value)]);
    }

    /// A metric with a value for each set of labels, which are named in the order of the definition.
    fn all<const N: usize, V: Into<Value>>(
        &mut self,
        definition: Definition,
        values: impl IntoIterator<Item = ([&'static str; N], V)>,
    ) {
        assert_eq!(definition.labels.len(), N, "{} has other labels", definition.name);
        let metric = |(labels, value): ([&'static str; N], V)| {
            let label = |(name, value): (&&str, &str)| {
                let mut label = proto::LabelPair::default();
                label.set_name((*name).to_owned());
                label.set_value(value.to_owned());
                label
            };
            let labels = definition.labels.iter().zip(labels).map(label).collect();
            let mut metric = proto::Metric::from_label(labels);
            match (value.into(), definition.kind) {
                (Value::Histogram(histogram), _) => metric.set_histogram(histogram),
                (Value::Number(number), MetricKind::Counter) => {
                    let mut counter = proto::Counter::default();
                    counter.set_value(number);
                    metric.set_counter(counter);
                }
                (Value::Number(number), _) => {
                    let mut gauge = proto::Gauge::default();
                    gauge.set_value(number);
                    metric.set_gauge(gauge);
                }
            }
            metric
        };
        let mut family = proto::MetricFamily::default();
        family.set_name(definition.name.to_owned());
        family.set_help(definition.help.to_owned());
        family.set_field_type(match definition.kind {
            MetricKind::Counter => proto::MetricType::COUNTER,
            MetricKind::Gauge => proto::MetricType::GAUGE,
            MetricKind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(values.into_iter().map(metric).collect());
        self.0.push(family);
    }
}

impl Metrics {
    fn collect_pipeline(&self, published: &Published, families: &mut Families) {
        let observed = &published.observed;
        let status = &observed.status;
        let states = [
            RunState::Recovering,
            RunState::Running,
            RunState::Degraded,
            RunState::DiskFull,
            RunState::Stopping,
            RunState::Stopped,
        ];
        families.all(STATE, states.map(|state| ([state.name()], state == status.state)));
        let cursors = self.cursors.read();
        families.all(
            CURSOR,
            [
                (["first"], cursors.first.0),
                (["next_app_proposal"], cursors.next_app_proposal.0),
                (["next_block_to_persist"], cursors.next_block_to_persist.0),
                (["next_block"], cursors.next_block.0),
                (["next_qc"], cursors.next_qc.0),
            ],
        );
        let stages = || Stage::ALL.iter().map(|stage| (stage.name(), self.stage(*stage)));
        families.all(
            STAGE_LATENCY,
            stages().flat_map(|(name, stage)| {
                [(["blocks", name], &stage.block_latency), (["txs", name], &stage.tx_latency)]
            }),
        );
        families.all(STAGE_DURATION, stages().map(|(name, stage)| ([name], &stage.duration)));
        families.all(STAGE_BLOCKS, stages().map(|(name, stage)| ([name], &stage.blocks)));
        families.all(STAGE_TXS, stages().map(|(name, stage)| ([name], &stage.txs)));
        families.all(STAGE_BYTES, stages().map(|(name, stage)| ([name], &stage.bytes)));
        let progress =
            |stage: &super::StageMetrics| seconds(stage.last_progress_unix_us.load(Ordering::Relaxed));
        families.all(LAST_PROGRESS, stages().map(|(name, stage)| ([name], progress(stage))));
        let count = |counts: &std::collections::BTreeMap<&'static str, u64>, result: &'static str| {
            ([result], counts.get(result).copied().unwrap_or(0))
        };
        families.all(QCS, QC_RESULTS.iter().map(|result| count(&observed.qcs, result)));
        families.all(BLOCKS, BLOCK_RESULTS.iter().map(|result| count(&observed.blocks, result)));
        families.one(MISSING_BLOCKS, status.missing_blocks);
        families.one(BUFFERED_BLOCKS, status.buffered_blocks);
        let waiting = |kind: &Kind| status.waiters.get(kind.name()).copied().unwrap_or(0);
        families.all(WAITERS, Kind::ALL.iter().map(|kind| ([kind.name()], waiting(kind))));
        families.all(PUSH_WAIT, PUSHES.iter().zip(&self.push_wait).map(|(push, wait)| ([push.name()], wait)));
        families.one(RETAINED_BLOCKS, cursors.next_block.0 - cursors.first.0);
        families.one(RETAINED_BYTES, self.logs_size_bytes().unwrap_or(status.memory_bytes));
        families.one(MEMORY_BYTES, status.memory_bytes);
        let took =
            |phase: Phase| f64::from_bits(self.recovery_seconds[phase as usize].load(Ordering::Relaxed));
        families.all(RECOVERY_DURATION, Phase::ALL.map(|phase| ([phase.name()], took(phase))));
        families.one(RECOVERY_PROGRESS, self.recovery_progress(status.state == RunState::Recovering));
        families
            .all(RECOVERY_RECORDS, WalKind::BOTH.map(|wal| ([wal.name()], &self.wal(wal).recovered_records)));
    }

    fn recovery_progress(&self, recovering: bool) -> f64 {
        let wanted = self.recovery_wanted.load(Ordering::Relaxed);
        match (recovering, wanted) {
            (false, _) => 1.0,
            (true, 0) => 0.0,
            (true, wanted) => self.recovery_done.load(Ordering::Relaxed) as f64 / wanted as f64,
        }
    }

    fn collect_actors(&self, published: &Published, families: &mut Families) {
        let observed = &published.observed;
        let worker = |actor: ActorKind| observed.status.workers.iter().find(|worker| worker.actor == actor);
        let stopped = observed.status.state == RunState::Stopped;
        let up = |actor| match worker(actor) {
            Some(worker) => matches!(worker.state, WorkerState::Up | WorkerState::Hung),
            None => actor == ActorKind::State && !stopped,
        };
        let actors = || ACTORS.iter().map(|actor| (actor.name(), *actor, self.actor(*actor)));
        families.all(ACTOR_UP, actors().map(|(name, actor, _)| ([name], up(actor))));
        families.all(ACTOR_START, actors().map(|(name, _, metrics)| ([name], metrics.started_seconds())));
        let own_threads = |actor| !matches!(actor, ActorKind::State | ActorKind::Pruner);
        families.all(
            ACTOR_HEARTBEAT,
            actors().map(|(name, actor, metrics)| ([name], metrics.heartbeat_seconds(own_threads(actor)))),
        );
        let backoff = |actor| observed.backoffs.get(&actor).copied().unwrap_or_default();
        families.all(ACTOR_BACKOFF, actors().map(|(name, actor, _)| ([name], backoff(actor))));
        let restarts = |actor, cause: Cause| observed.restarts.get(&(actor, cause)).copied().unwrap_or(0);
        families.all(
            ACTOR_RESTARTS,
            actors().flat_map(|(name, actor, _)| {
                CAUSES.map(|cause| ([name, cause.name()], restarts(actor, cause)))
            }),
        );
        families.all(ACTOR_ESCALATIONS, actors().map(|(name, _, metrics)| ([name], &metrics.escalations)));
        let mailbox = |actor| match worker(actor) {
            Some(worker) => (worker.mailbox, worker.capacity),
            None if actor == ActorKind::State => (observed.calls, observed.calls_max),
            None => (0, 0),
        };
        families.all(ACTOR_MAILBOX, actors().map(|(name, actor, _)| ([name], mailbox(actor).0)));
        families.all(ACTOR_MAILBOX_CAPACITY, actors().map(|(name, actor, _)| ([name], mailbox(actor).1)));
        families.all(ACTOR_MAILBOX_WAIT, actors().map(|(name, _, metrics)| ([name], &metrics.mailbox_wait)));
        let now = Instant::now();
        let oldest = |actor: ActorKind| {
            published.oldest[actor as usize]
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
        };
        families.all(ACTOR_OLDEST, actors().map(|(name, actor, _)| ([name], oldest(actor))));
        let results = |name, message: &MessageMetrics| {
            let msg = message.msg.name();
            Outcome::ALL.map(|outcome| {
                ([name, msg, outcome.name()], message.results[outcome as usize].load(Ordering::Relaxed))
            })
        };
        families.all(
            ACTOR_MESSAGES,
            actors().flat_map(|(name, _, metrics)| {
                metrics.messages().flat_map(move |message| results(name, message))
            }),
        );
        families.all(
            ACTOR_HANDLER,
            actors().flat_map(|(name, _, metrics)| {
                metrics.messages().map(move |message| ([name, message.msg.name()], &message.handling))
            }),
        );
        families.all(ACTOR_BUSY, actors().map(|(name, _, metrics)| ([name], metrics.busy_seconds())));
        families.all(
            ACTOR_CURRENT,
            actors().map(|(name, _, metrics)| ([name], metrics.running_for().unwrap_or_default())),
        );
        families.all(
            ACTOR_UNDELIVERED,
            actors().flat_map(|(name, _, metrics)| {
                Undelivered::ALL.map(|why| ([name, why.name()], &metrics.undelivered[why as usize]))
            }),
        );
    }

    fn collect_logs(&self, published: &Published, families: &mut Families) {
        let wals = || WalKind::BOTH.map(|wal| (wal.name(), wal, &**self.wal(wal))).into_iter();
        families.all(WAL_FSYNC, wals().map(|(name, _, metrics)| ([name], &metrics.syncs)));
        families.all(WAL_APPEND, wals().map(|(name, _, metrics)| ([name], &metrics.appends)));
        families.all(WAL_BATCH_RECORDS, wals().map(|(name, _, metrics)| ([name], &metrics.batch_records)));
        families.all(WAL_BATCH_BYTES, wals().map(|(name, _, metrics)| ([name], &metrics.batch_bytes)));
        families.all(WAL_RECORDS, wals().map(|(name, _, metrics)| ([name], &metrics.records)));
        families.all(WAL_WRITTEN, wals().map(|(name, _, metrics)| ([name], &metrics.bytes)));
        let pending = &published.observed.pending_records;
        families.all(WAL_PENDING, wals().map(|(name, wal, _)| ([name], pending[wal as usize])));
        let range = |wal| self.log_reader(wal).map_or(0..0, |reader| reader.range());
        families.all(
            WAL_INDEX,
            wals().flat_map(|(name, wal, _)| {
                let range = range(wal);
                [([name, "first"], range.start), ([name, "next"], range.end)]
            }),
        );
        let segments = |wal| self.log_reader(wal).map_or(0, |reader| reader.segments().len());
        families.all(WAL_SEGMENTS, wals().map(|(name, wal, _)| ([name], segments(wal))));
        let size = |wal| self.log_size_bytes(wal).unwrap_or(0);
        families.all(WAL_SIZE, wals().map(|(name, wal, _)| ([name], size(wal))));
        families.all(
            WAL_TRUNCATIONS,
            wals().flat_map(|(name, _, metrics)| {
                Truncation::ALL
                    .iter()
                    .map(move |kind| ([name, kind.name()], &metrics.truncations[*kind as usize]))
            }),
        );
        families
            .all(WAL_REPAIRED, wals().map(|(name, _, metrics)| ([name, "torn_tail"], &metrics.torn_bytes)));
        families.all(
            WAL_CORRUPTIONS,
            wals().flat_map(|(name, _, metrics)| {
                Corruption::ALL
                    .iter()
                    .map(move |kind| ([name, kind.name()], &metrics.corruptions[*kind as usize]))
            }),
        );
        families.all(
            WAL_ERRORS,
            wals().flat_map(|(name, _, metrics)| {
                Operation::ALL.iter().flat_map(move |op| {
                    let errors = &metrics.errors[*op as usize];
                    ErrorKind::ALL
                        .iter()
                        .map(move |kind| ([name, op.name(), kind.name()], &errors[*kind as usize]))
                })
            }),
        );
        families.all(
            WAL_POISONED,
            wals().map(|(name, _, metrics)| ([name], metrics.poisoned.load(Ordering::Relaxed))),
        );
        families.one(SPACE_FREE, published.observed.status.free_bytes.unwrap_or(0));
        families.one(SPACE_SIZE, self.logs_size_bytes().unwrap_or(0));
    }

    /// A reader of a log as it was last opened: its range and its segments are kept in memory.
    fn log_reader(&self, wal: WalKind) -> Option<roadbed_wal::Reader> {
        self.readers.get()?[wal as usize].get()
    }

    fn log_size_bytes(&self, wal: WalKind) -> Option<u64> {
        Some(self.log_reader(wal)?.segments().iter().map(|segment| segment.bytes).sum())
    }
    /// Of both logs; `None` without a data directory.
    fn logs_size_bytes(&self) -> Option<u64> {
        WalKind::BOTH.iter().map(|wal| self.log_size_bytes(*wal)).sum()
    }
}
