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

mod install;
mod manifest;
mod stage;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use roadbed::store::StorePaths;
use roadbed_messages::api::{StartError, WalKind};
use roadbed_wal::{FileSystem, Storage, Surveyed, survey};
use serde::Serialize;

use self::manifest::{MANIFEST, MANIFEST_SCHEMA, Manifest, Segment};
use super::files::{failed, real, temporary};
use super::mutate::Extent;
use super::read_only::{ReadOnly, holder_of};
use super::report::{bytes, print};
use super::store::Store;
use crate::exit::{Code, NodeError};
use crate::output;

/// The directory in a backup in which its next state is made.
const NEXT: &str = "next";
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
    _alone: File,
}

/// Keeps other backups away from a destination for as long as the answer lives. The directory itself is locked: a file
/// for that would look as if a node had been started there.
fn lock_dest(dest: &Path) -> Result<File, NodeError> {
    let dir = File::open(dest).map_err(failed(dest))?;
    match dir.try_lock() {
        Ok(()) => Ok(dir),
        Err(TryLockError::WouldBlock) => {
            let holder =
                holder_of(dest).map_or("another backup".to_owned(), |process| format!("process {process}"));
            Err(NodeError::Start(StartError::InUse { path: dest.to_path_buf(), holder }))
        }
        Err(TryLockError::Error(error)) => Err(failed(dest)(error)),
    }
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
        if dest.exists() && !dest.is_dir() {
            return Err(NodeError::Usage(format!("{} is not a directory: choose a new one", dest.display())));
        }
        FileSystem.create_dir(dest).map_err(failed(dest))?;
        let alone = lock_dest(dest)?;
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
                manifest.write(dest)?;
                manifest
            }
        };
        let staged = BTreeMap::new();
        let (dest, _alone) = (paths, alone);
        let mut backup =
            Self { store, dest, next, held, staged, copied: 0, copied_bytes: 0, kept: 0, _alone };
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
