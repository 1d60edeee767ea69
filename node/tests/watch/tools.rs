//! Programs that some tests need beside the compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is waited for so long will never come: the test fails with what it waited for.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// Whether a program is there. Where it is not the test is skipped, unless `ROADBED_REQUIRE_ALL` is set to 1.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = found.is_ok_and(|status| status.success());
    let required = std::env::var_os("ROADBED_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(there || !required, "{program} is missing: tests/setup.sh installs it on Debian and Ubuntu");
    if !there {
        println!("skipped: {program} is missing (tests/setup.sh installs it on Debian and Ubuntu)");
    }
    there
}

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < GIVE_UP_AFTER, "never came: {what}");
        // Between two looks; nothing depends on how long.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs to the end, which must be a success; answers what it printed.
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}
