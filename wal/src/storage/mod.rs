//! The seam to the operating system: everything the log does to a disk goes through [`Storage`].
//!
//! Two implementations exist: [`FileSystem`], and `sim::SimStorage` (feature `sim`), which keeps a volatile and a durable
//! layer and can fail, tear, lose and hang.

mod file_system;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file_system::FileSystem;

use crate::error::WalError;
use crate::format::{PAGE, PAGE_BYTES};

/// Why something must reach the disk, here and not later. The protocol has no other sync points; leaving out any one of
/// them makes a test fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SyncPoint {
    /// A group of frames, before it is acknowledged.
    Group,
    /// The footer of a segment that is rolled or closed, before a header names it.
    Footer,
    /// A new segment's header, before the rename that makes it count.
    Header,
    /// The directory after that rename, before a frame is accepted.
    Publish,
    /// The directory after retired segments got their pool names, before a header is overwritten.
    Retire,
    /// The directory's own entry in its parent, when a log is made and when it is opened.
    Parent,
    /// The directory, before its listing is believed.
    OpenDirectory,
    /// The last segment, before what the page cache shows of it is believed.
    OpenTail,
    /// The record of where the log ended, when it is closed or idle: later openings hold the files against it.
    End,
    /// Zeros in a spare: a matter of speed only, nothing depends on them.
    Fill,
}

impl SyncPoint {
    /// Those that a promise depends on: all but [`SyncPoint::Fill`].
    pub const ALL: [Self; 9] = [
        Self::Group,
        Self::Footer,
        Self::Header,
        Self::Publish,
        Self::Retire,
        Self::Parent,
        Self::OpenDirectory,
        Self::OpenTail,
        Self::End,
    ];

    /// In words, for errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "make a group durable",
            Self::Footer => "make a footer durable",
            Self::Header => "make a segment header durable",
            Self::Publish => "make a published segment's name durable",
            Self::Retire => "make a retired segment's name durable",
            Self::Parent => "make the directory's own entry durable",
            Self::OpenDirectory => "sync the directory before reading it",
            Self::End => "make the record of the end durable",
            Self::Fill => "fill a spare with zeros",
            Self::OpenTail => "sync the last segment before judging it",
        }
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To read.
    Read,
    /// To write, through the page cache.
    Write,
    /// To write past the page cache, each write durable when it returns; `Unsupported` or `InvalidInput` where the file
    /// system can't. Buffers, offsets and lengths are then multiples of 4 KiB.
    WriteDirect,
    /// To write a file that must not exist yet.
    CreateNew,
}

/// What a directory holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name without the directory.
    pub name: String,
    /// Its length in bytes, if it is a file.
    pub bytes: u64,
    /// Whether it is a file that can be opened under this name; else it is a directory, a link, a device, or the name is
    /// no text.
    pub is_file: bool,
}

/// Why a lock was not got.
#[derive(Debug)]
pub enum LockFault {
    /// Another handle holds it; what its owner wrote into the file.
    Held(String),
    /// The storage refused.
    Io(io::Error),
}

/// Holds a lock as long as it lives.
pub trait LockGuard: Send + Sync + Debug {}

/// An open file. Positions are explicit; every call may be made from several threads.
pub trait StorageFile: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the storage says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset` on; answers how many bytes, 0 at the end of the file.
    ///
    /// # Errors
    /// What the storage says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes from `offset` on; answers how many bytes, which may be fewer than given.
    ///
    /// # Errors
    /// What the storage says.
    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize>;

    /// Makes what was written durable, with the length.
    ///
    /// # Errors
    /// What the storage says: then nothing is known of what was written since the last success.
    fn sync_data(&self, point: SyncPoint) -> io::Result<()>;

    /// Whether a write that returned is durable already.
    fn writes_are_durable(&self) -> bool;

    /// Reserves space up to `bytes`, which also becomes the length if the file is shorter; the new bytes are zeros.
    ///
    /// # Errors
    /// What the storage says, for example that it is full.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Forgets what the page cache holds of the file and the disk has too, so that the next read asks the disk.
    ///
    /// # Errors
    /// What the storage says.
    fn drop_cache(&self) -> io::Result<()>;

    /// Says that these bytes are read soon; only speed depends on it.
    fn expect_reads(&self, _range: Range<u64>) {}

    /// The next stretch at or after `offset` that may hold anything but zeros, and where it ends; none where all the rest
    /// is zeros. For who reads much: to say that all of it may is always right.
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        Some(offset..u64::MAX)
    }
}

/// Directories and their files.
pub trait Storage: Send + Sync + Debug {
    /// Makes a directory and those above it that are missing, and makes their entries durable.
    ///
    /// # Errors
    /// What the storage says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Everything in a directory; `None` where there is no directory.
    ///
    /// # Errors
    /// What the storage says.
    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the storage says.
    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the storage says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// Gives a file another name in its directory; an error where the name is taken.
    ///
    /// # Errors
    /// What the storage says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the storage says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock of a file, made if need be and never removed, and writes the holder into it.
    ///
    /// # Errors
    /// Held by someone else, or what the storage says.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault>;

    /// Bytes that may still be taken where the directory is; `None` where nobody knows.
    ///
    /// # Errors
    /// What the storage says.
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>>;

    /// A random number that is not zero.
    ///
    /// # Errors
    /// What the storage says.
    fn salt(&self) -> io::Result<u64>;

    /// For storages on which every run is to make the same calls in the same order: which of so many writes that may
    /// be done in any order is done next, by whoever called the log, as late as can be. None, as here: threads of the log's
    /// own do them as they come.
    fn pick_write(&self, _parts: usize) -> Option<usize> {
        None
    }
}

/// Writes all of `bytes` and makes them durable.
pub(crate) fn write_durably(
    file: &dyn StorageFile,
    path: &Path,
    bytes: &[u8],
    offset: u64,
    point: SyncPoint,
) -> Result<(), WalError> {
    let failed = |at: u64, error: &io::Error| WalError::io(point.name(), path, Some(at), error);
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done as u64;
        let written = file.write_at(&bytes[done..], at, point).map_err(|error| failed(at, &error))?;
        if written == 0 {
            return Err(failed(at, &io::ErrorKind::WriteZero.into()));
        }
        done += written;
        if done < bytes.len() && file.writes_are_durable() {
            // A direct write goes on at the last boundary that it reached.
            done -= done % PAGE_BYTES;
            if written < PAGE_BYTES {
                return Err(failed(at, &io::ErrorKind::WriteZero.into()));
            }
        }
    }
    if !file.writes_are_durable() {
        file.sync_data(point).map_err(|error| failed(offset, &error))?;
    }
    Ok(())
}

/// Fills `buffer` from `offset` on; `false` when the file ends before.
pub(crate) fn read_full(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    Ok(read_up_to(file, buffer, offset)? == buffer.len())
}

/// Fills `buffer` from `offset` on as far as the file goes; answers how far.
pub(crate) fn read_up_to(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Opens a file for durable writes: direct ones where wanted and possible.
pub(crate) fn open_for_groups(
    storage: &dyn Storage,
    path: &Path,
    direct: bool,
) -> Result<Arc<dyn StorageFile>, WalError> {
    if direct {
        match storage.open(path, OpenMode::WriteDirect) {
            Err(error) if refuses_direct(&error) => {}
            other => {
                return other.map_err(|error| WalError::io("open for direct writes", path, None, &error));
            }
        }
    }
    storage.open(path, OpenMode::Write).map_err(|error| WalError::io("open for writes", path, None, &error))
}

fn refuses_direct(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// A file of a directory.
pub(crate) fn child(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

const _: () = assert!(PAGE == PAGE_BYTES as u64);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes at most so many bytes at a time.
    #[derive(Debug)]
    struct Slow {
        at_most: usize,
        direct: bool,
        bytes: Mutex<Vec<u8>>,
        synced: Mutex<u32>,
    }

    impl StorageFile for Slow {
        fn bytes(&self) -> io::Result<u64> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn write_at(&self, buffer: &[u8], offset: u64, _: SyncPoint) -> io::Result<usize> {
            let (at, taken) = (usize::try_from(offset).unwrap(), buffer.len().min(self.at_most));
            assert!(!self.direct || at.is_multiple_of(PAGE_BYTES), "{at}");
            let mut bytes = self.bytes.lock().unwrap();
            let end = (at + taken).max(bytes.len());
            bytes.resize(end, 0);
            bytes[at..at + taken].copy_from_slice(&buffer[..taken]);
            Ok(taken)
        }
        fn sync_data(&self, _: SyncPoint) -> io::Result<()> {
            *self.synced.lock().unwrap() += 1;
            Ok(())
        }
        fn writes_are_durable(&self) -> bool {
            self.direct
        }
        fn allocate(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn drop_cache(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn what_is_taken_in_pieces_is_written_whole_and_each_piece_where_it_belongs() {
        let bytes: Vec<u8> = (0..5 * PAGE_BYTES).map(|at| (at / 7).to_le_bytes()[0] | 1).collect();
        let written = |direct: bool, at_most: usize| {
            let file = Slow { at_most, direct, bytes: Mutex::default(), synced: Mutex::default() };
            let done = write_durably(&file, Path::new("1.seg"), &bytes, PAGE, SyncPoint::Group);
            let whole = file.bytes.into_inner().unwrap().get(PAGE_BYTES..) == Some(&bytes[..]);
            (done.is_ok(), whole, file.synced.into_inner().unwrap())
        };
        for at_most in [4096, 5000, 8191, 8192, 12_345, 1 << 20] {
            assert_eq!(written(true, at_most), (true, true, 0), "{at_most}");
        }
        for at_most in [1, 4095, 5000, 1 << 20] {
            assert_eq!(written(false, at_most), (true, true, 1), "{at_most}");
        }
        // Less than a page of a direct write can't go on; nothing at all can't either.
        assert!(!written(true, 4095).0);
        assert_eq!([true, false].map(|direct| written(direct, 0).0), [false; 2]);
    }
}
