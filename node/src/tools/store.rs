//! A store's directory as the tools find it: its marker and its committee.

use std::fs;
use std::io;
use std::path::Path;

use roadbed::store::{Marker, StorePaths, read_marker, refuse_lost};
use roadbed_messages::Committee;
use roadbed_messages::api::WalKind;
use roadbed_wal::{LogOptions, StreamId};

use super::facts::judge;
use super::read_only::ReadOnly;
use crate::exit::NodeError;

/// A directory with a marker.
#[derive(Debug)]
pub(crate) struct Store {
    /// Where it keeps what.
    pub(crate) paths: StorePaths,
    /// What it is.
    pub(crate) marker: Marker,
    /// Who votes; or what is wrong with `committee.json`.
    pub(crate) committee: Result<Committee, String>,
}

impl Store {
    /// Looks at a directory.
    ///
    /// # Errors
    /// When it is no store of a version that this program reads.
    pub(crate) fn open(dir: &Path) -> Result<Self, NodeError> {
        let paths = StorePaths::new(dir);
        match fs::metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(NodeError::Usage(format!("{} is not a directory", dir.display()))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(NodeError::Usage(format!(
                    "{} does not exist: give the directory that `roadbed run --dir` was given",
                    dir.display()
                )));
            }
            Err(error) => return Err(NodeError::io(dir.display().to_string(), error)),
        }
        let marker = find_marker(&paths)?;
        let committee = read_committee(&paths, &marker);
        Ok(Self { paths, marker, committee })
    }

    /// The committee.
    ///
    /// # Errors
    /// Why it is not to be had, and the way out.
    pub(crate) fn committee(&self) -> Result<&Committee, NodeError> {
        self.committee.as_ref().map_err(|problem| NodeError::Failed(problem.clone()))
    }

    /// The options with which a log of this store is read.
    pub(crate) fn options(&self, wal: WalKind) -> LogOptions {
        let mut kind = [0; 8];
        kind[..wal.name().len()].copy_from_slice(wal.name().as_bytes());
        LogOptions::new(StreamId { chain: self.marker.chain.0, kind })
    }
}

fn find_marker(paths: &StorePaths) -> Result<Marker, NodeError> {
    if let Some(marker) = read_marker(&ReadOnly { locks: false }, paths)? {
        return Ok(marker);
    }
    for wal in WalKind::BOTH {
        if !holds_nothing(paths, wal)? {
            return Err(NodeError::MarkerLost { dir: paths.dir.clone(), log: paths.log(wal) });
        }
    }
    refuse_lost(&ReadOnly { locks: false }, paths)?;
    if paths.lock().exists() || WalKind::BOTH.iter().any(|wal| paths.log(*wal).exists()) {
        return Err(NodeError::Unfinished { dir: paths.dir.clone() });
    }
    let empty = fs::read_dir(&paths.dir).is_ok_and(|mut entries| entries.next().is_none());
    let why = if empty { "is empty" } else { "is no store: it has no STORE marker" };
    Err(NodeError::NoStore { dir: paths.dir.clone(), why })
}

/// Whether a log of a directory without a marker has no entries, by the judgement of a start: then it is what a first
/// start left that ended before it wrote the marker.
///
/// # Errors
/// What the system says; damage.
fn holds_nothing(paths: &StorePaths, wal: WalKind) -> Result<bool, NodeError> {
    let segments = roadbed_wal::inspect(&ReadOnly { locks: false }, &paths.log(wal))?;
    if segments.is_empty() {
        return Ok(true);
    }
    // Without a marker only the log itself says whose it is.
    let Some(header) = segments.into_iter().find_map(|segment| segment.header.ok()) else {
        return Ok(false);
    };
    let judged = judge(paths, ReadOnly { locks: false }, wal, LogOptions::new(header.stream))?;
    Ok(judged.facts().is_empty())
}

/// The committee in `committee.json`, if it is the one that the marker names.
///
/// # Errors
/// What is wrong with the file, and the way out.
pub(crate) fn read_committee(paths: &StorePaths, marker: &Marker) -> Result<Committee, String> {
    let committee = read_any_committee(paths)?;
    if committee.chain_id() != marker.chain {
        let (found, expected) = (committee.chain_id(), marker.chain);
        let path = paths.committee();
        return Err(format!(
            "{}: it is of chain {found}, the marker says {expected}; {COMMITTEE_AGAIN}",
            path.display()
        ));
    }
    Ok(committee)
}

/// How a committee file comes back.
const COMMITTEE_AGAIN: &str = "move it away, and `roadbed run` with the flags of this store writes it again";

/// The committee in `committee.json`, of whichever chain.
///
/// # Errors
/// What is wrong with the file, and the way out.
pub(crate) fn read_any_committee(paths: &StorePaths) -> Result<Committee, String> {
    let path = paths.committee();
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{} is missing: `roadbed run` with the flags of this store writes it again",
            path.display()
        ),
        _ => format!("{}: {error}", path.display()),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("{} is damaged: {error}; {COMMITTEE_AGAIN}", path.display()))
}
