//! The simulated disk keeps its own promises: what it calls durable survives, and what it may lose does get lost.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{OpenMode, Storage, StorageFile, SyncPoint};

const DIR: &str = "/d";
const POINT: SyncPoint = SyncPoint::Group;

fn disk() -> SimStorage {
    let sim = SimStorage::new(1).direct(false);
    sim.create_dir(Path::new(DIR)).unwrap();
    sim
}

fn file(sim: &SimStorage, name: &str) -> Arc<dyn StorageFile> {
    sim.open(&Path::new(DIR).join(name), OpenMode::CreateNew).unwrap()
}

fn outcomes(sim: &SimStorage, name: &str) -> std::collections::BTreeSet<Option<Vec<u8>>> {
    (0..200).map(|seed| sim.crash(seed).read_file(&Path::new(DIR).join(name))).collect()
}

#[test]
fn unsynced_writes_are_lost_kept_and_torn_and_synced_ones_are_kept() {
    let sim = disk();
    let old = file(&sim, "f");
    sim.sync_dir(Path::new(DIR), POINT).unwrap();
    old.write_at(&[1; 1024], 0, POINT).unwrap();
    old.sync_data(POINT).unwrap();
    assert_eq!(outcomes(&sim, "f").into_iter().collect::<Vec<_>>(), [Some(vec![1; 1024])]);
    old.write_at(&[2; 1024], 0, POINT).unwrap();
    let torn = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
    let wanted = [torn(1, 1), torn(1, 2), torn(2, 1), torn(2, 2)];
    assert_eq!(outcomes(&sim, "f").into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn an_entry_without_its_directorys_sync_can_be_lost() {
    let sim = disk();
    let new = file(&sim, "f");
    new.write_at(b"x", 0, POINT).unwrap();
    new.sync_data(POINT).unwrap();
    assert_eq!(outcomes(&sim, "f").into_iter().collect::<Vec<_>>(), [None, Some(b"x".to_vec())]);
    sim.sync_dir(Path::new(DIR), POINT).unwrap();
    sim.rename(&Path::new(DIR).join("f"), &Path::new(DIR).join("g")).unwrap();
    assert_eq!(outcomes(&sim, "f").len(), 2);
    assert_eq!(outcomes(&sim, "g").len(), 2);
    for seed in 0..200 {
        assert_eq!(sim.crash(seed).files().len(), 1, "a rename is atomic");
    }
}

#[test]
fn a_file_that_is_renamed_twice_before_a_sync_can_be_left_under_two_names() {
    let sim = disk();
    file(&sim, "a");
    sim.sync_dir(Path::new(DIR), POINT).unwrap();
    for (from, to) in [("a", "b"), ("b", "c")] {
        sim.rename(&Path::new(DIR).join(from), &Path::new(DIR).join(to)).unwrap();
    }
    let names = |seed| {
        let files = sim.crash(seed).files();
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let left: std::collections::BTreeSet<_> = (0..200).map(names).collect();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [vec!["a"], vec!["a", "c"], vec!["b"], vec!["c"]]);
    sim.sync_dir(Path::new(DIR), POINT).unwrap();
    assert_eq!(names(1), ["c"]);
}

#[test]
fn a_failed_sync_is_reported_once_and_hidden_by_the_cache() {
    let sim = disk();
    let old = file(&sim, "f");
    sim.sync_dir(Path::new(DIR), POINT).unwrap();
    old.write_at(b"new", 0, POINT).unwrap();
    sim.fail(Fault::eio(Op::Sync));
    assert!(old.sync_data(POINT).is_err());
    assert!(old.sync_data(POINT).is_ok());
    let mut read = [0; 3];
    assert_eq!((old.read_at(&mut read, 0).unwrap(), &read), (3, b"new"));
    assert_eq!(outcomes(&sim, "f").into_iter().collect::<Vec<_>>(), [Some(Vec::new())]);
    old.drop_cache().unwrap();
    assert_eq!(old.read_at(&mut read, 0).unwrap(), 0);
}

#[test]
fn a_gate_holds_a_call_until_it_is_opened() {
    let sim = disk();
    let gate = sim.pause(Op::Sync);
    let held = file(&sim, "f");
    let thread = std::thread::spawn(move || held.sync_data(POINT));
    gate.wait_reached();
    assert!(!thread.is_finished());
    gate.open();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_takes_it_again_when_there_is_room() {
    let sim = disk();
    let grown = file(&sim, "f");
    sim.set_capacity_bytes(Some(1000));
    assert_eq!(grown.allocate(1001).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    grown.allocate(1000).unwrap();
    grown.write_at(b"in place", 0, POINT).unwrap();
    assert!(grown.write_at(b"x", 1000, POINT).is_err());
    sim.set_capacity_bytes(None);
    grown.write_at(b"x", 1000, POINT).unwrap();
}

#[test]
fn a_listing_has_directories_and_says_that_they_are_no_files() {
    let sim = disk();
    file(&sim, "f").write_at(&[1; 3], 0, POINT).unwrap();
    sim.create_dir(&Path::new(DIR).join("below/deeper")).unwrap();
    let found = sim.list(Path::new(DIR)).unwrap().unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.bytes, one.is_file)).collect();
    assert_eq!(found, [("f", 3, true), ("below", 0, false)]);
}
