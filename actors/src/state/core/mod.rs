//! State's decisions: pure, without actors, clock or I/O. An [`Input`] goes in, [`Effect`]s come out.
//!
//! ```text
//!           ┌──────────────────────── Core ────────────────────────┐
//! Call ────▶│ calls (bounds, waits)   chain (cursors, QCs, blocks) │────▶ Reply, Read
//! Report ──▶│ logs (handed, durable)  workers (lives, budgets)     │────▶ Start, QcWal, BlockWal, Verify
//! Tick ────▶│ recover (reconcile)     stop (shutdown, escalation)  │────▶ Load, Running, Stop
//!           └───────────────────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! - The cursors keep their order after every input.
//! - Nothing enters the chain that is not verified, by type.
//! - Every call is answered exactly once, or forgotten because its caller is gone.
//! - After a worker's death was noted, nothing that its life still says has an effect.
//! - Only ordered maps are iterated, and time and chance come from outside: equal inputs give equal effects.

pub mod app;
pub mod calls;
pub mod chain;
mod early;
mod logs;
mod observe;
mod push;
pub mod reconcile;
mod recover;
mod serve;
mod status;
mod stop;
mod tally;
mod workers;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use roadbed_messages::api::workers::{
    CallId, Generation, Loaded, Order, Report, VerifyJob, WalOrder, WalStart,
};
use roadbed_messages::api::{
    ActorKind, Cursors, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock,
    PruneBefore, PushAppHash, PushBlock, PushQc, Recovered, ShutdownReport, StartError, Status, StopReason,
    Subscribe, TryGetBlock,
};
use roadbed_messages::{
    AppProposal, Block, BlockNumber, Committee, FullCommitQc, GlobalBlock, HeaderHash, VerifiedBlock,
    VerifiedQc,
};

use crate::config::Config;
use app::AppHashes;
use calls::{Admission, Bound, Call, Calls, Kind, Pending, Stage};
use chain::Chain;
pub(crate) use logs::APPEND_ORDERS_MAX;
use logs::Logs;
pub use observe::Observed;
use recover::Recovery;
use stop::Stopping;
use tally::Tally;
pub use tally::{BLOCK_RESULTS, QC_RESULTS};
use workers::Workers;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The very first input: start the workers.
    Begin,
    /// A request arrived.
    Call {
        /// Its name, never used before.
        call: CallId,
        /// The request.
        request: Request,
    },
    /// The caller no longer waits.
    Forget {
        /// The call.
        call: CallId,
    },
    /// A worker reports.
    Report(Report),
    /// A reader has answered.
    ReadDone {
        /// The call that it read for.
        call: CallId,
        /// What it found.
        result: Result<Answer, ReadError>,
    },
    /// The readers were looked at.
    Reading {
        /// How long their oldest read has been running, if one runs.
        running_for: Option<Duration>,
    },
    /// Recovery has read and verified what belongs in memory.
    Loaded(Result<Loaded, StartError>),
    /// Free space was sampled.
    Space {
        /// What may still be taken of the disk, if anybody knows.
        free_bytes: Option<u64>,
    },
    /// Time has passed.
    Tick,
}

/// A caller's request.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is the message of the same name")]
pub enum Request {
    PushQc(PushQc),
    PushBlock(PushBlock),
    PushAppHash(PushAppHash),
    GetQc(GetQc),
    GetBlock(GetBlock),
    GetGlobalBlock(GetGlobalBlock),
    GetAppProposal(GetAppProposal),
    TryGetBlock(TryGetBlock),
    GetBlockByHash(GetBlockByHash),
    NeedBlock(NeedBlock),
    NextBlock,
    GetStatus,
    Subscribe(Subscribe),
    PruneBefore(PruneBefore),
    Shutdown,
}

/// The reply to a request.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is the reply type that it holds")]
pub enum Answer {
    Done,
    Qc(Arc<FullCommitQc>),
    Block(Arc<Block>),
    GlobalBlock(GlobalBlock),
    GlobalBlocks(Vec<GlobalBlock>),
    AppProposal(AppProposal),
    Flag(bool),
    Cursors(Cursors),
    Status(Box<Status>),
    Pruned(Range<BlockNumber>),
    Shutdown(ShutdownReport),
}

/// What the retention policies need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The cursors.
    pub cursors: Cursors,
    /// The bytes of consecutive stretches of blocks, by the first of each; the core knows them only without a data
    /// directory, else the block log does.
    pub sizes_bytes: Vec<(BlockNumber, u64)>,
}

/// A read from the logs, off State.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The QC of a block.
    Qc(BlockNumber),
    /// A block.
    Block(BlockNumber),
    /// A block with what its QC says of it.
    GlobalBlock(BlockNumber),
    /// Consecutive blocks, as many as fit a reply.
    GlobalBlocks(Range<BlockNumber>),
    /// A block by its header's hash.
    ByHash(HeaderHash),
}

/// Why a read found nothing that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is not in the log.
    Missing,
    /// It is damaged, or can't be read.
    Damaged {
        /// The block.
        number: BlockNumber,
        /// What was found.
        detail: String,
    },
}

/// What the shell must do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a call.
    Reply {
        /// The call.
        call: CallId,
        /// Its answer.
        answer: Result<Answer, Error>,
    },
    /// Begin a life of a worker. Whatever life it had before is over: let go of it.
    Start {
        /// The worker.
        actor: ActorKind,
        /// Its new life.
        generation: Generation,
        /// How a WAL actor begins.
        wal: Option<WalStart>,
    },
    /// Let go of a worker without starting it again yet.
    Retire {
        /// The worker.
        actor: ActorKind,
    },
    /// Give an order to the QC WAL actor.
    QcWal(Order<WalOrder<VerifiedQc>>),
    /// Give an order to the block WAL actor.
    BlockWal(Order<WalOrder<VerifiedBlock>>),
    /// Give a job to the verifier.
    Verify(Order<VerifyJob>),
    /// Have a reader read from the logs.
    Read {
        /// The call that it is for.
        call: CallId,
        /// What to read.
        read: Read,
    },
    /// Have recovery read and verify what belongs in memory, from both logs as they were judged: what lies beyond the
    /// two ends is about to be dropped. Every load must be answered by exactly one [`Input::Loaded`], with an error if
    /// its logs fail under it; only then the next one is ordered.
    Load {
        /// The oldest block retained.
        first: BlockNumber,
        /// Verify from here on.
        verify_from: BlockNumber,
        /// The end of the block log.
        next_block: BlockNumber,
        /// The end of the QC log.
        next_qc: BlockNumber,
    },
    /// Recovery is done; requests are served from now on.
    Running(Recovered),
    /// It is over. Every call has been answered.
    Stop(StopReason),
}

#[derive(Debug)]
enum Phase {
    Recovering(Box<Recovery>),
    Running,
    Stopping(Box<Stopping>),
    Stopped(StopReason),
}

/// State's decisions. See the module's documentation.
#[derive(Debug)]
pub struct Core {
    committee: Committee,
    config: Config,
    now: Duration,
    rng: ChaCha8Rng,
    phase: Phase,
    chain: Chain,
    /// `next_block` as recovered: the window is measured from here while the application catches up.
    recovered_next_block: BlockNumber,
    recovered: Option<Recovered>,
    app: AppHashes,
    calls: Calls,
    /// `None` without a data directory: everything counts as durable at once.
    logs: Option<Logs>,
    workers: Workers,
    /// Jobs with the verifier's present life, and the bytes that each keeps in memory, whoever still waits for it.
    verifying: BTreeMap<CallId, u64>,
    verifying_bytes: u64,
    /// Whether the next job should be one that the chain may need to go on.
    needed_job_next: bool,
    rejected: BTreeMap<&'static str, u64>,
    tally: Tally,
    /// As it was sampled last.
    free_bytes: Option<u64>,
    /// How long the oldest read has been running, as of the last beat.
    reading_for: Option<Duration>,
    effects: Vec<Effect>,
}

impl Core {
    /// A core that has not begun. `seed` feeds the jitter of backoffs.
    ///
    /// `with_logs` is false for a store without a directory.
    pub fn new(committee: Committee, config: Config, with_logs: bool, seed: u64) -> Self {
        let first_block = committee.first_block();
        Self {
            now: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            phase: Phase::Recovering(Box::default()),
            chain: Chain::new(first_block),
            recovered_next_block: first_block,
            recovered: None,
            app: AppHashes::default(),
            calls: Calls::default(),
            logs: with_logs.then(|| Logs::new(first_block)),
            workers: Workers::new(with_logs),
            verifying: BTreeMap::new(),
            verifying_bytes: 0,
            needed_job_next: true,
            rejected: BTreeMap::new(),
            tally: Tally::default(),
            free_bytes: None,
            reading_for: None,
            effects: Vec::new(),
            committee,
            config,
        }
    }

    /// Takes in what happened at `now` (a monotonic time since the start) and answers what to do about it.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        match input {
            Input::Begin => self.begin(),
            Input::Call { call, request } => self.on_call(call, request),
            Input::Forget { call } => self.on_forget(call),
            Input::Report(report) => self.on_report(report),
            Input::ReadDone { call, result } => self.on_read(call, result),
            Input::Reading { running_for } => self.reading_for = running_for,
            Input::Loaded(result) => self.on_loaded(result),
            Input::Space { free_bytes } => self.free_bytes = free_bytes,
            Input::Tick => self.on_tick(),
        }
        self.settle();
        assert!(self.chain.cursors().in_order(), "the cursors lost their order: {:?}", self.chain.cursors());
        std::mem::take(&mut self.effects)
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.workers.next_start().into_iter().chain(self.stop_deadline()).min()
    }

    /// The five cursors.
    pub fn cursors(&self) -> Cursors {
        self.chain.cursors()
    }

    /// The blocks of a range that are in memory, in their order.
    pub fn blocks(&self, range: Range<BlockNumber>) -> impl Iterator<Item = &VerifiedBlock> {
        self.chain.blocks(range)
    }

    /// Bytes of the blocks and QCs that are held in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.chain.memory_bytes()
    }

    /// How many calls of a kind are pending.
    pub fn waiting(&self, kind: Kind) -> usize {
        self.calls.count(kind)
    }

    fn on_call(&mut self, call: CallId, request: Request) {
        match &self.phase {
            Phase::Stopped(reason) => {
                let reason = reason.clone();
                return self.answer(call, Err(Error::Stopped(reason)));
            }
            Phase::Stopping(stopping) => {
                let reason = stopping.reason(self.chain.cursors());
                let push = matches!(request, Request::PushQc(_) | Request::PushBlock(_));
                if push || stopping.is_escalation() && !matches!(request, Request::GetStatus) {
                    return self.answer(call, Err(Error::Stopped(reason)));
                }
            }
            Phase::Recovering(_) => match request {
                Request::GetStatus | Request::NextBlock | Request::Shutdown => {}
                request => return self.admit_early(call, request),
            },
            Phase::Running => {}
        }
        match request {
            Request::PushQc(push) => self.on_push_qc(call, push),
            Request::PushBlock(push) => self.on_push_block(call, push),
            Request::PushAppHash(push) => self.on_push_app_hash(call, push),
            Request::GetQc(get) => self.on_get(call, Kind::GetQc, get.number, Pending::GetQc),
            Request::GetBlock(get) => self.on_get(call, Kind::GetBlock, get.number, Pending::GetBlock),
            Request::GetGlobalBlock(get) => {
                self.on_get(call, Kind::GetBlock, get.number, Pending::GetGlobalBlock)
            }
            Request::GetAppProposal(get) => {
                self.on_get(call, Kind::GetAppProposal, get.number, Pending::GetAppProposal(None));
            }
            Request::Subscribe(subscribe) => {
                let kind = Kind::of_stream(subscribe.only_durable);
                self.on_get(call, kind, subscribe.from, Pending::Subscribe(subscribe.blocks_max));
            }
            Request::TryGetBlock(get) => self.on_try_get(call, get.number),
            Request::GetBlockByHash(get) => self.on_get_by_hash(call, get.hash),
            Request::NeedBlock(need) => {
                let needed =
                    need.number >= self.cursors().next_block && self.chain.block(need.number).is_none();
                self.answer(call, Ok(Answer::Flag(needed)));
            }
            Request::NextBlock => self.answer(call, Ok(Answer::Cursors(self.cursors()))),
            Request::GetStatus => self.answer(call, Ok(Answer::Status(Box::new(self.status())))),
            Request::PruneBefore(prune) => self.on_prune_before(call, prune.retain_from),
            Request::Shutdown => self.on_shutdown(call),
        }
    }

    /// Takes a call into the table, answering whoever has to make room, or the call itself.
    fn admit(&mut self, id: CallId, kind: Kind, number: u64, bytes: u64, stage: Stage, pending: Pending) {
        let bound = self.config.bounds.of(kind);
        let needed_next = match kind {
            // Before recovery is done nobody knows what that will be.
            _ if stage == Stage::Early => None,
            Kind::PushQc => Some(self.cursors().next_qc.0),
            Kind::PushBlock => Some(self.cursors().next_block.0),
            _ => None,
        };
        let call = Call { kind, number, bytes, stage, pending, suspected: false, verifier_deaths: 0 };
        match self.calls.admit(id, call, bound, needed_next) {
            Admission::Admitted(displaced) => {
                for (call, busy) in displaced {
                    self.refuse(kind, call, busy);
                }
            }
            Admission::Refused(busy) => self.refuse(kind, id, busy),
        }
    }

    fn wait(&mut self, call: CallId, kind: Kind, number: BlockNumber, pending: Pending) {
        self.admit(call, kind, number.0, 0, Stage::Waiting, pending);
    }

    /// The caller has gone. A read that is under way keeps the call's place until it ends: that is what bounds reads.
    fn on_forget(&mut self, call: CallId) {
        match self.calls.get(call).map(|call| call.stage) {
            Some(Stage::Reading) => {
                if let Some(pending) = self.calls.pending_mut(call) {
                    *pending = Pending::Forgotten;
                }
            }
            _ => drop(self.calls.remove(call)),
        }
    }

    /// Answers a call and takes it out of the table.
    fn answer(&mut self, call: CallId, answer: Result<Answer, Error>) {
        let removed = self.calls.remove(call);
        if let Some(Call { pending: Pending::Forgotten, .. }) = removed {
            return;
        }
        match (answer, removed) {
            (Err(error), Some(removed)) => self.refuse(removed.kind, call, error),
            (answer, _) => self.effects.push(Effect::Reply { call, answer }),
        }
    }

    /// Answers a call that is not in the table with an error; a push that is refused for what it is, is counted.
    fn refuse(&mut self, kind: Kind, call: CallId, error: Error) {
        let push = matches!(kind, Kind::PushQc | Kind::PushBlock | Kind::PushAppHash);
        if push && !matches!(error, Error::Stopped(_)) {
            *self.rejected.entry(error.reason()).or_default() += 1;
            self.tally.refused(kind, &error);
        }
        self.effects.push(Effect::Reply { call, answer: Err(error) });
    }

    /// Carries on whatever the last input made possible, until nothing more is.
    fn settle(&mut self) {
        if !self.is_serving() {
            return;
        }
        loop {
            self.settle_logs();
            let pushed = self.settle_pushes();
            let executed = self.settle_app_hashes();
            if !pushed && !executed {
                break;
            }
        }
        self.settle_gets();
        self.issue_jobs();
        self.evict();
        self.settle_stop();
    }

    /// Whether requests are served: after recovery, and until the end.
    fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping(_))
    }
}

/// The bounds of pending calls, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// QC pushes that wait or are being verified.
    pub push_qc: Bound,
    /// Block pushes that wait or are being verified.
    pub push_block: Bound,
    /// App hashes that wait for durability.
    pub push_app_hash: Bound,
    /// Gets and streams, each of their kinds.
    pub get: Bound,
    /// Prunings that wait for the logs.
    pub prune: Bound,
}

impl Bounds {
    fn of(&self, kind: Kind) -> Bound {
        match kind {
            Kind::PushQc => self.push_qc,
            Kind::PushBlock => self.push_block,
            Kind::PushAppHash => self.push_app_hash,
            Kind::GetQc
            | Kind::GetBlock
            | Kind::GetAppProposal
            | Kind::Subscribe
            | Kind::SubscribeDurable
            | Kind::TryGet => self.get,
            Kind::PruneBefore | Kind::Shutdown => self.prune,
        }
    }
}
