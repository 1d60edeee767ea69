//! A running node, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

/// Killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    stdin: ChildStdin,
    stderr: Receiver<String>,
    /// Host and port.
    pub(crate) addr: String,
    _dir: TempDir,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    for (name, _) in std::env::vars() {
        if name.starts_with("ROADBED_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.env("ROADBED_SEGMENT_BYTES", "1048576");
    command
}

impl Node {
    /// A node under a light load, which takes faults.
    pub(crate) fn start() -> Self {
        Self::listening("127.0.0.1:0")
    }

    pub(crate) fn listening(addr: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command();
        command.args([
            "run",
            "--rehearse",
            "--rate",
            "100",
            "--retain-blocks",
            "200",
            "--listen",
            addr,
            "--dir",
        ]);
        let mut child = command
            .arg(dir.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, stderr) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut node = Self { child, stdin, stderr, addr: String::new(), _dir: dir };
        let line = node.wait_for_line("live page: http://");
        node.addr = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        node
    }

    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.stderr.recv().unwrap_or_else(|_| panic!("no {text:?} in {before:#?}"));
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
    }

    /// Gives a command to the rehearsal and waits until it is in force.
    pub(crate) fn rehearse(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.wait_for_line(&format!("rehearsal: {line}: done"));
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.addr, path)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).1).unwrap()
    }

    /// What comes as server-sent events, one after the other: the name and the data.
    pub(crate) fn events(&self) -> impl Iterator<Item = (String, Value)> + use<> {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        write!(socket, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr).unwrap();
        let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
        let mut name = String::new();
        std::iter::from_fn(move || {
            loop {
                let line = lines.next()?;
                if let Some(event) = line.strip_prefix("event: ") {
                    name = event.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    return Some((name.clone(), serde_json::from_str(data).unwrap()));
                }
            }
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the body of an answer.
pub(crate) fn get(addr: &str, path: &str) -> (u16, String) {
    ask(addr, "GET", path)
}

pub(crate) fn ask(addr: &str, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(socket, "{method} {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
