//! What a backup says about itself: which store it is of, whether it is whole, and which segments need not be copied again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use roadbed_wal::Surveyed;
use serde::{Deserialize, Serialize};

use crate::exit::NodeError;
use crate::tools::files::{failed, write_durably};

/// Its file, beside the store's own ones.
pub(super) const MANIFEST: &str = "BACKUP.json";
pub(super) const MANIFEST_SCHEMA: &str = "roadbed.backup-manifest/1";

/// What a backup holds. One that has never been complete has `complete: false`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) schema: String,
    pub(super) chain: String,
    pub(super) complete: bool,
    /// Segments that need not be copied again, by their place in the backup.
    pub(super) sealed: BTreeMap<PathBuf, Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) salt: u64,
    pub(super) bytes: u64,
}

impl From<&Surveyed> for Segment {
    fn from(segment: &Surveyed) -> Self {
        Self { salt: segment.salt, bytes: segment.bytes }
    }
}

impl Manifest {
    /// The manifest in a directory, if there is one.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, NodeError> {
        let path = dir.join(MANIFEST);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                NodeError::Refused(format!("{}: {error}; choose another directory", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), NodeError> {
        let path = dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| NodeError::Failed(format!("{}: {error}", path.display())))?;
        write_durably(&path, &text)
    }
}
