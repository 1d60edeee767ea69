//! Files that must be whole after a crash, and paths that name the same place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use roadbed_wal::{FileSystem, Storage};

use crate::exit::NodeError;

/// What the system says of a path.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.display().to_string();
    move |error| NodeError::io(path, error)
}

/// The path without links, of which the end need not exist.
pub(crate) fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let found = path.ancestors().find_map(|ancestor| {
        let (real, rest) = (ancestor.canonicalize().ok()?, path.strip_prefix(ancestor).ok()?);
        Some(real.join(rest))
    });
    found.unwrap_or(path)
}

/// The names of the files in a directory; none where there is no directory.
///
/// # Errors
/// What the system says.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, NodeError> {
    let found = FileSystem.list(dir).map_err(failed(dir))?.unwrap_or_default();
    Ok(found.into_iter().filter(|one| one.is_file).map(|one| one.name).collect())
}

/// Removes a file, if it is there.
///
/// # Errors
/// What the system says.
pub(crate) fn remove(path: &Path) -> Result<(), NodeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed(path)),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync(dir: &Path) -> Result<(), NodeError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

/// Copies a file durably; its name is so once the directory is [synced](sync).
///
/// # Errors
/// What the system says.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), NodeError> {
    fs::copy(from, to).map_err(failed(to))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(failed(to))
}

/// A second name for a file that is never written again; a copy where the file system has no links.
///
/// # Errors
/// What the system says.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), NodeError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to)
}

/// Where a file is before it is whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Writes a file whole or not at all.
///
/// # Errors
/// What the system says.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), NodeError> {
    let temporary = temporary(path);
    fs::write(&temporary, content).map_err(failed(&temporary))?;
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed(&temporary))?;
    fs::rename(&temporary, path).map_err(failed(path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}
