//! `roadbed backup`: a copy of a store from which a node can start, made while a node runs on it.
//!
//! ```text
//! the store must be what DEST holds, gone on: else only with --replace
//! stage a whole store in DEST/next; for the block log, then the QC log:
//!     survey ──▶ link the sealed segments that DEST has, copy the others ──▶ survey again, until none is missing
//!            ──▶ copy the whole groups of the last segment
//! verify every byte of DEST/next, and ask reconcile what a start would make of it; too far apart: another round
//! install: DEST/next gets its manifest ──▶ DEST loses STORE ──▶ its logs become those of DEST/next ──▶ DEST gets STORE
//! ```
//!
//! No lock is taken and the writer is not asked: `roadbed_wal::survey` says why a file whose header is the same before and
//! after it was copied is a true copy. The blocks are copied before the QCs, so that QCs cover them. Copies of the store's
//! files, never links: the writer recycles them. Files of a backup are never written again, so links between DEST and
//! DEST/next are safe. At each moment one of the two is whole: DEST until DEST/next has its manifest, from then on DEST/next,
//! which the next backup installs first. While DEST is neither the old nor the new it has no STORE, and no node starts on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use roadbed::store::StorePaths;
use roadbed_messages::api::WalKind;
use roadbed_wal::{FileSystem, Storage, Surveyed, WalError, salt_of, survey};
use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::mutate::{Extent, Seen};
use super::read_only::ReadOnly;
use super::report::{bytes, print};
use super::store::Store;
use crate::exit::{Code, NodeError};
use crate::output;

/// What the backup says about itself, beside the store's own files.
const MANIFEST: &str = "BACKUP.json";
const MANIFEST_SCHEMA: &str = "roadbed.backup-manifest/1";
/// The directory in a backup in which its next state is made.
const NEXT: &str = "next";
/// Looks at a log that changes faster than it can be looked at, before giving up.
const ATTEMPTS_MAX: u32 = 20;
/// Rounds of the whole, before what was copied is believed to be as it is in the store.
const ROUNDS_MAX: u32 = 3;
/// Between two looks at a log that was caught while its writer wrote.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const COPY_BYTES: usize = 1 << 20;
const STORAGE: ReadOnly = ReadOnly { locks: false };

/// Flags of `roadbed backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Directory of the store; a node may be running on it
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where the backup goes: a new directory, or an earlier backup of the same store, which is brought up to date
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Replace what DEST holds even where the store is no continuation of it
    #[arg(long)]
    replace: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a backup holds. One that has never been complete has `complete: false`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    schema: String,
    chain: String,
    complete: bool,
    /// Segments that need not be copied again, by their place in the backup.
    sealed: BTreeMap<PathBuf, Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    salt: u64,
    bytes: u64,
}

impl From<&Surveyed> for Segment {
    fn from(segment: &Surveyed) -> Self {
        Self { salt: segment.salt, bytes: segment.bytes }
    }
}

impl Manifest {
    /// The manifest in a directory, if there is one.
    fn read(dir: &Path) -> Result<Option<Self>, NodeError> {
        let path = dir.join(MANIFEST);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                NodeError::Refused(format!("{}: {error}; choose another directory", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), NodeError> {
        let path = dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| NodeError::Failed(format!("{}: {error}", path.display())))?;
        write_durably(&path, &text)
    }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    result: &'static str,
    dir: PathBuf,
    dest: PathBuf,
    /// Segments that were copied, and how many bytes that took.
    copied: u64,
    copied_bytes: u64,
    /// Segments that an earlier backup had already.
    kept: u64,
    extent: Extent,
}

/// Backs a store up.
///
/// # Errors
/// When there is no store, the destination is something else, the store is damaged, or the disk is.
pub(crate) fn backup(args: &BackupArgs) -> Result<Code, NodeError> {
    let store = Store::open(&args.dir)?;
    store.committee()?;
    let mut backup = Backup::begin(&store, args)?;
    match backup.stage() {
        Ok(extent) => {
            backup.install()?;
            backup.report(args, extent)
        }
        Err(error) => {
            // What was staged is of no use, and takes room.
            if let Err(also) = backup.clear_next() {
                output::note(&format!("what was staged is still there: {also}"));
            }
            Err(error)
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let Self { copied, copied_bytes, kept, extent: Extent { first, next_block, next_qc }, .. } = self;
        let dest = self.dest.display();
        format!(
            "{dest}: verified, blocks {first}..{next_block}, QCs up to {next_qc}\n  \
             copied  {copied} segments, {}\n  kept    {kept} segments of an earlier backup\n  \
             restore: copy {dest} to where the node's directory shall be, and start the node there",
            bytes(*copied_bytes)
        )
    }
}

/// A backup that is being made.
struct Backup<'a> {
    store: &'a Store,
    dest: StorePaths,
    next: StorePaths,
    /// What the backup says about itself; its segments may be linked.
    held: Manifest,
    /// The sealed segments in `next`.
    staged: BTreeMap<PathBuf, Segment>,
    copied: u64,
    copied_bytes: u64,
    kept: u64,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.display().to_string();
    move |error| NodeError::io(path, error)
}

/// The path without links, of which the end need not exist.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let found = path.ancestors().find_map(|ancestor| {
        let (real, rest) = (ancestor.canonicalize().ok()?, path.strip_prefix(ancestor).ok()?);
        Some(real.join(rest))
    });
    found.unwrap_or(path)
}

/// Whether a directory without a manifest holds anything that a backup does not leave when it is killed at its start.
fn is_taken(paths: &StorePaths) -> Result<bool, NodeError> {
    let dir = &paths.dir;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(failed(dir))?,
    };
    for entry in entries {
        let path = entry.map_err(failed(dir))?.path();
        let empty_log = WalKind::BOTH.iter().any(|wal| path == paths.log(*wal))
            && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if !empty_log && path != temporary(&dir.join(MANIFEST)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(path: &Path) -> Result<(), NodeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed(path)),
    }
}

fn sync(dir: &Path) -> Result<(), NodeError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

/// A second name for a file of the backup; a copy where the file system has no links.
fn link(from: &Path, to: &Path) -> Result<(), NodeError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map_err(failed(to))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(failed(to))
}

impl<'a> Backup<'a> {
    /// Takes note of what an earlier backup left, or makes the directory.
    fn begin(store: &'a Store, args: &BackupArgs) -> Result<Self, NodeError> {
        let dest = &args.dest;
        let (real_dest, real_store) = (real(dest), real(&store.paths.dir));
        for (inner, outer, what) in [
            (&real_dest, &real_store, "lies in the store itself"),
            (&real_store, &real_dest, "has the store in it"),
        ] {
            if inner.starts_with(outer) {
                let dest = dest.display();
                return Err(NodeError::Usage(format!(
                    "{dest} {what}: choose a directory outside, best on another disk"
                )));
            }
        }
        let (paths, next) = (StorePaths::new(dest), StorePaths::new(dest.join(NEXT)));
        let chain = store.marker.chain.to_string();
        let found = Manifest::read(dest)?;
        match &found {
            Some(manifest) if manifest.schema != MANIFEST_SCHEMA || manifest.chain != chain => {
                return Err(NodeError::Refused(format!(
                    "{} is a backup of another store (chain {}): choose another directory",
                    dest.display(),
                    manifest.chain
                )));
            }
            None if is_taken(&paths)? => {
                return Err(NodeError::Refused(format!(
                    "{} is not empty, and no backup: choose a new directory",
                    dest.display()
                )));
            }
            _ => {}
        }
        if paths.lock().exists() || next.lock().exists() {
            return Err(NodeError::Refused(format!(
                "a node was started on {}, so it is no backup any more: choose a new directory",
                dest.display()
            )));
        }
        let held = match found {
            Some(manifest) => manifest,
            None => {
                let sealed = BTreeMap::new();
                let manifest =
                    Manifest { schema: MANIFEST_SCHEMA.to_owned(), chain, complete: false, sealed };
                FileSystem.create_dir(dest).map_err(failed(dest))?;
                manifest.write(dest)?;
                manifest
            }
        };
        let staged = BTreeMap::new();
        let mut backup = Self { store, dest: paths, next, held, staged, copied: 0, copied_bytes: 0, kept: 0 };
        if let Some(whole) = Manifest::read(&backup.next.dir)? {
            backup.staged = whole.sealed;
            backup.install()?;
        }
        match backup.continues() {
            Err(NodeError::Refused(_)) if args.replace => backup.held.sealed.clear(),
            continues => continues?,
        }
        Ok(backup)
    }

    /// Wants the store to be what the backup holds, gone on.
    fn continues(&self) -> Result<(), NodeError> {
        if !self.held.complete {
            return Ok(());
        }
        let dest = self.dest.dir.display();
        let way =
            "nothing was changed: back up into a new directory, or say --replace to lose what this one holds";
        for wal in WalKind::BOTH {
            let dir = self.dest.log(wal);
            let held = survey(&STORAGE, &dir, &self.store.options(wal))
                .map_err(|error| NodeError::Refused(format!("{dest} can't be read ({error}); {way}")))?;
            let found = self.look(wal)?;
            let (Some(held_last), Some(last)) = (held.last(), found.last()) else { continue };
            let (held_end, end) = (held_last.entries.end, last.entries.end);
            if end < held_end || last.sequence < held_last.sequence {
                return Err(NodeError::Refused(format!(
                    "{dest} holds more than the store: its {wal} log ends at entry {held_end} of segment {}, the \
                     store's at entry {end} of segment {}; {way}",
                    held_last.sequence, last.sequence
                )));
            }
            let salts: BTreeMap<u64, u64> = found.iter().map(|one| (one.sequence, one.salt)).collect();
            let other = |one: &&Surveyed| salts.get(&one.sequence).is_some_and(|salt| *salt != one.salt);
            if let Some(other) = held.iter().find(other) {
                return Err(NodeError::Refused(format!(
                    "{dest} is of another life of the store: segment {} of its {wal} log is another one; {way}",
                    other.sequence
                )));
            }
        }
        Ok(())
    }

    /// Makes the next state, and verifies it; what the backup held is as it was.
    fn stage(&mut self) -> Result<Extent, NodeError> {
        for round in 1.. {
            self.clear_next()?;
            self.staged.clear();
            self.kept = 0;
            for dir in [self.next.dir.clone(), self.next.log(WalKind::Qcs), self.next.log(WalKind::Blocks)] {
                FileSystem.create_dir(&dir).map_err(failed(&dir))?;
            }
            for wal in [WalKind::Blocks, WalKind::Qcs] {
                self.copy_log(wal)?;
            }
            for (from, to) in [
                (self.store.paths.committee(), self.next.committee()),
                (self.store.paths.marker(), self.next.marker()),
            ] {
                write_durably(&to, &fs::read(&from).map_err(failed(&from))?)?;
            }
            match Seen::of(&self.next.dir).and_then(Seen::sound) {
                Ok((_held, extent)) => return Ok(extent),
                // The node has pruned past the end of what was copied first, or a file was caught in the moment in which
                // it became another one, or the backup's own disk rots: another round is up to date, and links nothing.
                Err(_) if round < ROUNDS_MAX => {}
                Err(NodeError::Damaged(problem)) => {
                    let (dir, dest) = (self.store.paths.dir.display(), self.dest.dir.display());
                    return Err(NodeError::Damaged(format!(
                        "{problem}; this is a copy, and was made {ROUNDS_MAX} times: the store itself is damaged \
                         there, stop its node and run roadbed verify {dir}; what {dest} held before is untouched"
                    )));
                }
                Err(error) => return Err(error),
            }
            self.held.sealed.clear();
            output::note("what was copied does not fit together: another round");
        }
        Err(NodeError::Failed("no round was left".to_owned()))
    }

    /// Puts what is whole in `next` in the place of what the backup held. May be done again from the start at any time.
    fn install(&mut self) -> Result<(), NodeError> {
        let Manifest { schema, chain, .. } = self.held.clone();
        let sealed = std::mem::take(&mut self.staged);
        self.held = Manifest { schema, chain, complete: true, sealed };
        self.held.write(&self.next.dir)?;
        remove(&self.dest.marker())?;
        sync(&self.dest.dir)?;
        for wal in WalKind::BOTH {
            let (from, to) = (self.next.log(wal), self.dest.log(wal));
            FileSystem.create_dir(&to).map_err(failed(&to))?;
            for old in FileSystem.list(&to).map_err(failed(&to))?.unwrap_or_default() {
                remove(&to.join(&old.name))?;
            }
            for new in FileSystem.list(&from).map_err(failed(&from))?.unwrap_or_default() {
                link(&from.join(&new.name), &to.join(&new.name))?;
            }
            sync(&to)?;
        }
        for (from, to) in
            [(self.next.committee(), self.dest.committee()), (self.next.marker(), self.dest.marker())]
        {
            write_durably(&to, &fs::read(&from).map_err(failed(&from))?)?;
        }
        self.held.write(&self.dest.dir)?;
        self.clear_next()
    }

    /// Removes `next`; first its manifest, so that a part of it is never taken for whole.
    fn clear_next(&self) -> Result<(), NodeError> {
        let next = &self.next.dir;
        if next.exists() {
            remove(&next.join(MANIFEST))?;
            sync(next)?;
            fs::remove_dir_all(next).map_err(failed(next))?;
        }
        Ok(())
    }

    /// Stages a log: links or copies what is missing, until nothing is.
    fn copy_log(&mut self, wal: WalKind) -> Result<(), NodeError> {
        let dir = self.next.log(wal);
        for _ in 0..ATTEMPTS_MAX {
            let segments = self.look(wal)?;
            let Some((last, sealed)) = segments.split_last() else { break };
            for segment in sealed {
                self.keep(wal, segment)?;
            }
            let missing: Vec<_> = sealed.iter().filter(|one| !self.is_staged(wal, one)).collect();
            let mut meter = Meter::new("copy", missing.iter().map(|one| one.bytes).sum::<u64>() + last.bytes);
            for segment in &missing {
                // One that was pruned and recycled meanwhile is not named by a new look.
                if self.copy(wal, segment, &mut meter)? {
                    self.staged.insert(Self::place(wal, segment), Segment::from(*segment));
                }
            }
            // What was sealed meanwhile is to be copied as such.
            if !missing.is_empty() || !self.copy(wal, last, &mut meter)? {
                continue;
            }
            for file in FileSystem.list(&dir).map_err(failed(&dir))?.unwrap_or_default() {
                let path = dir.join(&file.name);
                let place = Path::new(wal.name()).join(&file.name);
                if !segments.iter().any(|one| Self::place(wal, one) == place) {
                    remove(&path)?;
                    self.staged.remove(&place);
                }
            }
            sync(&dir)?;
            let named = |all: &[Surveyed]| all.iter().map(|one| (one.sequence, one.salt)).collect::<Vec<_>>();
            let staged = survey(&STORAGE, &dir, &self.store.options(wal))?;
            if named(&staged) == named(&segments) {
                return Ok(());
            }
        }
        let log = self.store.paths.log(wal);
        Err(NodeError::Failed(format!(
            "{} changed faster than it could be copied, {ATTEMPTS_MAX} times: try again when there is less load",
            log.display()
        )))
    }

    /// Surveys a log; what looks like damage beside a writer must look the same a few times to be believed.
    fn look(&self, wal: WalKind) -> Result<Vec<Surveyed>, NodeError> {
        let (dir, options) = (self.store.paths.log(wal), self.store.options(wal));
        let mut attempt = 1;
        loop {
            match survey(&STORAGE, &dir, &options) {
                Err(WalError::Missing { .. }) => {
                    return Err(NodeError::Refused(format!(
                        "{} has no log, so there is nothing whole to back up: roadbed inspect {}",
                        dir.display(),
                        self.store.paths.dir.display()
                    )));
                }
                Err(_) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    std::thread::sleep(LOOK_AGAIN_AFTER);
                }
                found => return Ok(found?),
            }
        }
    }

    fn place(wal: WalKind, segment: &Surveyed) -> PathBuf {
        Path::new(wal.name()).join(segment.path.file_name().unwrap_or_default())
    }

    /// Whether all of a sealed segment is staged.
    fn is_staged(&self, wal: WalKind, segment: &Surveyed) -> bool {
        self.staged.get(&Self::place(wal, segment)) == Some(&Segment::from(segment))
    }

    /// Stages a sealed segment that the backup has, if it has it.
    fn keep(&mut self, wal: WalKind, segment: &Surveyed) -> Result<(), NodeError> {
        let place = Self::place(wal, segment);
        let from = self.dest.dir.join(&place);
        let held = self.held.sealed.get(&place) == Some(&Segment::from(segment))
            && fs::metadata(&from).is_ok_and(|found| found.len() >= segment.bytes)
            && salt_of(&STORAGE, &from)? == Some(segment.salt);
        if held && !self.is_staged(wal, segment) {
            let to = self.next.dir.join(&place);
            remove(&to)?;
            link(&from, &to)?;
            self.staged.insert(place, Segment::from(segment));
            self.kept += 1;
        }
        Ok(())
    }

    /// Copies what counts of a segment; `false` when the file became another one meanwhile.
    fn copy(&mut self, wal: WalKind, segment: &Surveyed, meter: &mut Meter) -> Result<bool, NodeError> {
        let to = self.next.dir.join(Self::place(wal, segment));
        let source = match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(failed(&segment.path))?,
        };
        // A link is never written through.
        remove(&to)?;
        let target = File::create(&to).map_err(failed(&to))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < segment.bytes {
            let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read_at(&mut buffer[..left], offset).map_err(failed(&segment.path))?;
            if read == 0 {
                return Ok(false);
            }
            target.write_all_at(&buffer[..read], offset).map_err(failed(&to))?;
            offset += read as u64;
            meter.add(read as u64);
        }
        // What lies behind does not count: zeros, of the length that the segment was made with.
        target.set_len(segment.file_bytes).map_err(failed(&to))?;
        target.sync_all().map_err(failed(&to))?;
        if salt_of_open(&source)? != Some(segment.salt) || salt_of(&STORAGE, &to)? != Some(segment.salt) {
            return Ok(false);
        }
        self.copied += 1;
        self.copied_bytes += segment.bytes;
        Ok(true)
    }

    fn report(self, args: &BackupArgs, extent: Extent) -> Result<Code, NodeError> {
        let Self { copied, copied_bytes, kept, .. } = self;
        let (dir, dest) = (args.dir.clone(), args.dest.clone());
        let report = Report {
            schema: "roadbed.backup/1",
            result: "ok",
            dir,
            dest,
            copied,
            copied_bytes,
            kept,
            extent,
        };
        print(args.json, &report, || report.text())?;
        Ok(Code::Clean)
    }
}

/// The salt in the header of a file that is open, whatever its name is by now.
fn salt_of_open(file: &File) -> Result<Option<u64>, NodeError> {
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(salt_of(&STORAGE, &path)?)
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Writes a file whole or not at all.
fn write_durably(path: &Path, content: &[u8]) -> Result<(), NodeError> {
    let temporary = temporary(path);
    fs::write(&temporary, content).map_err(failed(&temporary))?;
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed(&temporary))?;
    fs::rename(&temporary, path).map_err(failed(path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}
