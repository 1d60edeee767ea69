//! `roadbed backup`: a copy of a store from which a node can start, made while a node runs on it.
//!
//! ```text
//! for the block log, then the QC log:
//!     survey ──▶ copy the sealed segments that the backup does not have ──▶ survey again, until none is missing
//!            ──▶ copy the whole groups of the last segment
//! publish: rename the copies, oldest first, then drop what the new last segment no longer names
//! verify every byte of the backup, and ask reconcile what a start would make of it; too far apart: another round
//! ```
//!
//! No lock is taken and the writer is not asked: `roadbed_wal::survey` says why a file whose header is the same before and
//! after it was copied is a true copy. The blocks are copied before the QCs, so that QCs cover them. Copies, never links:
//! the writer recycles its files. Each copy is written beside its name and renamed when everything is there, so that an
//! earlier backup in the same place stays usable until then.

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
/// A copy beside the name that it is to get.
const COPY: &str = "copy";
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
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a backup holds. A backup that was interrupted has `complete: false`, or no manifest.
#[derive(Debug, Serialize, Deserialize)]
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
    let mut backup = Backup::begin(&store, &args.dest)?;
    for attempt in 1.. {
        for wal in [WalKind::Blocks, WalKind::Qcs] {
            backup.copy_log(wal)?;
        }
        backup.publish()?;
        match Seen::of(&args.dest).and_then(Seen::sound) {
            Ok((_held, extent)) => {
                backup.write_manifest(true)?;
                return backup.report(args, extent);
            }
            // The node has pruned past the end of what was copied first, or a file was caught in the moment in which it
            // became another one: another round is up to date.
            Err(_) if attempt < ROUNDS_MAX => {}
            Err(NodeError::Damaged(problem)) => {
                let dir = args.dir.display();
                return Err(NodeError::Damaged(format!(
                    "{problem}; this is a copy, and was made {ROUNDS_MAX} times: the store itself is damaged there, stop \
                     its node and run roadbed verify {dir}"
                )));
            }
            Err(error) => return Err(error),
        }
        backup.manifest.sealed.clear();
        output::note("what was copied does not fit together: another round");
    }
    Ok(Code::Failure)
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

/// A copy that is to take the place of a file of the backup.
struct Copy {
    sequence: u64,
    /// Where it is now, and where it belongs.
    from: PathBuf,
    to: PathBuf,
    place: PathBuf,
    segment: Segment,
    sealed: bool,
}

/// A backup that is being made.
struct Backup<'a> {
    store: &'a Store,
    dest: StorePaths,
    manifest: Manifest,
    /// By log: the copies that wait to be published, and the sequence of the oldest segment that counts.
    waiting: BTreeMap<WalKind, (Vec<Copy>, u64)>,
    copied: u64,
    copied_bytes: u64,
    kept: u64,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.display().to_string();
    move |error| NodeError::io(path, error)
}

impl<'a> Backup<'a> {
    /// Takes note of what an earlier backup left, or makes the directory.
    fn begin(store: &'a Store, dest: &Path) -> Result<Self, NodeError> {
        let paths = StorePaths::new(dest);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if real(dest).starts_with(real(&store.paths.dir)) {
            return Err(NodeError::Usage(format!(
                "{} lies in the store itself: choose a directory outside, best on another disk",
                dest.display()
            )));
        }
        let chain = store.marker.chain.to_string();
        let manifest = match fs::read(dest.join(MANIFEST)) {
            Ok(text) => {
                let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
                    NodeError::Refused(format!(
                        "{}: {error}; choose another directory",
                        dest.join(MANIFEST).display()
                    ))
                })?;
                if manifest.schema != MANIFEST_SCHEMA || manifest.chain != chain {
                    return Err(NodeError::Refused(format!(
                        "{} is a backup of another store (chain {}): choose another directory",
                        dest.display(),
                        manifest.chain
                    )));
                }
                manifest
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let taken = fs::read_dir(dest).is_ok_and(|mut entries| entries.next().is_some());
                if taken {
                    return Err(NodeError::Refused(format!(
                        "{} is not empty, and no backup: choose a new directory",
                        dest.display()
                    )));
                }
                Manifest {
                    schema: MANIFEST_SCHEMA.to_owned(),
                    chain,
                    complete: false,
                    sealed: BTreeMap::new(),
                }
            }
            Err(error) => return Err(failed(&dest.join(MANIFEST))(error)),
        };
        if paths.lock().exists() {
            return Err(NodeError::Refused(format!(
                "a node was started on {}, so it is no backup any more: choose a new directory",
                dest.display()
            )));
        }
        for dir in [dest.to_path_buf(), paths.log(WalKind::Qcs), paths.log(WalKind::Blocks)] {
            FileSystem.create_dir(&dir).map_err(failed(&dir))?;
            for file in FileSystem.list(&dir).map_err(failed(&dir))?.unwrap_or_default() {
                let left = dir.join(&file.name);
                if left.extension().is_some_and(|extension| extension == COPY) {
                    fs::remove_file(&left).map_err(failed(&left))?;
                }
            }
        }
        let waiting = BTreeMap::new();
        let mut backup = Self { store, dest: paths, manifest, waiting, copied: 0, copied_bytes: 0, kept: 0 };
        backup.write_manifest(false)?;
        Ok(backup)
    }

    fn write_manifest(&mut self, complete: bool) -> Result<(), NodeError> {
        self.manifest.complete = complete;
        let path = self.dest.dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&self.manifest)
            .map_err(|error| NodeError::Failed(format!("{}: {error}", path.display())))?;
        write_durably(&path, &text)
    }

    /// Copies what is missing of a log, until nothing is.
    fn copy_log(&mut self, wal: WalKind) -> Result<(), NodeError> {
        let mut copies: Vec<Copy> = self.waiting.remove(&wal).map(|(copies, _)| copies).unwrap_or_default();
        for _ in 0..ATTEMPTS_MAX {
            let segments = self.look(wal)?;
            let (Some((last, sealed)), Some(first)) = (segments.split_last(), segments.first()) else {
                break;
            };
            let missing: Vec<_> = sealed.iter().filter(|one| !self.has(wal, one, &copies)).collect();
            let mut meter = Meter::new("copy", missing.iter().map(|one| one.bytes).sum::<u64>() + last.bytes);
            let mut whole = true;
            for segment in &missing {
                match self.copy(wal, segment, &mut meter)? {
                    Some(copy) => copies.push(copy),
                    // It was pruned and recycled meanwhile: a new look does not name it any more.
                    None => whole = false,
                }
            }
            if !missing.is_empty() || !whole {
                // What was sealed meanwhile is to be copied as such.
                continue;
            }
            if let Some(copy) = self.copy(wal, last, &mut meter)? {
                copies.retain(|one| one.sequence != copy.sequence);
                copies.push(copy);
                let oldest = first.sequence;
                copies.retain(|one| one.sequence >= oldest);
                self.kept += sealed.len() as u64 - copies.iter().filter(|one| one.sealed).count() as u64;
                self.waiting.insert(wal, (copies, oldest));
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

    /// Whether the backup has all of a sealed segment already.
    fn has(&self, wal: WalKind, segment: &Surveyed, copies: &[Copy]) -> bool {
        let place = Self::place(wal, segment);
        let whole = |held: &Segment| held.salt == segment.salt && held.bytes >= segment.bytes;
        let published = self.manifest.sealed.get(&place).is_some_and(whole)
            && fs::metadata(self.dest.dir.join(&place)).is_ok_and(|found| found.len() >= segment.bytes);
        published || copies.iter().any(|copy| copy.place == place && copy.sealed && whole(&copy.segment))
    }

    /// Copies what counts of a segment; `None` when the file became another one meanwhile.
    fn copy(
        &mut self,
        wal: WalKind,
        segment: &Surveyed,
        meter: &mut Meter,
    ) -> Result<Option<Copy>, NodeError> {
        let place = Self::place(wal, segment);
        let to = self.dest.dir.join(&place);
        let from = to.with_extension(COPY);
        let source = match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed(&segment.path))?,
        };
        let target = File::create(&from).map_err(failed(&from))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < segment.bytes {
            let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read_at(&mut buffer[..left], offset).map_err(failed(&segment.path))?;
            if read == 0 {
                return Ok(None);
            }
            target.write_all_at(&buffer[..read], offset).map_err(failed(&from))?;
            offset += read as u64;
            meter.add(read as u64);
        }
        // What lies behind does not count: zeros, of the length that the segment was made with.
        target.set_len(segment.file_bytes).map_err(failed(&from))?;
        target.sync_all().map_err(failed(&from))?;
        if salt_of_open(&source)? != Some(segment.salt) || salt_of(&STORAGE, &from)? != Some(segment.salt) {
            return Ok(None);
        }
        self.copied += 1;
        self.copied_bytes += segment.bytes;
        let (sequence, sealed) = (segment.sequence, segment.sealed);
        let segment = Segment { salt: segment.salt, bytes: segment.bytes };
        Ok(Some(Copy { sequence, from, to, place, segment, sealed }))
    }

    /// Puts the copies in their places, oldest first, and drops what does not count any more.
    fn publish(&mut self) -> Result<(), NodeError> {
        for (wal, (mut copies, oldest)) in std::mem::take(&mut self.waiting) {
            copies.sort_unstable_by_key(|copy| copy.sequence);
            let dir = self.dest.log(wal);
            let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir));
            for Copy { from, to, place, segment, sealed, .. } in copies {
                fs::rename(&from, &to).map_err(failed(&to))?;
                if sealed {
                    self.manifest.sealed.insert(place, segment);
                } else {
                    self.manifest.sealed.remove(&place);
                }
            }
            sync(&dir)?;
            for old in roadbed_wal::inspect(&STORAGE, &dir)? {
                let gone = old.header.as_ref().is_ok_and(|header| header.sequence < oldest);
                if gone {
                    fs::remove_file(&old.path).map_err(failed(&old.path))?;
                    let name = old.path.file_name().unwrap_or_default();
                    self.manifest.sealed.remove(&Path::new(wal.name()).join(name));
                }
            }
            sync(&dir)?;
        }
        for (from, to) in [
            (self.store.paths.committee(), self.dest.committee()),
            (self.store.paths.marker(), self.dest.marker()),
        ] {
            let content = fs::read(&from).map_err(failed(&from))?;
            write_durably(&to, &content)?;
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

/// The salt in the header of a file that is open, whatever its name is by now.
fn salt_of_open(file: &File) -> Result<Option<u64>, NodeError> {
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(salt_of(&STORAGE, &path)?)
}

/// Writes a file whole or not at all.
fn write_durably(path: &Path, content: &[u8]) -> Result<(), NodeError> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).map_err(failed(&temporary))?;
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed(&temporary))?;
    fs::rename(&temporary, path).map_err(failed(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}
