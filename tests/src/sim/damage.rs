//! Damage from outside: bits that rot, logs and segments that are lost, older ones that are put back.

use std::path::{Path, PathBuf};

use roadbed_wal::sim::SimStorage;

use super::DIR;
use super::script::{Act, Luck};
use super::world::World;

pub(super) const WALS: [&str; 2] = ["qcs", "blocks"];

impl World {
    /// The disk is damaged from outside, mostly while nothing runs on it.
    pub(super) fn damage(&mut self, act: Act) {
        if act == Act::OldLog && self.luck.one_in(2) {
            return self.keep_old();
        }
        let running = act == Act::BitRot && self.luck.one_in(2);
        if !running && (self.process.is_some() || self.lingering.is_some()) {
            if self.luck.one_in(2) { self.kill() } else { self.power_loss() }
        }
        let mut luck = self.luck.clone();
        let (kind, case) = damage_by(act, &self.disk, &mut luck, &self.old);
        self.tell(format_args!("damaged: {kind}"));
        self.ledger.excuse();
        self.ledger.refusable = None;
        self.ledger.gap |= case == Some("11");
        self.ledger.marker_damaged |= case == Some("marker");
        self.ledger.rotten |= act == Act::BitRot;
        if running {
            // Somebody wants what has rotted.
            (0..12).for_each(|_| self.get());
        }
    }

    /// Remembers what the logs hold now, for a backup that is put back later.
    fn keep_old(&mut self) {
        for name in WALS {
            let dir = Path::new(DIR).join(name);
            let disk = self.disk.crash(self.luck.any());
            let files =
                disk.files().into_iter().filter(|path| path.starts_with(&dir) && !path.ends_with("LOCK"));
            let files = files.filter_map(|path| Some((path.clone(), disk.read_file(&path)?)));
            self.old.insert(name, files.collect());
        }
    }
}

/// Some damage, of any kind; answers what was done, and the row of reconcile that it must end in, where there is one.
pub(super) fn damage(
    disk: &SimStorage,
    luck: &mut Luck,
    old: &std::collections::BTreeMap<&'static str, Vec<(PathBuf, Vec<u8>)>>,
) -> (&'static str, Option<&'static str>) {
    let act = luck.pick(&[Act::BitRot, Act::BitRot, Act::LoseLog, Act::LoseSegment, Act::OldLog]);
    damage_by(act, disk, luck, old)
}

/// Flips a bit of something written in the segments of one log; answers which.
pub(super) fn flip_a_bit_of_a_log(disk: &SimStorage, luck: &mut Luck) -> &'static str {
    let name = luck.pick(&WALS);
    let dir = Path::new(DIR).join(name);
    let mut files = disk.files();
    files.retain(|path| path.starts_with(&dir) && path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    // Mostly the newest, where the log is at work.
    let path = if luck.one_in(4) { files.get(luck.index(files.len())) } else { files.last() };
    if let Some(path) = path {
        flip_a_bit(disk, path, luck);
    }
    name
}

fn flip_a_bit(disk: &SimStorage, path: &Path, luck: &mut Luck) {
    let bytes = disk.read_file(path).unwrap_or_default();
    // Most of a segment is zeros: look for something written.
    let start = luck.index(bytes.len());
    let at = (start..bytes.len()).chain(0..start).find(|at| bytes[*at] != 0).unwrap_or(start);
    disk.flip_bit(path, 8 * at as u64 + luck.below(8));
}

fn lose(disk: &SimStorage, files: &[PathBuf]) {
    for path in files {
        disk.lose_file(path);
    }
}

fn damage_by(
    act: Act,
    disk: &SimStorage,
    luck: &mut Luck,
    old: &std::collections::BTreeMap<&'static str, Vec<(PathBuf, Vec<u8>)>>,
) -> (&'static str, Option<&'static str>) {
    let name = luck.pick(&WALS);
    let dir = Path::new(DIR).join(name);
    let mut files: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with(&dir)).collect();
    files.retain(|path| !path.ends_with("LOCK"));
    files.sort();
    match act {
        Act::BitRot => {
            if luck.one_in(12) {
                files = vec![Path::new(DIR).join("STORE"), Path::new(DIR).join("committee.json")];
            }
            if files.is_empty() {
                return ("nothing to damage", None);
            }
            let path = &files[luck.index(files.len())];
            flip_a_bit(disk, path, luck);
            ("a bit flipped", path.parent().is_some_and(|dir| dir == Path::new(DIR)).then_some("marker"))
        }
        Act::LoseLog => {
            lose(disk, &files);
            ("a log lost", None)
        }
        Act::LoseSegment => {
            let segments: Vec<_> =
                files.iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
            if segments.len() < 3 {
                return ("nothing to lose", None);
            }
            disk.lose_file(segments[1 + luck.index(segments.len() - 2)]);
            ("a segment inside a log lost", Some("11"))
        }
        _ => {
            let Some(older) = old.get(name) else { return ("no older state", None) };
            lose(disk, &files);
            older.iter().for_each(|(path, bytes)| disk.put_file(path, bytes));
            ("a log put back to an older state", None)
        }
    }
}
