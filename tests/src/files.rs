//! A store's files: what they hold, and hands to make them hold something else while nothing runs on them.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed::store::{StorePaths, log_options, prepare};
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, codec};
use roadbed_wal::{FileSystem, Log, LogOptions, Storage};

use crate::Fixture;

/// Every file and directory below a directory, with its bytes. Of the lock files only the names count: they say who
/// held them last.
#[derive(Clone, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Files {
    /// What is there now.
    ///
    /// # Panics
    /// When it can't be read.
    pub fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut open = vec![dir.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).expect("a directory that can be read") {
                let entry = entry.expect("an entry that can be read");
                let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
                if kind.is_dir() {
                    files.insert(path.clone(), None);
                    open.push(path);
                } else {
                    let lock = entry.file_name() == "LOCK";
                    let bytes =
                        if lock { Vec::new() } else { fs::read(&path).expect("a file that can be read") };
                    files.insert(path, Some(bytes));
                }
            }
        }
        Self(files)
    }

    /// The bytes of all files.
    pub fn contents(self) -> Vec<Vec<u8>> {
        self.0.into_values().flatten().collect()
    }

    /// The names, relative to `dir`.
    pub fn names(&self, dir: &Path) -> Vec<String> {
        let relative = |path: &PathBuf| path.strip_prefix(dir).map(|path| path.display().to_string()).ok();
        self.0.keys().filter_map(relative).collect()
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = |bytes: &Vec<u8>| {
            let sum =
                bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            (bytes.len(), sum)
        };
        f.debug_map().entries(self.0.iter().map(|(path, bytes)| (path, bytes.as_ref().map(digest)))).finish()
    }
}

/// Hands to tamper with a store that nothing runs on.
pub struct Craft {
    paths: StorePaths,
    fixture: Fixture,
}

impl Craft {
    /// For the store in `dir`, of the fixture's chain.
    pub fn new(dir: &Path, fixture: &Fixture) -> Self {
        Self { paths: StorePaths::new(dir), fixture: fixture.clone() }
    }

    /// A new store in `dir` that nothing was ever appended to.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn new_store(dir: &Path, fixture: &Fixture) -> Self {
        let craft = Self::new(dir, fixture);
        let committee = &fixture.members.committee;
        prepare(&storage(), &craft.paths, committee, |wal| craft.options(wal)).expect("a new store");
        craft
    }

    /// The directory of a log.
    pub fn log_dir(&self, wal: WalKind) -> PathBuf {
        self.paths.log(wal)
    }

    fn options(&self, wal: WalKind) -> LogOptions {
        let options = log_options(&self.fixture.members.committee, wal);
        // The smallest there are: a few entries fill one.
        LogOptions { segment_bytes: 32 << 10, ..options }
    }

    /// A log, open for writing.
    ///
    /// # Panics
    /// When it can't be opened.
    pub fn log(&self, wal: WalKind) -> Log {
        Log::open(storage(), &self.log_dir(wal), self.options(wal)).expect("a log that opens")
    }

    /// Changes a log, and closes it in order.
    ///
    /// # Panics
    /// When it can't be opened or closed.
    pub fn with_log(&self, wal: WalKind, change: impl FnOnce(&mut Log)) -> &Self {
        let mut log = self.log(wal);
        change(&mut log);
        log.close().expect("a log that closes");
        self
    }

    /// Makes the block log hold exactly these blocks.
    ///
    /// # Panics
    /// When it can't be done.
    pub fn blocks(&self, range: Range<u64>) -> &Self {
        self.with_log(WalKind::Blocks, |log| {
            if range.start != log.range().end || !log.range().is_empty() {
                log.reset(range.start).expect("a reset");
            }
            self.append_blocks(log, range);
        })
    }

    /// Appends these blocks, each durable before the next.
    ///
    /// # Panics
    /// When it can't be done.
    pub fn append_blocks(&self, log: &mut Log, range: Range<u64>) {
        for number in range {
            let block = &**self.fixture.block(BlockNumber(number));
            let mut digest = [0; 8];
            digest.copy_from_slice(&block.header.hash().0[..8]);
            let payload = codec::encode(block);
            append(log, number, number + 1, u64::from_le_bytes(digest), &payload);
        }
    }

    /// Makes the QC log hold exactly these QCs of the chain, the first of them at the same place in the log.
    ///
    /// # Panics
    /// When it can't be done.
    pub fn qcs(&self, range: Range<usize>) -> &Self {
        self.with_log(WalKind::Qcs, |log| {
            let start = range.start as u64;
            if start != log.range().end || !log.range().is_empty() {
                log.reset(start).expect("a reset");
            }
            self.append_qcs(log, range);
        })
    }

    /// Appends these QCs of the chain wherever the log ends, each durable before the next.
    ///
    /// # Panics
    /// When it can't be done.
    pub fn append_qcs(&self, log: &mut Log, qcs: impl IntoIterator<Item = usize>) {
        for qc in qcs {
            let payload = codec::encode(&*self.fixture.chain[qc].0);
            let next = log.range().end;
            append(log, next, self.fixture.range(qc).end.0, 0, &payload);
        }
    }

    /// What a log holds, by index.
    pub fn range(&self, wal: WalKind) -> Range<u64> {
        let judged =
            Log::judge(storage(), &self.log_dir(wal), self.options(wal)).expect("a log that can be judged");
        judged.facts().first..judged.facts().next
    }

    /// Removes a log's directory.
    ///
    /// # Panics
    /// When it can't be removed.
    pub fn remove(&self, wal: WalKind) -> &Self {
        fs::remove_dir_all(self.log_dir(wal)).expect("a directory that can be removed");
        self
    }

    /// Damages the last group of a log, as a crash in the middle of its write would.
    ///
    /// # Panics
    /// When there is none.
    pub fn tear(&self, wal: WalKind) -> &Self {
        let path = self.segments(wal).pop().expect("a segment");
        let mut bytes = fs::read(&path).expect("a file that can be read");
        let last = bytes.iter().rposition(|byte| *byte != 0).expect("a group");
        // Anywhere in its last page.
        let page = last - last % 4096;
        bytes[page + 40..page + 60].fill(0xee);
        fs::write(&path, bytes).expect("a file that can be written");
        self
    }

    /// All files.
    pub fn files(&self) -> Files {
        Files::of(&self.paths.dir)
    }

    /// A log's segment files, oldest first.
    ///
    /// # Panics
    /// When the directory can't be read.
    pub fn segments(&self, wal: WalKind) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.log_dir(wal)).expect("a directory that can be read");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        paths.sort();
        paths
    }
}

fn append(log: &mut Log, index: u64, key: u64, digest: u64, payload: &[u8]) {
    log.append(index, roadbed_wal::Entry { key, digest, payload }).expect("an append");
    // Each in a group of its own.
    log.sync().expect("a sync");
}

fn storage() -> Arc<dyn Storage> {
    Arc::new(FileSystem)
}
