//! The chain check: what is served, and what was acknowledged, is what the seed gives.
//!
//! ```text
//! a thread: seed ──derive from a waypoint──▶ app hashes ──compare── lines of the ack log
//!                                └─QCs and blocks at or above `first`──▶ compare ◀── what the data layer serves
//! ```
//!
//! The application's state depends on every block before it. So deriving begins at the newest [waypoint](Waypoints) that is
//! not above `first`: what lies before it was derived and compared by an earlier check, and the lines of the ack log for it
//! are still those which that check has read. Without one it begins at the first block. The cost follows what is retained.
//! Blocks are read through the data layer, so each served byte goes the way that any consumer's would.

use std::ops::Range;
use std::path::{Path, PathBuf};

use roadbed::{Roadbed, Subscription};
use roadbed_messages::api::{Cursors, Error};
use roadbed_messages::hash::CanonicalHasher;
use roadbed_messages::{AppHash, BlockNumber, FullCommitQc, GlobalBlock};
use tokio::sync::{mpsc, watch};

use super::ack_log::{Ack, AckLogError, Lines};
use super::history::{Checkpoints, Road, next_road};
use super::plan::{App, Plan};
use super::waypoints::{Waypoint, Waypoints};
use crate::exit::NodeError;

/// Roads that are derived ahead of the comparison.
const ROADS_AHEAD: usize = 16;

/// A difference between what is there and what must be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainCheckError {
    /// A served block is not the one that the seed gives.
    #[error("block {number}: its {what} is not what the seed gives; it was served all the same")]
    Block {
        /// The block.
        number: BlockNumber,
        /// Which part of it.
        what: &'static str,
    },
    /// A served QC is not the one that the seed gives.
    #[error("the QC of block {number} is not what the seed gives; it was served all the same")]
    Qc {
        /// A block that it covers.
        number: BlockNumber,
    },
    /// A block between `first` and `next_block` is not there.
    #[error("block {number} is not served, although it lies between {first} and {next_block}: {error}")]
    Missing {
        /// The block.
        number: BlockNumber,
        /// The oldest one retained.
        first: BlockNumber,
        /// The end of the contiguous run.
        next_block: BlockNumber,
        /// What came instead.
        error: String,
    },
    /// What was acknowledged is gone.
    #[error(
        "{}:{line}: the app hash of block {number} was acknowledged, but only blocks {} to {} are there",
        path.display(), there.start, there.end.saturating_sub(1)
    )]
    Lost {
        /// The ack log.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The block.
        number: BlockNumber,
        /// What is there.
        there: Range<BlockNumber>,
    },
    /// What was acknowledged is not what the seed gives.
    #[error("{}:{line}: app hash {found} was acknowledged for block {number}, the seed gives {expected}", path.display())]
    OtherHash {
        /// The ack log.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The block.
        number: BlockNumber,
        /// By the seed.
        expected: AppHash,
        /// In the log.
        found: AppHash,
    },
    /// The ack log goes back, which no run writes.
    #[error("{}:{line}: block {number} was acknowledged after block {before}", path.display())]
    Backwards {
        /// The ack log.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The block.
        number: BlockNumber,
        /// The block of the line before.
        before: BlockNumber,
    },
}

/// What a check that held has looked at, and what it learned on the way.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Blocks that were compared.
    pub(crate) blocks: u64,
    /// Lines of the ack log that were compared, or found as an earlier check has compared them.
    pub(crate) acked: u64,
    /// Where deriving began: at a waypoint, or at the first block.
    pub(crate) derived_from: BlockNumber,
    /// The application's state at `next_block`.
    pub(crate) app: App,
    /// The last QC before `next_qc`.
    pub(crate) last_qc: Option<FullCommitQc>,
    /// Where deriving can start again, for whoever answers from the chain.
    pub(crate) checkpoints: Checkpoints,
    /// The same for the next check.
    pub(crate) waypoints: Waypoints,
}

/// Compares everything from `first` to `next_block`, and every line of the ack log. `derived` tells how far it is.
///
/// # Errors
/// The first difference, or why it could not be looked for.
pub(crate) async fn check(
    plan: &Plan,
    roadbed: &Roadbed,
    cursors: Cursors,
    ack_log: Option<&Path>,
    waypoints: Waypoints,
    derived: watch::Sender<BlockNumber>,
) -> Result<Checked, NodeError> {
    let (sender, mut roads) = mpsc::channel(ROADS_AHEAD);
    let deriver = Deriver {
        plan: plan.clone(),
        cursors,
        ack_log: ack_log.map(Path::to_path_buf),
        waypoints,
        derived,
        roads: sender,
    };
    let derived = tokio::task::spawn_blocking(move || deriver.derive());
    let mut served = Served { roadbed, cursors, stream: roadbed.subscribe(cursors.first, false), blocks: 0 };
    let mut compared = Ok(());
    while let Some(road) = roads.recv().await {
        compared = served.compare(&road).await;
        if compared.is_err() {
            break;
        }
    }
    // Without a receiver it stops.
    drop(roads);
    let derived = derived.await;
    compared?;
    let derived =
        derived.map_err(|error| NodeError::io("derive the chain", std::io::Error::other(error)))??;
    Ok(Checked { blocks: served.blocks, ..derived })
}

/// What the data layer serves, from `first` on.
struct Served<'a> {
    roadbed: &'a Roadbed,
    cursors: Cursors,
    stream: Subscription,
    blocks: u64,
}

impl Served<'_> {
    async fn compare(&mut self, road: &Road) -> Result<(), NodeError> {
        let Cursors { first, next_block, .. } = self.cursors;
        let from = road.range.start.max(self.stream.next_number()).max(first);
        if from >= road.range.end {
            return Ok(());
        }
        match self.roadbed.qc(from).await {
            Ok(qc) if qc.qc.proposal != road.qc.qc.proposal || qc.headers != road.qc.headers => {
                return Err(ChainCheckError::Qc { number: from }.into());
            }
            Ok(_) | Err(Error::Pruned { .. }) => {}
            Err(error) => return Err(self.not_served(from, error)),
        }
        let end = road.range.end.min(next_block);
        while self.stream.next_number() < end {
            let number = self.stream.next_number();
            match self.stream.next().await {
                Ok(block) => compare_block(road, &block)?,
                // Pruning goes on while this looks: what is gone need not be compared.
                Err(Error::Pruned { first, .. }) if first > number => {
                    self.stream = self.roadbed.subscribe(first, false);
                    continue;
                }
                Err(error) => return Err(self.not_served(number, error)),
            }
            self.blocks += 1;
        }
        Ok(())
    }

    fn not_served(&self, number: BlockNumber, error: Error) -> NodeError {
        match error {
            error @ (Error::Stopped(_) | Error::Damaged { .. }) => {
                NodeError::request("check the chain", error)
            }
            error => {
                let Cursors { first, next_block, .. } = self.cursors;
                ChainCheckError::Missing { number, first, next_block, error: error.to_string() }.into()
            }
        }
    }
}

fn compare_block(road: &Road, served: &GlobalBlock) -> Result<(), ChainCheckError> {
    let number = served.number;
    let differs = |what| Err(ChainCheckError::Block { number, what });
    let Some(block) = road.block(number) else { return differs("number") };
    let proposal = &road.qc.qc.proposal;
    let position = number.0 - road.range.start.0;
    if served.header != block.header {
        return differs("header");
    }
    if *served.payload != block.payload {
        return differs("payload");
    }
    if proposal.timestamp.checked_add_us(position) != Some(served.timestamp) {
        return differs("timestamp");
    }
    if served.app_proposal != proposal.app_proposal {
        return differs("app proposal");
    }
    Ok(())
}

/// Derives the chain on a thread of its own.
struct Deriver {
    plan: Plan,
    cursors: Cursors,
    ack_log: Option<PathBuf>,
    /// Of earlier checks.
    waypoints: Waypoints,
    /// How far it is, for whoever waits.
    derived: watch::Sender<BlockNumber>,
    roads: mpsc::Sender<Road>,
}

impl Deriver {
    fn derive(mut self) -> Result<Checked, NodeError> {
        let Cursors { first, next_block, next_qc, .. } = self.cursors;
        let (begin, mut acks) = self.begin()?;
        let mut app = begin.as_ref().map_or_else(|| App::genesis(&self.plan), |begin| begin.app);
        let derived_from = app.next;
        let mut last_qc = begin.map(|begin| begin.qc);
        let mut checkpoints = Checkpoints::new(last_qc.as_ref());
        self.waypoints.begin_at(app.next);
        let mut chain = self.plan.chain_after(last_qc.as_ref()).unsigned();
        while chain.next_first() < next_qc {
            let Some(road) = next_road(&mut chain) else { break };
            for (number, block) in (app.next.0..next_block.0).map(BlockNumber).zip(&road.blocks) {
                let hash = app.execute(&block.payload);
                if let Some(acks) = &mut acks {
                    acks.compare(number, hash)?;
                }
            }
            checkpoints.note(&road.qc);
            if app.next == road.range.end {
                self.waypoints.note(app, &road.qc, || acks.as_ref().map(Acks::hash));
            }
            self.derived.send_replace(road.range.end);
            if road.range.end <= first {
                last_qc = Some(road.qc);
                continue;
            }
            last_qc = Some(road.qc.clone());
            if self.roads.blocking_send(road).is_err() {
                break;
            }
        }
        let acked = match acks {
            Some(acks) => acks.finish()?,
            None => 0,
        };
        Ok(Checked { blocks: 0, acked, derived_from, app, last_qc, checkpoints, waypoints: self.waypoints })
    }

    /// Where to begin, and the lines of the ack log from there on.
    fn begin(&self) -> Result<(Option<Waypoint>, Option<Acks>), NodeError> {
        let Cursors { first, next_block, .. } = self.cursors;
        let open = |path| Acks::open(path, first..next_block);
        for waypoint in self.waypoints.upto(first) {
            let fits = waypoint.qc.range(&self.plan.members.committee);
            if !fits.is_ok_and(|range| range.end == waypoint.app.next) {
                continue;
            }
            let Some(path) = &self.ack_log else { return Ok((Some(waypoint.clone()), None)) };
            let mut acks = open(path)?;
            acks.pass(waypoint.app.next)?;
            if waypoint.acks == Some(acks.hash()) {
                return Ok((Some(waypoint.clone()), Some(acks)));
            }
        }
        Ok((None, self.ack_log.as_deref().map(open).transpose()?))
    }
}

/// The lines of the ack log, walked beside the chain.
struct Acks {
    path: PathBuf,
    lines: std::iter::Peekable<Lines>,
    there: Range<BlockNumber>,
    compared: u64,
    before: BlockNumber,
    /// Of what was walked past.
    hasher: CanonicalHasher,
}

impl Acks {
    fn open(path: &Path, there: Range<BlockNumber>) -> Result<Self, AckLogError> {
        let lines = Lines::open(path)?.peekable();
        let hasher = CanonicalHasher::new("roadbed/demo/acks");
        Ok(Self { path: path.to_path_buf(), lines, there, compared: 0, before: BlockNumber(0), hasher })
    }

    /// The next line, if it is for a block up to `number`.
    fn next_upto(&mut self, number: BlockNumber) -> Result<Option<Ack>, NodeError> {
        let next = self.lines.next_if(|ack| ack.as_ref().map_or(true, |ack| ack.number <= number));
        let Some(ack) = next.transpose()? else { return Ok(None) };
        self.hasher.u64(ack.number.0).fixed(&ack.hash.0);
        self.compared += 1;
        Ok(Some(ack))
    }

    /// Walks past the lines for blocks below `end`, which an earlier check has compared if they still hash alike.
    fn pass(&mut self, end: BlockNumber) -> Result<(), NodeError> {
        if let Some(last) = end.checked_sub(1) {
            while let Some(ack) = self.next_upto(last)? {
                self.before = ack.number;
            }
        }
        Ok(())
    }

    /// Of the lines that were walked past.
    fn hash(&self) -> AppHash {
        AppHash(self.hasher.clone().finish())
    }

    /// Compares the lines of block `number`; to be called with each block in order.
    fn compare(&mut self, number: BlockNumber, expected: AppHash) -> Result<(), NodeError> {
        while let Some(ack) = self.next_upto(number)? {
            let (path, line, found) = (self.path.clone(), ack.line, ack.hash);
            if ack.number < self.before || ack.number < number {
                let before = self.before;
                return Err(ChainCheckError::Backwards { path, line, number: ack.number, before }.into());
            }
            if found != expected {
                return Err(ChainCheckError::OtherHash { path, line, number, expected, found }.into());
            }
            self.before = number;
        }
        Ok(())
    }

    /// No line may be left.
    fn finish(mut self) -> Result<u64, NodeError> {
        match self.lines.next() {
            None => Ok(self.compared),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(ack)) => {
                let (path, there) = (self.path, self.there);
                Err(ChainCheckError::Lost { path, line: ack.line, number: ack.number, there }.into())
            }
        }
    }
}
