//! A log of a million entries beside one of ten thousand, each opened by a process of its own.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::drop_cache;
use crate::scratch::Scratch;
use crate::stats;

pub(super) const ENTRY_BYTES: usize = 1024;
const GROUP: usize = 64;
/// Entries of the small log, and of the last segment of both.
pub(super) const LAST_ENTRIES: u64 = 10_000;
const ROUNDS: [usize; 2] = [3, 15];
/// What a process does with the log once it is open: so many entries by index and by key, and so many in order.
const READS: u64 = 64;
const REPLAYED: u64 = 5000;

/// What the page cache holds of a log before it is opened. (Opening drops what it holds of the last segment.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// All of it.
    Warm,
    /// Nothing; nor does the kernel know its inodes, where root may make it forget them.
    Cold,
}

/// What a process says that has opened a log.
#[derive(Debug, Deserialize, Serialize)]
struct Told {
    entries: u64,
    segments: usize,
    open_ms: f64,
    /// The most memory that it had.
    vm_hwm_kib: u64,
}

/// Two logs that were left without being closed, whose last segments are filled alike. Opening them changes nothing.
pub(super) struct Logs {
    pub(super) large: PathBuf,
    pub(super) small: PathBuf,
    /// Of the large one.
    entries: u64,
    segments: usize,
    _scratch: Scratch,
}

/// Measures how long opening takes.
pub(super) fn open(bench: &Bench, cache: Cache) -> Result<Measured> {
    let logs = Logs::fill(bench)?;
    let (mut rounds, mut memory, mut forgot_inodes) = (Vec::new(), Vec::new(), true);
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let mut opened = |dir: &Path| {
            match cache {
                Cache::Warm => read_all(dir)?,
                Cache::Cold => forgot_inodes &= forget(dir)?,
            }
            in_a_process(dir)
        };
        let (large, small) = (opened(&logs.large)?, opened(&logs.small)?);
        logs.check(&large, &small)?;
        rounds.push(Round::pair(large.open_ms, small.open_ms));
        memory.push(large.vm_hwm_kib as f64 / small.vm_hwm_kib as f64);
    }
    let mut params = logs.params();
    params.insert("cache".to_owned(), format!("{cache:?}").to_lowercase().into());
    params.insert("inodes_forgotten".to_owned(), (cache == Cache::Cold && forgot_inodes).into());
    params.insert("times_the_memory_of_the_small_log".to_owned(), stats::median(&memory).into());
    Ok(Measured { unit: Unit::Millis, limit: beside(), params, rounds })
}

/// Measures the memory of a process that opens a log, reads a few entries and replays a part.
pub(super) fn memory(bench: &Bench) -> Result<Measured> {
    let logs = Logs::fill(bench)?;
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let (large, small) = (in_a_process(&logs.large)?, in_a_process(&logs.small)?);
        logs.check(&large, &small)?;
        rounds.push(Round::pair(large.vm_hwm_kib as f64, small.vm_hwm_kib as f64));
    }
    let mut params = logs.params();
    params.insert("reads".to_owned(), (2 * READS).into());
    params.insert("replayed_entries".to_owned(), REPLAYED.into());
    Ok(Measured { unit: Unit::Kibibytes, limit: beside(), params, rounds })
}

fn beside() -> String {
    format!("a log of {LAST_ENTRIES} entries with the same last segment")
}

impl Logs {
    pub(super) fn fill(bench: &Bench) -> Result<Self> {
        let least: u64 = bench.pick(200_000, 1_000_000);
        let scratch = bench.scratch("scale")?;
        let (large, small) = (scratch.path().join("large"), scratch.path().join("small"));
        let payload = vec![0xa5; ENTRY_BYTES];
        let mut log = logs::create(&large, logs::options())?;
        logs::fill(&mut log, &payload, least, GROUP)?;
        let before = log.segments();
        while log.segments() == before {
            logs::append_group(&mut log, &payload, GROUP)?;
        }
        let last = log.reader().segments().last().map_or(0, |last| last.end - last.base);
        logs::fill(&mut log, &payload, LAST_ENTRIES - last, GROUP)?;
        let (entries, segments) = (log.range().end, log.segments());
        drop(log);
        logs::fill(&mut logs::create(&small, logs::options())?, &payload, LAST_ENTRIES, GROUP)?;
        Ok(Self { large, small, entries, segments, _scratch: scratch })
    }

    /// Whether both were opened as they were left.
    fn check(&self, large: &Told, small: &Told) -> Result<()> {
        let found = (large.entries, large.segments, small.entries, small.segments);
        let wanted = (self.entries, self.segments, LAST_ENTRIES, 1);
        ensure!(found == wanted, "entries and segments {found:?} were found instead of {wanted:?}");
        Ok(())
    }

    pub(super) fn params(&self) -> serde_json::Map<String, serde_json::Value> {
        params([
            ("entries", self.entries.into()),
            ("segments", self.segments.into()),
            ("entry_bytes", ENTRY_BYTES.into()),
            ("entries_in_last_segment", LAST_ENTRIES.into()),
        ])
    }
}

/// Starts a process that opens the log ([`open_and_tell`]).
fn in_a_process(dir: &Path) -> Result<Told> {
    let output = Command::new(std::env::current_exe()?).arg("--open").arg(dir).output()?;
    let (said, complained) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success(), "the process that opens {} failed: {complained}", dir.display());
    Ok(serde_json::from_slice(&said)?)
}

/// What that process does: opens the log of a directory, reads a little of it, and says what it took.
///
/// # Errors
/// When the log can't be opened or read, or the system does not say what memory was used.
pub fn open_and_tell(dir: &Path) -> Result<()> {
    let began = Instant::now();
    let log = logs::open(dir, logs::options())?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let (reader, range) = (log.reader(), log.range());
    for nth in 0..READS {
        let index = range.start + (range.end - range.start - 1) * nth / (READS - 1);
        black_box(reader.get(index)?.context("an entry that is retained")?);
        black_box(reader.get_by_key(index)?);
    }
    for entry in reader.replay(range.start..range.end.min(range.start + REPLAYED)) {
        black_box(entry?);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let vm_hwm_kib = most.context("no VmHWM in /proc/self/status")?.parse()?;
    let told = Told { entries: range.end - range.start, segments: log.segments(), open_ms, vm_hwm_kib };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?)?)
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    Ok(listed.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

fn read_all(dir: &Path) -> Result<()> {
    files_in(dir)?.iter().try_for_each(|path| {
        std::io::copy(&mut fs::File::open(path)?, &mut std::io::sink())?;
        Ok(())
    })
}

/// Takes a log out of the kernel's memory; answers whether its inodes are gone, too.
fn forget(dir: &Path) -> Result<bool> {
    drop_cache(&files_in(dir)?)?;
    Ok(fs::write("/proc/sys/vm/drop_caches", "2\n").is_ok())
}
