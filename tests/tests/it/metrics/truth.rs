//! What is exported is what happened: of what waits, of what fails, and of what the numbers have to say of each other.

use std::sync::Arc;
use std::time::Duration;

use roadbed::Config;
use roadbed::supervision::{DiskFault, Fault, FaultyStorage, Gate, RestartPolicy};
use roadbed_messages::api::{
    ActorKind, Error, GetBlock, PushAppHash, PushBlock, PushQc, StopReason, WalKind,
};
use roadbed_messages::{BlockNumber, codec};
use roadbed_tests::{Craft, Fixture, Scrape, app_hash, settings};
use roadbed_wal::FileSystem;

use super::{Watched, watchful};

/// A data layer above a disk that fails on demand.
async fn above_a_faulty_disk(config: Config) -> Watched {
    Watched::built(Fixture::new(3, 4, 6), tempfile::tempdir().unwrap(), config, |builder, faults| {
        builder.storage(Arc::new(FaultyStorage::new(FileSystem, faults)))
    })
    .await
}

async fn in_dir(fixture: Fixture, dir: tempfile::TempDir, config: Config) -> Watched {
    Watched::built(fixture, dir, config, |builder, _| builder).await
}

#[tokio::test]
async fn what_waits_is_shown_where_it_waits() {
    let watched = Watched::start(watchful()).await;
    let gate = Gate::default();
    watched.faults.inject(ActorKind::BlockWal, Fault::Hang(gate.clone()));
    let chain = &watched.fixture.chain;
    watched.client.push(&chain[0]).await.unwrap();
    let mut vote =
        watched.client.send(PushAppHash { number: BlockNumber(9), hash: app_hash(BlockNumber(9)) });
    let (qc, _) = chain[1].clone();
    watched.client.send(PushQc { qc, blocks: Vec::new() }).reply().await.unwrap();
    let block = watched.fixture.block(BlockNumber(15)).clone();
    watched.client.send(PushBlock { number: BlockNumber(15), block }).reply().await.unwrap();
    let mut get = watched.client.send(GetBlock { number: BlockNumber(12) });
    assert!(vote.waits() && get.waits());

    let of = |scrape: &Scrape, name: &str, label: &str, value: &str| scrape.value(name, &[(label, value)]);
    let scrape = watched
        .until("the calls that wait", |scrape| {
            of(scrape, "waiters", "kind", "push_app_hash") == 1.0
                && of(scrape, "waiters", "kind", "get_block") == 1.0
                && of(scrape, "actor_current_handler_seconds", "actor", "block_wal") > 0.0
        })
        .await;
    assert_eq!(scrape.value("missing_blocks", &[]), 9.0);
    assert_eq!(scrape.value("buffered_blocks", &[]), 1.0);
    assert_eq!(of(&scrape, "wal_pending_records", "wal", "blocks"), 10.0);
    assert!(of(&scrape, "actor_mailbox_messages", "actor", "block_wal") >= 1.0);
    assert_eq!(of(&scrape, "actor_mailbox_messages", "actor", "state"), 2.0);
    for actor in ["state", "qc_wal", "block_wal", "verifier", "pruner"] {
        let (messages, capacity) = (
            of(&scrape, "actor_mailbox_messages", "actor", actor),
            of(&scrape, "actor_mailbox_capacity_messages", "actor", actor),
        );
        assert!(messages <= capacity && capacity > 0.0, "{actor}: {messages} of {capacity}");
    }
    let held = chain[0].1.iter().map(|block| codec::encoded_len(&**block) as f64).sum::<f64>();
    assert!(scrape.value("memory_bytes", &[]) > held);

    gate.open();
    vote.reply().await.unwrap();
    watched.push_all().await;
    get.reply().await.unwrap();
    watched.client.until_durable().await;
    let waiting = |scrape: &Scrape| {
        ["waiters", "missing_blocks", "buffered_blocks", "wal_pending_records", "actor_mailbox_messages"]
            .iter()
            .map(|name| scrape.sum(name))
            .sum::<f64>()
    };
    watched.until("that nothing waits", |scrape| waiting(scrape) == 0.0).await;
}

#[tokio::test]
async fn numbers_of_one_thing_agree() {
    let watched = Watched::start(settings()).await;
    watched.push_all().await;
    watched.client.until_durable().await;
    watched.client.execute(BlockNumber(59)).await.unwrap();
    // A log counts a group after it has reported it.
    let ended = |scrape: &Scrape, actor: &str| {
        scrape.value("actor_messages_total", &[("actor", actor), ("msg", "append"), ("result", "ok")])
    };
    let handled = |scrape: &Scrape, actor: &str| {
        scrape.value("actor_handler_duration_seconds", &[("actor", actor), ("msg", "append")])
    };
    let scrape = watched
        .until("the last groups", |scrape| {
            [("qc_wal", "qcs"), ("block_wal", "blocks")].iter().all(|(actor, wal)| {
                handled(scrape, actor) == scrape.value("wal_batch_records", &[("wal", wal)])
            })
        })
        .await;
    for (actor, wal) in [("qc_wal", "qcs"), ("block_wal", "blocks")] {
        let (of_wal, of_actor) = ([("wal", wal)], [("actor", actor)]);
        let groups = scrape.value("wal_fsync_duration_seconds", &of_wal);
        assert!(groups >= 1.0 && handled(&scrape, actor) == groups, "{wal}: {groups}");
        for name in ["wal_append_duration_seconds", "wal_batch_records", "wal_batch_bytes"] {
            assert_eq!(scrape.value(name, &of_wal), groups, "{name} of {wal}");
        }
        assert_eq!(
            scrape.sum_of("wal_batch_records", &of_wal),
            scrape.value("wal_records_total", &of_wal),
            "{wal}"
        );
        let bytes = scrape.value("wal_written_bytes_total", &of_wal);
        assert_eq!(scrape.sum_of("wal_batch_bytes", &of_wal), bytes, "{wal}");
        assert!(
            scrape.value("wal_size_bytes", &of_wal) > bytes && scrape.value("wal_segments", &of_wal) >= 1.0
        );
        // Every order was waited for once: those to append, and the one to open.
        let waits = scrape.value("actor_mailbox_wait_seconds", &of_actor);
        assert_eq!(waits, ended(&scrape, actor) + 1.0, "{actor}");
        assert!(scrape.value("actor_busy_seconds_total", &of_actor) > 0.0, "{actor}");
    }
    let size: f64 = ["qcs", "blocks"].iter().map(|wal| scrape.value("wal_size_bytes", &[("wal", wal)])).sum();
    assert_eq!(scrape.value("retained_bytes", &[]), size);
    assert_eq!(scrape.value("data_dir_size_bytes", &[]), size);
    let verified = [("actor", "verifier"), ("msg", "verify"), ("result", "ok")];
    let jobs = scrape.value("actor_messages_total", &verified);
    assert_eq!((jobs, scrape.value("actor_mailbox_wait_seconds", &[("actor", "verifier")])), (6.0, 6.0));
    let bytes: f64 = watched.fixture.blocks().iter().map(|block| codec::encoded_len(&**block) as f64).sum();
    assert_eq!(scrape.value("wal_written_bytes_total", &[("wal", "blocks")]), bytes);
}

#[tokio::test]
async fn failing_disk_is_counted_and_its_log_is_poisoned_until_it_is_open_again() {
    let watched = above_a_faulty_disk(watchful()).await;
    watched.faults.inject_disk(DiskFault::Error);
    watched.push_all().await;
    watched.client.until_durable().await;
    let scrape = watched
        .until("the restart", |scrape| {
            ["qc_wal", "block_wal"].iter().any(|actor| {
                scrape.value("actor_restarts_total", &[("actor", actor), ("cause", "error")]) == 1.0
            })
        })
        .await;
    assert_eq!((scrape.sum("wal_errors_total"), scrape.sum("wal_poisoned")), (1.0, 0.0));

    let config = watchful();
    let config = Config { restart: RestartPolicy { restarts_max: 0, ..config.restart }, ..config };
    let watched = above_a_faulty_disk(config).await;
    watched.faults.inject_disk(DiskFault::Error);
    for (qc, blocks) in &watched.fixture.chain {
        // They are refused once the log has failed for good, and nobody takes them any more when State has ended.
        let _ = watched.client.send(PushQc { qc: qc.clone(), blocks: blocks.clone() }).outcome().await;
    }
    let reason = watched.roadbed.stopped().await;
    let StopReason::Escalated { actor, .. } = reason else { panic!("{reason}") };
    let wal = if actor == ActorKind::QcWal { WalKind::Qcs } else { WalKind::Blocks };
    let scrape = watched.scrape();
    assert_eq!(scrape.value("wal_poisoned", &[("wal", wal.name())]), 1.0);
    let io = |op| scrape.value("wal_errors_total", &[("wal", wal.name()), ("op", op), ("kind", "io")]);
    assert_eq!(io("append") + io("sync"), 1.0);
}

#[tokio::test]
async fn full_disk_is_a_state_with_a_backoff_and_a_cause_of_its_own() {
    let config = watchful();
    let slowly = RestartPolicy {
        backoff_min: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
        ..config.restart
    };
    let watched = Watched::start(Config { restart: slowly, ..config }).await;
    for _ in 0..2 {
        watched.faults.inject(ActorKind::BlockWal, Fault::DiskFull);
    }
    watched.push_all().await;
    let full = [("state", "disk_full")];
    let backoff = |scrape: &Scrape| scrape.value("actor_backoff_seconds", &[("actor", "block_wal")]);
    let scrape = watched
        .until("a full disk", |scrape| scrape.value("state", &full) == 1.0 && backoff(scrape) > 0.0)
        .await;
    assert!(backoff(&scrape) <= 60.0 && scrape.sum("actor_backoff_seconds") == backoff(&scrape));
    assert_eq!(scrape.value("actor_up", &[("actor", "block_wal")]), 0.0);
    let injected = [("wal", "blocks"), ("op", "sync"), ("kind", "injected")];
    assert_eq!(scrape.value("wal_errors_total", &injected), scrape.sum("wal_errors_total"));
    assert!(scrape.value("wal_errors_total", &injected) >= 1.0);
}

#[tokio::test]
async fn torn_tail_that_was_cut_off_is_counted_in_bytes() {
    let (fixture, dir) = (Fixture::new(3, 4, 6), tempfile::tempdir().unwrap());
    let craft = Craft::new_store(dir.path(), &fixture);
    // Dropped without being closed, as by a crash.
    craft.append_qcs(&mut craft.blocks(0..40).log(WalKind::Qcs), 0..4);
    craft.tear(WalKind::Qcs);
    let watched = in_dir(fixture, dir, settings()).await;
    let torn = watched.roadbed.recovered().torn_bytes;
    let scrape = watched.scrape();
    assert!(torn > 0);
    assert_eq!(
        scrape.value("wal_repaired_bytes_total", &[("wal", "qcs"), ("kind", "torn_tail")]),
        torn as f64
    );
    assert_eq!(scrape.sum("wal_repaired_bytes_total"), torn as f64);
    assert_eq!(scrape.sum("wal_corruptions_total"), 0.0);
}

#[tokio::test]
async fn damage_that_is_met_while_serving_is_counted() {
    let config = Config { window_blocks: 20, ..settings() };
    let watched = in_dir(Fixture::new(3, 4, 6), tempfile::tempdir().unwrap(), config.clone()).await;
    for (certified, last) in watched.fixture.chain.iter().zip((9..).step_by(10)) {
        watched.client.push(certified).await.unwrap();
        watched.client.execute(BlockNumber(last)).await.unwrap();
    }
    let (fixture, dir) = watched.ended().await;
    let damaged = BlockNumber(13);
    let payload = codec::encode(&**fixture.block(damaged));
    for path in Craft::new(dir.path(), &fixture).segments(WalKind::Blocks) {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(payload.len()).position(|window| window == payload) {
            bytes[at + payload.len() / 2] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let watched = in_dir(fixture, dir, config).await;
    let refused = watched.client.ask(GetBlock { number: damaged }).await;
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    let scrape = watched.scrape();
    assert_eq!(scrape.value("wal_corruptions_total", &[("wal", "blocks"), ("kind", "serving")]), 1.0);
    assert_eq!(scrape.sum("wal_corruptions_total"), 1.0);
}

#[tokio::test]
async fn caller_that_went_and_a_life_that_is_over_are_told_apart() {
    let watched = Watched::start(watchful()).await;
    let mut get = watched.client.send(GetBlock { number: BlockNumber(50) });
    assert!(get.waits());
    // Who goes before State has taken the message in leaves nothing behind.
    let waits = [("kind", "get_block")];
    watched.until("the caller that waits", |scrape| scrape.value("waiters", &waits) == 1.0).await;
    drop(get);
    let undelivered = |scrape: &Scrape, actor, reason| {
        scrape.value("actor_undelivered_messages_total", &[("actor", actor), ("reason", reason)])
    };
    let scrape = watched
        .until("the caller that went", |scrape| undelivered(scrape, "state", "caller_gone") == 1.0)
        .await;
    let abandoned = [("actor", "state"), ("msg", "get_block"), ("result", "abandoned")];
    assert_eq!(scrape.value("actor_messages_total", &abandoned), 1.0);

    // A verifier that hangs is replaced; what the old life says afterwards counts no more.
    let gate = Gate::default();
    watched.faults.inject(ActorKind::Verifier, Fault::Hang(gate.clone()));
    watched.push_all().await;
    let hung = [("actor", "verifier"), ("cause", "hung")];
    watched.until("the new life", |scrape| scrape.value("actor_restarts_total", &hung) == 1.0).await;
    gate.open();
    let scrape = watched.until("what is stale", |scrape| undelivered(scrape, "state", "stale") >= 1.0).await;
    assert_eq!(scrape.value("stage_blocks_total", &[("stage", "verify")]), 60.0, "each block counts once");
}
