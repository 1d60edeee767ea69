//! Every exit code that the help names can be reached, and stands in the report as well.

use std::fs;
use std::process::Stdio;

use crate::support::*;
use crate::tools::tear;

fn reported(command: &mut std::process::Command, expected: i32, result: &str) {
    let report = summary(command, expected);
    assert_eq!(text(&report, "result"), result, "{report}");
}

#[test]
fn every_exit_code_is_reached() {
    let (sound, torn, corrupt) = (Place::with_blocks(20), Place::with_blocks(20), Place::with_blocks(20));
    let verify = |place: &Place| {
        let mut command = roadbed();
        command.args(["verify", "--json"]).arg(place.dir());
        command
    };
    tear(&torn);
    overwrite(&corrupt.dir().join("blocks/00000000000000000001.seg"), 4096 + 150, &[0xab; 8]);

    reported(&mut verify(&sound), 0, "clean");
    let mut status = roadbed();
    // Nobody can listen on port 0.
    reported(status.args(["status", "127.0.0.1:0", "--json"]), 1, "failed");
    reported(sound.run().arg("--bogus"), 2, "usage");
    reported(&mut verify(&corrupt), 3, "corrupt");
    reported(corrupt.run().args(["--blocks", "0"]), 3, "corrupt");
    reported(&mut verify(&torn), 4, "torn_tail");
    let lock = fs::File::open(sound.dir().join("LOCK")).unwrap();
    lock.lock().unwrap();
    reported(&mut verify(&sound), 5, "in_use");
    drop(lock);
    reported(sound.run().args(["--seed", "2"]), 7, "refused");
    fs::write(sound.acks(), format!("19 {}\n", "5a".repeat(32))).unwrap();
    reported(sound.run_acked().args(["--blocks", "0"]), 9, "chain_check_failed");
    let marker = sound.dir().join("STORE");
    let newer = fs::read_to_string(&marker).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&marker, newer).unwrap();
    reported(&mut verify(&sound), 6, "newer_format");
}

#[test]
fn a_worker_that_fails_for_good_in_the_stop_is_told_as_one_in_the_run() {
    let place = Place::with_blocks(20);
    // What is written when the log is closed can't be.
    let end = place.dir().join("qcs/END");
    fs::remove_file(&end).unwrap();
    fs::create_dir(&end).unwrap();
    let ended = output(place.run().args(["--blocks", "20"]));
    assert_eq!(code(&ended), 8, "{}", stderr(&ended));
    let report = last_line(&stdout(&ended));
    assert_eq!((text(&report, "result"), text(&report, "state")), ("escalated", "stopped"));
    assert!(report["reasons"][0].as_str().unwrap().contains("qc_wal failed for good"), "{report}");
    let told = stderr(&ended);
    assert!(told.contains("; move away the directory that is where a file belongs"), "{told}");
    assert!(told.contains(&format!("next: roadbed inspect {}", place.dir().display())), "{told}");
}

#[test]
fn a_worker_that_fails_for_good_ends_a_run_with_its_code() {
    let place = Place::new();
    let mut node = Running::start(place.run_acked().arg("--rehearse").stdin(Stdio::piped()));
    place.wait_for_acks(20, &mut node);
    node.say("panic state");
    let (status, stdout, stderr) = node.end();
    assert_eq!(status.code(), Some(8), "{stderr}");
    let report = last_line(&stdout);
    assert_eq!((text(&report, "result"), text(&report, "state")), ("escalated", "stopped"));
    assert!(report["reasons"][0].as_str().unwrap().contains("injected panic"), "{report}");
    assert!(stderr.contains(&format!("next: roadbed inspect {}", place.dir().display())), "{stderr}");
    // Nothing that was acknowledged is lost by it.
    let report = summary(place.run_acked().args(["--blocks", "0"]), 0);
    assert_eq!(at(&report, "chain_check.ok"), true);
}
