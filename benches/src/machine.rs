//! What is known of the machine, for the report.

use std::path::Path;
use std::process::Command;
use std::{fs, panic};

use anyhow::{Context as _, Result, bail};

use crate::args::workspace;
use crate::report::Machine;

/// Describes the machine.
///
/// # Errors
/// When `data` lies in memory: what is measured there would say nothing of a disk.
pub fn describe(data: &Path, quick: bool) -> Result<Machine> {
    let file_system = file_system_of(data)?;
    if file_system.starts_with("tmpfs") || file_system.starts_with("ramfs") {
        bail!("{} is in memory ({file_system}): give a directory on a disk with --data", data.display());
    }
    Ok(Machine {
        cpu: cpu(),
        cores: cores(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        file_system,
        rustc: answer_of("rustc", &["--version"]),
        quick,
        load_before: load(),
        load_after: 0.0,
    })
}

/// Processors that may be used.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runnable tasks, mean of the last minute; 0 where that is unknown.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// Keeps panics that a benchmark asked for off the terminal.
pub fn silence_injected_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with("injected panic")) {
            others(panic);
        }
    }));
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or("unknown", |(_, name)| name).trim().to_owned()
}

/// The source that is measured; `-dirty` where it was changed.
pub fn commit() -> String {
    let commit = answer_of("git", &["rev-parse", "HEAD"]);
    let changed = !answer_of("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if changed { format!("{commit}-dirty") } else { commit }
}

/// What a program says; nothing where it is missing.
fn answer_of(program: &str, args: &[&str]) -> String {
    let answer = Command::new(program).args(args).current_dir(workspace()).output();
    answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default()
}

/// Type and source of the file system that holds a path.
fn file_system_of(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let mut found = (0, "unknown".to_owned());
    for mount in mounts.lines() {
        let mut fields = mount.split(' ');
        let (Some(source), Some(place), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if path.starts_with(place) && place.len() >= found.0 {
            found = (place.len(), format!("{kind} on {source}"));
        }
    }
    Ok(found.1)
}
