//! `verify` and `inspect` on directories in every state: exit code, output, and that nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use roadbed::store::log_options;
use roadbed_messages::api::WalKind;
use roadbed_messages::testing;
use roadbed_wal::{Entry, FileSystem, Log};
use serde_json::Value;

use crate::support::*;

fn tool(name: &str, dir: &Path, flags: &[&str]) -> Command {
    let mut command = roadbed();
    command.arg(name).arg(dir).args(flags);
    command
}

/// Both tools with every flag, on a directory that they must not change; answers the deep report.
fn judge(dir: &Path, verify_code: i32, inspect_code: i32) -> Value {
    let before = snapshot(dir);
    for flags in [&[][..], &["--deep"], &["--json"]] {
        let output = output(&mut tool("verify", dir, flags));
        assert_eq!(code(&output), verify_code, "{flags:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains(dir.to_str().unwrap()));
    }
    for flags in [&[][..], &["--json"]] {
        let output = output(&mut tool("inspect", dir, flags));
        assert_eq!(code(&output), inspect_code, "{flags:?}: {}{}", stdout(&output), stderr(&output));
    }
    let report = summary(&mut tool("verify", dir, &["--deep", "--json"]), verify_code);
    assert!(before == snapshot(dir), "a file of {} was changed", dir.display());
    report
}

/// The last segment of a log, and where its valid part ends.
fn last_segment(dir: &Path, log: &str) -> (PathBuf, u64) {
    let report = summary(&mut tool("inspect", dir, &["--json"]), 0);
    let segments = at(&report, &format!("{log}.segments")).as_array().unwrap();
    assert_eq!(segments.len(), 1, "the test wants a small log");
    let end = number(&report, &format!("{log}.size_bytes"));
    (dir.join(log).join(text(&segments[0], "file")), end)
}

/// A store that was killed, so that its logs were not closed.
fn killed() -> Place {
    let place = Place::new();
    let mut node = Running::start(&mut place.run_acked());
    place.wait_for_acks(100, &mut node);
    node.kill();
    place
}

#[test]
fn a_healthy_directory_is_clean() {
    let place = Place::with_blocks(200);
    let report = judge(&place.dir(), 0, 0);
    assert_eq!(text(&report, "schema"), "roadbed.verify/1");
    assert_eq!(text(&report, "result"), "clean");
    assert_eq!(number(&report, "qcs.entries"), 20);
    assert_eq!(number(&report, "blocks.entries"), 200);
    assert_eq!(at(&report, "blocks.clean_close"), true);
    assert_eq!(number(&report, "deep.qcs"), 20);
    assert_eq!(number(&report, "deep.blocks"), 200);
    assert_eq!(text(&report, "next_start.reconcile_case"), "4");
    assert_eq!(number(&report, "next_start.next_block"), 200);

    let inspection = summary(&mut tool("inspect", &place.dir(), &["--json"]), 0);
    assert_eq!(text(&inspection, "schema"), "roadbed.inspect/1");
    assert_eq!(number(&inspection, "committee.members"), 4);
    assert_eq!(number(&inspection, "committee.commit_quorum"), 3);
    assert!(at(&inspection, "in_use_by").is_null());
    assert_eq!(number(&inspection, "blocks.next_index"), 200);
    assert_eq!(number(&inspection, "next_start.next_qc"), 200);
}

#[test]
fn a_pruned_directory_is_clean() {
    let place = Place::new();
    let pruned = ["--retain-blocks", "20", "--rate", "400", "--blocks", "800"];
    let run = summary(place.run().args(pruned), 0);
    let report = judge(&place.dir(), 0, 0);
    assert_eq!(number(&report, "next_start.first"), number(&run, "first"));
    assert!(number(&run, "first") > 0);
}

#[test]
fn a_killed_directory_is_clean_or_torn_and_starts() {
    let place = killed();
    let output = output(&mut tool("verify", &place.dir(), &["--deep"]));
    assert!(matches!(code(&output), 0 | 4), "{}", stdout(&output));
    summary(place.run_acked().args(["--blocks", "0"]), 0);
}

/// Leaves in the block log what a power cut inside an unsynced write does: the frames of a group whose first one never
/// got to the disk.
pub(crate) fn tear(place: &Place) {
    let committee = testing::committee(1, 4).committee;
    let options = log_options(&committee, WalKind::Blocks);
    let mut log = Log::open(Arc::new(FileSystem), &place.dir().join("blocks"), options).unwrap();
    let (next, group) = (log.range().end, log.size_bytes().next_multiple_of(4096));
    for index in next..next + 5 {
        log.append(index, Entry { key: index + 1, digest: 0, payload: &[7; 500] }).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let (segment, _) = last_segment(&place.dir(), "blocks");
    overwrite(&segment, group + 8, &[0xab; 16]);
}

#[test]
fn a_torn_tail_is_told_apart_and_the_next_start_cuts_it_off() {
    let place = killed();
    tear(&place);
    let report = judge(&place.dir(), 4, 0);
    assert_eq!(text(&report, "result"), "torn_tail");
    assert!(number(&report, "blocks.torn_bytes") > 0);
    let told = stdout(&output(&mut tool("verify", &place.dir(), &[])));
    assert!(told.contains("of a torn tail") && told.contains("next: roadbed run --dir"), "{told}");

    let run = summary(place.run_acked().args(["--blocks", "0"]), 0);
    assert!(number(&run, "recovered.torn_bytes") > 0);
    judge(&place.dir(), 0, 0);
}

#[test]
fn damage_to_what_was_durable_is_corruption() {
    for log in ["qcs", "blocks"] {
        let place = Place::with_blocks(200);
        let (segment, _) = last_segment(&place.dir(), log);
        // Inside the first frames, behind the header page.
        overwrite(&segment, 4096 + 150, &[0xab; 8]);
        let report = judge(&place.dir(), 3, 3);
        assert_eq!(text(&report, "result"), "corrupt");
        let problem = report["problems"][0].as_str().unwrap();
        assert!(!problem.contains("run verify"), "advice that was taken already: {problem}");
        assert!(problem.contains(segment.to_str().unwrap()), "{problem}");
        assert!(problem.contains("offset 4096"), "{problem}");

        let before = snapshot(&place.dir().join(log));
        let run = output(place.run().args(["--blocks", "10"]));
        assert_eq!(code(&run), 3, "{}", stderr(&run));
        assert!(stderr(&run).contains("next: roadbed verify --deep"), "{}", stderr(&run));
        assert!(before == snapshot(&place.dir().join(log)), "a file was changed");
    }
}

#[test]
fn a_lost_block_log_is_corruption_for_verify_and_asked_for_again_by_a_run() {
    let place = Place::with_blocks(200);
    fs::remove_dir_all(place.dir().join("blocks")).unwrap();
    fs::create_dir(place.dir().join("blocks")).unwrap();
    let report = judge(&place.dir(), 3, 0);
    assert_eq!(text(&report, "next_start.reconcile_case"), "3");

    let run = output(place.run().args(["--blocks", "250"]));
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(stderr(&run).contains("LOST: the block log is missing"), "{}", stderr(&run));
    let report = last_line(&stdout(&run));
    assert!(text(&report, "recovered.lost").contains("the block log is missing"));
    assert_eq!(number(&report, "recovered.next_block"), 0);
    assert_eq!(number(&report, "chain_check.checked_blocks"), 250, "the peers delivered it all again");
}

#[test]
fn a_committee_of_another_chain_is_a_problem() {
    let (place, other) = (Place::with_blocks(20), Place::new());
    summary(other.run().args(["--blocks", "20", "--seed", "2"]), 0);
    fs::copy(other.dir().join("committee.json"), place.dir().join("committee.json")).unwrap();
    let report = judge(&place.dir(), 3, 3);
    assert!(report["problems"][0].as_str().unwrap().contains("committee.json"));
}

#[test]
fn blocks_of_another_chain_are_found_out() {
    let (place, other) = (Place::with_blocks(20), Place::new());
    summary(other.run().args(["--blocks", "20", "--seed", "2"]), 0);
    fs::remove_dir_all(place.dir().join("blocks")).unwrap();
    copy(&other.dir().join("blocks"), &place.dir().join("blocks"));
    let output = output(&mut tool("verify", &place.dir(), &[]));
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("belongs to another log"), "{}", stderr(&output));
}

#[test]
fn what_is_no_store_is_told_by_name() {
    let place = Place::new();
    let (empty, foreign, file) = (place.path("empty"), place.path("foreign"), place.path("file"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear all").unwrap();
    fs::write(&file, "").unwrap();
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("STORE"), "{\"magic\": \"corner shop\", \"format\": 1}").unwrap();
    for (dir, expected, words) in [
        (&place.path("missing"), 2, "does not exist"),
        (&file, 2, "is not a directory"),
        (&empty, 7, "is empty"),
        (&foreign, 7, "has no STORE marker"),
        (&other, 3, "is not a Roadbed marker"),
    ] {
        for name in ["verify", "inspect"] {
            let output = output(&mut tool(name, dir, &[]));
            assert_eq!(code(&output), expected, "{name} {}: {}", dir.display(), stderr(&output));
            let told = stderr(&output);
            assert!(told.contains(words) && told.contains(dir.to_str().unwrap()), "{told}");
            assert!(stdout(&output).is_empty());
        }
    }
    assert!(!place.path("missing").exists());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn what_a_running_node_has_open_can_be_inspected() {
    let place = Place::new();
    let mut node = Running::start(&mut place.run_acked());
    place.wait_for_acks(50, &mut node);
    let told = stdout(&output(&mut tool("inspect", &place.dir(), &[])));
    assert!(told.contains("in use    by process"), "{told}");
    assert!(node.is_running());
}

#[test]
fn a_problem_beside_a_node_that_does_not_pass_ends_with_an_error_and_without_numbers() {
    let place = Place::with_blocks(2500);
    fs::remove_file(place.dir().join("blocks").join("00000000000000000001.seg")).unwrap();
    // As a node holds it.
    let lock = fs::File::open(place.dir().join("LOCK")).unwrap();
    lock.lock().unwrap();
    for flags in [&[][..], &["--json"], &["blocks"]] {
        let looked = output(&mut tool("inspect", &place.dir(), flags));
        assert_eq!(code(&looked), 1, "{flags:?}: {}{}", stdout(&looked), stderr(&looked));
    }
    let told = stdout(&output(&mut tool("inspect", &place.dir(), &[])));
    assert!(told.contains("blocks    can't be judged") && told.contains("  problem: "), "{told}");
    assert!(!told.contains("index 0..0"), "{told}");
    drop(lock);
    assert_eq!(code(&output(&mut tool("inspect", &place.dir(), &[]))), 3);
}

#[test]
fn damage_in_a_sealed_segment_is_shown_by_inspect_segments_and_the_summary_says_what_it_read() {
    let place = Place::with_blocks(2500);
    let sealed = place.dir().join("blocks").join("00000000000000000001.seg");
    overwrite(&sealed, 300_000, &[0xab; 8]);
    let report = judge(&place.dir(), 3, 0);
    assert_eq!(text(&report, "result"), "corrupt");
    let told = stdout(&output(&mut tool("inspect", &place.dir(), &[])));
    assert!(told.contains("read      headers and last segments"), "{told}");
    let report = summary(&mut tool("inspect", &place.dir(), &["segments", "--json"]), 3);
    let damaged: Vec<_> =
        at(&report, "segments").as_array().unwrap().iter().filter(|one| one["state"] == "damaged").collect();
    assert_eq!(damaged.len(), 1);
    assert_eq!(text(damaged[0], "file"), "00000000000000000001.seg");
}
