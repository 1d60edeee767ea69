//! Who may depend on whom, read from the manifests.

use std::path::Path;

/// The lines of a crate's `[dependencies]`, without those for its own tests.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    let text =
        std::fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let section = text.split("\n[").find(|section| section.starts_with("dependencies]"));
    let section = section.unwrap_or_else(|| panic!("{folder} has no dependencies"));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
    section.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#')).map(name).collect()
}

#[test]
fn log_knows_no_actors_no_tokio_and_no_consensus_types() {
    let found = dependencies("wal");
    assert!(!found.is_empty());
    for forbidden in
        ["actix", "tokio", "roadbed", "roadbed-messages", "crossbeam-channel", "bincode", "serde"]
    {
        assert!(!found.contains(&forbidden.to_owned()), "wal depends on {forbidden}: {found:?}");
    }
}

#[test]
fn messages_know_no_log_and_no_actor_implementation() {
    let found = dependencies("messages");
    assert!(found.contains(&"bincode".to_owned()));
    for forbidden in ["roadbed", "roadbed-wal", "tokio", "crossbeam-channel"] {
        assert!(!found.contains(&forbidden.to_owned()), "messages depends on {forbidden}: {found:?}");
    }
}

#[test]
fn nothing_depends_on_node_tests_and_benches() {
    for folder in ["messages", "wal", "actors", "node", "tests", "benches"] {
        let found = dependencies(folder);
        for leaf in ["roadbed-node", "roadbed-tests", "roadbed-benches"] {
            assert!(!found.contains(&leaf.to_owned()), "{folder} depends on {leaf}");
        }
    }
}

#[test]
fn the_core_knows_no_actors_no_runtime_and_no_clock() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../actors/src/state/core");
    let mut files = 0;
    for entry in std::fs::read_dir(&core).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for forbidden in
            ["use actix", "tokio::", "std::fs", "std::thread", "Instant::now", "SystemTime", "HashMap"]
        {
            assert!(!text.contains(forbidden), "{} has {forbidden}", path.display());
        }
        files += 1;
    }
    assert!(files > 5, "the core is where it was: {}", core.display());
}
