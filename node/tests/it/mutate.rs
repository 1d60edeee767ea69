//! The tools that change a directory, and those that copy one: what they do to healthy and to broken ones, and that a
//! dry run and a refusal change nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use roadbed_wal::{FileSystem, Log, LogOptions};
use serde_json::Value;

use crate::support::*;
use crate::tools::tear;

fn tool(name: &str, dir: &Path, flags: &[&str]) -> Command {
    let mut command = roadbed();
    command.arg(name).arg(dir).args(flags);
    command
}

fn extent(report: &Value, when: &str) -> (u64, u64, u64) {
    let cursor = |name: &str| number(report, &format!("{when}.{name}"));
    (cursor("first"), cursor("next_block"), cursor("next_qc"))
}

/// All that a store holds, as JSON lines.
fn exported(dir: &Path) -> String {
    let output = output(&mut tool("export", dir, &[]));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output)
}

fn verify_deep(dir: &Path) -> Value {
    summary(&mut tool("verify", dir, &["--deep", "--json"]), 0)
}

#[test]
fn rollback_ends_the_store_where_it_is_told_and_what_it_saved_brings_it_back() {
    let place = Place::with_blocks(200);
    let all = exported(&place.dir());
    for (to, next_qc, qcs, blocks) in [(155, 160, 4, 45), (150, 150, 5, 50), (1, 10, 19, 199)] {
        let before = snapshot(&place.dir());
        let dry = ["--to", &to.to_string(), "--dry-run", "--json"];
        let report = summary(&mut tool("rollback", &place.dir(), &dry), 0);
        assert_eq!(text(&report, "result"), "dry_run");
        assert!(before == snapshot(&place.dir()), "the dry run has written");

        let report =
            summary(&mut tool("rollback", &place.dir(), &["--to", &to.to_string(), "--yes", "--json"]), 0);
        assert_eq!(extent(&report, "before"), (0, 200, 200));
        assert_eq!(extent(&report, "after"), (0, to, next_qc));
        verify_deep(&place.dir());

        let saved = text(&report, "saved").to_owned();
        let report = summary(&mut tool("import", &place.dir(), &[&saved, "--json"]), 0);
        assert_eq!((number(&report, "qcs_added"), number(&report, "blocks_added")), (qcs, blocks));
        assert_eq!(exported(&place.dir()), all);
    }
    // The chain is the same, so the node goes on.
    let run = summary(place.run().args(["--blocks", "10"]), 0);
    assert_eq!(number(&run, "next_block"), 210);
}

#[test]
fn truncate_drops_the_front_and_what_it_saved_holds_it() {
    let place = Place::with_blocks(200);
    let report = summary(&mut tool("truncate", &place.dir(), &["--before", "55", "--yes", "--json"]), 0);
    assert_eq!(extent(&report, "after"), (55, 200, 200));
    let verified = verify_deep(&place.dir());
    assert_eq!(number(&verified, "qcs.first_index"), 5, "the QC of blocks 50 to 60 stays");
    let notes = at(&verified, "next_start.notes");
    assert_eq!(notes.as_array().map(Vec::len), Some(0), "nothing will be dropped: {notes}");

    let archive = text(&report, "saved").to_owned();
    let front = place.path("front");
    let report = summary(&mut tool("import", &front, &[&archive, "--json"]), 0);
    assert_eq!(extent(&report, "extent"), (0, 55, 60));
    let again = summary(&mut tool("truncate", &place.dir(), &["--before", "55", "--yes", "--json"]), 0);
    assert_eq!(text(&again, "result"), "nothing_to_do");
    assert_eq!(number(&summary(place.run().args(["--blocks", "10"]), 0), "next_block"), 210);
}

#[test]
fn a_cut_that_can_not_be_is_refused_and_nothing_is_changed() {
    let place = Place::with_blocks(50);
    let before = snapshot(&place.dir());
    for (name, flags, expected, words) in [
        ("rollback", &["--to", "0", "--yes"][..], 2, "it must be from 1 to 50"),
        ("rollback", &["--to", "51", "--yes"], 2, "it must be from 1 to 50"),
        ("truncate", &["--before", "50", "--yes"], 2, "it must be at most 49"),
        ("rollback", &["--to", "20"], 7, "say --yes"),
        ("truncate", &["--before", "20"], 7, "say --yes"),
        ("export", &["--from", "20", "--to", "60"], 2, "holds blocks 0..50"),
        ("export", &["--from", "20", "--to", "20"], 2, "name a part of them"),
    ] {
        let output = output(&mut tool(name, &place.dir(), flags));
        assert_eq!(code(&output), expected, "{name} {flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    assert!(before == snapshot(&place.dir()));
}

#[test]
fn every_tool_says_the_same_of_directories_that_it_can_not_use() {
    let (torn, corrupt, locked, newer) =
        (Place::with_blocks(50), Place::with_blocks(50), Place::new(), Place::with_blocks(20));
    tear(&torn);
    overwrite(&corrupt.dir().join("blocks/00000000000000000001.seg"), 4096 + 150, &[0xab; 8]);
    let mut node = Running::start(&mut locked.run_acked());
    locked.wait_for_acks(30, &mut node);
    let marker = newer.dir().join("STORE");
    let text = fs::read_to_string(&marker).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&marker, text).unwrap();
    let (empty, foreign) = (newer.path("empty"), newer.path("foreign"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear all").unwrap();

    for (dir, expected, words) in [
        (torn.dir(), 7, "wants a repair first: roadbed repair"),
        (corrupt.dir(), 3, "damage in"),
        (locked.dir(), 5, "is in use by process"),
        (newer.dir(), 6, "format 2, this program reads up to 1"),
        (empty, 7, "is empty"),
        (foreign, 7, "has no STORE marker"),
        (newer.path("missing"), 2, "does not exist"),
    ] {
        let before = dir.is_dir().then(|| snapshot(&dir)).filter(|_| dir != locked.dir());
        for (name, flags) in
            [("rollback", &["--to", "7", "--yes"][..]), ("truncate", &["--before", "7", "--yes"])]
        {
            let output = output(&mut tool(name, &dir, flags));
            assert_eq!(code(&output), expected, "{name} {}: {}", dir.display(), stderr(&output));
            assert!(stderr(&output).contains(words), "{name}: {}", stderr(&output));
        }
        if expected != 7 || words != "wants a repair first: roadbed repair" {
            for name in ["repair", "export"] {
                let output = output(&mut tool(name, &dir, &[]));
                assert_eq!(code(&output), expected, "{name} {}: {}", dir.display(), stderr(&output));
            }
        }
        if let Some(before) = before {
            assert!(before == snapshot(&dir), "{} was changed", dir.display());
        }
    }
    assert!(node.is_running());
}

#[test]
fn repair_cuts_a_torn_tail_and_keeps_the_evidence() {
    let place = Place::with_blocks(50);
    assert_eq!(text(&summary(&mut tool("repair", &place.dir(), &["--json"]), 0), "result"), "nothing_to_do");
    tear(&place);
    let before = snapshot(&place.dir());
    let dry = summary(&mut tool("repair", &place.dir(), &["--dry-run", "--json"]), 0);
    assert_eq!(text(&dry, "result"), "dry_run");
    assert!(dry["plan"][0].as_str().unwrap().contains("blocks: cut off a torn tail of"), "{dry}");
    assert!(before == snapshot(&place.dir()));

    let report = summary(&mut tool("repair", &place.dir(), &["--yes", "--json"]), 0);
    assert_eq!(extent(&report, "after"), (0, 50, 50));
    let saved = Path::new(text(&report, "saved")).join("blocks/00000000000000000001.seg");
    assert!(saved.exists());
    verify_deep(&place.dir());
    assert_eq!(text(&summary(&mut tool("repair", &place.dir(), &["--json"]), 0), "result"), "nothing_to_do");
}

#[test]
fn repair_moves_both_logs_aside_when_the_qcs_are_lost() {
    let place = Place::with_blocks(50);
    fs::remove_dir_all(place.dir().join("qcs")).unwrap();
    let report = summary(&mut tool("repair", &place.dir(), &["--yes", "--json"]), 0);
    assert_eq!(extent(&report, "after"), (0, 0, 0));
    assert!(place.dir().join("aside/blocks-1/00000000000000000001.seg").exists());
    assert_eq!(number(&summary(place.run().args(["--blocks", "80"]), 0), "next_block"), 80);
}

#[test]
fn repair_makes_the_marker_again() {
    let place = Place::with_blocks(50);
    let marker = place.dir().join("STORE");
    let content = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    summary(&mut tool("repair", &place.dir(), &["--dry-run", "--json"]), 0);
    assert!(!marker.exists());
    summary(&mut tool("repair", &place.dir(), &["--yes", "--json"]), 0);
    assert_eq!(fs::read(&marker).unwrap(), content);
    verify_deep(&place.dir());

    // Not for logs of another chain.
    let other = Place::new();
    summary(other.run().args(["--blocks", "20", "--seed", "2"]), 0);
    fs::remove_file(&marker).unwrap();
    fs::copy(other.dir().join("committee.json"), place.dir().join("committee.json")).unwrap();
    let output = output(&mut tool("repair", &place.dir(), &["--yes"]));
    assert_eq!(code(&output), 7);
    assert!(stderr(&output).contains("is not of the chain of"), "{}", stderr(&output));
    assert!(!marker.exists());
}

#[test]
fn export_and_import_reproduce_the_store() {
    let place = Place::new();
    let pruned = ["--retain-blocks", "35", "--rate", "400", "--blocks", "800"];
    let run = summary(place.run().args(pruned), 0);
    assert!(number(&run, "first") > 0);
    let (lines, archive) = (place.path("lines"), place.path("archive"));
    fs::write(&lines, exported(&place.dir())).unwrap();
    summary(&mut tool("export", &place.dir(), &["--archive", archive.to_str().unwrap(), "--json"]), 0);
    for (nth, file) in [&lines, &archive].into_iter().enumerate() {
        let copy = place.path(&format!("copy-{nth}"));
        let dry = summary(&mut tool("import", &copy, &[file.to_str().unwrap(), "--dry-run", "--json"]), 0);
        assert_eq!(text(&dry, "result"), "dry_run");
        assert!(!copy.exists());
        summary(&mut tool("import", &copy, &[file.to_str().unwrap(), "--json"]), 0);
        let (original, copied) = (verify_deep(&place.dir()), verify_deep(&copy));
        for name in
            ["qcs.first_index", "qcs.next_index", "blocks.first_index", "blocks.next_index", "deep", "chain"]
        {
            assert_eq!(at(&original, name), at(&copied, name), "{name}");
        }
        assert_eq!(exported(&copy), exported(&place.dir()));
        // It serves the same chain: the check compares every block that it has with the seed.
        let run = summary(
            roadbed().args(["run", "--json", "--rate", "0", "--blocks", "50", "--dir"]).arg(&copy),
            0,
        );
        assert_eq!(at(&run, "chain_check.ok"), true);
        assert_eq!(number(&run, "recovered.first"), number(&original, "blocks.first_index"));
    }
}

#[test]
fn an_archive_that_was_cut_short_is_gone_on_with_by_export_and_by_import() {
    let place = Place::with_blocks(200);
    let (archive, part, copy) = (place.path("archive"), place.path("part"), place.path("copy"));
    let (archive_name, part_name) = (archive.to_str().unwrap(), part.to_str().unwrap());
    summary(&mut tool("export", &place.dir(), &["--archive", archive_name, "--json"]), 0);
    let whole = fs::read(&archive).unwrap();
    for cut in [whole.len() / 3, whole.len() / 2, whole.len() - 10] {
        fs::write(&part, &whole[..cut]).unwrap();
        let short = output(&mut tool("import", &copy, &[part_name]));
        assert_eq!(code(&short), 3);
        assert!(stderr(&short).contains("the archive holds only up to offset"), "{}", stderr(&short));
        verify_deep(&copy);

        let report = summary(&mut tool("export", &place.dir(), &["--archive", part_name, "--json"]), 0);
        assert_eq!(at(&report, "resumed"), true);
        assert!(fs::read(&part).unwrap() == whole, "gone on with at {cut}");
    }
    summary(&mut tool("import", &copy, &[part_name, "--json"]), 0);
    assert_eq!(exported(&copy), exported(&place.dir()));
    let complete = output(&mut tool("export", &place.dir(), &["--archive", part_name]));
    assert_eq!(code(&complete), 7, "a complete archive is not written over");
}

#[test]
fn json_lines_that_were_cut_short_are_told_and_gone_on_with() {
    let place = Place::with_blocks(200);
    let (file, copy) = (place.path("lines"), place.path("copy"));
    let lines = exported(&place.dir());
    let head = |count: usize| lines.split_inclusive('\n').take(count).collect::<String>();
    // 20 QCs, each before its 10 blocks: line 200 is the QC behind block 179.
    for (content, missing) in [
        (head(1), "blocks 0..200 are missing"),
        (head(200), "blocks 180..200 are missing"),
        (lines[..lines.len() - 5].to_owned(), "blocks 199..200 are missing"),
    ] {
        fs::write(&file, content).unwrap();
        let short = output(&mut tool("import", &copy, &[file.to_str().unwrap()]));
        assert_eq!(code(&short), 3, "{}", stderr(&short));
        assert!(stderr(&short).contains(missing), "{}", stderr(&short));
        verify_deep(&copy);
        let dry = output(&mut tool("import", &place.path("dry"), &[file.to_str().unwrap(), "--dry-run"]));
        assert_eq!(code(&dry), 3, "{}", stderr(&dry));
    }
    fs::write(&file, &lines).unwrap();
    summary(&mut tool("import", &copy, &[file.to_str().unwrap(), "--json"]), 0);
    assert_eq!(exported(&copy), lines);
}

#[test]
fn an_import_that_fails_keeps_what_came_before_and_the_store_starts() {
    let place = Place::with_blocks(200);
    summary(&mut tool("truncate", &place.dir(), &["--before", "105", "--yes", "--json"]), 0);
    let lines = exported(&place.dir());
    let bad = place.path("bad");
    // Within the first batch, which begins above the start of the chain.
    let without = lines.split_inclusive('\n').filter(|line| !line.contains("\"number\":155,"));
    fs::write(&bad, without.collect::<String>()).unwrap();
    let first_qc_only: String = lines.split_inclusive('\n').take(2).collect();
    let half = place.path("half");
    fs::write(&half, first_qc_only).unwrap();
    let whole = place.path("whole");
    fs::write(&whole, &lines).unwrap();
    for (file, expected, next) in [(&bad, 7, 155), (&half, 3, 100)] {
        let copy = place.path(&format!("copy-{next}"));
        let failed = output(&mut tool("import", &copy, &[file.to_str().unwrap()]));
        assert_eq!(code(&failed), expected, "{}", stderr(&failed));
        if expected == 7 {
            let told = stderr(&failed);
            assert!(told.contains("block 156 comes, but the store's blocks end at 155"), "{told}");
            assert!(told.contains("give the command again with the whole file"), "{told}");
            assert_eq!(number(&verify_deep(&copy), "blocks.next_index"), next);
        }
        let started = place.path(&format!("started-{next}"));
        crate::support::copy(&copy, &started);
        summary(roadbed().args(["run", "--json", "--rate", "0", "--blocks", "0", "--dir"]).arg(&started), 0);
        summary(&mut tool("import", &copy, &[whole.to_str().unwrap(), "--json"]), 0);
        assert_eq!(exported(&copy), lines);
    }
}

#[test]
fn an_import_that_is_killed_at_its_beginning_is_named_by_the_start_and_can_be_given_again() {
    let place = Place::with_blocks(200);
    summary(&mut tool("truncate", &place.dir(), &["--before", "105", "--yes", "--json"]), 0);
    let lines = exported(&place.dir());
    let file = place.path("lines");
    fs::write(&file, &lines).unwrap();
    // As the kill leaves it: the QC log's cursor has moved to its first QC, and nothing was appended.
    let copy = place.path("copy");
    summary(roadbed().args(["run", "--json", "--blocks", "0", "--dir"]).arg(&copy), 0);
    let qcs = copy.join("qcs");
    let stream = roadbed_wal::inspect(&FileSystem, &qcs).unwrap()[0].header.as_ref().unwrap().stream;
    let mut log = Log::open(Arc::new(FileSystem), &qcs, LogOptions::new(stream)).unwrap();
    log.reset(10).unwrap();
    log.close().unwrap();

    let start = output(roadbed().args(["run", "--blocks", "0", "--dir"]).arg(&copy));
    assert_eq!(code(&start), 7, "{}", stderr(&start));
    assert!(stderr(&start).contains("give the import again with the whole file"), "{}", stderr(&start));
    summary(&mut tool("import", &copy, &[file.to_str().unwrap(), "--json"]), 0);
    assert_eq!(exported(&copy), lines);
}

#[test]
fn what_lies_below_the_front_is_left_out_and_told() {
    let place = Place::with_blocks(200);
    let cut = summary(&mut tool("truncate", &place.dir(), &["--before", "105", "--yes", "--json"]), 0);
    let saved = text(&cut, "saved").to_owned();
    let refused = output(&mut tool("import", &place.dir(), &[&saved]));
    assert_eq!(code(&refused), 7, "{}", stderr(&refused));
    let told = stderr(&refused);
    assert!(told.contains("nothing was added: 115 records lie below the front"), "{told}");
    assert!(told.contains("into a new directory"), "{told}");
}

#[test]
fn standard_input_takes_lines_and_says_what_else_it_got() {
    let place = Place::with_blocks(20);
    let archive = place.path("archive");
    summary(&mut tool("export", &place.dir(), &["--archive", archive.to_str().unwrap(), "--json"]), 0);
    let empty = place.path("empty");
    fs::write(&empty, "").unwrap();
    for (input, expected, words) in
        [(&empty, 7, "standard input is empty"), (&archive, 2, "an archive needs a file, not standard input")]
    {
        let mut import = tool("import", &place.path("copy"), &["-"]);
        let output = output(import.stdin(fs::File::open(input).unwrap()));
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(!place.path("copy").exists());
    }
}

#[test]
fn nothing_that_does_not_verify_is_imported() {
    let place = Place::with_blocks(100);
    let lines = exported(&place.dir());
    let file = place.path("lines");
    let swapped = |from: &str, to: &str| {
        // In the last record of its kind, so that there is something before it.
        let at = lines.rfind(from).unwrap();
        lines[..at].to_owned() + to + &lines[at + from.len()..]
    };
    let without = |nth: usize| {
        let kept: Vec<&str> =
            lines.lines().enumerate().filter(|(at, _)| *at != nth).map(|(_, line)| line).collect();
        kept.join("\n") + "\n"
    };
    for (nth, (content, words)) in [
        (swapped("\"gas\":", "\"gas\":1"), "does not verify"),
        (swapped("\"signature\":\"", "\"signature\":\"00"), "line "),
        (swapped("\"number\":95,", "\"number\":94,"), "does not verify"),
        (without(12), "block 10 does not verify"),
        (without(50), "import what lies between first"),
        (lines.replacen("roadbed.lines/1", "roadbed.lines/9", 1), "is no header of roadbed.lines/1"),
        (String::new(), "is empty"),
        ("milk\neggs\n".to_owned(), "it does not begin like one"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&file, &content).unwrap();
        let copy = place.path(&format!("copy-{nth}"));
        let output = output(&mut tool("import", &copy, &[file.to_str().unwrap()]));
        assert_eq!(code(&output), 7, "case {nth}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "case {nth}: {}", stderr(&output));
        if copy.exists() {
            verify_deep(&copy);
        }
    }
    // Another chain's records never get into a store.
    fs::write(&file, &lines).unwrap();
    let other = Place::new();
    summary(other.run().args(["--blocks", "20", "--seed", "2"]), 0);
    let before = snapshot(&other.dir());
    let output = output(&mut tool("import", &other.dir(), &[file.to_str().unwrap()]));
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(before == snapshot(&other.dir()));
}

#[test]
fn a_cut_that_can_not_save_what_goes_changes_nothing_and_saves_it_elsewhere_when_told() {
    let place = Place::with_blocks(2000);
    let before = snapshot(&place.dir());
    // Files of 64 KiB at most, as on a disk that is full.
    let mut full = Command::new("bash");
    full.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_roadbed")]);
    full.args(["truncate", "--before", "1500", "--yes"]).arg(place.dir());
    let output = output(&mut full);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("so nothing was changed") && stderr(&output).contains("--aside"));
    assert!(before == snapshot(&place.dir()), "{}", stderr(&output));

    let other = place.path("other disk");
    for (name, flags, expected) in [
        ("truncate", ["--before", "1500"], (1500, 2000, 2000)),
        ("rollback", ["--to", "1900"], (1500, 1900, 1900)),
    ] {
        let mut command = tool(name, &place.dir(), &flags);
        let report = summary(command.args(["--yes", "--json", "--aside"]).arg(&other), 0);
        assert_eq!(extent(&report, "after"), expected);
        assert_eq!(Path::new(text(&report, "saved")), other.join(format!("{name}-1.archive")));
    }
    let front = place.path("front");
    let report = summary(
        &mut tool("import", &front, &[other.join("truncate-1.archive").to_str().unwrap(), "--json"]),
        0,
    );
    assert_eq!(extent(&report, "extent"), (0, 1500, 1500));
}

#[test]
fn nothing_is_set_aside_in_a_log_of_its_own() {
    let place = Place::with_blocks(100);
    let before = snapshot(&place.dir());
    for log in ["qcs", "blocks/saved"] {
        let aside = place.dir().join(log);
        let mut command = tool("truncate", &place.dir(), &["--before", "50", "--yes", "--aside"]);
        let output = output(command.arg(&aside));
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("--aside"), "{}", stderr(&output));
        assert!(before == snapshot(&place.dir()), "{}", stderr(&output));
    }
}

#[test]
fn a_rollback_that_ended_between_the_logs_is_completed_by_the_next_start() {
    let place = Place::with_blocks(100);
    let committee = roadbed_messages::testing::committee(1, 4).committee;
    let options = roadbed::store::log_options(&committee, roadbed_messages::api::WalKind::Qcs);
    let mut log = Log::open(Arc::new(FileSystem), &place.dir().join("qcs"), options).unwrap();
    log.truncate_after(5).unwrap();
    log.close().unwrap();
    let started = place.path("started");
    crate::support::copy(&place.dir(), &started);
    let run =
        summary(roadbed().args(["run", "--json", "--rate", "0", "--blocks", "0", "--dir"]).arg(&started), 0);
    assert_eq!((number(&run, "recovered.next_qc"), number(&run, "recovered.next_block")), (50, 50));
    let report = summary(&mut tool("rollback", &place.dir(), &["--to", "45", "--yes", "--json"]), 0);
    assert_eq!(extent(&report, "after"), (0, 45, 50));
    verify_deep(&place.dir());
}
