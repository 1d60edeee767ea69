//! The one primitive: publish a segment.
//!
//! A prepared file gets its header, the header is made durable, the file is renamed without replacing anything, and the
//! directory is synced; only then does the segment take frames. A failure before the rename changed nothing that counts.
//! From the rename on it is not known what a crash would leave: the failure poisons the log.
//!
//! A spare takes the segment's name in that one rename. With a name in between, two renames of one file would wait for the
//! same sync of the directory, and as entries of a directory reach the disk in any order, a crash could keep the second
//! and lose the first: the file would be a spare and a segment at once, and whoever takes the spare next would write
//! another header over the segment's. (A spare that was made just now can so keep its name of preparation beside the
//! segment's: nothing is written through that name again.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::format::PAGE;
use crate::format::header::Header;
use crate::judge::sync_dir;
use crate::names;
use crate::pool::Pool;
use crate::storage::{OpenMode, Storage, StorageFile, SyncPoint, open_for_groups, write_durably};

/// Where segments are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) storage: &'a Arc<dyn Storage>,
    pub(crate) dir: &'a Path,
    pub(crate) segment_bytes: u64,
    pub(crate) direct: bool,
    pub(crate) keep_free_bytes: u64,
}

/// A file with a segment's header, which is durable; it doesn't count before it has the segment's name.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) naming: Naming,
    pub(crate) file: Arc<dyn StorageFile>,
    /// Whether its space was only reserved, never written.
    pub(crate) fresh: bool,
}

/// What is left to do to publish a prepared segment, once all that its predecessor keeps is durable.
#[derive(Debug)]
pub(crate) struct Naming {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) prepared: PathBuf,
    pub(crate) segment: PathBuf,
}

impl Naming {
    /// Gives the segment its name. After a failure it is not known what a crash would leave.
    pub(crate) fn carry_out(&self) -> Result<(), WalError> {
        let Self { storage, dir, prepared, segment } = self;
        let renamed = storage.rename(prepared, segment);
        renamed.map_err(|error| WalError::io("publish a segment", segment, None, &error))?;
        sync_dir(&**storage, dir, SyncPoint::Publish)
    }
}

/// Prepares a segment: `header`, completed with the length of its file, followed by `table` (whole pages, up to the
/// header's `frames_offset`). A failure changes nothing that counts.
pub(crate) fn prepare(
    site: Site<'_>,
    pool: &mut Pool,
    header: &Header,
    table: &[u8],
    urgent: bool,
) -> Result<Prepared, WalError> {
    assert_eq!(PAGE + table.len() as u64, header.frames_offset, "the frames follow the table");
    let (prepared, fresh) = take_file(site, pool, header.sequence, urgent)?;
    let file = write_header(site, &prepared, header, table).inspect_err(|_| discard(site, &prepared))?;
    let naming = Naming {
        storage: site.storage.clone(),
        dir: site.dir.to_path_buf(),
        prepared,
        segment: names::segment(site.dir, header.sequence),
    };
    Ok(Prepared { naming, file, fresh })
}

/// A file for a segment, and whether its space was never written.
fn take_file(
    site: Site<'_>,
    pool: &mut Pool,
    sequence: u64,
    urgent: bool,
) -> Result<(PathBuf, bool), WalError> {
    if let Some(spare) = pool.take(urgent) {
        return Ok((spare, false));
    }
    if !urgent {
        leave_free(site)?;
    }
    let path = names::prepared(site.dir, sequence);
    make_space(site, &path).inspect_err(|_| discard(site, &path))?;
    Ok((path, true))
}

/// An error if another segment would leave less free than must be left.
pub(crate) fn leave_free(site: Site<'_>) -> Result<(), WalError> {
    let (bytes, keep) = (site.segment_bytes, site.keep_free_bytes);
    if keep == 0 {
        return Ok(());
    }
    let op = "leave space free beside a new segment";
    let failed = |error: &std::io::Error| WalError::io(op, site.dir, None, error);
    match site.storage.free_bytes(site.dir).map_err(|error| failed(&error))? {
        Some(free) if free < bytes.saturating_add(keep) => Err(WalError::Io {
            op,
            path: site.dir.to_path_buf(),
            offset: None,
            kind: std::io::ErrorKind::StorageFull,
            errno: None,
            message: format!(
                "the disk is almost full: {free} bytes are free, {bytes} are needed, and {keep} are kept free"
            ),
        }),
        _ => Ok(()),
    }
}

/// Makes a file with the space of a segment reserved.
pub(crate) fn make_space(site: Site<'_>, path: &Path) -> Result<(), WalError> {
    let failed = |error: &std::io::Error| WalError::io("prepare a segment", path, None, error);
    let file = site.storage.open(path, OpenMode::CreateNew).map_err(|error| failed(&error))?;
    file.allocate(site.segment_bytes).map_err(|error| failed(&error))
}

fn write_header(
    site: Site<'_>,
    path: &Path,
    header: &Header,
    table: &[u8],
) -> Result<Arc<dyn StorageFile>, WalError> {
    let failed = |op, error: &std::io::Error| WalError::io(op, path, None, error);
    let file = open_for_groups(&**site.storage, path, site.direct)?;
    let bytes = file.bytes().map_err(|error| failed("ask for the length of a segment", &error))?;
    // A table from a time of larger segments can make it longer.
    let header = Header { prepared_bytes: bytes.max(header.frames_offset), ..*header };
    let mut bytes = AlignedBuffer::copy_of(&header.encode());
    bytes.extend(table.len()).copy_from_slice(table);
    write_durably(&*file, path, bytes.bytes(), 0, SyncPoint::Header)?;
    if file.writes_are_durable() {
        // A direct write makes its own bytes durable; the length that the header names must be too.
        let point = SyncPoint::Header;
        file.sync_data(point).map_err(|error| failed(point.name(), &error))?;
    }
    Ok(file)
}

/// What could not be prepared is in nobody's way: if it can't be removed now, the next opening removes it.
fn discard(site: Site<'_>, path: &Path) {
    let _removed = site.storage.remove(path);
}
