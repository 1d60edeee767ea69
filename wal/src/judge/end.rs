//! Holds the last segment against the record of where the log had ended.

use std::path::Path;

use super::open_to_read;
use super::tail::Tail;
use crate::error::{ADVICE_OPEN, WalError};
use crate::format::end::{EndRecord, FILE_BYTES};
use crate::format::header::{Header, StreamId};
use crate::names;
use crate::segment::read_failed;
use crate::storage::{Storage, child, read_up_to};

/// The records of a file and their slots, the one that says the most last.
pub(super) fn read(storage: &dyn Storage, path: &Path) -> Result<Vec<(u64, EndRecord)>, WalError> {
    let file = open_to_read(storage, path)?;
    let mut bytes = [0; FILE_BYTES];
    let have = read_up_to(&*file, &mut bytes, 0).map_err(|error| read_failed(path, 0, &error))?;
    Ok(EndRecord::decode_all(&bytes[..have]))
}

/// Refuses a log that ends before its record says that it had ended.
pub(crate) fn check(
    record: &EndRecord,
    stream: &StreamId,
    dir: &Path,
    path: &Path,
    header: &Header,
    tail: &Tail,
) -> Result<(), WalError> {
    if record.stream != *stream {
        let (expected, found) = (stream.to_string(), record.stream.to_string());
        return Err(WalError::Foreign { path: child(dir, names::END), expected, found });
    }
    let next = header.base_index + tail.records.len() as u64;
    let damage = |path: &Path, offset, expected, found| {
        Err(WalError::corrupt(path, offset, Some(next), expected, found, ADVICE_OPEN))
    };
    let had = format!("(the file END says that the log had reached entry {})", record.end_index);
    if header.sequence < record.sequence {
        let expected = format!("segment {} or a later one {had}", record.sequence);
        return damage(dir, 0, expected, format!("segment {} as the last one", header.sequence));
    }
    if header.sequence > record.sequence {
        return Ok(());
    }
    if header.salt != record.salt {
        let expected = format!("salt {:#018x} {had}", record.salt);
        return damage(path, 0, expected, format!("salt {:#018x}", header.salt));
    }
    if tail.end_offset < record.end_offset {
        let expected = format!("frames up to offset {} {had}", record.end_offset);
        return damage(
            path,
            tail.end_offset,
            expected,
            format!("no frame that is valid, entry {next} is due"),
        );
    }
    Ok(())
}
