//! What a log has to be able to do here.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, ensure};
use bytes::Bytes;
use roadbed_benches::limits::noise;

/// Bytes of a log's files, where it has a setting for that: the same for all.
pub const FILE_BYTES: u64 = 64 << 20;

/// Reads single entries by index, on any thread, and shows each.
pub type ReadOne = Box<dyn FnMut(u64, &mut dyn FnMut(&[u8])) -> Result<()> + Send>;

/// An open log. Its entries are those of its [`Payloads`].
pub trait Peer {
    /// Makes so many next entries ready in the form in which it takes them, which whoever uses it has at hand. Not measured.
    fn prepare(&mut self, _entries: u64) {}

    /// Appends so many entries, those that were prepared last; durable when it returns.
    fn append(&mut self, entries: u64) -> Result<()>;

    /// Sends so many entries on their way, those that were prepared last. A log that can lets the next ones be put together
    /// meanwhile; for the others they are durable when it returns.
    fn stream(&mut self, entries: u64) -> Result<()> {
        self.append(entries)
    }

    /// Waits until everything that was sent on its way is durable.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// The index of the next entry; the first one ever has 0.
    fn next(&self) -> u64;

    /// Drops the entries below `index`, or as many of them as the log is able to drop at once.
    fn drop_front(&mut self, index: u64) -> Result<()>;

    /// Gives the space of dropped entries back, where that is not done by the way.
    fn free(&mut self) -> Result<()> {
        Ok(())
    }

    /// Drops the entries from `index` on.
    fn drop_tail(&mut self, index: u64) -> Result<()>;

    /// Reads all that is retained, in order, and shows each entry to the looker, which it gives back.
    fn replay(&mut self, looker: Looker) -> Result<Looker>;

    /// Reads what is there now, whatever is appended meanwhile.
    fn reader(&mut self) -> Result<ReadOne>;
}

/// The entries of a log: noise, each at another place of it.
#[derive(Clone, Debug)]
pub struct Payloads {
    noise: Bytes,
    bytes: usize,
}

/// Distance of two neighbours in the noise, in bytes.
const STEP_BYTES: usize = 8;
/// After so many entries they come again; a prime, so that no group is like the next one.
const DIFFERENT: u64 = 509;

impl Payloads {
    /// Entries of so many bytes.
    pub fn new(bytes: u64) -> Result<Self> {
        let bytes = usize::try_from(bytes)?;
        let noise = noise(bytes + usize::try_from(DIFFERENT)? * STEP_BYTES);
        Ok(Self { noise: noise.into(), bytes })
    }

    /// Bytes of an entry.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The entry of an index.
    pub fn at(&self, index: u64) -> &[u8] {
        &self.noise[self.place(index)]
    }

    /// The same as a counted reference.
    pub fn shared(&self, index: u64) -> Bytes {
        self.noise.slice(self.place(index))
    }

    fn place(&self, index: u64) -> std::ops::Range<usize> {
        let at = usize::try_from(index % DIFFERENT).unwrap_or(0) * STEP_BYTES;
        at..at + self.bytes
    }
}

/// Looks at the entries of a replay.
#[derive(Debug, Default)]
pub struct Looker {
    /// Seen so far.
    pub entries: u64,
    /// To hold each entry against what it must be.
    expected: Option<Payloads>,
    /// Which of the different entries came first. (Some logs drop sections as a whole: it can be any.)
    first: Option<u64>,
    wrong: Option<u64>,
}

impl Looker {
    /// One that compares.
    fn comparing(payloads: &Payloads) -> Self {
        Self { expected: Some(payloads.clone()), ..Self::default() }
    }

    /// Looks at the next entry.
    pub fn look(&mut self, payload: &[u8]) {
        match &self.expected {
            None => look_at(payload),
            Some(expected) => {
                if self.entries == 0 {
                    self.first = (0..DIFFERENT).find(|nth| expected.at(*nth) == payload);
                }
                if self.first.is_none_or(|first| expected.at(first + self.entries) != payload) {
                    self.wrong.get_or_insert(self.entries);
                }
            }
        }
        self.entries += 1;
    }
}

/// Reads all that a log retains, and holds it against what was appended; answers how many entries there are.
pub fn verify(log: &mut dyn Peer, payloads: &Payloads) -> Result<u64> {
    let Looker { entries, first, wrong, .. } = log.replay(Looker::comparing(payloads))?;
    ensure!(wrong.is_none(), "retained entry {wrong:?} has other bytes");
    let ends = |first| (first + entries) % DIFFERENT == log.next() % DIFFERENT;
    ensure!(first.is_none_or(ends), "the last entries are missing");
    Ok(entries)
}

/// Looks at a payload as whoever gets it would: one byte of each cache line.
pub fn look_at(payload: &[u8]) {
    black_box(payload.iter().step_by(64).fold(0, |seen, byte| seen ^ byte));
}

/// What is asked of a log beyond appending.
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
    /// To read any entry.
    Read,
    /// The same, while entries are appended.
    ReadBeside,
}

impl Need {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "Append",
            Self::Replay => "Replay",
            Self::DropFront => "Front",
            Self::DropTail => "Tail",
            Self::Read => "Single entries",
            Self::ReadBeside => "Single entries beside the writer",
        }
    }
}

/// Which log is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Its directory.
    pub dir: &'a Path,
    /// Its entries.
    pub payloads: &'a Payloads,
    /// Whether nothing goes before it is dropped: what is appended will be read again.
    pub keeps: bool,
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
    /// Opens the log of a directory, or makes it.
    pub open: fn(Setup<'_>) -> Result<Box<dyn Peer>>,
}

impl Candidate {
    /// Why it can't do something.
    pub fn lacks(&self, need: Need) -> Option<&'static str> {
        self.lacks.iter().find(|(lack, _)| *lack == need).map(|(_, reason)| *reason)
    }
}
