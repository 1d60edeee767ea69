//! The documents say what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `fn` of every Rust file below a folder of the checkout.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for after in text.split("fn ").skip(1) {
                let name = after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
                found.extend(name.map(str::to_owned));
            }
            // Tests that a macro makes are named in its call.
            found.extend(
                text.split(['(', ',', ':', ' ', '\n'])
                    .filter(|word| word.starts_with("scenario_"))
                    .map(str::to_owned),
            );
        }
    }
}

#[test]
fn every_test_that_the_failure_table_names_exists() {
    let mut known = BTreeSet::new();
    for folder in ["actors", "messages/tests", "node", "tests", "wal"] {
        functions(&root().join(folder), &mut known);
    }
    let text = read("docs/failures.md");
    let (_, shown) = text.split_once("## Shown by").unwrap();
    let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(known.contains(name), "docs/failures.md names the test {name}, which is nowhere");
    }
}

#[test]
fn every_message_has_a_stated_overflow_policy() {
    let text = read("ARCHITECTURE.md");
    let (_, bounds) = text.split_once("By message:").unwrap();
    let (stated, _) = bounds.split_once("\n## ").unwrap();
    let messages = read("messages/src/api/requests.rs");
    let messages: Vec<&str> = messages
        .split("#[rtype(")
        .skip(1)
        .filter_map(|after| after.split_once("pub struct ")?.1.split([' ', ';', '{']).next())
        .collect();
    assert!(messages.len() >= 15, "{messages:?}");
    for message in messages {
        assert!(
            stated.contains(&format!("`{message}`")),
            "ARCHITECTURE.md says nothing of a full bound of {message}"
        );
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/embedding.md",
        "docs/failures.md",
        "docs/rehearsing.md",
        "docs/operations.md",
        "docs/quickstart.md",
    ] {
        let text = read(document);
        let folder = root().join(document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let outside = file.is_empty() || file.contains("://");
            assert!(outside || folder.join(file).exists(), "{document} links to {link}, which is nowhere");
        }
    }
}

/// The variants of an enum of the messages' errors.
fn variants(text: &str, of: &str) -> Vec<String> {
    let (_, body) = text.split_once(&format!("pub enum {of} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let named = body.lines().filter_map(|line| {
        let name: String =
            line.strip_prefix("    ")?.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        name.starts_with(|letter: char| letter.is_uppercase()).then_some(name)
    });
    named.collect()
}

#[test]
fn the_embedders_page_names_every_message_every_method_and_every_error() {
    let page = read("docs/embedding.md");
    let requests = read("messages/src/api/requests.rs");
    let messages: Vec<String> = requests
        .split("#[rtype(")
        .skip(1)
        .filter_map(|after| after.split_once("pub struct ")?.1.split([' ', ';', '{']).next())
        .map(str::to_owned)
        .collect();
    let handle = read("actors/src/handle.rs");
    let methods: Vec<String> = handle
        .split("    pub ")
        .skip(1)
        .filter_map(|after| after.trim_start_matches("async ").strip_prefix("fn ")?.split('(').next())
        .map(str::to_owned)
        .collect();
    let errors = variants(&read("messages/src/api/errors.rs"), "Error");
    assert!(messages.len() >= 15 && methods.len() >= 20 && errors.len() >= 10);
    for name in messages.iter().chain(&methods).chain(&errors) {
        let told = page.split('`').skip(1).step_by(2).any(|code| {
            code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == name)
        });
        assert!(told, "docs/embedding.md says nothing of {name}");
    }
}
