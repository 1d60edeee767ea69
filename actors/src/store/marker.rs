//! The STORE marker: which chain a directory belongs to.

use std::io;
use std::path::{Path, PathBuf};

use roadbed_messages::api::StartError;
use roadbed_messages::{BlockNumber, ChainId, Committee};
use roadbed_wal::{OpenMode, Storage, SyncPoint};
use serde::{Deserialize, Serialize};

use super::{StorePaths, failed};

/// The version of the directory's layout and of the records in the logs.
const FORMAT: u32 = 1;
/// What the marker begins with, so that any other file of that name is told apart.
const MAGIC: &str = "roadbed.store";
/// A marker is a few lines; nothing longer is read.
const MARKER_BYTES_MAX: u64 = 1 << 20;

/// The content of the marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    magic: String,
    /// The format of the directory.
    pub format: u32,
    /// The chain: a hash of committee, first block and parameters.
    pub chain: ChainId,
    /// The number of the first block of the chain.
    pub first_block: BlockNumber,
}

/// Only what every version keeps, to tell a newer format from garbage.
#[derive(Deserialize)]
struct Preamble {
    magic: String,
    format: u32,
}

impl Marker {
    fn new(committee: &Committee) -> Self {
        Self {
            magic: MAGIC.to_owned(),
            format: FORMAT,
            chain: committee.chain_id(),
            first_block: committee.first_block(),
        }
    }

    /// Refuses a marker of another chain.
    pub(super) fn check(&self, paths: &StorePaths, committee: &Committee) -> Result<(), StartError> {
        let expected = Self::new(committee);
        if *self == expected {
            return Ok(());
        }
        let detail = format!("expected chain {}, found {}", expected.chain, self.chain);
        Err(StartError::Foreign { path: paths.dir.clone(), detail })
    }
}

/// Reads the marker; `None` where there is none.
///
/// # Errors
/// When it can't be read, is of a newer format, or is no marker.
pub fn read_marker(storage: &dyn Storage, paths: &StorePaths) -> Result<Option<Marker>, StartError> {
    let path = paths.marker();
    let bytes = match read_file(storage, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, &error)),
    };
    let corrupt = |error: &dyn std::fmt::Display| StartError::Corrupt {
        detail: format!(
            "{} is not a Roadbed marker ({error}): restore it from a backup, or choose another directory",
            path.display()
        ),
    };
    let preamble: Preamble = serde_json::from_slice(&bytes).map_err(|error| corrupt(&error))?;
    if preamble.magic != MAGIC {
        return Err(corrupt(&format!("it begins with {:?}", preamble.magic)));
    }
    if preamble.format == 0 {
        return Err(corrupt(&"there is no format 0"));
    }
    if preamble.format > FORMAT {
        let detail = format!("format {}, this program reads up to {FORMAT}", preamble.format);
        return Err(StartError::NewerFormat { path, detail });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| corrupt(&error))
}

/// Writes `committee.json`, then the marker, each durable before the next.
///
/// # Errors
/// What the storage says.
pub fn write_marker(
    storage: &dyn Storage,
    paths: &StorePaths,
    committee: &Committee,
) -> Result<(), StartError> {
    write_committee(storage, paths, committee)?;
    publish(storage, paths, &paths.marker(), &Marker::new(committee))
}

/// Writes `committee.json` anew, durably.
///
/// # Errors
/// What the storage says.
pub fn write_committee(
    storage: &dyn Storage,
    paths: &StorePaths,
    committee: &Committee,
) -> Result<(), StartError> {
    publish(storage, paths, &paths.committee(), committee)
}

/// Makes a file whole or not at all: written beside its name, synced, renamed, and the directory synced.
fn publish(
    storage: &dyn Storage,
    paths: &StorePaths,
    path: &Path,
    content: &impl Serialize,
) -> Result<(), StartError> {
    let bytes = serde_json::to_vec_pretty(content)
        .map_err(|error| StartError::Failed { detail: format!("{}: {error}", path.display()) })?;
    let temporary = temporary(path);
    let attempt = || -> io::Result<()> {
        for leftover in [&temporary, path] {
            match storage.remove(leftover) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let file = storage.open(&temporary, OpenMode::CreateNew)?;
        let mut offset = 0;
        while offset < bytes.len() {
            match file.write_at(&bytes[offset..], offset as u64, SyncPoint::Header)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => offset += written,
            }
        }
        file.sync_data(SyncPoint::Header)?;
        storage.rename(&temporary, path)?;
        storage.sync_dir(&paths.dir, SyncPoint::Publish)
    };
    attempt().map_err(|error| failed(path, &error))
}

/// Beside which name a file is made.
pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::Read)?;
    let length = file.bytes()?.min(MARKER_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut offset = 0;
    while offset < bytes.len() {
        match file.read_at(&mut bytes[offset..], offset as u64)? {
            0 => break,
            read => offset += read,
        }
    }
    bytes.truncate(offset);
    Ok(bytes)
}
