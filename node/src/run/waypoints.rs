//! Where a check of the chain can begin: what earlier checks of a directory have derived from the seed and compared.
//!
//! They are kept in `DIR/demo.json`, so that the cost of a start follows what is retained, not what was pruned. The file
//! is a shortcut and nothing else: one that is missing, damaged or of another chain means a check from the first block.

use std::fs;
use std::io;
use std::path::Path;

use roadbed_messages::hash::CanonicalHasher;
use roadbed_messages::{AppHash, BlockNumber, FullCommitQc};
use serde::{Deserialize, Serialize};

use super::history::resumable;
use super::plan::{App, Plan};
use crate::exit::NodeError;
use crate::output;
use crate::tools::files::{failed, write_durably};

const FILE: &str = "demo.json";
const SCHEMA: &str = "roadbed.demo/1";
/// That are kept at most; above that every second one goes.
const KEPT_MAX: usize = 256;
/// Between two of them: so many blocks, or so many bytes of transactions.
const SPACING_BLOCKS_MAX: u64 = 10_000;
const SPACING_BYTES: u64 = 16 << 20;

/// A place in the chain, behind a QC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waypoint {
    /// The application's state there.
    pub(crate) app: App,
    /// The QC before it, as far as the chain goes on from it.
    pub(crate) qc: FullCommitQc,
    /// The lines of the ack log for blocks before it, hashed; none where there was no ack log.
    pub(crate) acks: Option<AppHash>,
}

/// Places in one chain, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waypoints {
    /// Blocks between two of them, at least.
    spacing: u64,
    kept: Vec<Waypoint>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    schema: String,
    /// The chain: all that its blocks are a function of.
    chain: String,
    spacing: u64,
    waypoints: Vec<Waypoint>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    content: Content,
    /// Of the content: a flipped bit must not look like a difference in the chain.
    sum: AppHash,
}

impl Content {
    fn sum(&self) -> Option<AppHash> {
        let mut hasher = CanonicalHasher::new("roadbed/demo/waypoints");
        hasher.bytes(&serde_json::to_vec(self).ok()?);
        Some(AppHash(hasher.finish()))
    }
}

fn chain_of(plan: &Plan) -> String {
    format!("{} {} {:?}", plan.seed, plan.members.committee.chain_id(), plan.shape)
}

impl Waypoints {
    /// None yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let spacing = (SPACING_BYTES / plan.block_bytes() as u64).clamp(1, SPACING_BLOCKS_MAX);
        Self { spacing, kept: Vec::new() }
    }

    /// Those that a directory has of this chain.
    pub(crate) fn load(dir: &Path, plan: &Plan) -> Self {
        let path = dir.join(FILE);
        let ignored = |why: &str| {
            output::note(&format!("{}: {why}: the chain check begins at the first block", path.display()));
            Self::new(plan)
        };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::new(plan),
            Err(error) => return ignored(&error.to_string()),
            Ok(text) => text,
        };
        let Ok(Sealed { content, sum }) = serde_json::from_slice(&text) else {
            return ignored("it is damaged");
        };
        if content.sum() != Some(sum) {
            return ignored("it is damaged");
        }
        if content.schema != SCHEMA || content.chain != chain_of(plan) {
            return ignored("it is of another chain or version");
        }
        Self { spacing: content.spacing, kept: content.waypoints }
    }

    /// Keeps them in a directory. `first` is the oldest block there: of those below it only the newest is of use.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn save(&mut self, dir: &Path, plan: &Plan, first: BlockNumber) -> Result<(), NodeError> {
        let below = self.kept.partition_point(|one| one.app.next <= first);
        self.kept.drain(..below.saturating_sub(1));
        if self.kept.is_empty() {
            return Ok(());
        }
        let path = dir.join(FILE);
        let content = Content {
            schema: SCHEMA.to_owned(),
            chain: chain_of(plan),
            spacing: self.spacing,
            waypoints: self.kept.clone(),
        };
        let sealed = content.sum().map(|sum| Sealed { content, sum });
        let text = serde_json::to_vec(&sealed).map_err(|error| failed(&path)(error.into()))?;
        write_durably(&path, &text)
    }

    /// Those at or below `end`, the newest first: where a check of what lies from `end` on can begin.
    pub(crate) fn upto(&self, end: BlockNumber) -> impl Iterator<Item = &Waypoint> {
        self.kept.iter().rev().skip_while(move |one| one.app.next > end)
    }

    /// Forgets those behind `at`: they are noted anew.
    pub(crate) fn begin_at(&mut self, at: BlockNumber) {
        self.kept.retain(|one| one.app.next <= at);
    }

    /// Takes note of a place, if it is far enough behind the last one; to be called with each, in order.
    pub(crate) fn note(&mut self, app: App, qc: &FullCommitQc, acks: impl FnOnce() -> Option<AppHash>) {
        let last = self.kept.last().map_or(0, |last| last.app.next.0);
        if app.next.0.saturating_sub(last) < self.spacing {
            return;
        }
        self.kept.push(Waypoint { app, qc: resumable(qc), acks: acks() });
        if self.kept.len() > KEPT_MAX {
            self.spacing *= 2;
            // The first one stays: after pruning it is the only one at or below `first`.
            let mut nth = 0;
            self.kept.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadbed_messages::testing::{self, ChainShape};

    fn plan() -> Plan {
        let shape = ChainShape { blocks_per_qc: 1, txs_per_block: 1, tx_bytes: 8, ..ChainShape::default() };
        Plan { seed: 5, members: testing::committee(5, 4), shape }
    }

    fn noted(blocks: u64) -> Waypoints {
        let (qc, _) = plan().chain().next().unwrap();
        let mut waypoints = Waypoints { spacing: 10, kept: Vec::new() };
        for next in 1..=blocks {
            waypoints.note(App { next: BlockNumber(next), hash: AppHash::ZERO }, &qc, || None);
        }
        waypoints
    }

    #[test]
    fn they_stay_bounded_and_evenly_spaced() {
        let waypoints = noted(10 * KEPT_MAX as u64 * 5);
        assert!(waypoints.kept.len() <= KEPT_MAX && waypoints.kept.len() >= KEPT_MAX / 2);
        let gaps = waypoints.kept.windows(2).map(|pair| pair[1].app.next.0 - pair[0].app.next.0);
        assert!(gaps.into_iter().all(|gap| gap == waypoints.spacing));
    }

    #[test]
    fn a_directory_keeps_what_is_of_use_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut waypoints = noted(100);
        assert_eq!(waypoints.upto(BlockNumber(35)).next().map(|one| one.app.next.0), Some(30));
        assert!(waypoints.upto(BlockNumber(9)).next().is_none());
        waypoints.save(dir.path(), &plan(), BlockNumber(55)).unwrap();
        let loaded = Waypoints::load(dir.path(), &plan());
        assert_eq!(loaded, waypoints);
        assert_eq!(loaded.kept.first().map(|one| one.app.next.0), Some(50));
    }

    #[test]
    fn another_chain_or_a_flipped_bit_means_none() {
        let dir = tempfile::tempdir().unwrap();
        noted(100).save(dir.path(), &plan(), BlockNumber(0)).unwrap();
        let mut other = plan();
        other.shape.tx_bytes = 9;
        assert!(Waypoints::load(dir.path(), &other).kept.is_empty());
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"next\":20", "\"next\":21", 1)).unwrap();
        assert!(Waypoints::load(dir.path(), &plan()).kept.is_empty());
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(Waypoints::load(dir.path(), &plan()).kept.is_empty());
        fs::write(&path, text).unwrap();
        assert_eq!(Waypoints::load(dir.path(), &plan()).kept.len(), 10);
    }
}
