//! Putting the next state of a backup in the place of the one before. At each moment one of the two is whole.

use std::fs;

use roadbed_messages::api::WalKind;
use roadbed_wal::{FileSystem, Storage};

use super::Backup;
use super::manifest::{MANIFEST, Manifest};
use crate::exit::NodeError;
use crate::tools::files::{failed, link, names, remove, sync, write_durably};

impl Backup<'_> {
    /// Puts what is whole in `next` in the place of what the backup held. May be done again from the start at any time.
    pub(super) fn install(&mut self) -> Result<(), NodeError> {
        let Manifest { schema, chain, .. } = self.held.clone();
        let sealed = std::mem::take(&mut self.staged);
        self.held = Manifest { schema, chain, complete: true, sealed };
        self.held.write(&self.next.dir)?;
        remove(&self.dest.marker())?;
        sync(&self.dest.dir)?;
        for wal in WalKind::BOTH {
            let (from, to) = (self.next.log(wal), self.dest.log(wal));
            FileSystem.create_dir(&to).map_err(failed(&to))?;
            for old in names(&to)? {
                remove(&to.join(old))?;
            }
            for new in names(&from)? {
                link(&from.join(&new), &to.join(&new))?;
            }
            sync(&to)?;
        }
        for (from, to) in
            [(self.next.committee(), self.dest.committee()), (self.next.marker(), self.dest.marker())]
        {
            write_durably(&to, &fs::read(&from).map_err(failed(&from))?)?;
        }
        self.held.write(&self.dest.dir)?;
        self.clear_next()
    }

    /// Removes `next`; first its manifest, so that a part of it is never taken for whole.
    pub(super) fn clear_next(&self) -> Result<(), NodeError> {
        let next = &self.next.dir;
        if next.exists() {
            remove(&next.join(MANIFEST))?;
            sync(next)?;
            fs::remove_dir_all(next).map_err(failed(next))?;
        }
        Ok(())
    }
}
