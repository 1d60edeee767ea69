//! An import that is killed goes on where it was; a dry run says what an import would, and writes nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::*;
use crate::tools::tear;

fn import(dir: &Path, file: &Path) -> Command {
    let mut command = roadbed();
    command.arg("import").arg(dir).arg(file);
    command
}

fn exported(dir: &Path) -> String {
    let output = output(roadbed().arg("export").arg(dir));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output)
}

fn archive(place: &Place, name: &str) -> std::path::PathBuf {
    let archive = place.path(name);
    let written = output(roadbed().arg("export").arg(place.dir()).arg("--archive").arg(&archive));
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    archive
}

#[test]
fn an_import_that_is_killed_again_and_again_goes_on_where_it_was() {
    let place = Place::with_blocks(6000);
    let (archive, copy) = (archive(&place, "archive"), place.path("copy"));
    let segment = |nth: u64| copy.join(format!("blocks/{nth:020}.seg"));
    let mut held = 0;
    for nth in [1, 3, 6] {
        let mut killed = import(&copy, &archive);
        killed.env("ROADBED_SEGMENT_BYTES", "1048576").stdout(Stdio::null()).stderr(Stdio::null());
        let mut killed = killed.spawn().unwrap();
        while !segment(nth).exists() {
            assert!(killed.try_wait().unwrap().is_none(), "it was over before segment {nth}");
            thread::yield_now();
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        // What is there can be started on, whatever it is; on a copy, for a start adds nothing here.
        let started = place.path(&format!("started-{nth}"));
        crate::support::copy(&copy, &started);
        let mut run = roadbed();
        run.args(["run", "--json", "--rate", "0", "--blocks", "0", "--dir"]).arg(&started);
        let run = summary(&mut run, 0);
        assert!(at(&run, "recovered.lost").is_null(), "{run}");
        let reached = number(&run, "recovered.next_block");
        assert!(reached >= held, "{run}");
        held = reached;
    }
    let report = summary(import(&copy, &archive).arg("--json"), 0);
    assert!(number(&report, "skipped") >= held && held > 0, "{report}");
    assert_eq!(number(&report, "extent.next_block"), 6000);
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(&copy), 0);
    assert!(exported(&copy) == exported(&place.dir()));
}

#[test]
fn a_dry_run_counts_as_an_import_does_and_changes_nothing() {
    let place = Place::with_blocks(200);
    let archive = archive(&place, "archive");
    let copy = place.path("copy");
    crate::support::copy(&place.dir(), &copy);
    let rolled = output(roadbed().args(["rollback", "--to", "155", "--yes"]).arg(&copy));
    assert_eq!(code(&rolled), 0, "{}", stderr(&rolled));
    for (dir, qcs, blocks, skipped) in [(&place.path("new"), 20, 200, 0), (&copy, 4, 45, 171)] {
        let before = dir.exists().then(|| snapshot(dir));
        let dry = summary(import(dir, &archive).args(["--dry-run", "--json"]), 0);
        assert!(before == dir.exists().then(|| snapshot(dir)), "the dry run has written");
        let done = summary(import(dir, &archive).arg("--json"), 0);
        for report in [dry, done] {
            assert_eq!(
                (number(&report, "qcs_added"), number(&report, "blocks_added"), number(&report, "skipped")),
                (qcs, blocks, skipped),
                "{report}"
            );
        }
    }
}

#[test]
fn an_import_is_refused_by_what_it_finds_and_a_dry_run_alike() {
    let place = Place::with_blocks(20);
    let archive = archive(&place, "archive");
    let other = |name: &str| {
        let dir = place.path(name);
        crate::support::copy(&place.dir(), &dir);
        dir
    };
    let (newer, corrupt, locked, unmarked, lost) =
        (other("newer"), other("corrupt"), other("locked"), other("unmarked"), other("lost"));
    let marker = newer.join("STORE");
    let text = fs::read_to_string(&marker).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&marker, text).unwrap();
    overwrite(&corrupt.join("blocks/00000000000000000001.seg"), 4096 + 150, &[0xab; 8]);
    let lock = fs::File::open(locked.join("LOCK")).unwrap();
    lock.lock().unwrap();
    fs::remove_file(unmarked.join("STORE")).unwrap();
    fs::remove_dir_all(lost.join("qcs")).unwrap();
    let foreign = place.path("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear all").unwrap();
    let chain = Place::new();
    summary(chain.run().args(["--blocks", "20", "--seed", "2"]), 0);
    for (dir, expected, words) in [
        (&newer, 6, "format 2, this program reads up to 1"),
        (&corrupt, 3, "damage in"),
        (&locked, 5, "is in use by process"),
        (&unmarked, 7, "STORE is missing, although"),
        (&lost, 7, "has no log, although STORE says"),
        (&foreign, 7, "it holds letter.txt"),
        (&chain.dir(), 7, "does not belong to this chain"),
    ] {
        let before = snapshot(dir);
        for flags in [&["--dry-run"][..], &[]] {
            let output = output(import(dir, &archive).args(flags));
            assert_eq!(code(&output), expected, "{} {flags:?}: {}", dir.display(), stderr(&output));
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
        assert!(before == snapshot(dir), "{} was changed", dir.display());
    }
}

#[test]
fn a_torn_tail_is_told_and_cut_off_by_an_import() {
    let place = Place::with_blocks(20);
    let archive = archive(&place, "archive");
    tear(&place);
    let before = snapshot(&place.dir());
    let dry = output(import(&place.dir(), &archive).arg("--dry-run"));
    assert!(code(&dry) == 0 && stderr(&dry).contains("bytes is cut off first"), "{}", stderr(&dry));
    assert!(before == snapshot(&place.dir()));
    let done = output(&mut import(&place.dir(), &archive));
    assert!(code(&done) == 0 && stderr(&done).contains("bytes is cut off first"), "{}", stderr(&done));
    summary(roadbed().args(["verify", "--json"]).arg(place.dir()), 0);
}

#[test]
fn an_index_that_no_qc_can_have_is_refused() {
    let place = Place::with_blocks(20);
    let lines = exported(&place.dir());
    let file = place.path("lines");
    for index in ["1", "18446744073709551615"] {
        fs::write(&file, lines.replacen("\"index\":0", &format!("\"index\":{index}"), 1)).unwrap();
        let copy = place.path(&format!("copy-{index}"));
        let output = output(&mut import(&copy, &file));
        assert_eq!(code(&output), 7, "{}", stderr(&output));
        assert!(stderr(&output).contains("it can't be the QC of that index"), "{}", stderr(&output));
    }
}
