//! The simulated disk: files and directories, each with what is durable and what is only in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a disk writes as a whole, in bytes.
pub(super) const SECTOR: usize = 512;

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    durable: Vec<u8>,
    /// What reads see.
    pub(super) cached: Vec<u8>,
    changes: Vec<Change>,
}

/// A change of a directory that is not durable yet.
#[derive(Clone, Debug)]
enum Entry {
    Link { name: String, inode: usize },
    Unlink { name: String },
    Rename { from: String, to: String },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    durable: BTreeMap<String, usize>,
    pub(super) current: BTreeMap<String, usize>,
    changes: Vec<Entry>,
    /// Whether its own entry in its parent is durable.
    pub(super) anchored: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    pub(super) inodes: Vec<Inode>,
}

/// A small deterministic generator: the simulation needs no better one.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 for 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }
}

/// How much of what was not durable survives a crash.
#[derive(Clone, Copy, Debug)]
struct Survival {
    /// Of a thousand.
    writes: u64,
    entries: u64,
}

impl Survival {
    /// The plain cases come up often: nothing survives, everything does, and mixtures.
    fn of(dice: &mut Dice) -> Self {
        let mut pick = || match dice.below(6) {
            0 => 0,
            1 => 1000,
            2 => 900,
            3 => 100,
            _ => 500,
        };
        Self { writes: pick(), entries: pick() }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Inode {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.cached, offset, bytes);
        self.changes.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    /// A write that is durable when it returns; other writes stay as they are.
    pub(super) fn write_through(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.cached, offset, bytes);
        put(&mut self.durable, offset, bytes);
        let end = offset + bytes.len();
        for change in &mut self.changes {
            if let Change::Write { offset: at, bytes: older } = change {
                let (from, to) = (offset.max(*at), end.min(*at + older.len()));
                if from < to {
                    older[from - *at..to - *at].copy_from_slice(&bytes[from - offset..to - offset]);
                }
            }
        }
    }

    pub(super) fn extend_to(&mut self, length: usize) {
        if self.cached.len() < length {
            self.cached.resize(length, 0);
            self.changes.push(Change::Length(length));
        }
    }

    /// Everything written so far reaches the disk.
    pub(super) fn sync(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        changes.iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// A failed sync: the pages are marked clean, reads still see them, the disk never does.
    pub(super) fn sync_failed(&mut self) {
        self.changes.clear();
    }

    /// Clean pages are forgotten, dirty ones stay.
    pub(super) fn drop_cache(&mut self) {
        let mut seen = self.durable.clone();
        self.changes.iter().for_each(|change| change.apply(&mut seen));
        self.cached = seen;
    }

    /// Changes what memory shows, until it is forgotten.
    pub(super) fn damage_cache(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(&mut self.cached);
    }

    fn crash(&self, dice: &mut Dice, survival: Survival) -> Self {
        let mut bytes = self.durable.clone();
        for change in &self.changes {
            match change {
                Change::Length(_) if dice.below(1000) < survival.writes => change.apply(&mut bytes),
                Change::Length(_) => {}
                Change::Write { offset, bytes: data } => {
                    let mut at = 0;
                    while at < data.len() {
                        let step = (SECTOR - (offset + at) % SECTOR).min(data.len() - at);
                        if dice.below(1000) < survival.writes {
                            put(&mut bytes, offset + at, &data[at..at + step]);
                        }
                        at += step;
                    }
                }
            }
        }
        Self { cached: bytes.clone(), durable: bytes, changes: Vec::new() }
    }

    /// Changes what is on the disk and in memory alike, as damage does.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(&mut self.durable);
        change(&mut self.cached);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: data } => put(bytes, *offset, data),
            Self::Length(length) if bytes.len() < *length => bytes.resize(*length, 0),
            Self::Length(_) => {}
        }
    }
}

impl Dir {
    /// The files that have a name here, or may have one after a crash.
    fn inodes(&self) -> impl Iterator<Item = usize> {
        let linked = self.changes.iter().filter_map(|entry| match entry {
            Entry::Link { inode, .. } => Some(*inode),
            Entry::Unlink { .. } | Entry::Rename { .. } => None,
        });
        self.durable.values().chain(self.current.values()).copied().chain(linked)
    }

    pub(super) fn link(&mut self, name: &str, inode: usize) {
        self.change(Entry::Link { name: name.to_owned(), inode });
    }

    pub(super) fn unlink(&mut self, name: &str) {
        self.change(Entry::Unlink { name: name.to_owned() });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Entry::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    fn change(&mut self, entry: Entry) {
        let known = self.current.clone();
        entry.apply(&mut self.current, &known);
        self.changes.push(entry);
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.current.clone();
        self.changes.clear();
    }

    fn crash(&self, dice: &mut Dice, survival: Survival) -> Self {
        let mut names = self.durable.clone();
        // Names as they were just before each change: a rename that survives takes its file along even where the entry
        // that made the old name did not.
        let mut before = self.durable.clone();
        for entry in &self.changes {
            if dice.below(1000) < survival.entries {
                entry.apply(&mut names, &before);
            }
            let known = before.clone();
            entry.apply(&mut before, &known);
        }
        Self { durable: names.clone(), current: names, changes: Vec::new(), anchored: true }
    }
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<String, usize>, known: &BTreeMap<String, usize>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = known.get(from) {
                    names.remove(from);
                    names.insert(to.clone(), *inode);
                }
            }
        }
    }
}

impl Disk {
    pub(super) fn inode_of(&self, path: &Path) -> Option<usize> {
        let name = path.file_name()?.to_str()?;
        self.dirs.get(path.parent()?)?.current.get(name).copied()
    }

    /// Moves a file to another directory, the way a journal does: at once in both or in neither, and with all that was
    /// changed in them before.
    pub(super) fn move_to(&mut self, from: &Path, to: &Path) -> std::io::Result<()> {
        use std::io::ErrorKind::{AlreadyExists, InvalidInput, NotFound};
        fn name(path: &Path) -> Option<(&Path, &str)> {
            Some((path.parent()?, path.file_name()?.to_str()?))
        }
        let inode = self.inode_of(from).ok_or(NotFound)?;
        let (Some((source, old_name)), Some((target, new_name))) = (name(from), name(to)) else {
            return Err(InvalidInput.into());
        };
        let dir = self.dirs.get_mut(target).ok_or(NotFound)?;
        if dir.current.contains_key(new_name) {
            return Err(AlreadyExists.into());
        }
        dir.link(new_name, inode);
        dir.sync();
        if let Some(dir) = self.dirs.get_mut(source) {
            dir.unlink(old_name);
            dir.sync();
        }
        Ok(())
    }

    /// Bytes that the files take.
    pub(super) fn used_bytes(&self) -> u64 {
        let linked = self.dirs.values().flat_map(|dir| dir.current.values());
        linked.map(|inode| self.inodes[*inode].cached.len() as u64).sum()
    }

    /// What a power loss leaves: all that was durable, and of the rest what the dice say, sector by sector and entry by
    /// entry.
    pub(super) fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let survival = Survival::of(&mut dice);
        let mut dirs = BTreeMap::new();
        for (path, dir) in &self.dirs {
            let lost_above = path
                .ancestors()
                .skip(1)
                .any(|above| self.dirs.contains_key(above) && !dirs.contains_key(above));
            if !lost_above && (dir.anchored || dice.below(1000) < survival.entries) {
                dirs.insert(path.clone(), dir.crash(&mut dice, survival));
            }
        }
        let inodes = self.inodes.iter().map(|inode| inode.crash(&mut dice, survival)).collect();
        let mut left = Self { dirs, inodes };
        left.forget_nameless();
        left
    }

    /// Empties the files that no name leads to, now or after any crash: nobody holds them open in an image.
    pub(super) fn forget_nameless(&mut self) {
        let named: BTreeSet<usize> = self.dirs.values().flat_map(Dir::inodes).collect();
        for (inode, content) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&inode) {
                *content = Inode::default();
            }
        }
    }
}
