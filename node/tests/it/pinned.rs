//! What every command prints on directories in every state, word for word: `pinned/*.txt`, written anew by
//! `SNAPSHOTS=overwrite cargo test --package roadbed-node pinned`.

use std::fs;
use std::path::Path;

use snapbox::{Data, assert_data_eq};

use crate::support::*;
use crate::tools::tear;

/// What is tried on every directory. `data` is the directory, `chain` an archive of it as it was made.
const COMMANDS: &[&str] = &[
    "inspect data",
    "inspect data --json",
    "inspect data qcs --count 2",
    "inspect data blocks --from 38",
    "inspect data segments",
    "inspect data record 7",
    "inspect data record 99",
    "verify data",
    "verify data --deep",
    "verify data --json",
    "verify data --deep --json",
    "repair data --dry-run",
    "repair data --dry-run --json",
    "repair data",
    "rollback data --to 35 --dry-run",
    "rollback data --to 35 --dry-run --json",
    "rollback data --to 35",
    "truncate data --before 5 --dry-run",
    "truncate data --before 5 --dry-run --json",
    "truncate data --before 5",
    "backup data copy",
    "backup data copy --json",
    "export data --from 7 --to 8",
    "export data --archive again",
    "export data --archive again --json",
    "export data --from 3 --to 99",
    "import data chain --dry-run",
    "import data chain --dry-run --json",
    "config check --dir data",
    "config check --dir data --json",
    "crash-test data --rounds 1",
    "bench data --duration 50ms --rate 1",
    "run --dir data --txs 3",
    "run --dir data --seed 2",
    // What changes a directory comes last.
    "repair data --yes",
    "run --dir data --blocks 0 --listen off",
    "truncate data --before 5 --yes",
    "rollback data --to 35 --yes",
    "import data chain",
];

/// A store of forty blocks that is the same each time: groups as an import makes them, not as they came over sockets.
fn store() -> Place {
    let made = Place::with_blocks(40);
    let place = Place::new();
    let archive = place.path("chain");
    let exported = output(roadbed().arg("export").arg(made.dir()).arg("--archive").arg(&archive));
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    let imported = output(roadbed().arg("import").arg(place.dir()).arg(&archive));
    assert_eq!(code(&imported), 0, "{}", stderr(&imported));
    place
}

/// Runs every command beside the directory, and compares all that is printed with the file of that name.
fn pin(name: &str, place: &Place) {
    let root = place.dir().parent().unwrap().to_owned();
    let mut transcript = String::new();
    // Where there is no store, these make one.
    let makes: &[&str] = match name {
        "missing" => &["run ", "crash-test "],
        "empty" => &["run "],
        _ => &[],
    };
    for line in COMMANDS.iter().filter(|line| !makes.iter().any(|made| line.starts_with(made))) {
        // Logs have the time of day in them.
        let output = output(roadbed().args(line.split(' ')).current_dir(&root).env("RUST_LOG", "off"));
        let mut told = stdout(&output) + &stderr(&output);
        // What is measured differs each time.
        if line.starts_with("bench ") && code(&output) == 0 {
            told = without_numbers(told.lines().next().unwrap_or_default());
        }
        if line.starts_with("run ") && code(&output) == 0 {
            let lines = told.lines().filter(|line| !line.starts_with("progress "));
            told = lines.map(without_numbers).collect();
        }
        transcript += &format!("$ roadbed {line}\n{told}? {}\n\n", code(&output));
        let copy = root.join("copy");
        if copy.exists() {
            fs::remove_dir_all(copy).unwrap();
        }
        let _ = fs::remove_file(root.join("again"));
    }
    // Process numbers are the system's.
    let transcript = numbers_behind(&transcript, "process ");
    let transcript = numbers_behind(&transcript, "\"in_use_by\":");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pinned").join(name).with_extension("txt");
    assert_data_eq!(transcript, Data::read_from(&file, None).raw());
}

/// A line with N for each number in it.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for letter in line.chars() {
        match letter {
            '0'..='9' | '.' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            letter => out.push(letter),
        }
    }
    out + "\n"
}

/// The text with every number that stands behind `word` replaced.
fn numbers_behind(text: &str, word: &str) -> String {
    let mut parts = text.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        out += word;
        out += if rest.len() < part.len() { "N" } else { "" };
        out += rest;
    }
    out
}

#[test]
fn output_is_pinned_on_a_healthy_directory() {
    pin("healthy", &store());
}

#[test]
fn output_is_pinned_on_a_torn_directory() {
    let place = store();
    tear(&place);
    pin("torn", &place);
}

#[test]
fn output_is_pinned_on_a_corrupt_directory() {
    let place = store();
    overwrite(&place.dir().join("blocks/00000000000000000001.seg"), 4096 + 150, &[0xab; 8]);
    pin("corrupt", &place);
}

#[test]
fn output_is_pinned_on_a_foreign_directory() {
    let place = store();
    fs::remove_dir_all(place.dir()).unwrap();
    fs::create_dir(place.dir()).unwrap();
    fs::write(place.dir().join("letter.txt"), "dear all").unwrap();
    pin("foreign", &place);
}

#[test]
fn output_is_pinned_on_a_newer_directory() {
    let place = store();
    let marker = place.dir().join("STORE");
    let text = fs::read_to_string(&marker).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&marker, text).unwrap();
    pin("newer", &place);
}

#[test]
fn output_is_pinned_on_a_locked_directory() {
    let place = store();
    // As another process holds it that is not writing.
    let lock = fs::File::open(place.dir().join("LOCK")).unwrap();
    lock.lock().unwrap();
    pin("locked", &place);
}

#[test]
fn output_is_pinned_on_an_empty_directory() {
    let place = store();
    fs::remove_dir_all(place.dir()).unwrap();
    fs::create_dir(place.dir()).unwrap();
    pin("empty", &place);
}

#[test]
fn output_is_pinned_where_there_is_no_directory() {
    let place = store();
    fs::remove_dir_all(place.dir()).unwrap();
    pin("missing", &place);
}

#[test]
fn output_is_pinned_where_the_qc_log_is_lost() {
    let place = store();
    fs::remove_dir_all(place.dir().join("qcs")).unwrap();
    pin("lost-qcs", &place);
}
