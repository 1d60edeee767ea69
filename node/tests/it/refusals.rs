//! Input that can't be: each gets a clear error, its exit code, and leaves every file as it was.

use std::fs;

use crate::support::*;

/// Runs on `place` with these flags; answers what it said.
fn refused(place: &Place, flags: &[&str], expected_code: i32) -> String {
    let output = output(place.run().args(["--blocks", "10"]).args(flags));
    assert_eq!(code(&output), expected_code, "{flags:?}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn another_seed_or_committee_is_refused() {
    let place = Place::with_blocks(50);
    let before = snapshot(&place.dir());
    for flags in [["--seed", "2"], ["--committee", "7"]] {
        let error = refused(&place, &flags, 7);
        assert!(error.contains("was made with --seed 1 --committee 4, this run has"), "{error}");
        assert!(error.contains(place.dir().to_str().unwrap()));
    }
    assert!(before == snapshot(&place.dir()), "a file was changed");
}

#[test]
fn blocks_of_another_shape_are_refused_by_name() {
    let place = Place::with_blocks(50);
    crate::tools::tear(&place);
    let before = snapshot(&place.dir());
    for (flag, value) in [("--blocks-per-qc", "5"), ("--txs", "9"), ("--tx-bytes", "64")] {
        let error = refused(&place, &[flag, value], 7);
        assert!(error.contains("was made with --blocks-per-qc 10 --txs 8 --tx-bytes 128"), "{error}");
    }
    assert!(before == snapshot(&place.dir()), "the torn tail was repaired before the refusal");
    assert_eq!(number(&summary(place.run().args(["--blocks", "0"]), 0), "next_block"), 50);
}

#[test]
fn a_directory_in_use_is_refused_by_everything_that_could_disturb() {
    let place = Place::new();
    let mut node = Running::start(&mut place.run_acked());
    place.wait_for_acks(20, &mut node);
    let error = refused(&place, &[], 5);
    assert!(error.contains("is in use by process"), "{error}");
    let verify = output(roadbed().arg("verify").arg(place.dir()));
    assert_eq!(code(&verify), 5, "{}", stderr(&verify));
    let inspection = summary(roadbed().args(["inspect", "--json"]).arg(place.dir()), 0);
    assert!(at(&inspection, "in_use_by").is_u64());
    assert!(node.is_running());
}

#[test]
fn wrong_flags_are_refused_before_anything_is_made() {
    let place = Place::new();
    let inside = place.dir().join("acks");
    let inside = inside.to_str().unwrap();
    for (flags, words) in [
        (&["--bogus"][..], "--bogus"),
        (&["--duration", "10"], "such as 10s"),
        (&["--seed", "x"], "--seed"),
        (&["--committee", "0"], "from 1 to 1000"),
        (&["--blocks-per-qc", "121"], "from 1 to 120"),
        (&["--tx-bytes", "5000000"], "4194304 bytes"),
        (&["--retain-blocks", "0"], "--retain-blocks"),
        (&["--listen", "nowhere"], "such as 127.0.0.1:9464"),
        (&["--ack-log", inside], "inside --dir"),
        (&["--ack-log", "/no/such/directory/acks"], "there is no directory /no/such/directory"),
        (&["--seed", "-1"], "invalid value '-1' for '--seed"),
    ] {
        let error = refused(&place, flags, 2);
        assert!(error.contains(words), "{flags:?}: {error}");
        assert!(!place.dir().exists(), "{flags:?}");
    }
    assert_eq!(code(&output(&mut roadbed())), 2);
    assert_eq!(code(&output(roadbed().arg("--help"))), 0);
}

#[test]
fn a_file_that_is_no_ack_log_is_refused_and_kept() {
    let place = Place::new();
    fs::write(place.acks(), "milk\neggs\n").unwrap();
    let output = output(place.run_acked().args(["--blocks", "10"]));
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("acks:1: \"milk\" is not `number hash`"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(place.acks()).unwrap(), "milk\neggs\n");
    assert!(!place.dir().exists());
}

#[test]
fn a_newer_directory_is_refused() {
    let place = Place::with_blocks(20);
    let marker = place.dir().join("STORE");
    let text = fs::read_to_string(&marker).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&marker, text).unwrap();
    for command in [place.run(), verify(&place), inspect(&place)].iter_mut() {
        let output = output(command);
        assert_eq!(code(&output), 6, "{}", stderr(&output));
        assert!(stderr(&output).contains("format 2, this program reads up to 1"), "{}", stderr(&output));
    }
}

#[test]
fn logs_of_a_store_whose_marker_is_gone_are_refused() {
    let place = Place::with_blocks(20);
    fs::remove_file(place.dir().join("STORE")).unwrap();
    let before = snapshot(&place.dir());
    let error = refused(&place, &[], 7);
    assert!(
        error.contains("STORE is missing, although") && error.contains("next: roadbed repair"),
        "{error}"
    );
    for command in [&mut verify(&place), &mut inspect(&place)] {
        let output = output(command);
        assert_eq!(code(&output), 7);
        assert!(stderr(&output).contains("STORE is missing, although"), "{}", stderr(&output));
    }
    assert!(before == snapshot(&place.dir()));
}

#[test]
fn a_first_start_that_did_not_finish_is_told_as_such_and_started_again() {
    // In the order in which a first start makes them: the lock, the QC log, the block log, committee.json, STORE.
    for made in [
        &["LOCK"][..],
        &["LOCK", "qcs"],
        &["LOCK", "qcs", "blocks"],
        &["LOCK", "qcs", "blocks", "committee.json"],
    ] {
        let place = Place::new();
        summary(place.run().args(["--blocks", "0"]), 0);
        for name in ["LOCK", "qcs", "blocks", "committee.json", "STORE"] {
            let path = place.dir().join(name);
            match (made.contains(&name), path.is_dir()) {
                (true, _) => {}
                (false, true) => fs::remove_dir_all(path).unwrap(),
                (false, false) => fs::remove_file(path).unwrap(),
            }
        }
        let before = snapshot(&place.dir());
        let mut repair = roadbed();
        repair.args(["repair", "--yes"]).arg(place.dir());
        for command in [&mut verify(&place), &mut inspect(&place), &mut repair] {
            let output = output(command);
            assert_eq!(code(&output), 7, "{made:?}: {}", stderr(&output));
            let told = stderr(&output);
            assert!(told.contains("a first start that did not finish"), "{made:?}: {told}");
            assert!(!told.contains("next: roadbed repair"), "{told}");
        }
        assert!(before == snapshot(&place.dir()));
        summary(place.run().args(["--blocks", "10"]), 0);
    }
}

#[test]
fn without_marker_and_committee_no_repair_is_promised() {
    let place = Place::with_blocks(20);
    fs::remove_file(place.dir().join("STORE")).unwrap();
    fs::remove_file(place.dir().join("committee.json")).unwrap();
    let output = output(&mut verify(&place));
    assert_eq!(code(&output), 7);
    assert!(!stderr(&output).contains("next: roadbed repair"), "{}", stderr(&output));
}

#[test]
fn a_rate_that_nothing_reaches_is_refused() {
    let place = Place::new();
    let output = output(place.run().args(["--rate", "18446744073709551615"]));
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("is not in 0..=1000000"), "{}", stderr(&output));
}

#[test]
fn a_missing_committee_file_is_written_again_with_a_word() {
    let place = Place::with_blocks(20);
    let committee = place.dir().join("committee.json");
    let content = fs::read(&committee).unwrap();
    fs::remove_file(&committee).unwrap();
    let report = summary(verify(&place).args(["--deep", "--json"]), 1);
    assert_eq!(text(&report, "result"), "incomplete");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("committee.json is missing: `roadbed run`"), "{problem}");

    let run = output(place.run().args(["--blocks", "0"]));
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(stderr(&run).contains("committee.json was missing: written again"), "{}", stderr(&run));
    assert_eq!(fs::read(&committee).unwrap(), content);
    summary(verify(&place).args(["--deep", "--json"]), 0);
}

#[test]
fn a_damaged_committee_file_is_refused_by_a_run_as_by_verify() {
    let place = Place::with_blocks(20);
    fs::write(place.dir().join("committee.json"), "{").unwrap();
    let before = snapshot(&place.dir());
    let error = refused(&place, &[], 3);
    assert!(error.contains("committee.json is damaged") && error.contains("move it away"), "{error}");
    summary(verify(&place).arg("--json"), 3);
    assert!(before == snapshot(&place.dir()));
}

#[test]
fn a_start_that_is_refused_prints_its_summary_all_the_same() {
    let place = Place::with_blocks(20);
    let file = place.path("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for (flags, expected, result) in [
        (&["--seed", "2"][..], 7, "refused"),
        (&["--txs", "3"], 7, "refused"),
        (&["--dir", file], 2, "usage"),
        (&["--committee", "0"], 2, "usage"),
        (&["--bogus"], 2, "usage"),
    ] {
        let report = summary(place.run().args(flags), expected);
        assert_eq!(text(&report, "schema"), "roadbed.run/1", "{flags:?}");
        assert_eq!(text(&report, "result"), result, "{flags:?}");
        assert!(!text(&report, "stop_reason").is_empty());
        for name in crate::runs::NAMES {
            at(&report, name);
        }
    }
    let mut node = Running::start(&mut place.run_acked());
    place.wait_for_acks(20, &mut node);
    let report = summary(&mut place.run(), 5);
    assert_eq!(text(&report, "result"), "in_use");
    let report = summary(verify(&place).arg("--json"), 5);
    assert_eq!((text(&report, "schema"), text(&report, "result")), ("roadbed.verify/1", "in_use"));
}

#[test]
fn a_lost_qc_log_is_refused_until_the_loss_is_accepted() {
    let place = Place::with_blocks(50);
    fs::remove_dir_all(place.dir().join("qcs")).unwrap();
    let error = refused(&place, &[], 7);
    assert!(error.contains("QC log"), "{error}");
    let report = summary(verify(&place).arg("--json"), 3);
    assert_eq!(at(&report, "next_start.refused"), true);

    // The way out: nothing is deleted, and everything is asked for again.
    let report = summary(place.run().args(["--accept-lost-qcs", "--blocks", "80"]), 0);
    assert_eq!(number(&report, "recovered.next_block"), 0);
    assert_eq!(number(&report, "chain_check.checked_blocks"), 80);
    let inspection = summary(inspect(&place).arg("--json"), 0);
    assert_eq!(at(&inspection, "aside").as_array().unwrap().len(), 1);
    summary(verify(&place).args(["--deep", "--json"]), 0);
}

#[test]
fn a_directory_of_directories_is_no_store_and_nothing_is_put_into_it() {
    let place = Place::new();
    fs::create_dir_all(place.dir().join("sub")).unwrap();
    fs::write(place.dir().join("sub/f"), "hi").unwrap();
    let check = output(roadbed().args(["config", "check", "--dir"]).arg(place.dir()));
    assert_eq!(code(&check), 7, "{}", stderr(&check));
    let error = refused(&place, &[], 7);
    assert!(error.contains("it holds sub, and no marker says that it is a store"), "{error}");
    assert_eq!(snapshot(&place.dir()).keys().collect::<Vec<_>>(), [&place.dir().join("sub/f")]);
}

#[test]
fn a_store_of_which_only_the_committee_is_left_is_not_made_anew_in_silence() {
    let archived = Place::with_blocks(20);
    let archive = archived.path("archive");
    let exported = output(roadbed().arg("export").arg(archived.dir()).arg("--archive").arg(&archive));
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    for lock in [true, false] {
        let place = Place::with_blocks(20);
        fs::remove_file(place.dir().join("STORE")).unwrap();
        for wal in ["qcs", "blocks"] {
            fs::remove_dir_all(place.dir().join(wal)).unwrap();
        }
        if !lock {
            fs::remove_file(place.dir().join("LOCK")).unwrap();
        }
        let before = snapshot(&place.dir());
        let mut import = roadbed();
        import.arg("import").arg(place.dir()).arg(&archive);
        let mut rehearsed = roadbed();
        rehearsed.arg("import").arg(place.dir()).arg(&archive).arg("--dry-run");
        for command in [place.run(), verify(&place), inspect(&place), import, rehearsed].iter_mut() {
            let output = output(command);
            let told = stderr(&output);
            assert_eq!(code(&output), 7, "{command:?}: {told}");
            assert!(told.contains("a store was here, and is lost; restore it from a backup"), "{told}");
            assert!(told.contains("move committee.json away if a new store is wanted"), "{told}");
            assert!(!told.contains("next: roadbed repair"), "{told}");
        }
        assert!(before == snapshot(&place.dir()));
        fs::rename(place.dir().join("committee.json"), place.path("kept")).unwrap();
        summary(place.run().args(["--blocks", "10"]), 0);
    }
}

#[test]
fn what_is_in_the_way_or_missing_is_told_with_what_to_do() {
    let place = Place::with_blocks(20);
    let file = place.path("file");
    fs::write(&file, "").unwrap();
    let below = file.join("x");
    let (file, below, nowhere) = (file.to_str().unwrap(), below.to_str().unwrap(), place.path("nowhere"));
    let nowhere = nowhere.to_str().unwrap();

    let error = refused(&place, &["--dir", below], 2);
    assert!(
        error.contains(&format!("--dir {below}: {file} is not a directory; choose another one")),
        "{error}"
    );
    for name in ["verify", "inspect"] {
        let output = output(roadbed().arg(name).arg(below));
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("give the directory that"), "{}", stderr(&output));
    }
    let error = refused(&place, &["--config", nowhere], 2);
    assert!(error.contains(&format!("`roadbed config show > {nowhere}` writes one")), "{error}");
    let import = output(roadbed().arg("import").arg(place.path("new")).arg(nowhere));
    assert_eq!(code(&import), 2, "{}", stderr(&import));
    assert!(stderr(&import).contains("give a file that `roadbed export` wrote"), "{}", stderr(&import));
    let record = output(inspect(&place).args(["record", "99999"]));
    assert_eq!(code(&record), 2, "{}", stderr(&record));
    assert!(stderr(&record).contains("it holds blocks 0..20"), "{}", stderr(&record));

    fs::remove_file(place.dir().join("LOCK")).unwrap();
    fs::create_dir(place.dir().join("LOCK")).unwrap();
    let error = refused(&place, &[], 1);
    assert!(error.contains("LOCK: Is a directory") && error.contains("; move away the directory"), "{error}");
    fs::remove_dir(place.dir().join("LOCK")).unwrap();
    fs::remove_dir_all(place.dir().join("qcs")).unwrap();
    fs::write(place.dir().join("qcs"), "").unwrap();
    let error = refused(&place, &[], 1);
    assert!(error.contains("qcs: Not a directory") && error.contains("; move away the file"), "{error}");
}

#[test]
fn a_start_that_is_refused_shows_no_page() {
    let place = Place::with_blocks(20);
    fs::remove_file(place.dir().join("LOCK")).unwrap();
    fs::create_dir(place.dir().join("LOCK")).unwrap();
    let error = refused(&place, &["--listen", "127.0.0.1:0"], 1);
    assert!(!error.contains("live page"), "{error}");
    fs::remove_dir(place.dir().join("LOCK")).unwrap();
    let output = output(place.run().args(["--listen", "127.0.0.1:0", "--blocks", "10"]));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("live page: http://127.0.0.1:"), "{}", stderr(&output));
}

#[test]
fn a_slip_in_the_name_of_a_variable_is_told_and_refuses_nothing() {
    let place = Place::new();
    let told = |command: &mut std::process::Command| {
        let output = output(command);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stderr(&output)
    };
    let error = told(place.run().args(["--blocks", "10"]).env("ROADBED_RTAE", "5"));
    assert!(
        error.contains("ROADBED_RTAE is set, but there is no such setting: did you mean ROADBED_RATE?"),
        "{error}"
    );
    let error =
        told(roadbed().args(["config", "check"]).arg("--dir").arg(place.dir()).env("ROADBED_RTAE", "5"));
    assert!(error.contains("did you mean ROADBED_RATE?"), "{error}");
    let mut known = place.run();
    known.args(["--blocks", "10"]).env("ROADBED_LOG_FORMAT", "text").env("ROADBED_SEED", "1");
    let error = told(known.env("ROADBED_TXS", "8").env("ROADBED_JSON", "true"));
    assert!(!error.contains("no such setting"), "{error}");
}

fn verify(place: &Place) -> std::process::Command {
    let mut command = roadbed();
    command.arg("verify").arg(place.dir());
    command
}

fn inspect(place: &Place) -> std::process::Command {
    let mut command = roadbed();
    command.arg("inspect").arg(place.dir());
    command
}
