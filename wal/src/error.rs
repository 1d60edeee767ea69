//! The one error type of the crate.
//!
//! An error says where (path, offset, index), what was expected, what was found, and what to do next; it can be cloned,
//! because one failed write answers every waiter of its group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that an operation of the log can answer instead of a result.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The storage refused a call.
    #[error("{op} failed on {}{}: {message}", path.display(), at(*offset))]
    Io {
        /// The call, in words ("write a group").
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The offset in bytes, where the call had one.
        offset: Option<u64>,
        /// What the standard library makes of it.
        kind: io::ErrorKind,
        /// The operating system's number, where there is one.
        errno: Option<i32>,
        /// The storage's own words.
        message: String,
    },
    /// Bytes that had been durable are not what was written. Nothing was changed on disk.
    #[error(
        "damage in {} at offset {offset}{}: expected {expected}, found {found}; {advice}",
        path.display(), entry(*index)
    )]
    Corrupt {
        /// The damaged file (the directory, where a file is missing).
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// The index of the entry that is due there, where it is known.
        index: Option<u64>,
        /// What the format wants there.
        expected: String,
        /// What is there.
        found: String,
        /// What to do next.
        advice: &'static str,
    },
    /// The directory holds the log of another chain or of another kind. Nothing was written.
    #[error("{} belongs to another log: expected {expected}, found {found}; open it with its own stream id", path.display())]
    Foreign {
        /// The segment that says so.
        path: PathBuf,
        /// The stream that was asked for.
        expected: String,
        /// The stream that the segment names.
        found: String,
    },
    /// The segment was written by a version that this one can not read. Nothing was written.
    #[error(
        "{} needs a reader of format {found} (or features {features:#x}); this one reads up to {supported}: upgrade, or \
         restore the directory of this version", path.display()
    )]
    NewerFormat {
        /// The segment that says so.
        path: PathBuf,
        /// The lowest reader version that the segment asks for.
        found: u32,
        /// The highest version that this crate reads.
        supported: u32,
        /// The required feature bits that this crate does not know.
        features: u64,
    },
    /// Another owner has the log open, in this process or in another one.
    #[error("{} is in use by {holder}: stop it, or wait until its I/O thread has ended", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the lock file says.
        holder: String,
    },
    /// An append above the next index would leave a hole.
    #[error("index {index} would leave a gap: the next index is {next}; append {next} first")]
    Gap {
        /// The index that was appended.
        index: u64,
        /// The index that is due.
        next: u64,
    },
    /// Keys never go down: lookups by key search for the first entry with a greater key.
    #[error("key {key} of index {index} is below the key {last} of the entry before it")]
    KeyOrder {
        /// The index that was appended.
        index: u64,
        /// Its key.
        key: u64,
        /// The key of the entry before it.
        last: u64,
    },
    /// An index outside of what the operation allows.
    #[error("index {index} is out of range for {op}: the log holds {first}..{next}")]
    OutOfRange {
        /// The operation.
        op: &'static str,
        /// The index that was asked for.
        index: u64,
        /// The oldest index retained.
        first: u64,
        /// The next index.
        next: u64,
    },
    /// An entry above the cap, on its way in or as read from disk.
    #[error("entry {index} has {bytes} bytes, the cap is {max}: raise entry_bytes_max if that is intended")]
    TooLarge {
        /// The index of the entry.
        index: u64,
        /// Its length in bytes.
        bytes: u64,
        /// The cap in bytes.
        max: u64,
    },
    /// A write or a sync failed before: this instance takes nothing any more. Drop it, open the log anew with
    /// [`crate::Judged::open_at`] at the last durable index, and append the rest again.
    #[error("the log is poisoned by an earlier failure: {cause}; reopen it at its durable point")]
    Poisoned {
        /// The first failure.
        cause: Arc<WalError>,
    },
    /// The log ends before what the caller knows to have been durable: durable entries are gone.
    #[error("{} ends at index {found}, but everything below {expected} had been durable: restore the directory", path.display())]
    Shorter {
        /// The directory.
        path: PathBuf,
        /// The index that the log must reach.
        expected: u64,
        /// Where it ends.
        found: u64,
    },
    /// There is no log in the directory.
    #[error("there is no log in {}: create one, or check the path", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// There is a log in the directory already.
    #[error("{} holds a log already: open it, or choose an empty directory", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A setting, or a combination of settings, that can not work.
    #[error("setting {name}: {reason}")]
    Options {
        /// The setting.
        name: &'static str,
        /// Why not.
        reason: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}

fn entry(index: Option<u64>) -> String {
    index.map(|index| format!(" (entry {index})")).unwrap_or_default()
}

/// What to do about damage that opening found.
pub(crate) const ADVICE_OPEN: &str =
    "nothing was changed: keep the directory, run verify on it, and restore it from a copy or a peer";
/// What to do about damage that a read found.
pub(crate) const ADVICE_READ: &str =
    "this entry is not served: fetch it from a peer, and run verify on the directory";

impl WalError {
    /// Whether the disk (or the quota) is full: space can come back, so this may be tried again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { kind, .. } => {
                matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Poisoned { cause } => cause.is_disk_full(),
            _ => false,
        }
    }

    /// Whether data that had been durable is damaged or gone.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Shorter { .. } => true,
            Self::Poisoned { cause } => cause.is_corruption(),
            _ => false,
        }
    }

    pub(crate) fn io(op: &'static str, path: &Path, offset: Option<u64>, error: &io::Error) -> Self {
        Self::Io {
            op,
            path: path.to_path_buf(),
            offset,
            kind: error.kind(),
            errno: error.raw_os_error(),
            message: error.to_string(),
        }
    }

    pub(crate) fn corrupt(
        path: &Path,
        offset: u64,
        index: Option<u64>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::Corrupt { path: path.to_path_buf(), offset, index, expected, found, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poisoned(cause: &WalError) -> WalError {
        WalError::Poisoned { cause: Arc::new(cause.clone()) }
    }

    #[test]
    fn what_poisons_is_of_the_kind_of_its_cause() {
        let path = Path::new("/log/1.seg");
        let io = |kind: io::ErrorKind| WalError::io("write", path, Some(4096), &kind.into());
        let full = [io(io::ErrorKind::StorageFull), io(io::ErrorKind::QuotaExceeded)];
        let damaged = [
            WalError::corrupt(path, 7, Some(9), "a frame", "nothing", ADVICE_READ),
            WalError::Shorter { path: path.to_path_buf(), expected: 5, found: 3 },
        ];
        let neither = [io(io::ErrorKind::Other), WalError::Gap { index: 3, next: 1 }];
        for error in &full {
            assert!(error.is_disk_full() && !error.is_corruption(), "{error}");
            assert!(poisoned(error).is_disk_full() && !poisoned(error).is_corruption(), "{error}");
        }
        for error in &damaged {
            assert!(!error.is_disk_full() && error.is_corruption(), "{error}");
            assert!(!poisoned(error).is_disk_full() && poisoned(error).is_corruption(), "{error}");
        }
        for error in &neither {
            assert!(!error.is_disk_full() && !error.is_corruption(), "{error}");
            assert!(!poisoned(error).is_disk_full() && !poisoned(error).is_corruption(), "{error}");
        }
    }

    #[test]
    fn an_error_says_where() {
        let path = Path::new("/log/1.seg");
        let text = WalError::io("write", path, Some(4096), &io::ErrorKind::Other.into()).to_string();
        assert!(text.contains("/log/1.seg") && text.contains("at offset 4096"), "{text}");
        let text = WalError::io("list", path, None, &io::ErrorKind::Other.into()).to_string();
        assert!(!text.contains("offset"), "{text}");
        let text = WalError::corrupt(path, 7, Some(9), "a frame", "nothing", ADVICE_READ).to_string();
        assert!(text.contains("offset 7") && text.contains("(entry 9)"), "{text}");
        let text = WalError::corrupt(path, 7, None, "a header", "nothing", ADVICE_OPEN).to_string();
        assert!(!text.contains("entry"), "{text}");
    }
}
