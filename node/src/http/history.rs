//! What the page remembers of the last minutes, for those who open it later: the charts' points and the event log.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::Histogram;
use roadbed_messages::api::{ActorKind, Cursors, RunState, Status, WalKind};
use serde::Serialize;
use serde_json::{Value, json};

use super::families::{Families, Since};
use super::view::ACTORS;

/// Ten minutes of points, one a second.
const POINTS_MAX: usize = 600;
/// Entries of the event log that are kept.
const ENTRIES_MAX: usize = 200;
const STAGES: [&str; 5] = ["receive", "verify", "persist", "execute", "prune"];

/// Something that an operator wants to have seen.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    /// Unix time.
    t: f64,
    /// `good`, `warn` or `bad`.
    level: &'static str,
    what: String,
    detail: String,
}

/// What the next sample is compared with.
#[derive(Default)]
struct Before {
    t: f64,
    blocks: BTreeMap<&'static str, f64>,
    bytes: BTreeMap<&'static str, f64>,
    histograms: BTreeMap<String, Histogram>,
    state: Option<RunState>,
    restarts: BTreeMap<ActorKind, u64>,
    counted: BTreeMap<String, f64>,
    /// Since when each stage has had something to do without moving, and where it stands.
    waiting_since: BTreeMap<&'static str, (f64, u64)>,
}

/// The memory of one run.
#[derive(Default)]
pub(super) struct History {
    points: VecDeque<Value>,
    entries: VecDeque<Entry>,
    before: Before,
}

impl History {
    /// Takes a sample; answers the newest point and the new entries of the log.
    pub(super) fn sample(&mut self, families: &Families, status: Option<&Status>) -> (Value, Value) {
        let t = unix_seconds();
        let point = self.point(t, families);
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point.clone());
        let mut entries = Vec::new();
        if let Some(status) = status {
            self.look(t, status, families, &mut entries);
        }
        self.before.t = t;
        self.entries.extend(entries.iter().cloned());
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
        }
        (point, json!(entries))
    }

    /// For how many seconds each stage has had something to do and has not moved.
    pub(super) fn stalled(&mut self, status: Option<&Status>) -> BTreeMap<&'static str, f64> {
        let (t, Some(status)) = (self.before.t, status) else { return BTreeMap::new() };
        let Cursors { next_app_proposal, next_block_to_persist, next_block, next_qc, .. } = status.cursors;
        let stretches = [
            ("execute", next_app_proposal, next_block_to_persist),
            ("persist", next_block_to_persist, next_block),
            ("receive", next_block, next_qc),
        ];
        let stalled = stretches.map(|(stage, at, end)| {
            let (since, seen) = self.before.waiting_since.entry(stage).or_insert((t, at.0));
            if at == end || at.0 != *seen {
                (*since, *seen) = (t, at.0);
            }
            (stage, t - *since)
        });
        BTreeMap::from(stalled)
    }

    /// Everything that is remembered.
    pub(super) fn whole(&self) -> Value {
        json!({ "points": self.points, "entries": self.entries })
    }

    fn point(&mut self, t: f64, families: &Families) -> Value {
        let seconds = (t - self.before.t).max(1e-3);
        let first = self.before.t == 0.0;
        let mut rate = |before: fn(&mut Before) -> &mut BTreeMap<&'static str, f64>, metric: &str| {
            let rates = STAGES.map(|stage| {
                let now = families.number(metric, &[("stage", stage)]);
                let earlier = before(&mut self.before).insert(stage, now).unwrap_or(now);
                (stage, if first { 0.0 } else { (now - earlier).max(0.0) / seconds })
            });
            BTreeMap::from(rates)
        };
        let blocks = rate(|before| &mut before.blocks, "stage_blocks_total");
        let bytes = rate(|before| &mut before.bytes, "stage_bytes_total");
        let latency = STAGES.map(|stage| {
            let labels = [("resource", "blocks"), ("stage", stage)];
            (stage, self.since(families, "stage_latency_seconds", &labels).quantile(0.5))
        });
        let fsync = WalKind::BOTH.map(|wal| {
            let since = self.since(families, "wal_fsync_duration_seconds", &[("wal", wal.name())]);
            let batch = self.since(families, "wal_batch_records", &[("wal", wal.name())]).mean();
            let (p50, p99) = (since.quantile(0.5), since.quantile(0.99));
            (wal.name(), json!({ "p50": p50, "p99": p99, "batch": batch }))
        });
        let mailbox = ACTORS.map(|actor| {
            (actor.name(), families.number("actor_mailbox_messages", &[("actor", actor.name())]))
        });
        json!({
            "t": t,
            "blocks": blocks,
            "bytes": bytes,
            "latency": BTreeMap::from(latency),
            "fsync": BTreeMap::from(fsync),
            "mailbox": BTreeMap::from(mailbox),
        })
    }

    fn since(&mut self, families: &Families, name: &str, labels: &[(&str, &str)]) -> Since {
        let now = families.histogram(name, labels);
        let before = self.before.histograms.insert(format!("{name}{labels:?}"), now.clone());
        Since::new(&now, before.as_ref())
    }

    /// Notes what has changed since the last look.
    fn look(&mut self, t: f64, status: &Status, families: &Families, entries: &mut Vec<Entry>) {
        let mut note = |level, what: String, detail: String| entries.push(Entry { t, level, what, detail });
        let before = self.before.state.replace(status.state.clone());
        if before.is_none()
            && let Some(recovered) = &status.recovered
        {
            let case = &recovered.reconcile_case;
            let text = format!("blocks {}..{}, case {case}", recovered.first, recovered.next_block);
            note("good", "started".to_owned(), text);
            if recovered.torn_bytes > 0 {
                let text = format!("{} bytes that a crash left were cut off", recovered.torn_bytes);
                note("warn", "torn tail repaired".to_owned(), text);
            }
            if let Some(lost) = &recovered.lost {
                note("bad", "data was lost".to_owned(), lost.clone());
            }
        }
        for worker in &status.workers {
            let known = self.before.restarts.insert(worker.actor, worker.restarts).unwrap_or(0);
            if worker.restarts > known {
                let error = worker.last_error.clone().unwrap_or_default();
                let what = format!("{} failed, life {} follows", worker.actor, worker.generation);
                note("warn", what, error);
            }
        }
        if before.as_ref().is_some_and(|before| *before != status.state) {
            let level = if status.state == RunState::Running { "good" } else { "bad" };
            note(level, format!("state: {}", status.state.name()), status.reasons.join("; "));
        }
        for (metric, level, what) in [
            ("wal_corruptions_total", "bad", "damage found"),
            ("wal_errors_total", "warn", "a log's operation failed"),
            ("actor_escalations_total", "bad", "escalated"),
        ] {
            for series in families.series(metric, &[]) {
                let labels: Vec<&str> = series.get_label().iter().map(|label| label.value()).collect();
                let labels = labels.join(", ");
                let count = series.get_counter().get_value();
                let known = self.before.counted.insert(format!("{metric} {labels}"), count).unwrap_or(0.0);
                if count > known {
                    note(level, what.to_owned(), labels);
                }
            }
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
