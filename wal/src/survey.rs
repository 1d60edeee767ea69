//! What a copy of a log needs of which file, read-only and without the lock, so that it works beside a writer.
//!
//! ```text
//! survey ──▶ copy each file up to `bytes` ──▶ salt_of the copied file: unchanged? ──▶ the copy is of that segment
//!    ▲                                             └─ no: the writer has recycled it; what it held was pruned
//!    └─────────────────────────────────────────────┘
//! ```
//!
//! A segment's frames never change while it counts: the writer only appends behind them, and a recycled file gets its new
//! header, with a new salt, before its first frame. So a file whose header is the same before and after it was copied was
//! that segment all the while, and a prefix of whole groups of the last segment is what a crash could have left.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::format::header::{Header, TablePlace};
use crate::judge::chain::{self, Candidate};
use crate::judge::tail::{self, Limits, Tail};
use crate::judge::{gather, open_to_read, read_header};
use crate::options::LogOptions;
use crate::scan::FileSource;
use crate::segment::read_failed;
use crate::storage::Storage;

/// Bytes that are read at once.
const AHEAD_BYTES: usize = 1 << 20;

/// A segment that counts, and what a copy needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its file.
    pub path: PathBuf,
    /// Its place in the order of segments.
    pub sequence: u64,
    /// Tells this life of the file from any other.
    pub salt: u64,
    /// The entries in it.
    pub entries: Range<u64>,
    /// Bytes from the start of the file that a copy needs: whole groups, and the footer where there is one. Behind them a
    /// copy is zeros.
    pub bytes: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Whether nothing will be added to it.
    pub sealed: bool,
}

/// The segments that count, oldest first. Beside a writer they are those of a moment that has passed.
///
/// # Errors
/// [`WalError::Missing`], [`WalError::Foreign`], [`WalError::NewerFormat`], what the storage says, and damage as far as
/// headers and the last segment show it. Beside a writer, a file that vanishes while it is read is an error, and a group
/// that becomes visible at the wrong moment can look like damage: ask again.
pub fn survey(storage: &dyn Storage, dir: &Path, options: &LogOptions) -> Result<Vec<Surveyed>, WalError> {
    options.check()?;
    let (candidates, _) = gather(storage, dir)?;
    let Some(last) = candidates.last() else {
        return Err(WalError::Missing { path: dir.to_path_buf() });
    };
    let header = *last.sound(&options.stream)?;
    let tail = judge_live(storage, last, &header, options)?;
    let linked = chain::link(&candidates, &options.stream, tail.trim)?;
    let mut segments = Vec::new();
    for pair in linked.windows(2) {
        let (before, after) = (&candidates[pair[0]], &candidates[pair[1]]);
        let (own, next) = (before.sound(&options.stream)?, after.sound(&options.stream)?);
        let Some(named) = &next.predecessor else { continue };
        let bytes = match named.table {
            TablePlace::Own(span) => span.offset.saturating_add(span.bytes()),
            TablePlace::None | TablePlace::Here(_) => named.end_offset,
        };
        segments.push(Surveyed {
            path: before.path.clone(),
            sequence: before.sequence,
            salt: own.salt,
            entries: own.base_index..named.end_index,
            bytes: bytes.min(before.bytes),
            file_bytes: before.bytes,
            sealed: true,
        });
    }
    let whole = tail.records.iter().filter(|record| record.offset < tail.group_end).count() as u64;
    let bytes =
        tail.footer.map_or(tail.group_end, |footer| footer.table.offset.saturating_add(footer.table.bytes()));
    segments.push(Surveyed {
        path: last.path.clone(),
        sequence: last.sequence,
        salt: header.salt,
        entries: header.base_index..header.base_index + whole,
        bytes: bytes.min(last.bytes),
        file_bytes: last.bytes,
        sealed: false,
    });
    Ok(segments)
}

fn judge_live(
    storage: &dyn Storage,
    last: &Candidate,
    header: &Header,
    options: &LogOptions,
) -> Result<Tail, WalError> {
    let file = open_to_read(storage, &last.path)?;
    let source = FileSource::new(&*file).map_err(|error| read_failed(&last.path, 0, &error))?;
    let limits = Limits { entry_bytes_max: options.entry_bytes_max, ahead: AHEAD_BYTES };
    tail::judge(&last.path, header, &source, limits)
}

/// The salt in a segment's header; none where there is no sound one.
///
/// # Errors
/// What the storage says.
pub fn salt_of(storage: &dyn Storage, path: &Path) -> Result<Option<u64>, WalError> {
    Ok(read_header(storage, path)?.ok().map(|header| header.salt))
}
