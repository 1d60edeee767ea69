//! Making the next state of a backup in `DEST/next`: what counts of the store's segments is linked or copied, and verified.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadbed_messages::api::WalKind;
use roadbed_wal::{FileSystem, Storage, Surveyed, WalError, salt_of, survey};

use super::manifest::Segment;
use super::{Backup, STORAGE};
use crate::exit::NodeError;
use crate::output;
use crate::tools::files::{failed, link, names, remove, sync, write_durably};
use crate::tools::meter::Meter;
use crate::tools::mutate::{Extent, Seen};

/// Looks at a log that changes faster than it can be looked at, before giving up.
const ATTEMPTS_MAX: u32 = 20;
/// Rounds of the whole, before what was copied is believed to be as it is in the store.
const ROUNDS_MAX: u32 = 3;
/// Between two looks at a log that was caught while its writer wrote.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const COPY_BYTES: usize = 1 << 20;

impl Backup<'_> {
    /// Makes the next state, and verifies it; what the backup held is as it was.
    pub(super) fn stage(&mut self) -> Result<Extent, NodeError> {
        for round in 1.. {
            self.clear_next()?;
            self.staged.clear();
            self.kept = 0;
            for dir in [self.next.dir.clone(), self.next.log(WalKind::Qcs), self.next.log(WalKind::Blocks)] {
                FileSystem.create_dir(&dir).map_err(failed(&dir))?;
            }
            for wal in [WalKind::Blocks, WalKind::Qcs] {
                self.copy_log(wal)?;
            }
            for (from, to) in [
                (self.store.paths.committee(), self.next.committee()),
                (self.store.paths.marker(), self.next.marker()),
            ] {
                write_durably(&to, &fs::read(&from).map_err(failed(&from))?)?;
            }
            match Seen::of(&self.next.dir).and_then(Seen::sound) {
                Ok((_held, extent)) => return Ok(extent),
                // The node has pruned past the end of what was copied first, or a file was caught in the moment in which
                // it became another one, or the backup's own disk rots: another round is up to date, and links nothing.
                Err(_) if round < ROUNDS_MAX => {}
                Err(NodeError::Damaged(problem)) => {
                    let (dir, dest) = (self.store.paths.dir.display(), self.dest.dir.display());
                    return Err(NodeError::Damaged(format!(
                        "{problem}; this is a copy, and was made {ROUNDS_MAX} times: the store itself is damaged \
                         there, stop its node and run roadbed verify {dir}; what {dest} held before is untouched"
                    )));
                }
                Err(error) => return Err(error),
            }
            self.held.sealed.clear();
            output::note("what was copied does not fit together: another round");
        }
        Err(NodeError::Failed("no round was left".to_owned()))
    }

    /// Stages a log: links or copies what is missing, until nothing is.
    fn copy_log(&mut self, wal: WalKind) -> Result<(), NodeError> {
        let dir = self.next.log(wal);
        for _ in 0..ATTEMPTS_MAX {
            let segments = self.look(wal)?;
            let Some((last, sealed)) = segments.split_last() else { break };
            for segment in sealed {
                self.keep(wal, segment)?;
            }
            let missing: Vec<_> = sealed.iter().filter(|one| !self.is_staged(wal, one)).collect();
            let mut meter = Meter::new("copy", missing.iter().map(|one| one.bytes).sum::<u64>() + last.bytes);
            for segment in &missing {
                // One that was pruned and recycled meanwhile is not named by a new look.
                if self.copy(wal, segment, &mut meter)? {
                    self.staged.insert(Self::place(wal, segment), Segment::from(*segment));
                }
            }
            // What was sealed meanwhile is to be copied as such.
            if !missing.is_empty() || !self.copy(wal, last, &mut meter)? {
                continue;
            }
            for name in names(&dir)? {
                let path = dir.join(&name);
                let place = Path::new(wal.name()).join(&name);
                if !segments.iter().any(|one| Self::place(wal, one) == place) {
                    remove(&path)?;
                    self.staged.remove(&place);
                }
            }
            sync(&dir)?;
            let named = |all: &[Surveyed]| all.iter().map(|one| (one.sequence, one.salt)).collect::<Vec<_>>();
            let staged = survey(&STORAGE, &dir, &self.store.options(wal))?;
            if named(&staged) == named(&segments) {
                return Ok(());
            }
        }
        let log = self.store.paths.log(wal);
        Err(NodeError::Failed(format!(
            "{} changed faster than it could be copied, {ATTEMPTS_MAX} times: try again when there is less load",
            log.display()
        )))
    }

    /// Surveys a log; what looks like damage beside a writer must look the same a few times to be believed.
    pub(super) fn look(&self, wal: WalKind) -> Result<Vec<Surveyed>, NodeError> {
        let (dir, options) = (self.store.paths.log(wal), self.store.options(wal));
        let mut attempt = 1;
        loop {
            match survey(&STORAGE, &dir, &options) {
                Err(WalError::Missing { .. }) => {
                    return Err(NodeError::Refused(format!(
                        "{} has no log, so there is nothing whole to back up: roadbed inspect {}",
                        dir.display(),
                        self.store.paths.dir.display()
                    )));
                }
                Err(_) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    std::thread::sleep(LOOK_AGAIN_AFTER);
                }
                found => return Ok(found?),
            }
        }
    }

    fn place(wal: WalKind, segment: &Surveyed) -> PathBuf {
        Path::new(wal.name()).join(segment.path.file_name().unwrap_or_default())
    }

    /// Whether all of a sealed segment is staged.
    fn is_staged(&self, wal: WalKind, segment: &Surveyed) -> bool {
        self.staged.get(&Self::place(wal, segment)) == Some(&Segment::from(segment))
    }

    /// Stages a sealed segment that the backup has, if it has it.
    fn keep(&mut self, wal: WalKind, segment: &Surveyed) -> Result<(), NodeError> {
        let place = Self::place(wal, segment);
        let from = self.dest.dir.join(&place);
        let held = self.held.sealed.get(&place) == Some(&Segment::from(segment))
            && fs::metadata(&from).is_ok_and(|found| found.len() >= segment.bytes)
            && salt_of(&STORAGE, &from)? == Some(segment.salt);
        if held && !self.is_staged(wal, segment) {
            let to = self.next.dir.join(&place);
            remove(&to)?;
            link(&from, &to)?;
            self.staged.insert(place, Segment::from(segment));
            self.kept += 1;
        }
        Ok(())
    }

    /// Copies what counts of a segment; `false` when the file became another one meanwhile.
    fn copy(&mut self, wal: WalKind, segment: &Surveyed, meter: &mut Meter) -> Result<bool, NodeError> {
        let to = self.next.dir.join(Self::place(wal, segment));
        let source = match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(failed(&segment.path))?,
        };
        // A link is never written through.
        remove(&to)?;
        let target = File::create(&to).map_err(failed(&to))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < segment.bytes {
            let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read_at(&mut buffer[..left], offset).map_err(failed(&segment.path))?;
            if read == 0 {
                return Ok(false);
            }
            target.write_all_at(&buffer[..read], offset).map_err(failed(&to))?;
            offset += read as u64;
            meter.add(read as u64);
        }
        // What lies behind does not count: zeros, of the length that the segment was made with.
        target.set_len(segment.file_bytes).map_err(failed(&to))?;
        target.sync_all().map_err(failed(&to))?;
        if salt_of_open(&source)? != Some(segment.salt) || salt_of(&STORAGE, &to)? != Some(segment.salt) {
            return Ok(false);
        }
        self.copied += 1;
        self.copied_bytes += segment.bytes;
        Ok(true)
    }
}

/// The salt in the header of a file that is open, whatever its name is by now.
fn salt_of_open(file: &File) -> Result<Option<u64>, NodeError> {
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(salt_of(&STORAGE, &path)?)
}
