//! Every command in a document works as printed.
//!
//! A block that begins with ```` ```sh run ```` is run by bash, which stops at the first command that fails; the blocks of a
//! document share an empty directory and follow each other. ```` ```sh run cargo ```` needs the checkout, and stands for
//! examples that other tests run. ```` ```sh skip: … ```` says why it is not run; what it has `make` do exists. There are no
//! others. A block of Rust has the lines before it that a `Cargo.toml` needs for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The blocks of shell commands in a document: what stands behind `sh` in their first lines, and the commands.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line.trim_start().strip_prefix("```sh") else { continue };
        let commands: Vec<&str> =
            lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
        blocks.push((mark.trim().to_owned(), commands.join("\n")));
    }
    blocks
}

fn run_document(name: &str) {
    let text = fs::read_to_string(checkout().join(name)).unwrap();
    let place = Place::new();
    let dir = place.path("empty");
    fs::create_dir(&dir).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_roadbed")).parent().unwrap().to_owned();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for (mark, commands) in blocks(&text) {
        match mark.as_str() {
            "run" => {}
            // The examples' own tests run them; here it is enough that they are there.
            "run cargo" => {
                for example in commands.split("--example ").skip(1).filter_map(|rest| rest.split(' ').next())
                {
                    assert!(
                        checkout().join(format!("actors/examples/{example}.rs")).exists(),
                        "{name}: {example}"
                    );
                }
                continue;
            }
            mark if mark.starts_with("skip: ") => continue,
            mark => panic!("{name}: a block of commands is marked {mark:?}, not `run` or `skip: why`"),
        }
        let mut shell = Command::new("bash");
        // A pipe whose reader has enough is no failure, and no command of ours may make it one.
        shell.args(["-e", "-u", "-o", "pipefail", "-c", &commands]).current_dir(&dir).env("PATH", &path);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROADBED_")) {
            shell.env_remove(name);
        }
        let output = shell.env("ROADBED_SEGMENT_BYTES", "1048576").output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}:\n{commands}\n{}{}",
            stdout(&output),
            stderr(&output)
        );
        ran += 1;
    }
    assert!(ran > 0, "{name} has no commands to run");
}

#[test]
fn commands_of_the_quickstart_work_as_printed() {
    run_document("docs/quickstart.md");
}

#[test]
fn commands_of_the_operations_page_work_as_printed() {
    run_document("docs/operations.md");
}

#[test]
fn commands_of_the_page_about_rehearsing_work_as_printed() {
    run_document("docs/rehearsing.md");
}

/// The documents, by their place in the checkout.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(checkout().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}{name}"));
            }
        }
    }
    assert!(found.len() >= 12, "{found:?}");
    found
}

#[test]
fn commands_of_every_document_are_run_or_say_why_not_and_then_at_least_exist() {
    let mut tried = 0;
    for name in documents() {
        let text = fs::read_to_string(checkout().join(&name)).unwrap();
        for (mark, commands) in blocks(&text) {
            let known = mark == "run" || mark == "run cargo" || mark.starts_with("skip: ");
            assert!(known, "{name}: {mark:?}:\n{commands}");
            // What would be done is asked for, and not done.
            for command in commands.lines().filter_map(|line| line.strip_prefix("make ")) {
                let dry = Command::new("bash")
                    .args(["-c", &format!("make --dry-run {command}")])
                    .current_dir(checkout())
                    .output()
                    .unwrap();
                assert_eq!(dry.status.code(), Some(0), "{name}: make {command}: {}", stderr(&dry));
                tried += 1;
            }
        }
    }
    assert!(tried >= 10, "{tried}");
}

/// What stands in the fences that begin with this word.
fn fenced<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let begin = format!("```{word}\n");
    text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).parse().unwrap()
}

/// Whether a path in the program begins with this crate.
fn names_crate(program: &str, name: &str) -> bool {
    let path = format!("{}::", name.replace('-', "_"));
    program.match_indices(&path).any(|(at, _)| {
        !program[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':')
    })
}

#[test]
fn an_example_stands_beside_the_dependencies_and_features_that_it_needs() {
    let workspace = manifest(&checkout().join("Cargo.toml"));
    let known = workspace["workspace"]["dependencies"].as_table().unwrap();
    for name in ["README.md", "docs/rehearsing.md"] {
        let text = fs::read_to_string(checkout().join(name)).unwrap();
        let (listed, programs) = (fenced(&text, "toml"), fenced(&text, "rust"));
        assert_eq!((listed.len(), programs.len()), (1, 1), "{name}");
        let listed: toml::Table = listed[0].parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let listed = listed["dependencies"].as_table().unwrap();

        // The documents' tests compile them with crates of the workspace, so there are no others.
        let used: BTreeSet<&String> = known.keys().filter(|known| names_crate(programs[0], known)).collect();
        assert_eq!(listed.keys().collect::<BTreeSet<_>>(), used, "{name}: listed and used");
        for (crate_name, line) in listed {
            let wanted = &known[crate_name];
            let field =
                |of: &toml::Value, key: &str| of.get(key).and_then(|value| value.as_str().map(str::to_owned));
            let version = |of: &toml::Value| of.as_str().map(str::to_owned).or_else(|| field(of, "version"));
            let features = |of: &toml::Value| -> BTreeSet<String> {
                let features =
                    of.get("features").and_then(toml::Value::as_array).cloned().unwrap_or_default();
                features.iter().map(|feature| feature.as_str().unwrap().to_owned()).collect()
            };
            let Some(path) = field(line, "path") else {
                assert_eq!(version(line), version(wanted), "{name}: {crate_name}");
                continue;
            };
            let folder = path.strip_prefix("../roadbed/").unwrap_or_else(|| panic!("{name}: {path}"));
            assert_eq!(Some(folder.to_owned()), field(wanted, "path"), "{name}: {crate_name}");
            let own = manifest(&checkout().join(folder).join("Cargo.toml"));
            assert_eq!(own["package"]["name"].as_str(), Some(crate_name.as_str()), "{name}");
            // A feature brings a module of its name.
            let there = own.get("features").and_then(toml::Value::as_table).cloned().unwrap_or_default();
            let imports = programs[0].lines().filter(|line| names_crate(line, crate_name));
            let words: BTreeSet<&str> =
                imports.flat_map(|line| line.split(|c: char| !c.is_alphanumeric())).collect();
            let wanted = there.keys().filter(|feature| words.contains(feature.as_str())).cloned().collect();
            assert_eq!(features(line), wanted, "{name}: features of {crate_name}");
        }
        // What the macro `tokio::main` and its runtime need.
        let of_tokio = listed["tokio"]["features"].to_string();
        assert!(of_tokio.contains("\"macros\"") && of_tokio.contains("\"rt\""), "{name}: {of_tokio}");
    }
}
