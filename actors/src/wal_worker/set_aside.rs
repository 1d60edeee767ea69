//! Moving a log's files aside: kept, never deleted.

use std::path::Path;

use roadbed_wal::{Storage, WalError};

use crate::store::above;

/// Moves every file of `dir` but its lock into the first free folder `aside/NAME-1`, `aside/NAME-2`, …
///
/// Must be called while no log is open on `dir`, by whoever holds the store's lock.
///
/// # Errors
/// What the storage says. What was moved by then stays moved; a second call moves the rest.
pub(super) fn set_aside(storage: &dyn Storage, dir: &Path, aside: &Path, name: &str) -> Result<(), WalError> {
    let io = |op: &'static str, path: &Path, error: std::io::Error| WalError::Io {
        op,
        path: path.to_path_buf(),
        offset: None,
        kind: error.kind(),
        errno: error.raw_os_error(),
        message: error.to_string(),
    };
    let mut attempt = 1;
    let target = loop {
        let target = aside.join(format!("{name}-{attempt}"));
        let taken = storage.list(&target).map_err(|error| io("list", &target, error))?;
        if taken.is_none_or(|files| files.is_empty()) {
            break target;
        }
        attempt += 1;
    };
    storage.create_dir(&target).map_err(|error| io("create", &target, error))?;
    // An attempt that failed may have made them, and not their entries durable: nothing goes into what could vanish.
    for above in [above(aside), aside] {
        storage.sync_dir(above, roadbed_wal::SyncPoint::Parent).map_err(|error| io("sync", above, error))?;
    }
    let mut files = storage.list(dir).map_err(|error| io("list", dir, error))?.unwrap_or_default();
    // Descending: the record of the end, then the newest segment first. What a crash half-way leaves is a log that ends
    // earlier, not a damaged one, and the next call moves the rest.
    files.sort_unstable_by(|one, other| other.name.cmp(&one.name));
    for file in files.into_iter().filter(|one| one.is_file) {
        if file.name != "LOCK" {
            let (from, to) = (dir.join(&file.name), target.join(&file.name));
            storage.rename(&from, &to).map_err(|error| io("rename", &from, error))?;
        }
    }
    for moved in [&target, dir] {
        storage.sync_dir(moved, roadbed_wal::SyncPoint::Publish).map_err(|error| io("sync", moved, error))?;
    }
    Ok(())
}
