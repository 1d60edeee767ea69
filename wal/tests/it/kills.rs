//! Scenario 22: kill -9 in a loop, under load, on the real file system, while segments roll and are recycled, the front
//! moves and the tail is cut. What the writer says through a pipe is the journal of what was acknowledged. (The page cache
//! survives a kill: only the simulated disk and a power cut test syncs.)
//!
//! More rounds: `ROADBED_WAL_KILLS=500`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use roadbed_wal::{Log, LogOptions, WalError};

use crate::support::{Disk, append, digest, options, payload};

const DIR: &str = "ROADBED_WAL_KILLED_DIR";
const LEN: usize = 900;
/// Number of the writer's process: every other one writes past the page cache, and none writes the same bytes.
const LIFE: &str = "ROADBED_WAL_KILLED_LIFE";
/// Acknowledgements that are waited for before each kill, at least.
const ACKNOWLEDGED: u64 = 150;
/// Entries that stay in front of the end.
const RETAINED: u64 = 200;
/// Tails that a life may cut.
const CUTS_MAX: u64 = 1000;

fn rounds() -> u64 {
    std::env::var("ROADBED_WAL_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(24)
}

fn open(disk: &Disk, dir: &Path, life: u64) -> Log {
    // Groups of more than a page go in parts where writes are direct.
    let options = LogOptions { direct_io: life.is_multiple_of(2), ahead_bytes: 4096, ..options() };
    match Log::open(disk.storage(), dir, options.clone()) {
        Err(WalError::Missing { .. }) => Log::create(disk.storage(), dir, options, 0).unwrap(),
        other => other.unwrap(),
    }
}

/// The process that is killed: says what it has acknowledged, and what it is about to cut. It does nothing unless the test
/// below starts it.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let disk = Disk::new();
    let life = std::env::var(LIFE).ok().and_then(|life| life.parse::<u64>().ok()).unwrap_or(0);
    let mut log = open(&disk, &dir, life);
    let mut version = life * CUTS_MAX;
    for group in 1_u64.. {
        let next = log.range().end;
        append(&mut log, next..next + 1 + group % 40, version, LEN);
        // Most are sent on their way, and the next is put together meanwhile.
        let durable = if group % 4 == 0 { log.sync() } else { log.submit() }.unwrap();
        println!("\nacked {} {durable}", log.range().start);
        if group % 3 == 0 {
            log.truncate_before(durable.saturating_sub(RETAINED).max(log.range().start)).unwrap();
            println!("\nacked {} {durable}", log.range().start);
        }
        if group % 7 == 0 && version + 1 < (life + 1) * CUTS_MAX {
            let to = durable - durable % 10;
            version += 1;
            println!("\ncutting {to} {version}");
            log.truncate_after(to).unwrap();
            println!("\ncut {to} {version}");
        }
        if group % 5 == 0 {
            log.idle().unwrap();
        }
    }
}

/// Starts that process on a directory.
pub(crate) fn writer(dir: &Path, life: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What must be there, by what the writer said.
#[derive(Default)]
pub(crate) struct Journal {
    first: u64,
    /// Everything below was acknowledged.
    durable: u64,
    /// A cut that was begun: entries from there on may be gone.
    cutting: Option<u64>,
    /// Cuts that were acknowledged: entries from the index on are of that version or a later one.
    cuts: Vec<(u64, u64)>,
    pub(crate) acknowledged: u64,
}

impl Journal {
    pub(crate) fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        match (what, &numbers[..]) {
            (Some("acked"), &[first, durable]) => {
                (self.first, self.durable) = (first, durable);
                self.acknowledged += 1;
            }
            (Some("cutting"), &[to, _]) => self.cutting = Some(to),
            (Some("cut"), &[to, version]) => {
                self.cutting = None;
                self.durable = self.durable.min(to);
                self.cuts.retain(|(index, _)| *index < to);
                self.cuts.push((to, version));
            }
            _ => {}
        }
    }

    /// Takes note of what was said while the disk was being taken away: nothing of it needs to be there, but what was
    /// to be cut may be gone.
    pub(crate) fn note_in_doubt(&mut self, line: &str) {
        let to = line.strip_prefix("cutting ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(to) = to {
            self.cutting = Some(self.cutting.map_or(to, |before: u64| before.min(to)));
        }
    }

    /// What was found is what the next life begins with.
    pub(crate) fn goes_on(&mut self, log: &Log) {
        let range = log.range();
        (self.first, self.durable, self.cutting) = (range.start, range.end, None);
    }

    pub(crate) fn check(&self, log: &Log, context: &str) {
        let range = log.range();
        let least = self.cutting.map_or(self.durable, |to| self.durable.min(to));
        assert!(
            range.start >= self.first && range.end >= least,
            "{context}: {range:?} is there, {}..{least} was acknowledged",
            self.first
        );
        for entry in log.reader().replay(range) {
            let entry = entry.unwrap();
            let (index, version) = (entry.index, (entry.digest & !(1 << 63)) - entry.index * 31);
            assert!(entry.digest == digest(index, version), "{context}: entry {index} has another digest");
            assert!(
                entry.payload == payload(index, version, LEN),
                "{context}: entry {index} has other bytes"
            );
            let cut = self.cuts.iter().rev().find(|(to, _)| *to <= index);
            assert!(
                cut.is_none_or(|(_, least)| version >= *least),
                "{context}: entry {index} of version {version} was cut: {cut:?}"
            );
        }
    }
}

#[test]
fn scenario_22_everything_acknowledged_is_there_after_every_kill() {
    let disk = Disk::new();
    let dir = disk.dir();
    let mut journal = Journal::default();
    for life in 0..rounds() {
        let mut child = writer(&dir, life);
        let wanted = journal.acknowledged + ACKNOWLEDGED + life * 7 % 13;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            journal.note(&line.unwrap());
            if journal.acknowledged == wanted {
                // It writes on until the signal reaches it; what it says until then counts.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(journal.acknowledged >= wanted, "life {life}: the writer ended by itself");
        let log = open(&disk, &dir, life);
        journal.check(&log, &format!("life {life}"));
        journal.goes_on(&log);
    }
    // The load was one: it went through many more segments than there are.
    let names = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let segments: Vec<u64> = names.filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    assert!(segments.iter().max() > Some(&(20 * segments.len() as u64)), "{segments:?}");
}
