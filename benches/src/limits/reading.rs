//! Reading files back, with a checksum.

use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use crc_fast::{CrcAlgorithm, checksum};
use rustix::fs::{Advice, fadvise};

use super::cores::on_all_cores;

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// A stretch of a file that is read at once.
#[derive(Debug)]
pub struct Piece {
    file: std::sync::Arc<File>,
    at: u64,
    bytes: u64,
}

impl Piece {
    /// The beginning of a file, up to `bytes`, in pieces.
    pub fn of(path: &Path, bytes: u64) -> Result<Vec<Self>> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let end = file.metadata()?.len().min(bytes);
        let file = std::sync::Arc::new(file);
        let piece = |at| Self { file: file.clone(), at, bytes: READ_BYTES.min(end - at) };
        Ok((0..end).step_by(1 << 20).map(piece).collect())
    }

    /// Reads it and sums it up.
    fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        buffer.resize(buffer.len().max(bytes), 0);
        self.file.read_exact_at(&mut buffer[..bytes], self.at)?;
        black_box(checksum(CrcAlgorithm::Crc32Iscsi, &buffer[..bytes]));
        Ok(())
    }
}

/// The time that one thread takes to read and sum up all pieces.
pub fn read_in_order(pieces: &[Piece]) -> io::Result<Duration> {
    let mut buffer = Vec::new();
    let began = Instant::now();
    pieces.iter().try_for_each(|piece| piece.read(&mut buffer))?;
    Ok(began.elapsed())
}

/// The time that all cores take to read and sum up all pieces.
pub(crate) fn read_all(pieces: &[Piece]) -> Result<Duration> {
    let failed = std::sync::atomic::AtomicBool::new(false);
    let took = on_all_cores(pieces, |buffer: &mut Vec<u8>, piece| {
        if piece.read(buffer).is_err() {
            failed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    anyhow::ensure!(!failed.into_inner(), "the data can't be read");
    Ok(took)
}

/// Reads of one size at any places of some files.
#[derive(Debug)]
pub(crate) struct RandomReads {
    /// With the bytes that count.
    files: Vec<(File, u64)>,
    buffer: Vec<u8>,
}

impl RandomReads {
    /// Opens files, of which so many bytes count.
    pub(crate) fn open(files: &[(PathBuf, u64)], read_bytes: usize) -> Result<Self> {
        let open = |(path, bytes): &(PathBuf, u64)| {
            Ok((File::open(path).with_context(|| format!("open {}", path.display()))?, *bytes))
        };
        let files: Vec<_> = files.iter().map(open).collect::<Result<_>>()?;
        let files = files.into_iter().filter(|(_, bytes)| *bytes > read_bytes as u64).collect();
        Ok(Self { files, buffer: vec![0; read_bytes] })
    }

    /// Reads at a place that a number decides, and sums it up.
    pub(crate) fn read(&mut self, number: u64) -> Result<()> {
        let (file, bytes) = &self.files[usize::try_from(number)? % self.files.len()];
        // Most files are of one size: the place must not depend on which one it is.
        let at = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (bytes - self.buffer.len() as u64);
        file.read_exact_at(&mut self.buffer, at)?;
        black_box(checksum(CrcAlgorithm::Crc32Iscsi, &self.buffer));
        Ok(())
    }
}

/// The files in a directory with this extension, by name.
pub(crate) fn files_of(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Takes files out of the page cache, so that reading them means the disk.
pub(crate) fn drop_cache(files: &[PathBuf]) -> Result<()> {
    for path in files {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
