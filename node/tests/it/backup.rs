//! A backup is made while the node writes, prunes and recycles; it verifies, and a node starts on it.

use std::fs;
use std::path::Path;

use crate::support::*;

fn backup(place: &Place, dest: &Path) -> serde_json::Value {
    summary(roadbed().arg("backup").arg(place.dir()).arg(dest).arg("--json"), 0)
}

#[test]
fn backups_under_load_verify_and_start() {
    let place = Place::new();
    // Segments of 128 KiB and blocks of 2 kB: rolls, truncations and recycling many times a second.
    let mut command = place.run_acked();
    command.args(["--retain-blocks", "200", "--tx-bytes", "256", "--rate", "2000"]);
    command.env("ROADBED_SEGMENT_BYTES", "131072");
    let mut node = Running::start(&mut command);
    let dest = place.path("backup");
    let mut next_block = 0;
    for round in 0..6 {
        // The node is always past what the backup before this one holds.
        let wanted = (place.acked() + 400).max(next_block + 1);
        place.wait_for_acks(wanted, &mut node);
        // What was acknowledged before the backup began is in it, as far as it was not pruned.
        let acked = place.acked();
        let report = backup(&place, &dest);
        let reached = number(&report, "extent.next_block");
        assert!(reached > next_block && reached >= acked, "round {round}: {report}, {acked} acknowledged");
        next_block = reached;
        let verified = summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
        assert_eq!(number(&verified, "next_start.next_block"), next_block);
    }
    assert!(node.is_running());
    node.kill();

    let restored = place.path("restored");
    copy(&dest, &restored);
    let mut command = roadbed();
    command
        .args(["run", "--rate", "0", "--json", "--tx-bytes", "256", "--blocks", "50", "--dir"])
        .arg(&restored);
    let run = summary(&mut command, 0);
    assert_eq!(number(&run, "recovered.next_block"), next_block);
    assert!(at(&run, "recovered.lost").is_null());
    assert_eq!(at(&run, "chain_check.ok"), true);
}

#[test]
fn a_second_backup_copies_only_what_is_new() {
    let place = Place::with_blocks(2500);
    let dest = place.path("backup");
    let first = backup(&place, &dest);
    assert!(number(&first, "copied") >= 4, "{first}");
    summary(place.run().args(["--blocks", "100"]), 0);
    let second = backup(&place, &dest);
    assert!(number(&second, "kept") >= 2, "{second}");
    assert!(number(&second, "copied") <= 4, "{second}");
    assert_eq!(number(&second, "extent.next_block"), 2600);
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
    // Copies, never links: the node overwrites its files in place.
    use std::os::unix::fs::MetadataExt;
    for (path, _) in snapshot(&dest) {
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    }
}

#[test]
fn a_backup_that_was_interrupted_is_finished_by_the_next() {
    let place = Place::with_blocks(2500);
    let dest = place.path("backup");
    backup(&place, &dest);
    // As a kill in the middle leaves it: a manifest that says so, a copy without its name, a segment that is missing.
    let manifest = fs::read_to_string(dest.join("BACKUP.json")).unwrap();
    fs::write(dest.join("BACKUP.json"), manifest.replace("\"complete\": true", "\"complete\": false"))
        .unwrap();
    let sealed = dest.join("blocks/00000000000000000001.seg");
    fs::rename(&sealed, sealed.with_extension("copy")).unwrap();
    let again = backup(&place, &dest);
    assert_eq!(number(&again, "extent.next_block"), 2500);
    assert!(sealed.exists() && !sealed.with_extension("copy").exists());
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
}

#[test]
fn a_destination_that_is_something_else_is_refused_and_kept() {
    let (place, other) = (Place::with_blocks(50), Place::new());
    summary(other.run().args(["--blocks", "20", "--seed", "2"]), 0);
    let (letters, used) = (place.path("letters"), place.path("used"));
    fs::create_dir(&letters).unwrap();
    fs::write(letters.join("letter.txt"), "dear all").unwrap();
    let foreign = place.path("foreign");
    backup(&other, &foreign);
    backup(&place, &used);
    summary(roadbed().args(["run", "--rate", "0", "--json", "--blocks", "10", "--dir"]).arg(&used), 0);
    let inside = place.dir().join("backup");
    for (dest, expected, words) in [
        (&letters, 7, "is not empty, and no backup"),
        (&foreign, 7, "is a backup of another store"),
        (&used, 7, "a node was started on"),
        (&inside, 2, "lies in the store itself"),
    ] {
        let before = dest.is_dir().then(|| snapshot(dest));
        let output = output(roadbed().arg("backup").arg(place.dir()).arg(dest));
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(before.is_none_or(|before| before == snapshot(dest)));
    }
}

#[test]
fn damage_in_the_store_fails_the_backup_by_name() {
    let place = Place::with_blocks(2500);
    overwrite(&place.dir().join("blocks/00000000000000000001.seg"), 300_000, &[0xab; 8]);
    let output = output(roadbed().arg("backup").arg(place.dir()).arg(place.path("backup")));
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("the store itself is damaged there"), "{}", stderr(&output));
}

/// The segments of a store, by name.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let inside = snapshot(dir).into_keys().map(|path| path.strip_prefix(dir).unwrap().to_path_buf());
    inside.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

fn refused_and_kept(place: &Place, dest: &Path, words: &str) {
    let before = snapshot(dest);
    let output = output(roadbed().arg("backup").arg(place.dir()).arg(dest));
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    assert_eq!(before, snapshot(dest));
}

#[test]
fn a_backup_of_another_life_is_kept_unless_it_is_to_be_replaced() {
    let place = Place::with_blocks(2500);
    let (old, newer) = (place.path("old"), place.path("newer"));
    backup(&place, &old);
    summary(place.run().args(["--blocks", "2500"]), 0);
    backup(&place, &newer);
    fs::remove_dir_all(place.dir()).unwrap();
    copy(&old, &place.dir());
    for (blocks, reached, words) in [
        // The restored store is behind the backup; then it is ahead, with other segments.
        ("100", 2600, "holds more than the store"),
        ("4000", 6600, "another life of the store"),
    ] {
        summary(place.run().args(["--blocks", blocks]), 0);
        refused_and_kept(&place, &newer, words);
        let replaced = place.path(blocks);
        copy(&newer, &replaced);
        let report =
            summary(roadbed().arg("backup").arg(place.dir()).arg(&replaced).args(["--replace", "--json"]), 0);
        assert_eq!(number(&report, "kept"), 0, "{report}");
        assert_eq!(number(&report, "extent.next_block"), reached);
        // Nothing of the other life stays.
        let source = segments(&place.dir());
        assert!(segments(&replaced).iter().all(|segment| source.contains(segment)));
        summary(roadbed().args(["verify", "--deep", "--json"]).arg(&replaced), 0);
    }
}

#[test]
fn an_emptied_store_does_not_replace_a_full_backup() {
    let place = Place::with_blocks(500);
    let dest = place.path("backup");
    backup(&place, &dest);
    fs::remove_dir_all(place.dir().join("qcs")).unwrap();
    assert_eq!(code(&output(roadbed().args(["repair", "--yes"]).arg(place.dir()))), 0);
    summary(place.run().args(["--blocks", "20"]), 0);
    refused_and_kept(&place, &dest, "holds more than the store");
}

#[test]
fn a_damaged_store_leaves_the_backup_before_as_it_was() {
    let place = Place::with_blocks(2500);
    let dest = place.path("backup");
    backup(&place, &dest);
    summary(place.run().args(["--blocks", "4000"]), 0);
    let (held, found) = (segments(&dest), segments(&place.dir().join("blocks")));
    let new = found.iter().find(|name| !held.contains(&Path::new("blocks").join(name))).unwrap();
    assert_ne!(Some(new), found.last());
    overwrite(&place.dir().join("blocks").join(new), 300_000, &[0xab; 8]);
    let before = snapshot(&dest);
    let output = output(roadbed().arg("backup").arg(place.dir()).arg(&dest));
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert_eq!(before, snapshot(&dest));
    let verified = summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
    assert_eq!(number(&verified, "next_start.next_block"), 2500);
}

#[test]
fn a_backup_killed_while_it_was_installed_is_installed_by_the_next() {
    let place = Place::with_blocks(2500);
    let (dest, newer) = (place.path("backup"), place.path("newer"));
    backup(&place, &dest);
    summary(place.run().args(["--blocks", "2500"]), 0);
    backup(&place, &newer);
    // As the kill leaves it: the next state is whole, the logs are of both states, and the marker is not there yet.
    copy(&newer, &dest.join("next"));
    fs::remove_file(dest.join("STORE")).unwrap();
    fs::remove_dir_all(dest.join("qcs")).unwrap();
    assert_eq!(code(&output(roadbed().arg("verify").arg(&dest))), 7);
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(dest.join("next")), 0);
    let report = backup(&place, &dest);
    assert!(number(&report, "kept") >= 4, "{report}");
    assert_eq!(number(&report, "extent.next_block"), 5000);
    assert!(!dest.join("next").exists());
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
}

#[test]
fn a_backup_killed_before_its_manifest_is_continued() {
    let place = Place::with_blocks(50);
    let dest = place.path("backup");
    for log in ["qcs", "blocks"] {
        fs::create_dir_all(dest.join(log)).unwrap();
    }
    fs::write(dest.join("BACKUP.tmp"), "{").unwrap();
    assert_eq!(number(&backup(&place, &dest), "extent.next_block"), 50);
}

#[test]
fn a_new_directory_in_the_store_itself_is_no_destination() {
    let place = Place::with_blocks(50);
    let dir = place.dir();
    let name = Path::new(dir.file_name().unwrap());
    let before = snapshot(&dir);
    let mut command = roadbed();
    command.current_dir(dir.parent().unwrap()).arg("backup").arg(name).arg(name.join("new/backup"));
    let output = output(&mut command);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("lies in the store itself"), "{}", stderr(&output));
    assert_eq!(before, snapshot(&dir));
}

#[test]
fn a_segment_that_rots_in_the_backup_is_copied_again() {
    let place = Place::with_blocks(2500);
    let dest = place.path("backup");
    backup(&place, &dest);
    overwrite(&dest.join("blocks/00000000000000000001.seg"), 300_000, &[0xab; 8]);
    assert_eq!(code(&output(roadbed().arg("verify").arg(&dest))), 3);
    assert_eq!(number(&backup(&place, &dest), "kept"), 0);
    summary(roadbed().args(["verify", "--deep", "--json"]).arg(&dest), 0);
}

#[test]
fn a_destination_that_another_backup_is_writing_to_is_refused() {
    let place = Place::with_blocks(50);
    let dest = place.path("backup");
    backup(&place, &dest);
    let before = snapshot(&dest);
    let other = fs::File::open(&dest).unwrap();
    other.lock().unwrap();
    let output = output(roadbed().arg("backup").arg(place.dir()).arg(&dest));
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains("is in use by process"), "{}", stderr(&output));
    assert_eq!(before, snapshot(&dest));
    drop(other);
    assert_eq!(number(&backup(&place, &dest), "extent.next_block"), 50);
}
