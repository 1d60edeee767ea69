//! kill -9 at any time: nothing that was acknowledged is missing.

use crate::support::*;

const ROUNDS: u64 = 20;
/// Acknowledged in each round before the kill.
const ACKS_PER_ROUND: u64 = 150;

#[test]
fn twenty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let place = Place::new();
    let mut acked = 0;
    for round in 0..ROUNDS {
        // Each start compares what it recovered with every line before it goes on.
        let mut node = Running::start(&mut place.run_acked());
        if round > 0 {
            let line = node.wait_for_line(" acknowledged hashes are what ");
            assert!(
                line.contains(&format!(" and {acked} acknowledged hashes are what seed 1 gives")),
                "{line}"
            );
        }
        // Some further ones each time, so that the kill falls elsewhere.
        place.wait_for_acks(acked + ACKS_PER_ROUND + round * 13, &mut node);
        node.kill();
        acked = place.acked();
    }
    assert!(acked >= ROUNDS * ACKS_PER_ROUND);
    let report = summary(place.run_acked().args(["--blocks", "0"]), 0);
    assert_eq!(at(&report, "chain_check.ok"), true);
    assert!(number(&report, "chain_check.acked_checked") >= acked);
}

#[test]
fn kills_while_pruning_lose_nothing_that_was_acknowledged() {
    let place = Place::new();
    let run = || {
        let mut command = place.run_acked();
        command.args(["--retain-blocks", "30", "--tx-bytes", "2000"]);
        command
    };
    for round in 0..5 {
        let before = place.acked();
        let mut node = Running::start(&mut run());
        // The pruner's rounds are a second apart: the second line of progress comes after one of them.
        node.wait_for_line("progress ");
        node.wait_for_line("progress ");
        place.wait_for_acks(before + 50, &mut node);
        node.kill();
        let report = summary(run().args(["--blocks", "0"]), 0);
        assert_eq!(at(&report, "chain_check.ok"), true, "round {round}");
    }
    let report = summary(run().args(["--blocks", "10"]), 0);
    assert!(number(&report, "first") > 0, "it has pruned");
}

#[test]
fn kills_while_it_starts_lose_nothing_that_was_acknowledged() {
    let place = Place::new();
    // Wherever the making of a new store was, the next start goes on.
    for _ in 0..3 {
        Running::start(&mut place.run_acked()).kill();
    }
    let mut node = Running::start(&mut place.run_acked());
    place.wait_for_acks(100, &mut node);
    node.kill();
    for at in ["recovered blocks", "chain check: "] {
        Running::start(&mut place.run_acked()).kill();
        let mut node = Running::start(&mut place.run_acked());
        node.wait_for_line(at);
        node.kill();
    }
    let acked = place.acked();
    let report = summary(place.run_acked().args(["--blocks", "10"]), 0);
    assert!(number(&report, "chain_check.acked_checked") >= acked);
}

#[test]
fn an_acknowledged_block_that_is_missing_fails_the_chain_check() {
    let place = Place::new();
    summary(place.run_acked().args(["--blocks", "100"]), 0);
    std::fs::remove_dir_all(place.dir()).unwrap();
    let report = summary(place.run_acked().args(["--blocks", "100"]), 9);
    assert_eq!(text(&report, "result"), "chain_check_failed");
    assert!(text(&report, "stop_reason").contains("acks:1: the app hash of block 0 was acknowledged"));
    assert_eq!(at(&report, "chain_check.ok"), false);
    assert_eq!(number(&report, "next_block"), 0, "nothing was begun");
}

#[test]
fn an_acknowledged_hash_that_differs_fails_the_chain_check() {
    let place = Place::new();
    summary(place.run_acked().args(["--blocks", "100"]), 0);
    let lines = std::fs::read_to_string(place.acks()).unwrap();
    let mut lines: Vec<String> = lines.lines().map(ToOwned::to_owned).collect();
    lines[41] = format!("41 {}", "5a".repeat(32));
    std::fs::write(place.acks(), lines.join("\n") + "\n").unwrap();
    let report = summary(place.run_acked().args(["--blocks", "100"]), 9);
    assert!(text(&report, "stop_reason").contains("acks:42: app hash 5a5a"), "{report}");
}

#[test]
fn acknowledged_blocks_that_were_pruned_are_not_missing() {
    let place = Place::new();
    let run = |blocks: &str| {
        let mut command = place.run_acked();
        command.args(["--retain-blocks", "10", "--rate", "400", "--blocks", blocks]);
        summary(&mut command, 0)
    };
    let first = run("800");
    assert!(number(&first, "first") > 0);
    let second = run("10");
    assert!(number(&second, "chain_check.acked_checked") >= 810);
}

/// A run of large blocks of which most are pruned, so that the next start need not derive them.
fn pruned(place: &Place, blocks: &str) -> serde_json::Value {
    let mut command = place.run_acked();
    command.args(["--txs", "1", "--tx-bytes", "1048576", "--rate", "60", "--retain-blocks", "10"]);
    summary(command.args(["--blocks", blocks]), 0)
}

#[test]
fn a_start_goes_on_from_what_an_earlier_one_has_checked_and_finds_every_line_that_differs_all_the_same() {
    let place = Place::new();
    assert!(number(&pruned(&place, "120"), "first") > 0);
    let waypoints = place.dir().join("demo.json");
    assert!(waypoints.exists());
    let again = pruned(&place, "0");
    assert_eq!(number(&again, "chain_check.acked_checked"), place.acked());
    assert_eq!(at(&again, "chain_check.ok"), true);
    assert!(number(&again, "chain_check.derived_from") > 0, "{again}");
    let hash = text(&again, "chain_hash").to_owned();

    // A line of a block that is there differs, or is for one that is not: what it begins with is as it was.
    let lines = std::fs::read_to_string(place.acks()).unwrap();
    let (before, last) = lines.trim_end().rsplit_once('\n').unwrap();
    let (newest, _) = last.split_once(' ').unwrap();
    let beyond = number(&again, "next_block") + 5;
    for (acks, told) in [
        (format!("{before}\n{newest} {}\n", "5a".repeat(32)), "app hash 5a5a".to_owned()),
        (
            format!("{lines}{beyond} {}\n", "5a".repeat(32)),
            format!("app hash of block {beyond} was acknowledged"),
        ),
    ] {
        std::fs::write(place.acks(), acks).unwrap();
        let mut command = place.run_acked();
        command.args(["--txs", "1", "--tx-bytes", "1048576", "--blocks", "0"]);
        let report = summary(&mut command, 9);
        assert!(text(&report, "stop_reason").contains(&told), "{report}");
    }

    // A line for a block that was pruned long ago, before what the check begins with.
    let mut tampered: Vec<String> = lines.lines().map(ToOwned::to_owned).collect();
    tampered[3] = format!("3 {}", "5a".repeat(32));
    std::fs::write(place.acks(), tampered.join("\n") + "\n").unwrap();
    let mut command = place.run_acked();
    command.args(["--txs", "1", "--tx-bytes", "1048576", "--blocks", "0"]);
    let report = summary(&mut command, 9);
    assert!(text(&report, "stop_reason").contains("acks:4: app hash 5a5a"), "{report}");

    // Without its file a check begins at the first block, and says the same.
    std::fs::write(place.acks(), &lines).unwrap();
    std::fs::remove_file(&waypoints).unwrap();
    let whole = pruned(&place, "0");
    assert_eq!(number(&whole, "chain_check.acked_checked"), place.acked());
    assert_eq!(text(&whole, "chain_hash"), hash);
    std::fs::write(&waypoints, "{").unwrap();
    assert_eq!(text(&pruned(&place, "0"), "chain_hash"), hash);
}
