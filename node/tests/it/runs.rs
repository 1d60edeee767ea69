//! Runs that go well: what they do, what they print, and that they go on where they were.

use crate::support::*;

/// Every name of the summary, as programs outside rely on them.
pub(crate) const NAMES: [&str; 40] = [
    "schema",
    "result",
    "stop_reason",
    "seed",
    "first",
    "next_app_proposal",
    "next_block_to_persist",
    "next_block",
    "next_qc",
    "blocks_ingested",
    "bytes_durable",
    "elapsed_seconds",
    "fsync_p50_us.qcs",
    "fsync_p50_us.blocks",
    "fsync_p99_us.qcs",
    "fsync_p99_us.blocks",
    "restarts.qc_wal",
    "restarts.block_wal",
    "restarts.verifier",
    "restarts.pruner",
    "rejected",
    "state",
    "reasons",
    "chaos",
    "recovered.first",
    "recovered.next_block",
    "recovered.next_qc",
    "recovered.torn_bytes",
    "recovered.reconcile_case",
    "recovered.seconds",
    "chain_check.ok",
    "chain_check.checked_blocks",
    "chain_check.acked_checked",
    "chain_check.derived_from",
    "chain_hash",
    "fsync_p50_us",
    "fsync_p99_us",
    "restarts",
    "recovered",
    "chain_check",
];

#[test]
fn two_hundred_blocks_are_ingested_executed_checked_and_summed_up() {
    let place = Place::new();
    let summary = summary(place.run_acked().args(["--blocks", "200", "--seed", "7"]), 0);
    for name in NAMES {
        at(&summary, name);
    }
    assert_eq!(text(&summary, "schema"), "roadbed.run/1");
    assert_eq!(text(&summary, "result"), "ok");
    assert_eq!((text(&summary, "state"), at(&summary, "chaos").is_null()), ("running", true));
    assert_eq!(text(&summary, "stop_reason"), "blocks");
    assert_eq!(number(&summary, "seed"), 7);
    for cursor in ["next_app_proposal", "next_block_to_persist", "next_block", "next_qc", "blocks_ingested"] {
        assert_eq!(number(&summary, cursor), 200, "{cursor}");
    }
    assert_eq!(number(&summary, "first"), 0);
    // Eight transactions of 128 bytes in each block.
    assert!(number(&summary, "bytes_durable") > 200 * 1024);
    assert_eq!(text(&summary, "recovered.reconcile_case"), "1");
    assert_eq!(at(&summary, "chain_check.ok"), true);
    assert_eq!(number(&summary, "chain_check.checked_blocks"), 200);
    assert_eq!(number(&summary, "chain_check.acked_checked"), 200);
    let rejected = at(&summary, "rejected").as_object().unwrap();
    assert!(!rejected.is_empty(), "the peers of seed 7 send something invalid within 20 QCs");
    assert_eq!(place.acked(), 200);
}

#[test]
fn a_run_goes_on_where_the_one_before_stopped() {
    let place = Place::new();
    let first = summary(place.run_acked().args(["--blocks", "100"]), 0);
    let second = summary(place.run_acked().args(["--blocks", "95"]), 0);
    assert_eq!(number(&second, "recovered.next_block"), 100);
    assert_eq!(number(&second, "next_block"), 200, "rounded up to whole QCs");
    assert_eq!(number(&second, "blocks_ingested"), 100);
    assert_eq!(number(&second, "chain_check.checked_blocks"), 200);
    assert_ne!(text(&first, "chain_hash"), text(&second, "chain_hash"));

    let at_once = Place::new();
    let at_once = summary(at_once.run().args(["--blocks", "200"]), 0);
    assert_eq!(text(&second, "chain_hash"), text(&at_once, "chain_hash"), "however often it stopped");
}

#[test]
fn nothing_new_is_a_run_as_well() {
    let place = Place::with_blocks(50);
    let summary = summary(place.run().args(["--blocks", "0"]), 0);
    assert_eq!(number(&summary, "blocks_ingested"), 0);
    assert_eq!(number(&summary, "chain_check.checked_blocks"), 50);
}

#[test]
fn a_time_ends_a_run() {
    let place = Place::new();
    let summary = summary(place.run().args(["--duration", "300ms"]), 0);
    assert_eq!(text(&summary, "stop_reason"), "duration");
    assert_eq!(number(&summary, "next_app_proposal"), number(&summary, "next_block"));
}

#[test]
fn pruning_leaves_what_was_asked_for_and_a_later_run_knows_the_state_before_it() {
    let place = Place::new();
    let run = |blocks: &str| {
        let mut command = place.run_acked();
        command.args(["--blocks", blocks, "--retain-blocks", "50", "--rate", "400"]);
        summary(&mut command, 0)
    };
    // Pruning works by the clock: two of its rounds pass.
    let first = run("1000");
    assert!(number(&first, "first") > 0);
    let second = run("100");
    assert!(number(&second, "recovered.first") >= number(&first, "first"));
    assert_eq!(number(&second, "next_block"), 1100);
    assert_eq!(at(&second, "chain_check.ok"), true);

    let whole = Place::new();
    let whole = summary(whole.run().args(["--blocks", "1100"]), 0);
    assert_eq!(text(&second, "chain_hash"), text(&whole, "chain_hash"));
}

#[test]
fn in_memory_behaves_the_same_and_leaves_nothing() {
    let place = Place::new();
    let summary = summary(place.run().args(["--blocks", "200", "--in-memory"]), 0);
    assert_eq!(number(&summary, "next_app_proposal"), 200);
    assert_eq!(number(&summary, "bytes_durable"), 0);
    assert_eq!(number(&summary, "chain_check.checked_blocks"), 200);
    assert!(!place.dir().exists());
}

#[test]
fn other_shapes_and_committees_work() {
    for flags in [
        ["--committee", "1", "--blocks-per-qc", "1", "--txs", "1", "--tx-bytes", "0"],
        ["--committee", "10", "--blocks-per-qc", "40", "--txs", "0", "--tx-bytes", "5"],
        ["--committee", "7", "--blocks-per-qc", "3", "--txs", "30", "--tx-bytes", "10000"],
    ] {
        let place = Place::new();
        let report = summary(place.run().args(flags).args(["--blocks", "120"]), 0);
        assert_eq!(number(&report, "next_app_proposal"), 120);
        let again = summary(place.run().args(flags).args(["--blocks", "120"]), 0);
        assert_eq!(number(&again, "chain_check.checked_blocks"), 240);
    }
}

#[test]
fn injected_faults_cost_restarts_and_nothing_else() {
    let place = Place::new();
    let report = summary(place.run_acked().args(["--duration", "6s", "--rate", "2000", "--chaos", "3"]), 0);
    let restarts = ["qc_wal", "block_wal", "verifier", "pruner"];
    let restarts: u64 = restarts.iter().map(|actor| number(&report, &format!("restarts.{actor}"))).sum();
    assert!(restarts > 0);
    let kinds = [
        "panic",
        "error",
        "hang",
        "handler_panic",
        "stop",
        "disk_full",
        "write_eio",
        "write_short",
        "write_enospc",
        "write_stuck",
    ];
    for kind in kinds {
        assert!(number(&report, &format!("chaos.{kind}")) > 0, "{kind}: {report}");
    }
    assert_eq!(at(&report, "chain_check.ok"), true);
    assert_eq!(number(&report, "chain_check.acked_checked"), place.acked());
    let after = summary(place.run_acked().args(["--blocks", "100"]), 0);
    assert_eq!(at(&after, "chain_check.ok"), true);
}

#[test]
fn without_json_the_summary_is_for_people() {
    let place = Place::new();
    let output = output(roadbed().args(["run", "--rate", "0", "--blocks", "20", "--dir"]).arg(place.dir()));
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    for line in ["result       ok (blocks)", "blocks       0..20 held", "chain check  ok, 20 blocks"] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert!(stderr(&output).contains("a new store, seed 1, committee of 4"));
}

#[test]
fn flags_can_come_from_the_environment() {
    let place = Place::new();
    let mut command = roadbed();
    command.arg("run").env("ROADBED_DIR", place.dir()).env("ROADBED_BLOCKS", "20").env("ROADBED_RATE", "0");
    let report = summary(command.env("ROADBED_JSON", "true").env("ROADBED_SEED", "9"), 0);
    assert_eq!(number(&report, "seed"), 9);
    assert_eq!(number(&report, "next_block"), 20);
}
