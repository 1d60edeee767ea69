//! Starting the program, waiting for what it does, and looking at what it leaves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

/// A directory for one test, and the paths in it.
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn acks(&self) -> PathBuf {
        self.path("acks")
    }

    /// `roadbed run` on this place, as fast as it goes.
    pub(crate) fn run(&self) -> Command {
        let mut command = roadbed();
        command.args(["run", "--rate", "0", "--json", "--dir"]).arg(self.dir());
        command
    }

    /// The same with the ack log.
    pub(crate) fn run_acked(&self) -> Command {
        let mut command = self.run();
        command.arg("--ack-log").arg(self.acks());
        command
    }

    /// A store with this many blocks, closed in order.
    pub(crate) fn with_blocks(blocks: u64) -> Self {
        let place = Self::new();
        let summary = summary(place.run().args(["--blocks", &blocks.to_string()]), 0);
        assert_eq!(number(&summary, "next_block"), blocks);
        place
    }

    /// Complete lines of the ack log.
    pub(crate) fn acked(&self) -> u64 {
        let Ok(bytes) = fs::read(self.acks()) else { return 0 };
        bytes.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Waits until the ack log has so many lines.
    pub(crate) fn wait_for_acks(&self, lines: u64, child: &mut Running) {
        while self.acked() < lines {
            assert!(child.is_running(), "it ended with {} of {lines} lines: {}", self.acked(), child.rest());
            // Between two looks; nothing depends on how long.
            thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn roadbed() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    command.stdin(Stdio::null());
    // What is set where the tests run must not change them.
    for (name, _) in std::env::vars() {
        if name.starts_with("ROADBED_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    // Every start reads the last segments to their ends, and a run should see more than one.
    command.env("ROADBED_SEGMENT_BYTES", "1048576");
    command.env("ROADBED_LISTEN", "off");
    command
}

/// Runs to the end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs to the end, which must come with this exit code; the last line on stdout is the report.
pub(crate) fn summary(command: &mut Command, expected_code: i32) -> Value {
    let output = output(command);
    assert_eq!(code(&output), expected_code, "{}\n{}", stdout(&output), stderr(&output));
    last_line(&stdout(&output))
}

pub(crate) fn last_line(text: &str) -> Value {
    let line = text.lines().last().unwrap_or_else(|| panic!("nothing on stdout"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A number in a report, by its path with dots.
pub(crate) fn number(report: &Value, path: &str) -> u64 {
    at(report, path).as_u64().unwrap_or_else(|| panic!("{path} is no number in {report}"))
}

pub(crate) fn text<'a>(report: &'a Value, path: &str) -> &'a str {
    at(report, path).as_str().unwrap_or_else(|| panic!("{path} is no text in {report}"))
}

pub(crate) fn at<'a>(report: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(report, |value, name| {
        value.get(name).unwrap_or_else(|| panic!("{path} is missing in {report}"))
    })
}

/// A program that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Writes a line to its stdin, which the command has piped.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Reads stderr up to a line that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "no {text:?} in {before}");
            if line.contains(text) {
                return line;
            }
            before += &line;
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// SIGKILL, and the wait for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What is left on stderr. Blocks until the program has ended.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        for line in self.stderr.by_ref().lines() {
            rest += &(line.unwrap() + "\n");
        }
        rest
    }

    /// Waits for the end; answers stdout as well.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let rest = self.rest();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap(), stdout, rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file below a directory: what would change if anybody wrote to it or replaced it.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::metadata(&path).unwrap();
        if found.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path, (found.len(), found.ino(), found.modified().unwrap()));
        }
    }
    files
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Overwrites bytes of a file.
pub(crate) fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}
