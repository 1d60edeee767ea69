//! Scenarios 19 and 22 on a real file system under a real kernel: a sync that fails because the disk below is full, and
//! a power cut (ext4's shutdown call), each on a loop device. They need root, loop devices, mkfs.ext4 and python3, and
//! say so where they can't run; `ROADBED_REQUIRE_ALL=1` makes that a failure.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use roadbed_wal::{FileSystem, Log, LogOptions, WalError};

use crate::kills::{Journal, writer};
use crate::support::{append, options, stored};

/// ext4's shutdown without writing out its journal: what a power cut leaves. It waits for a word first, so that nothing
/// but the call lies between the word and the cut.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
    disk = os.open(sys.argv[1], os.O_RDONLY)\n\
    print('ready', flush=True)\n\
    if sys.stdin.readline(): fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";

/// Runs a command; what it said, if it failed.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(name).args(arguments).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Skips with a reason, or fails where everything is wanted.
fn skipped(reason: &str) {
    assert!(std::env::var_os("ROADBED_REQUIRE_ALL").is_none(), "can't run: {reason}");
    println!("skipped: {reason}");
}

/// An ext4 in a file, mounted; all of it is undone when it is dropped.
struct Ext4 {
    root: tempfile::TempDir,
    tmpfs: bool,
    device: Option<String>,
    mounted: bool,
}

impl Ext4 {
    /// In a tmpfs of so many MiB, or else on the disk.
    fn new(tmpfs_mib: Option<u32>) -> Result<Self, String> {
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self { root, tmpfs: false, device: None, mounted: false };
        std::fs::create_dir_all(disk.below()).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(disk.mount()).map_err(|error| error.to_string())?;
        if let Some(mib) = tmpfs_mib {
            tool("mount", &["-t", "tmpfs", "-o", &format!("size={mib}M"), "tmpfs", text(&disk.below())])?;
            disk.tmpfs = true;
        }
        let image = disk.below().join("image");
        tool("truncate", &["-s", "128M", text(&image)])?;
        let whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", whole, text(&image)])?;
        disk.device = Some(tool("losetup", &["-f", "--show", text(&image)])?);
        disk.remount()?;
        Ok(disk)
    }

    fn below(&self) -> PathBuf {
        self.root.path().join("below")
    }

    fn mount(&self) -> PathBuf {
        self.root.path().join("mount")
    }

    fn log(&self) -> PathBuf {
        self.mount().join("log")
    }

    /// Takes all the space that the tmpfs has left, until the file is removed. Nothing is on its way to the device
    /// meanwhile, and blocks are as large as the tmpfs's pages: whatever is written next where nothing was written before
    /// fails as a whole. A write that finds room for its front only is no test of anybody: the loop device answers OK to
    /// it (seen on kernel 6.18), and the rest is lost.
    fn fill_below(&self) -> Result<PathBuf, String> {
        tool("sync", &["-f", text(&self.mount())])?;
        let ballast = self.below().join("ballast");
        let mut file = std::fs::File::create(&ballast).map_err(|error| error.to_string())?;
        while file.write_all(&[1; 4096]).is_ok() {}
        Ok(ballast)
    }

    /// What the disk really holds: nothing of the page cache survives it.
    fn remount(&mut self) -> Result<(), String> {
        if self.mounted {
            tool("umount", &[text(&self.mount())])?;
            self.mounted = false;
        }
        let device = self.device.clone().ok_or("no device")?;
        tool("mount", &[&device, text(&self.mount())])?;
        self.mounted = true;
        Ok(())
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if self.mounted {
            let _done = tool("umount", &[text(&self.mount())]);
        }
        if let Some(device) = &self.device {
            let _done = tool("losetup", &["-d", device]);
        }
        if self.tmpfs {
            let _done = tool("umount", &[text(&self.below())]);
        }
    }
}

/// A power cut that is ready, and only waits for the word.
struct PowerCut(Child);

impl PowerCut {
    fn prepare(mount: &Path) -> Result<Self, String> {
        let mut python = Command::new("python3")
            .args(["-c", SHUTDOWN, text(mount)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let mut line = String::new();
        BufReader::new(python.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let cut = Self(python);
        if line.trim() == "ready" { Ok(cut) } else { Err("python3 can't open the mount".to_owned()) }
    }

    fn now(mut self) -> Result<(), String> {
        self.0.stdin.take().unwrap().write_all(b"now\n").map_err(|error| error.to_string())?;
        let status = self.0.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("ext4's shutdown call: {status}")) }
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        // Without a word it ends by itself.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

fn check(log: &Log, len: usize) {
    for entry in log.reader().replay(log.range()) {
        let entry = entry.unwrap();
        assert!(entry == stored(entry.index, 0, len), "entry {}", entry.index);
    }
}

#[test]
fn scenario_19_a_sync_that_really_fails_is_made_good_by_rewriting() {
    const LEN: usize = 50_000;
    let mut disk = match Ext4::new(Some(64)) {
        Ok(disk) => disk,
        Err(reason) => return skipped(&reason),
    };
    let options = LogOptions { segment_bytes: 1 << 20, direct_io: false, pool_segments: 1, ..options() };
    let mut log = Log::create(Arc::new(FileSystem), &disk.log(), options.clone(), 0).unwrap();
    let mut acked = 0;
    for _ in 0..33 {
        append(&mut log, acked..acked + 2, 0, LEN);
        acked = log.sync().unwrap();
    }
    // The next group fits where the last segment has frames already.
    assert_eq!(log.segments(), 4);
    let ballast = disk.fill_below().unwrap();
    let next = acked + 4;
    append(&mut log, acked..next, 0, LEN);
    let error = log.sync().unwrap_err();
    println!("{error}");
    assert!(log.poisoned().is_some(), "{error}");
    assert!(matches!(log.sync(), Err(WalError::Poisoned { .. })), "whatever the kernel would say now");
    assert_eq!(log.durable_next(), acked);
    drop(log);
    // Space comes back; the next owner in the process writes anew what was not durable.
    std::fs::remove_file(&ballast).unwrap();
    let judged = Log::judge(Arc::new(FileSystem), &disk.log(), options.clone());
    let mut log = match judged.and_then(|judged| judged.open_at(acked)) {
        Ok(log) => log,
        // The file system itself may have given up; then it is a restart after its repair.
        Err(error @ WalError::Io { .. }) => {
            println!("not in this mount: {error}");
            disk.remount().unwrap();
            Log::judge(Arc::new(FileSystem), &disk.log(), options.clone()).unwrap().open_at(acked).unwrap()
        }
        Err(error) => panic!("{error}"),
    };
    append(&mut log, acked..next, 0, LEN);
    assert_eq!(log.sync().unwrap(), next);
    drop(log);
    disk.remount().unwrap();
    let log = Log::open(Arc::new(FileSystem), &disk.log(), options).unwrap();
    assert_eq!(log.range(), 0..next);
    check(&log, LEN);
}

#[test]
fn scenario_22_everything_acknowledged_survives_a_power_cut() {
    let mut disk = match Ext4::new(None) {
        Ok(disk) => disk,
        Err(reason) => return skipped(&reason),
    };
    let mut journal = Journal::default();
    for life in 0..4 {
        let mut cut = match PowerCut::prepare(&disk.mount()) {
            Ok(cut) => Some(cut),
            Err(reason) => return skipped(&reason),
        };
        let mut child = writer(&disk.log(), life);
        let wanted = journal.acknowledged + 15 + life;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            if cut.is_none() {
                // Only what was said before the call must be there. An fdatasync that is under way during the call can
                // answer OK for data that is lost: ext4 drops the failed conversion of an unwritten extent without a
                // word when it is shut down, where a device without power would have made the write fail.
                journal.note_in_doubt(&line);
                continue;
            }
            journal.note(&line);
            if journal.acknowledged == wanted
                && let Some(Err(reason)) = cut.take().map(PowerCut::now)
            {
                child.kill().unwrap();
                child.wait().unwrap();
                return skipped(&reason);
            }
        }
        child.wait().unwrap();
        assert!(cut.is_none(), "life {life}: the writer ended by itself");
        disk.remount().unwrap();
        let log = Log::open(Arc::new(FileSystem), &disk.log(), options()).unwrap();
        journal.check(&log, &format!("life {life}"));
        journal.goes_on(&log);
    }
}
