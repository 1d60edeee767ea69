//! What the endpoints show of the node.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use prometheus::Registry;
use roadbed::Roadbed;
use roadbed_messages::api::{ActorKind, RunState, Status};
use serde_json::{Value, json};

use crate::run::recovered_cursors;

/// The name of the status' format.
const SCHEMA: &str = "roadbed.status/1";

/// The sources of everything that is shown.
pub(crate) struct View {
    pub(super) registry: Registry,
    /// Empty while the data layer starts.
    pub(super) roadbed: OnceLock<Roadbed>,
    /// The data directory, for people.
    pub(super) place: String,
    pub(super) started: Instant,
}

impl View {
    /// Why the node is not ready; empty when it is.
    pub(super) fn reasons(&self) -> Vec<String> {
        match self.roadbed.get() {
            Some(roadbed) => roadbed.health().reasons,
            None => vec!["it is still recovering".to_owned()],
        }
    }

    /// The newest snapshot that State has published.
    pub(super) fn snapshot(&self) -> Option<Status> {
        self.roadbed.get().map(Roadbed::snapshot)
    }

    /// The status, with the names of the run's summary.
    pub(super) fn status(&self) -> Value {
        let common = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "place": self.place,
            "elapsed_seconds": self.started.elapsed().as_secs_f64(),
            "reasons": self.reasons(),
        });
        let found = match self.roadbed.get() {
            Some(roadbed) => told(roadbed),
            None => json!({ "state": RunState::Recovering, "workers": [] }),
        };
        merged(common, found)
    }
}

fn told(roadbed: &Roadbed) -> Value {
    let (status, stats) = (roadbed.snapshot(), roadbed.stats());
    let restarts: BTreeMap<&str, u64> =
        status.workers.iter().map(|worker| (worker.actor.name(), worker.restarts)).collect();
    let recovered = roadbed.recovered();
    let ingested = status.cursors.next_block.0 - recovered_cursors(recovered).next_block.0;
    let numbers = json!({
        "state": status.state,
        "blocks_ingested": ingested,
        "bytes_durable": stats.qcs.bytes + stats.blocks.bytes,
        "fsync_p50_us": { "qcs": stats.qcs.sync_p50_us, "blocks": stats.blocks.sync_p50_us },
        "fsync_p99_us": { "qcs": stats.qcs.sync_p99_us, "blocks": stats.blocks.sync_p99_us },
        "restarts": restarts,
        "rejected": status.rejected,
        "recovered": recovered,
        "workers": status.workers,
        "waiters": status.waiters,
        "buffered_blocks": status.buffered_blocks,
        "missing_blocks": status.missing_blocks,
        "memory_bytes": status.memory_bytes,
        "free_bytes": status.free_bytes,
    });
    merged(json!(status.cursors), numbers)
}

/// Both objects' names in one.
pub(super) fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (one, _) => one,
    }
}

/// All actors, State first.
pub(super) const ACTORS: [ActorKind; 5] =
    [ActorKind::State, ActorKind::QcWal, ActorKind::BlockWal, ActorKind::Verifier, ActorKind::Pruner];
