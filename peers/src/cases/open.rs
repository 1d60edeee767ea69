//! Opening a log of a million entries after its process was killed.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};

use super::{fill, keeping, peer_of};
use crate::peer::{Candidate, Payloads, verify};
use crate::peers::OURS;

const ENTRY_BYTES: u64 = 1024;
const ROUNDS: [usize; 2] = [2, 3];

/// Measures it, from the page cache.
pub fn run(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let entries: u64 = bench.pick(100_000, 1_000_000);
    let scratch = bench.scratch("open")?;
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let killed = |candidate: &Candidate, name| {
        let dir = scratch.path().join(name);
        fill_and_kill(candidate, &dir, entries)?;
        Ok::<_, anyhow::Error>(dir)
    };
    let (ours, peer) = (killed(&OURS, "ours")?, killed(candidate, "peer")?);
    let opened = scratch.path().join("opened");
    let open = |candidate: &Candidate, left: &Path, whole: bool| {
        copy(left, &opened)?;
        let began = Instant::now();
        let mut log = keeping(candidate, &opened, &payloads)?;
        let took = began.elapsed();
        let found = if whole { verify(&mut *log, &payloads)? } else { log.next() };
        ensure!(found == entries, "{found} of {entries} entries are there");
        drop(log);
        fs::remove_dir_all(&opened)?;
        Ok::<_, anyhow::Error>(took.as_secs_f64() * 1e3)
    };
    let mut rounds = Vec::new();
    for round in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        rounds.push(Round::pair(open(&OURS, &ours, round == 0)?, open(candidate, &peer, round == 0)?));
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", entries.into()),
        ("cache", "warm".into()),
    ]);
    Ok(Measured { unit: Unit::Millis, limit: candidate.name.to_owned(), params, rounds })
}

/// What the process that fills a log says when everything is durable.
const FULL: &str = "full";

/// The process that is killed: fills a log, says so, and waits.
pub fn fill_and_wait(candidate: &Candidate, dir: &Path, entries: u64) -> Result<()> {
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let mut log = keeping(candidate, dir, &payloads)?;
    fill(&mut *log, &payloads, entries)?;
    writeln!(io::stdout(), "{FULL}")?;
    // Until it is killed, or its parent is gone.
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn fill_and_kill(candidate: &Candidate, dir: &Path, entries: u64) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--peer", candidate.name, "--entries", &entries.to_string(), "--fill"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().map(|out| BufReader::new(out).lines().next());
    child.kill()?;
    child.wait()?;
    match said {
        Some(Some(Ok(line))) if line == FULL => Ok(()),
        said => bail!("the process that fills {} ended early: {said:?}", candidate.name),
    }
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copy {}", entry.path().display()))?;
            // So that no opening pays for writing the copy back.
            fs::File::open(target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()?;
    Ok(())
}
