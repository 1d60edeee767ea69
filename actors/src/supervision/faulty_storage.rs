//! A storage that fails on demand: what a disk does, above a real one.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use roadbed_wal::{Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

use super::Faults;
use super::faults::DiskFault;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Direct writes go up to a multiple of this.
const BLOCK_BYTES: usize = 4096;

/// Another storage, with the [`DiskFault`]s that were injected into a [`Faults`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use roadbed::Roadbed;
/// use roadbed::supervision::{DiskFault, Faults, FaultyStorage};
/// use roadbed_messages::{AppHash, testing};
/// use roadbed_wal::FileSystem;
///
/// let (dir, faults) = (tempfile::tempdir()?, Faults::default());
/// let members = testing::committee(7, 4);
/// let roadbed = Roadbed::builder(members.committee.clone())
///     .data_dir(dir.path())
///     .storage(Arc::new(FaultyStorage::new(FileSystem, &faults)))
///     .start()
///     .await?;
///
/// faults.inject_disk(DiskFault::Error); // the next write of either log fails with EIO
/// let (qc, blocks) = testing::chain(7, &members, testing::ChainShape::default()).next().unwrap();
/// let last = roadbed_messages::BlockNumber(blocks.len() as u64 - 1);
/// roadbed.push_qc(Arc::new(qc), blocks.into_iter().map(Arc::new).collect()).await?;
/// roadbed.push_app_hash(last, AppHash([7; 32])).await?; // durable anew, in a life of the log after that write
/// assert_eq!(faults.outstanding(), 0);
/// assert_eq!(roadbed.status().await?.workers.iter().map(|worker| worker.restarts).sum::<u64>(), 1);
/// # roadbed.shutdown().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct FaultyStorage<S> {
    inner: S,
    faults: Faults,
}

impl<S> FaultyStorage<S> {
    /// `inner`, with what is injected into `faults`.
    pub fn new(inner: S, faults: &Faults) -> Self {
        Self { inner, faults: faults.clone() }
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    faults: Faults,
}

/// What is left of a fault for the call that meets it.
enum Strike {
    None,
    Fails(io::Error),
    Short,
}

fn strike(fault: Option<DiskFault>) -> Strike {
    match fault {
        None => Strike::None,
        Some(DiskFault::Error) => Strike::Fails(io::Error::from_raw_os_error(EIO)),
        Some(DiskFault::Full) => Strike::Fails(io::Error::from_raw_os_error(ENOSPC)),
        Some(DiskFault::ShortWrite) => Strike::Short,
        Some(DiskFault::Hang(gate)) => {
            gate.pass();
            Strike::None
        }
        Some(DiskFault::Slow(longer)) => {
            thread::sleep(longer);
            Strike::None
        }
    }
}

/// For calls that are done whole or not at all.
fn struck(faults: &Faults) -> io::Result<()> {
    match strike(faults.take_disk()) {
        Strike::Fails(error) => Err(error),
        Strike::None | Strike::Short => Ok(()),
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()> {
        struck(&self.faults)?;
        self.inner.sync_dir(dir, point)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(FaultyFile { inner: self.inner.open(path, mode)?, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        self.inner.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.inner.free_bytes(dir)
    }

    fn salt(&self) -> io::Result<u64> {
        self.inner.salt()
    }
}

impl StorageFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match strike(self.faults.take_read()) {
            Strike::None => self.inner.read_at(buffer, offset),
            Strike::Fails(error) => Err(error),
            Strike::Short => {
                let half = buffer.len().div_ceil(2);
                self.inner.read_at(&mut buffer[..half], offset)
            }
        }
    }

    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize> {
        let half = buffer.len() / 2 / BLOCK_BYTES * BLOCK_BYTES;
        match strike(self.faults.take_disk()) {
            Strike::Short if half > 0 => self.inner.write_at(&buffer[..half], offset, point),
            Strike::None | Strike::Short => self.inner.write_at(buffer, offset, point),
            Strike::Fails(error) => {
                // A write that fails may have come half-way, and may not even have got there.
                if half > 0 {
                    let _written = self.inner.write_at(&buffer[..half], offset, point);
                }
                Err(error)
            }
        }
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        struck(&self.faults)?;
        self.inner.sync_data(point)
    }

    fn writes_are_durable(&self) -> bool {
        self.inner.writes_are_durable()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }

    fn expect_reads(&self, range: Range<u64>) {
        self.inner.expect_reads(range);
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        self.inner.data_from(offset)
    }
}
