//! Recovery beside the run: of a fork of the disk, at once and without faults but those that it is given.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadbed::Config;
use roadbed::sim::{LogLife, Parts, Record};
use roadbed::state::core::{Answer, Core, Effect, Input, Read, Request};
use roadbed_messages::api::workers::{CallId, Event, Generation, Report, VerifyJob, WalOrder, WalStart};
use roadbed_messages::api::{ActorKind, Error, PushQc, Recovered, StartError, StopReason, WalKind};
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::sim::SimStorage;

use super::DIR;
use super::chain::{Chain, Link};

/// What came of a start.
pub(super) enum Start {
    Running(Recovered, Box<Node>),
    Refused(StartError),
    /// A worker failed for good, or the power did.
    Ended(String),
}

/// A node whose operations take no time.
pub(super) struct Node {
    parts: Parts,
    core: Core,
    qcs: Side<VerifiedQc>,
    blocks: Side<VerifiedBlock>,
    verifier: Generation,
    jobs: Vec<VerifyJob>,
    inputs: VecDeque<Input>,
    now: Duration,
    calls: u64,
    answers: Vec<(CallId, Result<Answer, Error>)>,
}

struct Side<R: Record> {
    generation: Generation,
    life: Option<LogLife<R>>,
}

impl<R: Record> Side<R> {
    fn new() -> Self {
        Self { generation: Generation(0), life: None }
    }

    fn begin(&mut self, parts: &Parts, generation: Generation, start: WalStart) {
        // One life at a time: the one before has ended.
        self.life = None;
        self.life = parts.log::<R>(start);
        self.generation = generation;
    }

    fn order(&mut self, order: WalOrder<R>) {
        if let Some(life) = &mut self.life {
            life.order(order);
        }
    }

    fn idle(&mut self) {
        while let Some((true, _)) = self.life.as_mut().map(LogLife::idle) {}
    }

    fn work(&mut self, inputs: &mut VecDeque<Input>) {
        while let Some(life) = self.life.as_mut().filter(|life| life.has_work()) {
            let (actor, generation) = (R::WAL.actor(), self.generation);
            let events = life.step().into_iter();
            inputs.extend(events.map(|event| Input::Report(Report { actor, generation, event })));
        }
    }
}

/// How far a node has come.
enum Turn {
    /// Recovery is done.
    Running(Recovered),
    Stopped(StopReason),
    /// Nothing is left to do.
    Quiet,
}

/// Starts on `disk`, up to where requests are served.
pub(super) fn recover(disk: &SimStorage, chain: &Chain, config: &Config) -> Start {
    let committee = chain.members.committee.clone();
    let parts = match Parts::open(Arc::new(disk.clone()), Path::new(DIR), committee, config.clone()) {
        Ok(parts) => parts,
        Err(error) => return Start::Refused(error),
    };
    let mut node = Node {
        core: parts.core(1),
        parts,
        qcs: Side::new(),
        blocks: Side::new(),
        verifier: Generation(0),
        jobs: Vec::new(),
        inputs: VecDeque::from([Input::Begin]),
        now: Duration::ZERO,
        calls: 0,
        answers: Vec::new(),
    };
    loop {
        match node.go_on() {
            Turn::Running(recovered) => return Start::Running(recovered, Box::new(node)),
            Turn::Stopped(StopReason::Start(error)) => return Start::Refused(error),
            Turn::Stopped(reason) => return Start::Ended(reason.to_string()),
            Turn::Quiet => match node.core.next_deadline() {
                Some(deadline) if !disk.has_crashed() => {
                    node.now = node.now.max(deadline);
                    node.inputs.push_back(Input::Tick);
                }
                _ => return Start::Ended("it waits for nothing".to_owned()),
            },
        }
    }
}

impl Node {
    /// Lets both logs do their housekeeping to the end: then something vouches for all that is durable.
    pub(super) fn idle(&mut self) {
        self.qcs.idle();
        self.blocks.idle();
    }

    fn go_on(&mut self) -> Turn {
        while let Some(input) = self.inputs.pop_front() {
            let mut turn = None;
            for effect in self.core.handle(self.now, input) {
                match effect {
                    Effect::Start { actor: ActorKind::QcWal, generation, wal: Some(start) } => {
                        self.qcs.begin(&self.parts, generation, start);
                    }
                    Effect::Start { actor: ActorKind::BlockWal, generation, wal: Some(start) } => {
                        self.blocks.begin(&self.parts, generation, start);
                    }
                    Effect::Start { actor, generation, .. } => {
                        if actor == ActorKind::Verifier {
                            self.verifier = generation;
                        }
                        let report = Report { actor, generation, event: Event::Up };
                        self.inputs.push_back(Input::Report(report));
                    }
                    Effect::QcWal(order) => self.qcs.order(order.order),
                    Effect::BlockWal(order) => self.blocks.order(order.order),
                    Effect::Verify(order) => self.jobs.push(order.order),
                    Effect::Load { first, verify_from, next_block, next_qc } => {
                        let loaded = self.parts.load(first, verify_from, next_block, next_qc);
                        self.inputs.push_back(Input::Loaded(loaded));
                    }
                    Effect::Reply { call, answer } => self.answers.push((call, answer)),
                    Effect::Running(recovered) => turn = Some(Turn::Running(recovered)),
                    Effect::Stop(reason) => turn = Some(Turn::Stopped(reason)),
                    Effect::Retire { .. } | Effect::Read { .. } => {}
                }
            }
            for job in self.jobs.drain(..) {
                let (actor, generation) = (ActorKind::Verifier, self.verifier);
                let events = self.parts.verify(&[job]).into_iter();
                let reports = events.map(|event| Input::Report(Report { actor, generation, event }));
                self.inputs.extend(reports);
            }
            self.qcs.work(&mut self.inputs);
            self.blocks.work(&mut self.inputs);
            if let Some(turn) = turn {
                return turn;
            }
        }
        Turn::Quiet
    }

    /// Takes a QC with its blocks, up to where both are durable.
    fn push(&mut self, link: &Link) {
        let call = CallId(self.calls);
        self.calls += 1;
        let push = PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() };
        self.inputs.push_back(Input::Call { call, request: Request::PushQc(push) });
        if let Turn::Stopped(reason) = self.go_on() {
            panic!("it stops over a valid QC: {reason}");
        }
        let cursors = self.core.cursors();
        let answers = std::mem::take(&mut self.answers);
        assert!(
            matches!(answers[..], [(_, Ok(Answer::Done))]),
            "a QC from {} is not taken: {answers:?}, {cursors:?}",
            link.first
        );
        assert!(cursors.next_block_to_persist.0 >= link.end, "not durable: {cursors:?}");
    }
}

/// What the power took may come again as something else: other blocks are finalized under the same numbers. All of it must
/// go in, and be what is served from the logs.
pub(super) fn check_other_history(node: &mut Node, recovered: &Recovered, chain: &Chain, window_blocks: u64) {
    // Nothing is executed: the window stands where it was when it started.
    let window_end = recovered.next_block.0.saturating_add(window_blocks);
    let within = |link: &Arc<Link>| link.first < window_end;
    // Blocks that are still asked for have their QCs already.
    let mut at = recovered.next_block.0;
    while at < recovered.next_qc.0 {
        let Some(link) = chain.link(at).filter(within) else { return };
        node.push(&link);
        at = link.end;
    }
    for _ in 0..3 {
        let Some(link) = chain.fork_link(at).filter(within) else { return };
        node.push(&link);
        for (number, block) in (link.first..).zip(&link.globals) {
            match node.parts.read(&Read::GlobalBlock(BlockNumber(number))) {
                Ok(Answer::GlobalBlock(served)) => {
                    assert_eq!(served, *block, "served is not what was finalized after the crash");
                }
                other => panic!("block {number} is durable, and can't be read: {other:?}"),
            }
        }
        at = link.end;
    }
}

/// Reads blocks back and compares them with the chain; `may_be_damaged` lets some be missing, never other ones. What
/// reconcile has dropped must be gone.
pub(super) fn check_served(
    node: &Node,
    recovered: &Recovered,
    chain: &Chain,
    stride: u64,
    may_be_damaged: bool,
) {
    let Recovered { first, next_block, next_qc, .. } = *recovered;
    let mut number = first.0;
    while number < next_block.0 {
        match node.parts.read(&Read::GlobalBlock(BlockNumber(number))) {
            Ok(Answer::GlobalBlock(block)) => {
                assert!(
                    block.number.0 == number && chain.has(&block),
                    "served after a recovery, but not of the chain: {number}, {recovered:?}"
                );
            }
            Err(error) if may_be_damaged => drop(error),
            other => panic!("block {number} can't be read after {recovered:?}: {other:?}"),
        }
        number = number.saturating_add(stride);
    }
    let blocks = node.parts.range(WalKind::Blocks);
    assert_eq!(blocks, Some(first.0..next_block.0), "the block log is not what {recovered:?} says");
    let qcs_start = chain.link(first.0).filter(|_| first < next_qc).map_or(first.0, |link| link.first);
    // Beside a lost block log (row 3) the QCs are left as they are.
    let dropped_below = (recovered.reconcile_case != "3").then_some(qcs_start);
    let below =
        dropped_below.and_then(|start| start.checked_sub(1)).map(|below| Read::Qc(BlockNumber(below)));
    for read in below.into_iter().chain([Read::Qc(next_qc)]) {
        assert!(node.parts.read(&read).is_err(), "{read:?} is still in its log after {recovered:?}");
    }
}
