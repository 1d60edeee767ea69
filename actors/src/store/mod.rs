//! The store's directory: its lock, its marker, and how both come to be.
//!
//! ```text
//! DIR/LOCK             held by the one owner, never deleted
//! DIR/STORE            the marker: which chain this is; written once, when both logs exist
//! DIR/committee.json   the same in full, for tools
//! DIR/qcs/  DIR/blocks/  DIR/aside/
//! ```
//!
//! A store is made once: both logs' first segments, then the durable marker. Without a marker, logs that have no
//! entries are made anew, and logs that have are refused: nobody can say whose they are. So is a committee without its logs,
//! which is what is left of a store that is lost, and a directory that holds anything else.

mod advice;
mod marker;
mod records;
mod space;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadbed_messages::api::{StartError, WalKind};
use roadbed_messages::{Committee, VerifiedBlock, VerifiedQc};
use roadbed_wal::{Judged, LockFault, LockGuard, Log, LogOptions, Storage, StreamId, SyncPoint, WalError};

use crate::wal_worker::Record;
pub use advice::advice;
pub use marker::{Marker, read_marker, write_committee, write_marker};
pub use records::{append_block, append_qc};
pub(crate) use space::SpaceSampler;

/// The lock of a store's directory, held as long as this lives.
#[derive(Debug)]
pub struct StoreLock {
    _guard: Box<dyn LockGuard>,
}

/// Where a store keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePaths {
    /// The directory itself.
    pub dir: PathBuf,
}

impl StorePaths {
    /// The paths of the store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The marker.
    pub fn marker(&self) -> PathBuf {
        self.dir.join("STORE")
    }

    /// The committee, for tools.
    pub fn committee(&self) -> PathBuf {
        self.dir.join("committee.json")
    }

    /// The directory's lock.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }

    /// A log's directory.
    pub fn log(&self, wal: WalKind) -> PathBuf {
        self.dir.join(wal.name())
    }

    /// Where logs are moved that were set aside.
    pub fn aside(&self) -> PathBuf {
        self.dir.join("aside")
    }
}

/// The options with which a chain's log is opened.
pub fn log_options(committee: &Committee, wal: WalKind) -> LogOptions {
    let mut kind = [0; 8];
    kind[..wal.name().len()].copy_from_slice(wal.name().as_bytes());
    LogOptions::new(StreamId { chain: committee.chain_id().0, kind })
}

/// Takes the store's lock and makes sure that the store is this chain's, making it if there is none.
///
/// `options` are the options of one log; they decide how the first segments are made.
///
/// # Errors
/// In use, foreign, of a newer format, with logs but no marker, or what the storage says. Nothing that was there is
/// changed.
pub fn prepare(
    storage: &Arc<dyn Storage>,
    paths: &StorePaths,
    committee: &Committee,
    options: impl Fn(WalKind) -> LogOptions,
) -> Result<StoreLock, StartError> {
    // A directory of something else gets nothing, not even a lock; nor does that of another chain.
    identify(&**storage, paths, committee)?;
    storage.create_dir(&paths.dir).map_err(|error| failed(&paths.dir, &error))?;
    let lock = storage.lock(&paths.lock()).map_err(|fault| match fault {
        LockFault::Held(holder) => StartError::InUse { path: paths.dir.clone(), holder: name_holder(holder) },
        LockFault::Io(error) => failed(&paths.lock(), &error),
    })?;
    let lock = StoreLock { _guard: lock };
    match read_marker(&**storage, paths)? {
        Some(marker) => marker.check(paths, committee)?,
        None => {
            // Both are looked at before either is made.
            let qcs = judge_empty::<VerifiedQc>(storage, paths, options(WalKind::Qcs))?;
            let blocks = judge_empty::<VerifiedBlock>(storage, paths, options(WalKind::Blocks))?;
            refuse_lost(&**storage, paths)?;
            make_log::<VerifiedQc>(qcs, paths, committee)?;
            make_log::<VerifiedBlock>(blocks, paths, committee)?;
            // The directory may be the one of a start that ended before its entry was durable: that looks the same.
            let above = above(&paths.dir);
            storage.sync_dir(above, SyncPoint::Parent).map_err(|error| failed(above, &error))?;
            write_marker(&**storage, paths, committee)?;
        }
    }
    Ok(lock)
}

/// Refuses a directory of something else or of another chain, without a lock. Answers its marker, where it has one.
///
/// # Errors
/// Foreign, of a newer format, or what the storage says. Nothing was written.
pub fn identify(
    storage: &dyn Storage,
    paths: &StorePaths,
    committee: &Committee,
) -> Result<Option<Marker>, StartError> {
    refuse_foreign(storage, paths)?;
    let marker = read_marker(storage, paths)?;
    if let Some(marker) = &marker {
        marker.check(paths, committee)?;
    }
    Ok(marker)
}

/// The directory that holds a directory's entry.
pub(crate) fn above(dir: &Path) -> &Path {
    dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the storage refused, and what to do about it.
fn failed(path: &Path, error: &io::Error) -> StartError {
    StartError::Failed { detail: format!("{}: {error}{}", path.display(), advice(error.kind())) }
}

/// Refuses a directory without a marker that holds anything but what a store leaves that was not made to the end.
fn refuse_foreign(storage: &dyn Storage, paths: &StorePaths) -> Result<(), StartError> {
    let held = storage.list(&paths.dir).map_err(|error| failed(&paths.dir, &error))?.unwrap_or_default();
    if held.iter().any(|one| paths.dir.join(&one.name) == paths.marker()) {
        return Ok(());
    }
    let ours = |name: &str| {
        let path = paths.dir.join(name);
        let published = [paths.marker(), paths.committee()];
        let kept = [paths.lock(), paths.log(WalKind::Qcs), paths.log(WalKind::Blocks), paths.aside()];
        kept.contains(&path)
            || published.iter().any(|ours| path == *ours || path == marker::temporary(ours))
            // The file system's own: a disk of its own has it from the start.
            || name == "lost+found"
    };
    if let Some(other) = held.iter().find(|one| !ours(&one.name)) {
        return Err(StartError::Foreign {
            path: paths.dir.clone(),
            detail: format!("it holds {}, and no marker says that it is a store", other.name),
        });
    }
    Ok(())
}

/// Refuses a directory without marker and entries that holds a committee but not both logs. A store is made in the order of its
/// logs, `committee.json`, marker, each durable before the next: so this one was whole, and is lost.
///
/// # Errors
/// Lost, or what the storage says. Nothing was written.
pub fn refuse_lost(storage: &dyn Storage, paths: &StorePaths) -> Result<(), StartError> {
    let held = storage.list(&paths.dir).map_err(|error| failed(&paths.dir, &error))?.unwrap_or_default();
    if !held.iter().any(|one| paths.dir.join(&one.name) == paths.committee()) {
        return Ok(());
    }
    for wal in WalKind::BOTH {
        let log = paths.log(wal);
        if roadbed_wal::inspect(storage, &log).map_err(|error| start_error(&log, &error))?.is_empty() {
            return Err(StartError::WouldLose {
                detail: format!(
                    "{} is there, but {} and what was in {} are not: a store was here, and is lost; restore it from a \
                     backup, or move committee.json away if a new store is wanted",
                    paths.committee().display(),
                    paths.marker().display(),
                    log.display()
                ),
            });
        }
    }
    Ok(())
}

/// Who holds a lock. Within this process that is another instance, or a thread of an earlier one that hangs.
fn name_holder(holder: String) -> String {
    if holder == format!("process {}", std::process::id()) {
        return format!(
            "this {holder} (an instance that runs, or an I/O thread of an earlier one that still hangs)"
        );
    }
    holder
}

/// Judges one log of a store that has no marker yet. A log without entries is what a crash before the marker left
/// behind; one with entries is somebody's.
fn judge_empty<R: Record>(
    storage: &Arc<dyn Storage>,
    paths: &StorePaths,
    options: LogOptions,
) -> Result<Judged, StartError> {
    let dir = paths.log(R::WAL);
    let judged = Log::judge(Arc::clone(storage), &dir, options).map_err(|error| start_error(&dir, &error))?;
    if judged.facts().is_empty() {
        return Ok(judged);
    }
    Err(StartError::Foreign {
        path: paths.dir.clone(),
        detail: format!(
            "{} has entries, but the marker {} is missing",
            dir.display(),
            paths.marker().display()
        ),
    })
}

/// Makes an empty log, or puts the cursor of one that was made already to the start.
fn make_log<R: Record>(judged: Judged, paths: &StorePaths, committee: &Committee) -> Result<(), StartError> {
    let dir = paths.log(R::WAL);
    let first_index = R::first_index(committee);
    let facts = judged.facts().clone();
    let make = || {
        if !facts.exists {
            return judged.create(first_index)?.close();
        }
        if facts.next == first_index {
            return Ok(());
        }
        let mut log = judged.open()?;
        log.reset(first_index)?;
        log.close()
    };
    make().map_err(|error: WalError| start_error(&dir, &error))
}

/// What a log's refusal means for a start.
pub fn start_error(dir: &Path, error: &WalError) -> StartError {
    match error {
        WalError::InUse { path, holder } => {
            StartError::InUse { path: path.clone(), holder: name_holder(holder.clone()) }
        }
        WalError::Foreign { path, expected, found } => {
            StartError::Foreign { path: path.clone(), detail: format!("expected {expected}, found {found}") }
        }
        WalError::NewerFormat { path, found, supported, .. } => StartError::NewerFormat {
            path: path.clone(),
            detail: format!("it needs format {found}, this program reads up to {supported}"),
        },
        error if error.is_corruption() => StartError::Corrupt { detail: error.to_string() },
        WalError::Io { kind, .. } => {
            StartError::Failed { detail: format!("{}: {error}{}", dir.display(), advice(*kind)) }
        }
        error => StartError::Failed { detail: format!("{}: {error}", dir.display()) },
    }
}
