//! What a log has to be able to do here.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;

/// Bytes of a log's files, where it has a setting for that: the same for all.
pub const FILE_BYTES: u64 = 64 << 20;

/// An open log.
pub trait Peer {
    /// Appends so many entries with this payload; durable when it returns.
    fn append(&mut self, payload: &[u8], entries: u64) -> Result<()>;

    /// The index of the next entry; the first one ever has 0.
    fn next(&self) -> u64;

    /// Drops the entries below `index`, or as many of them as the log is able to drop at once, and frees their space.
    fn drop_front(&mut self, index: u64) -> Result<()>;

    /// Drops the entries from `index` on.
    fn drop_tail(&mut self, index: u64) -> Result<()>;

    /// Reads all that is retained, in order, and looks at each payload with [`look_at`]; answers their bytes.
    fn replay(&mut self) -> Result<u64>;
}

/// Looks at a payload as whoever gets it would: one byte of each cache line. Answers its length in bytes.
pub fn look_at(payload: &[u8]) -> u64 {
    black_box(payload.iter().step_by(64).fold(0, |seen, byte| seen ^ byte));
    payload.len() as u64
}

/// What a case asks of a log beyond appending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Append,
    /// To read all of it again.
    Replay,
    /// To drop the front half, durably, and nothing else.
    DropFront,
    /// To drop the back half, durably, and nothing else.
    DropTail,
}

impl Need {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "Append",
            Self::Replay => "Replay",
            Self::DropFront => "Front",
            Self::DropTail => "Tail",
        }
    }
}

/// A log that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its name and version.
    pub name: &'static str,
    /// How it is set up, and why.
    pub setup: &'static str,
    /// What it can't do, and why.
    pub lacks: &'static [(Need, &'static str)],
    /// Opens the log of a directory, or makes it; entries will have about so many bytes.
    pub open: fn(&Path, u64) -> Result<Box<dyn Peer>>,
}

impl Candidate {
    /// Why it can't do something.
    pub fn lacks(&self, need: Need) -> Option<&'static str> {
        self.lacks.iter().find(|(lack, _)| *lack == need).map(|(_, reason)| *reason)
    }
}
