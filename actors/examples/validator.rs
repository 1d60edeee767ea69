//! A validator around Roadbed in one file: everything that an embedder owns, as actors, and nothing else.
//!
//! ```text
//! Consensus ──Finalized──▶ Intake ──push_qc──▶ Roadbed ──subscribe──▶ Application ──push_app_hash──▶ Roadbed
//!                            │                    ▲                        │ answered: it would survive a crash
//!                  Missing   ▼                    │                        ▼
//!                         Fetcher ──push_block────┘                      Voter
//! ```
//!
//! `cargo run --package roadbed --example validator -- DIR` runs it on a directory, and again goes on where it was. What is
//! simulated is the committee: its blocks and signatures come from a seed, and every seventh block is left out of what
//! consensus delivers, so that it has to be fetched.

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use roadbed::{Config, RetentionPolicy, Roadbed};
use roadbed_messages::api::{Error, StopReason};
use roadbed_messages::testing::{self, Chain, ChainShape};
use roadbed_messages::{AppHash, Block, BlockNumber, Committee, FullCommitQc};

type BoxedError = Box<dyn std::error::Error>;

const SEED: u64 = 7;
/// Blocks that a run adds before it stops in order.
const BLOCKS_PER_RUN: u64 = 200;
/// Between two tries of what was refused with `Busy`, or of a block that no peer had.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A QC that consensus has agreed on, with the blocks that this node has received by now.
#[derive(Message)]
#[rtype(result = "()")]
struct Finalized {
    qc: Arc<FullCommitQc>,
    blocks: Vec<Arc<Block>>,
}

/// Takes what consensus finalizes, and gives it to the data layer: one QC at a time, so that a full window is felt here as
/// waiting, and by whoever sends to this actor as a mailbox that is full.
struct Intake {
    roadbed: Roadbed,
    fetcher: Addr<Fetcher>,
    committee: Committee,
}

impl Actor for Intake {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4);
    }
}

impl Handler<Finalized> for Intake {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Finalized { qc, blocks }: Finalized, _: &mut Self::Context) -> Self::Result {
        let (roadbed, fetcher) = (self.roadbed.clone(), self.fetcher.clone());
        let range = qc.range(&self.committee);
        let push = async move {
            loop {
                match roadbed.push_qc(Arc::clone(&qc), blocks.clone()).await {
                    // The bound of pushes is full, and this one names the highest number: try again later.
                    Err(Error::Busy { .. }) => tokio::time::sleep(TRY_AGAIN_AFTER).await,
                    // Anything else is final: an invalid QC is the sender's fault, and `Stopped` is told by `stopped()`.
                    Err(error) => break println!("QC refused: {error}"),
                    Ok(()) => break,
                }
            }
            for number in range.map(|range| range.start.0..range.end.0).unwrap_or_default() {
                fetcher.do_send(Missing(BlockNumber(number)));
            }
        };
        AtomicResponse::new(Box::pin(push.into_actor(self)))
    }
}

/// Look whether this block is missing, and fetch it if it is.
#[derive(Message)]
#[rtype(result = "()")]
struct Missing(BlockNumber);

/// Asks peers for blocks that did not come by themselves.
struct Fetcher {
    roadbed: Roadbed,
    peers: Addr<Consensus>,
}

impl Actor for Fetcher {
    type Context = Context<Self>;
}

impl Handler<Missing> for Fetcher {
    type Result = ();

    fn handle(&mut self, Missing(number): Missing, ctx: &mut Self::Context) {
        let (roadbed, peers) = (self.roadbed.clone(), self.peers.clone());
        let fetch = async move {
            while roadbed.need_block(number).await.unwrap_or(false) {
                if let Ok(Some(block)) = peers.send(Ask(number)).await {
                    // A block that is not the one which the QC names is an error: then the next peer is asked.
                    match roadbed.push_block(number, block).await {
                        Ok(()) | Err(Error::Stopped(_)) => return,
                        Err(error) => println!("block {number} refused: {error}"),
                    }
                }
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
        };
        ctx.spawn(fetch.into_actor(self));
    }
}

/// Follow the finalized blocks up to this number; answered when all of them are executed and may be voted on.
#[derive(Message)]
#[rtype(result = "Result<AppHash, Error>")]
struct ExecuteUpto(BlockNumber);

/// The application: executes each block in order, reports its state's hash, and has the voter vote once the report is
/// answered. A real one keeps its state on disk and goes on from there; this one executes what is retained again.
struct Application {
    roadbed: Roadbed,
    voter: Addr<Voter>,
}

impl Actor for Application {
    type Context = Context<Self>;
}

impl Handler<ExecuteUpto> for Application {
    type Result = ResponseFuture<Result<AppHash, Error>>;

    fn handle(&mut self, ExecuteUpto(end): ExecuteUpto, _: &mut Self::Context) -> Self::Result {
        let (roadbed, voter) = (self.roadbed.clone(), self.voter.clone());
        Box::pin(async move {
            let mut blocks = roadbed.subscribe(roadbed.recovered().first, false);
            let mut hash = AppHash::ZERO;
            while blocks.next_number() < end {
                // Pulled: a slow application slows only itself, and the window makes the network wait in the end.
                let block = blocks.next().await?;
                hash = execute(hash, &block.header.payload.0);
                // Answered only when the block and its QC would survive a crash: before that nobody may vote.
                match roadbed.push_app_hash(block.number, hash).await {
                    Ok(()) => voter.do_send(Vote(block.number)),
                    Err(error) => return Err(error),
                }
            }
            Ok(hash)
        })
    }
}

/// The state after a block: every block before it counts.
fn execute(state: AppHash, payload: &[u8; 32]) -> AppHash {
    let mut next = [0; 32];
    for (at, byte) in next.iter_mut().enumerate() {
        *byte = state.0[(at + 1) % 32].wrapping_mul(31) ^ payload[at];
    }
    AppHash(next)
}

/// Vote on this block's result.
#[derive(Message)]
#[rtype(result = "()")]
struct Vote(BlockNumber);

/// How many votes were given.
#[derive(Message)]
#[rtype(result = "u64")]
struct CountVotes;

/// Where a real validator signs.
#[derive(Default)]
struct Voter {
    votes: u64,
    next: BlockNumber,
}

impl Actor for Voter {
    type Context = Context<Self>;
}

impl Handler<Vote> for Voter {
    type Result = ();

    fn handle(&mut self, Vote(number): Vote, _: &mut Self::Context) {
        assert!(number >= self.next, "votes come in order, each once");
        self.next = number.saturating_add(1);
        self.votes += 1;
    }
}

impl Handler<CountVotes> for Voter {
    type Result = u64;

    fn handle(&mut self, _: CountVotes, _: &mut Self::Context) -> u64 {
        self.votes
    }
}

/// Ask a peer for a block.
#[derive(Message)]
#[rtype(result = "Option<Arc<Block>>")]
struct Ask(BlockNumber);

/// Stop finalizing.
#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

/// Deliver up to this block to the intake.
#[derive(Message)]
#[rtype(result = "()")]
struct Deliver {
    to: Addr<Intake>,
    end: BlockNumber,
}

/// The rest of the committee, simulated: finalizes QCs one after the other, and serves blocks to whoever asks.
struct Consensus {
    chain: Chain,
    blocks: std::collections::BTreeMap<BlockNumber, Arc<Block>>,
    stopped: bool,
}

impl Actor for Consensus {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Consensus {
    type Result = ();

    fn handle(&mut self, Deliver { to, end }: Deliver, ctx: &mut Self::Context) {
        let first = self.chain.next_first();
        let next = if first < end && !self.stopped { self.chain.next() } else { None };
        let Some((qc, blocks)) = next else { return };
        let blocks: Vec<_> = blocks.into_iter().map(Arc::new).collect();
        let numbered = (first.0..).map(BlockNumber).zip(&blocks);
        let delivered = numbered.clone().filter(|(number, _)| number.0 % 7 != 6);
        let message =
            Finalized { qc: Arc::new(qc), blocks: delivered.map(|(_, block)| Arc::clone(block)).collect() };
        self.blocks.extend(numbered.map(|(number, block)| (number, Arc::clone(block))));
        // The next one only when this one was taken: back-pressure reaches consensus.
        let taken = to.clone().send(message).into_actor(self);
        ctx.spawn(taken.map(move |_, _, ctx| ctx.notify(Deliver { to, end })));
    }
}

impl Handler<Ask> for Consensus {
    type Result = Option<Arc<Block>>;

    fn handle(&mut self, Ask(number): Ask, _: &mut Self::Context) -> Self::Result {
        self.blocks.get(&number).cloned()
    }
}

impl Handler<Stop> for Consensus {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.stopped = true;
    }
}

/// Runs the validator until it has executed some more blocks. Answers the block that comes next.
pub(crate) async fn run(dir: &Path) -> Result<BlockNumber, BoxedError> {
    let members = testing::committee(SEED, 4);
    let config = Config {
        // Blocks that were executed are kept for peers for a while; the newest stays always.
        retention: RetentionPolicy { blocks_max: Some(10_000), ..RetentionPolicy::default() },
        segment_bytes: 1 << 20,
        ..Config::default()
    };
    let roadbed = Roadbed::builder(members.committee.clone()).config(config).data_dir(dir).start().await?;
    let recovered = roadbed.recovered().clone();
    if let Some(lost) = &recovered.lost {
        println!("LOST: {lost}");
    }
    println!("recovered blocks {} to {}", recovered.first, recovered.next_block);

    // A node that has been here before tells its peers where to go on: behind the last QC that it has.
    let chain = testing::chain(SEED, &members, ChainShape::default());
    let chain = match recovered.next_qc.checked_sub(1) {
        Some(last) if recovered.next_qc > recovered.first => chain.resume_after(&*roadbed.qc(last).await?),
        _ => chain,
    };
    let end = recovered.next_qc.saturating_add(BLOCKS_PER_RUN);

    let voter = Voter::default().start();
    let application = Application { roadbed: roadbed.clone(), voter: voter.clone() }.start();
    let consensus = Consensus { chain, blocks: Default::default(), stopped: false }.start();
    let fetcher = Fetcher { roadbed: roadbed.clone(), peers: consensus.clone() }.start();
    let intake = Intake { roadbed: roadbed.clone(), fetcher, committee: members.committee }.start();
    consensus.do_send(Deliver { to: intake, end });

    // Whatever comes first: the work is done, or the data layer has ended and says why.
    let executed = tokio::select! {
        executed = application.send(ExecuteUpto(end)) => executed?,
        reason = roadbed.stopped() => return Err(format!("the data layer ended: {reason}").into()),
    };
    let state = executed?;

    // The order of a stop: what brings input first, then the data layer, which makes durable what it has; what only reads
    // from it learns the end as `Error::Stopped`.
    consensus.send(Stop).await?;
    let report = roadbed.shutdown().await?;
    if !report.is_clean() {
        println!("not durable: blocks {:?}; they will be asked for again", report.not_durable);
    }
    assert!(matches!(roadbed.stopped().await, StopReason::Shutdown(_)));
    println!("{} blocks voted on, state {state}", voter.send(CountVotes).await?);
    Ok(report.cursors.next_block)
}

pub(crate) fn main() -> Result<(), BoxedError> {
    let dir = std::env::args().nth(1).ok_or("name a directory for the data")?;
    System::new().block_on(run(Path::new(&dir))).map(drop)
}
