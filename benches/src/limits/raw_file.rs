//! Raw durable writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

use super::aligned::Aligned;
use super::{PAGE_BYTES, page_ceil};

/// Bytes of the writes that prepare a file.
const FILL_BYTES: usize = 1 << 20;

/// A file whose space was written before; groups go round in it.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    /// Whether writes go past the page cache and are durable when they return.
    direct: bool,
    noise: Aligned,
    bytes: u64,
    at: u64,
}

impl RawFile {
    /// Makes a file of `bytes` for groups of up to `group_bytes_max`, all of its space written.
    pub fn create(path: &Path, bytes: u64, group_bytes_max: u64) -> Result<Self> {
        let group = usize::try_from(page_ceil(group_bytes_max))?;
        let fill = Aligned::noise(FILL_BYTES)?;
        let bytes = bytes.max(group as u64).next_multiple_of(FILL_BYTES as u64);
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        for at in (0..bytes).step_by(FILL_BYTES) {
            file.write_all_at(fill.bytes(), at)?;
        }
        file.sync_all()?;
        let noise = Aligned::noise(group)?;
        let flags = i32::try_from((OFlags::DIRECT | OFlags::DSYNC).bits())?;
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path);
        // Some file systems open it so and refuse the first write.
        let direct =
            direct.and_then(|file| file.write_all_at(&noise.bytes()[..PAGE_BYTES], 0).map(|()| file));
        Ok(match direct {
            Ok(file) => Self { file, direct: true, noise, bytes, at: 0 },
            Err(_) => Self { file, direct: false, noise, bytes, at: 0 },
        })
    }

    /// How it writes, in words.
    pub fn how(&self) -> &'static str {
        if self.direct { "O_DIRECT|O_DSYNC" } else { "write+fdatasync" }
    }

    /// Writes a group of `bytes`, rounded up to whole pages; durable when it returns.
    ///
    /// # Panics
    /// When the group is larger than the file was made for.
    pub fn write(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = page_ceil(bytes);
        if self.at + bytes > self.bytes {
            self.at = 0;
        }
        let group = &self.noise.bytes()[..usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.write_all_at(group, self.at)?;
        if !self.direct {
            self.file.sync_data()?;
        }
        self.at += bytes;
        Ok(())
    }

    /// The time of one such write, in seconds.
    pub fn timed(&mut self, bytes: u64) -> io::Result<f64> {
        let began = Instant::now();
        self.write(bytes)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// The time of one such write whose bytes are put together first, in seconds: so many copies of a payload. No log can
    /// do without this copy.
    ///
    /// # Panics
    /// As [`RawFile::write`].
    pub fn timed_after_copy(&mut self, payload: &[u8], copies: usize) -> io::Result<f64> {
        let began = Instant::now();
        let group = &mut self.noise.bytes_mut()[..payload.len() * copies];
        group.chunks_exact_mut(payload.len()).for_each(|entry| entry.copy_from_slice(payload));
        let bytes = group.len() as u64;
        self.write(bytes)?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn write_groups(&mut self, groups: u64, bytes: u64) -> io::Result<()> {
        (0..groups).try_for_each(|_| self.write(bytes))
    }
}

/// The time of so many groups of so many bytes into each of two files, both at once.
pub(crate) fn write_both(a: (&mut RawFile, u64, u64), b: (&mut RawFile, u64, u64)) -> io::Result<Duration> {
    let began = Instant::now();
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| b.0.write_groups(b.1, b.2));
        (a.0.write_groups(a.1, a.2), other.join())
    });
    one?;
    match other {
        Ok(other) => other?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_in_its_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        let mut file = RawFile::create(&path, 1 << 20, 300_000).unwrap();
        for _ in 0..10 {
            file.write(300_000).unwrap();
        }
        assert_eq!(path.metadata().unwrap().len(), 1 << 20);
        assert!(file.timed_after_copy(&[7; 1000], 3).unwrap() > 0.0);
        let mut start = [0; 3000];
        File::open(&path).unwrap().read_exact_at(&mut start, file.at - PAGE_BYTES as u64).unwrap();
        assert_eq!(start, [7; 3000]);
        let mut other = RawFile::create(&dir.path().join("other"), 1 << 20, 4096).unwrap();
        assert!(write_both((&mut file, 2, 5000), (&mut other, 3, 100)).unwrap() > Duration::ZERO);
    }
}
