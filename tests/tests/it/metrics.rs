//! What is exported: complete from the start, true, of one instance only, and without any actor's help.

mod truth;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadbed::metrics::{CATALOG, Definition};
use roadbed::prometheus::proto::MetricType;
use roadbed::prometheus::{Registry, TextEncoder};
use roadbed::supervision::{Fault, Faults, Gate, RestartPolicy};
use roadbed::{Builder, Config, Roadbed};
use roadbed_messages::api::{ActorKind, Error, RunState, StartError, StopReason, WalKind};
use roadbed_messages::{BlockNumber, Timestamp, codec, testing};
use roadbed_tests::{Client, Craft, Fixture, Scrape, settings};

/// A data layer with a registry of its own.
struct Watched {
    fixture: Fixture,
    registry: Registry,
    roadbed: Roadbed,
    client: Client,
    faults: Faults,
    dir: tempfile::TempDir,
}

impl Watched {
    async fn start(config: Config) -> Self {
        Self::built(Fixture::new(3, 4, 6), tempfile::tempdir().unwrap(), config, |builder, _| builder).await
    }

    async fn built(
        fixture: Fixture,
        dir: tempfile::TempDir,
        config: Config,
        change: impl FnOnce(Builder, &Faults) -> Builder,
    ) -> Self {
        let (registry, faults) = (Registry::new(), Faults::default());
        // Ten seconds after the genesis of the chain, whatever the time may be.
        let now = Timestamp::from_unix_us(fixture.members.committee.genesis().unix_us() + 10_000_000);
        let builder = fixture.builder().data_dir(dir.path()).config(config).faults(faults.clone());
        let builder = change(builder, &faults).metrics(&registry).wall_clock(move || now);
        let roadbed = builder.start().await.unwrap();
        let client = Client::new(roadbed.addr());
        Self { fixture, registry, roadbed, client, faults, dir }
    }

    /// Ends it; answers what it leaves.
    async fn ended(self) -> (Fixture, tempfile::TempDir) {
        self.roadbed.shutdown().await.unwrap();
        (self.fixture, self.dir)
    }

    async fn push_all(&self) {
        for certified in &self.fixture.chain {
            self.client.push(certified).await.unwrap();
        }
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(&self.registry)
    }

    async fn until(&self, what: &str, shows: impl Fn(&Scrape) -> bool) -> Scrape {
        Scrape::until(&self.registry, what, shows).await
    }
}

fn watchful() -> Config {
    Config {
        hung_after: Duration::from_millis(300),
        beat_interval: Duration::from_millis(10),
        restart: RestartPolicy { backoff_min: Duration::from_millis(1), ..RestartPolicy::default() },
        ..settings()
    }
}

#[tokio::test]
async fn everything_is_exported_from_the_start_and_nothing_is_added_later() {
    let watched = Watched::start(settings()).await;
    let before = watched.scrape();
    for family in before.families() {
        let definition = CATALOG.iter().find(|definition| definition.name == family.name());
        let definition = definition.unwrap_or_else(|| panic!("{} is not in the catalog", family.name()));
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            _ => "histogram",
        };
        assert_eq!((kind, family.help()), (definition.kind.name(), definition.help));
        for metric in family.get_metric() {
            let names: Vec<&str> = metric.get_label().iter().map(|pair| pair.name()).collect();
            assert_eq!(names, definition.labels, "{}", definition.name);
        }
    }
    assert_eq!(before.families().len(), CATALOG.len());
    watched.push_all().await;
    watched.client.until_durable().await;
    watched.client.execute(BlockNumber(40)).await.unwrap();
    watched.client.prune(BlockNumber(20)).await.unwrap();
    let bad = testing::wrong_payload(watched.fixture.block(BlockNumber(0)));
    watched.roadbed.push_block(BlockNumber(3), bad.into()).await.unwrap_err();
    assert_eq!(watched.scrape().series(), before.series());
}

#[tokio::test]
async fn counters_tell_what_happened() {
    let watched = Watched::start(settings()).await;
    watched.push_all().await;
    watched.push_all().await;
    watched.client.until_durable().await;
    watched.client.execute(BlockNumber(40)).await.unwrap();
    watched.client.prune(BlockNumber(20)).await.unwrap();
    let bad = testing::wrong_payload(watched.fixture.block(BlockNumber(0)));
    watched.roadbed.push_block(BlockNumber(3), bad.into()).await.unwrap_err();
    // What only State's snapshot tells comes with its next beat.
    let invalid = |scrape: &Scrape| scrape.value("blocks_total", &[("result", "payload_mismatch")]);
    let scrape = watched.until("the invalid block", |scrape| invalid(scrape) == 1.0).await;
    let number = |name: &str, label: &str, value: &str| scrape.value(name, &[(label, value)]);

    for (cursor, expected) in [
        ("first", 20.0),
        ("next_app_proposal", 41.0),
        ("next_block_to_persist", 60.0),
        ("next_block", 60.0),
        ("next_qc", 60.0),
    ] {
        assert_eq!(number("cursor_block_number", "cursor", cursor), expected, "{cursor}");
    }
    let stages =
        [("receive", 121.0), ("verify", 120.0), ("persist", 60.0), ("execute", 41.0), ("prune", 20.0)];
    for (stage, blocks) in stages {
        assert_eq!(number("stage_blocks_total", "stage", stage), blocks, "{stage}");
        // Four transactions of 64 bytes each.
        assert_eq!(number("stage_txs_total", "stage", stage), 4.0 * blocks, "{stage}");
        assert_eq!(number("stage_bytes_total", "stage", stage), 256.0 * blocks, "{stage}");
        let latency =
            |resource| scrape.value("stage_latency_seconds", &[("resource", resource), ("stage", stage)]);
        assert_eq!((latency("blocks"), latency("txs")), (blocks, 4.0 * blocks), "{stage}");
        assert!(number("last_progress_timestamp_seconds", "stage", stage) > 1e9, "{stage}");
        assert!(number("stage_duration_seconds", "stage", stage) > 0.0, "{stage}");
    }
    assert_eq!(number("qcs_total", "result", "accepted"), 6.0);
    assert_eq!(number("qcs_total", "result", "stale"), 6.0);
    assert_eq!(number("blocks_total", "result", "accepted"), 60.0);
    assert_eq!(number("blocks_total", "result", "ignored"), 60.0);
    assert_eq!(number("push_wait_seconds", "kind", "push_qc"), 12.0);
    assert_eq!(scrape.value("retained_blocks", &[]), 40.0);
    for (wal, records, next) in [("qcs", 6.0, 6.0), ("blocks", 60.0, 60.0)] {
        assert_eq!(number("wal_records_total", "wal", wal), records, "{wal}");
        assert_eq!(scrape.value("wal_index", &[("wal", wal), ("edge", "next")]), next, "{wal}");
        assert_eq!(scrape.value("wal_truncations_total", &[("wal", wal), ("kind", "front")]), 1.0, "{wal}");
        assert!(number("wal_fsync_duration_seconds", "wal", wal) >= 1.0, "{wal}");
        assert_eq!(number("wal_pending_records", "wal", wal), 0.0, "{wal}");
        assert!(number("wal_size_bytes", "wal", wal) > 0.0, "{wal}");
    }
    for (actor, msg, result, count) in [
        ("state", "push_qc", "ok", 12.0),
        ("state", "push_block", "error", 1.0),
        ("verifier", "verify", "ok", 12.0),
        ("verifier", "verify", "error", 1.0),
        ("block_wal", "truncate_before", "ok", 1.0),
        ("qc_wal", "open", "ok", 1.0),
    ] {
        let labels = [("actor", actor), ("msg", msg), ("result", result)];
        assert_eq!(scrape.value("actor_messages_total", &labels), count, "{labels:?}");
    }
    for actor in ["state", "qc_wal", "block_wal", "verifier", "pruner"] {
        assert_eq!(number("actor_up", "actor", actor), 1.0, "{actor}");
        assert!(number("actor_start_timestamp_seconds", "actor", actor) > 1e9, "{actor}");
        assert!(number("actor_heartbeat_timestamp_seconds", "actor", actor) > 1e9, "{actor}");
    }
    assert!(scrape.value("data_dir_size_bytes", &[]) > 0.0);
    watched.until("the free space", |scrape| scrape.value("data_dir_free_bytes", &[]) > 0.0).await;
}

#[tokio::test]
async fn restart_is_counted_by_its_cause_and_shown_in_the_snapshot() {
    let watched = Watched::start(watchful()).await;
    watched.faults.inject(ActorKind::BlockWal, Fault::Panic);
    watched.push_all().await;
    watched.client.until_durable().await;
    let restarts = [("actor", "block_wal"), ("cause", "panic")];
    let scrape =
        watched.until("the restart", |scrape| scrape.value("actor_restarts_total", &restarts) == 1.0).await;
    assert_eq!(scrape.value("actor_restarts_total", &[("actor", "block_wal"), ("cause", "error")]), 0.0);
    let worker = &watched.roadbed.snapshot().workers[1];
    assert_eq!((worker.actor, worker.restarts, worker.generation), (ActorKind::BlockWal, 1, 2));
    assert!(worker.last_error.as_deref().unwrap().contains("injected panic"));
}

#[tokio::test]
async fn hanging_log_shows_while_it_hangs_and_makes_it_unready() {
    let watched = Watched::start(watchful()).await;
    assert!(watched.roadbed.health().is_ready(), "{:?}", watched.roadbed.health());
    let gate = Gate::default();
    watched.faults.inject(ActorKind::BlockWal, Fault::Hang(gate.clone()));
    watched.push_all().await;
    let current = |scrape: &Scrape| scrape.value("actor_current_handler_seconds", &[("actor", "block_wal")]);
    let oldest =
        |scrape: &Scrape| scrape.value("actor_oldest_message_age_seconds", &[("actor", "block_wal")]);
    let hangs =
        watched.until("a long operation", |scrape| current(scrape) > 0.35 && oldest(scrape) > 0.35).await;
    // The other may be at its housekeeping.
    assert!(hangs.value("actor_current_handler_seconds", &[("actor", "qc_wal")]) < current(&hangs));
    let degraded = [("state", "degraded")];
    watched.until("the state", |scrape| scrape.value("state", &degraded) == 1.0).await;
    let reasons = watched.roadbed.health().reasons;
    assert!(matches!(&reasons[..], [reason] if reason.contains("block_wal is hung")), "{reasons:?}");
    gate.open();
    watched.until("the end of it", |scrape| scrape.value("state", &degraded) == 0.0).await;
    assert!(watched.roadbed.health().is_ready());
}

#[tokio::test]
async fn state_that_hangs_is_seen_from_outside_without_asking_it() {
    let watched = Watched::start(watchful()).await;
    let gate = Gate::default();
    watched.faults.inject(ActorKind::State, Fault::Hang(gate.clone()));
    let current = |scrape: &Scrape| scrape.value("actor_current_handler_seconds", &[("actor", "state")]);
    watched.until("a long operation of State", |scrape| current(scrape) > 0.35).await;
    let reasons = watched.roadbed.health().reasons;
    assert!(
        reasons.iter().any(|reason| reason.starts_with("state has published nothing for")),
        "{reasons:?}"
    );
    assert_eq!(watched.roadbed.snapshot().state, RunState::Running, "what it published last");
    gate.open();
    watched.client.cursors().await;
    watched.until("the end of it", |scrape| current(scrape) < 0.35).await;
}

#[tokio::test]
async fn end_for_good_is_counted_and_stays_exported_until_the_last_handle_is_gone() {
    let no_budget = RestartPolicy { restarts_max: 0, ..watchful().restart };
    let watched = Watched::start(Config { restart: no_budget, ..watchful() }).await;
    watched.faults.inject(ActorKind::Verifier, Fault::Panic);
    watched.client.push(&watched.fixture.chain[0]).await.unwrap_err();
    let reason = watched.roadbed.stopped().await;
    assert!(matches!(reason, StopReason::Escalated { actor: ActorKind::Verifier, .. }), "{reason}");
    let scrape = watched.scrape();
    assert_eq!(scrape.value("actor_escalations_total", &[("actor", "verifier")]), 1.0);
    assert_eq!(scrape.value("state", &[("state", "stopped")]), 1.0);
    assert_eq!(scrape.value("actor_up", &[("actor", "state")]), 0.0);
    assert!(!watched.roadbed.health().is_ready());
    let Watched { registry, roadbed, .. } = watched;
    drop(roadbed);
    assert!(registry.gather().is_empty());
}

#[tokio::test]
async fn two_instances_in_one_process_keep_apart() {
    let (one, other) = (Watched::start(settings()).await, Watched::start(settings()).await);
    one.push_all().await;
    let blocks = |watched: &Watched| watched.scrape().value("stage_blocks_total", &[("stage", "verify")]);
    assert_eq!((blocks(&one), blocks(&other)), (60.0, 0.0));

    let refused = one.fixture.builder().in_memory().metrics(&one.registry).start().await;
    let Err(StartError::Config(error)) = refused else { panic!("it started") };
    assert!(error.contains("a registry of its own"), "{error}");
    let Watched { registry, roadbed, fixture, .. } = one;
    roadbed.shutdown().await.unwrap();
    drop(roadbed);
    fixture.builder().in_memory().metrics(&registry).start().await.unwrap();
}

#[tokio::test]
async fn recovery_is_measured_and_recovered_blocks_are_not_counted_as_passing() {
    let (fixture, dir) = (Fixture::new(3, 4, 6), tempfile::tempdir().unwrap());
    for run in 0..2 {
        let registry = Registry::new();
        let builder = fixture.builder().data_dir(dir.path()).config(settings()).metrics(&registry);
        let roadbed = builder.start().await.unwrap();
        let client = Client::new(roadbed.addr());
        let scrape = Scrape::of(&registry);
        let recovered = if run == 0 { 0.0 } else { 60.0 };
        assert_eq!(scrape.value("recovery_records", &[("wal", "blocks")]), recovered);
        assert_eq!(scrape.value("recovery_progress_ratio", &[]), 1.0);
        assert!(scrape.value("recovery_duration_seconds", &[("phase", "judge")]) > 0.0);
        for certified in &fixture.chain {
            client.push(certified).await.unwrap();
        }
        client.until_durable().await;
        client.execute(BlockNumber(59)).await.unwrap();
        let passed = |stage| Scrape::of(&registry).value("stage_blocks_total", &[("stage", stage)]);
        let expected = if run == 0 { 60.0 } else { 0.0 };
        assert_eq!((passed("persist"), passed("execute")), (expected, expected));
        roadbed.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn latency_is_counted_from_the_production_of_a_block() {
    let watched = Watched::start(settings()).await;
    watched.push_all().await;
    let text = TextEncoder::new().encode_to_string(&watched.registry.gather()).unwrap();
    let sum = "roadbed_stage_latency_seconds_sum{resource=\"blocks\",stage=\"verify\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(sum)).unwrap();
    // QC i was made i tenths of a second after the genesis, and has ten blocks.
    let expected: f64 = (0..6).map(|qc| 10.0 * (10.0 - f64::from(qc) / 10.0)).sum();
    assert!((line.parse::<f64>().unwrap() - expected).abs() < 1e-6, "{line} is not {expected}");
}

// ---- documents -------------------------------------------------------------------------------------------------

/// The values of every label that a running instance exports, by metric and label.
async fn label_values() -> BTreeMap<(String, String), Vec<String>> {
    let watched = Watched::start(settings()).await;
    let mut values: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, labels) in watched.scrape().series() {
        for (label, value) in labels {
            let known = values.entry((name.clone(), label)).or_default();
            if !known.contains(&value) {
                known.push(value);
            }
        }
    }
    values
}

fn markdown(values: &BTreeMap<(String, String), Vec<String>>) -> String {
    let mut text = String::from(
        "# Metrics\n\nEvery metric that the library exports through the registry given to `Builder::metrics`, and that a \
         node serves under `/metrics`. This page and `metrics.json` are written from the code: `make docs`.\n\nAll label \
         sets are there from the start, at 0. Counters start anew with the process. A scrape asks no actor and touches no \
         disk. The node adds the usual `process_*` metrics.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Definition { name, kind, labels, help } in CATALOG {
        let labels = labels.join(", ");
        text += &format!("| `{name}` | {} | {labels} | {} |\n", kind.name(), help.replace('|', "\\|"));
    }
    text += "\n## Values of labels\n\n| label | of | values |\n|---|---|---|\n";
    let mut rows: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for ((name, label), values) in values {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        rows.entry((label.clone(), values.join(", "))).or_default().push(format!("`{name}`"));
    }
    for ((label, values), names) in rows {
        text += &format!("| {label} | {} | {values} |\n", names.join(", "));
    }
    text
}

fn json() -> String {
    let metrics: Vec<serde_json::Value> = CATALOG
        .iter()
        .map(|Definition { name, kind, labels, help }| {
            serde_json::json!({ "name": name, "type": kind.name(), "labels": labels, "help": help })
        })
        .collect();
    serde_json::to_string_pretty(&metrics).unwrap() + "\n"
}

/// `make docs` sets the variable, and the pages are written anew.
#[tokio::test]
async fn pages_about_metrics_are_what_the_code_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (file, expected) in [("metrics.md", markdown(&label_values().await)), ("metrics.json", json())] {
        let path = docs.join(file);
        if std::env::var_os("ROADBED_WRITE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "docs/{file} is not what the code says: run `make docs`");
    }
}

#[tokio::test]
async fn damage_is_counted_by_where_it_was_found() {
    // All of it fits into the segment that the next life looks at.
    let config =
        Config { memory_bytes_max: 0, read_cache_bytes_max: 0, segment_bytes: 1 << 20, ..watchful() };
    let watched = Watched::start(config).await;
    watched.push_all().await;
    watched.client.until_durable().await;
    let craft = Craft::new(watched.dir.path(), &watched.fixture);
    let number = BlockNumber(33);
    let block = codec::encode(&**watched.fixture.block(number));
    let place = |segment: PathBuf| {
        let bytes = std::fs::read(&segment).unwrap();
        let at = bytes.windows(block.len()).position(|window| window == block)?;
        Some((segment, at + 200, bytes[at + 200] ^ 1))
    };
    let (segment, at, flipped) = craft.segments(WalKind::Blocks).into_iter().find_map(place).unwrap();
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(&[flipped], at as u64).unwrap();
    let damages = |scrape: &Scrape, kind| {
        WalKind::BOTH.map(|wal| scrape.value("wal_corruptions_total", &[("wal", wal.name()), ("kind", kind)]))
    };
    for times in 1..=2 {
        let refused = watched.roadbed.block(number).await.unwrap_err();
        assert!(matches!(refused, Error::Damaged { number: named, .. } if named == number), "{refused:?}");
        assert_eq!(damages(&watched.scrape(), "serving"), [0.0, f64::from(times)]);
    }
    assert_eq!(
        &watched.roadbed.block(BlockNumber(32)).await.unwrap(),
        watched.fixture.block(BlockNumber(32))
    );

    // The next life of the log finds it, too: what had been durable is not what it was.
    watched.faults.inject(ActorKind::BlockWal, Fault::Error);
    watched.client.execute(BlockNumber(59)).await.unwrap();
    let pruned = watched.client.prune(BlockNumber(20)).await;
    assert!(matches!(pruned, Err(Error::Stopped(StopReason::Escalated { actor: ActorKind::BlockWal, .. }))));
    watched.roadbed.stopped().await;
    let scrape = watched.scrape();
    assert_eq!((damages(&scrape, "restart"), damages(&scrape, "serving")), ([0.0, 1.0], [0.0, 2.0]));
    assert_eq!(damages(&scrape, "start"), [0.0, 0.0]);
}
