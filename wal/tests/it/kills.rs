//! Scenario 22: kill -9 in a loop, under load, on the real file system. A journal beside the log says what was
//! acknowledged. (The page cache survives a kill: only the simulated disk and a power cut test syncs.)

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use roadbed_wal::{Log, LogOptions, WalError};

use crate::support::{Disk, append, options, stored};

pub(crate) const DIR: &str = "ROADBED_WAL_KILLED_DIR";
pub(crate) const KILLED_LEN: usize = 900;
const LEN: usize = KILLED_LEN;
/// Acknowledgements that are waited for before each kill.
const ACKNOWLEDGED: usize = 20;

fn rounds() -> u64 {
    std::env::var("ROADBED_WAL_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8)
}

fn open(disk: &Disk, dir: &Path, round: u64) -> Log {
    let options = LogOptions { direct_io: round.is_multiple_of(2), ..options() };
    match Log::open(disk.storage(), dir, options.clone()) {
        Err(WalError::Missing { .. }) => Log::create(disk.storage(), dir, options, 0).unwrap(),
        other => other.unwrap(),
    }
}

/// The process that is killed: prints the front and the durable end after each acknowledgement.
#[test]
#[ignore = "started by the test below"]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let disk = Disk::new();
    let plain = std::env::var("ROADBED_WAL_KILLED_PLAIN").ok().and_then(|plain| plain.parse().ok());
    let mut log = open(&disk, &dir, plain.unwrap_or(u64::from(std::process::id())));
    loop {
        let next = log.range().end;
        append(&mut log, next..next + 1 + next % 40, 0, LEN);
        let durable = log.sync().unwrap();
        if durable.is_multiple_of(3) {
            log.truncate_before(durable.saturating_sub(200)).unwrap();
        }
        println!("\nacked {} {durable}", log.range().start);
    }
}

#[test]
fn scenario_22_everything_acknowledged_is_there_after_every_kill() {
    let disk = Disk::new();
    let dir = disk.dir();
    let mut front = 0;
    for round in 0..rounds() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIR, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acked = (front, 0_u64);
        let mut count = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = ACKNOWLEDGED + (round * 7 % 13) as usize;
        for line in &mut lines {
            let line = line.unwrap();
            if let Some((first, durable)) = line.strip_prefix("acked ").and_then(|rest| rest.split_once(' '))
            {
                acked = (first.parse().unwrap(), durable.parse().unwrap());
                count += 1;
            }
            if count == wanted {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= wanted, "round {round}: only {count} acknowledged");
        let log = open(&disk, &dir, round);
        let range = log.range();
        assert!(range.start >= acked.0 && range.end >= acked.1, "round {round}: {range:?} after {acked:?}");
        for entry in log.reader().replay(range.clone()) {
            let entry = entry.unwrap();
            assert!(entry == stored(entry.index, 0, LEN));
        }
        front = range.start;
    }
}
