//! Recovery beside the run: of a fork of the disk, at once and without faults but those that it is given.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use roadbed::Config;
use roadbed::sim::{LogLife, Parts, Record};
use roadbed::state::core::{Answer, Core, Effect, Input, Read};
use roadbed_messages::api::workers::{Generation, Report, WalOrder, WalStart};
use roadbed_messages::api::{ActorKind, Recovered, StartError, StopReason};
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::sim::SimStorage;

use super::DIR;
use super::chain::Chain;

/// What came of a start.
pub(super) enum Start {
    Running(Recovered, Box<Parts>),
    Refused(StartError),
    /// A worker failed for good, or the power did.
    Ended(String),
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

    fn work(&mut self, inputs: &mut VecDeque<Input>) {
        while let Some(life) = self.life.as_mut().filter(|life| life.has_work()) {
            let (actor, generation) = (R::WAL.actor(), self.generation);
            let events = life.step().into_iter();
            inputs.extend(events.map(|event| Input::Report(Report { actor, generation, event })));
        }
    }
}

/// Starts on `disk`, up to where requests are served.
pub(super) fn recover(disk: &SimStorage, chain: &Chain, config: &Config) -> Start {
    let committee = chain.members.committee.clone();
    let parts = match Parts::open(Arc::new(disk.clone()), Path::new(DIR), committee, config.clone()) {
        Ok(parts) => parts,
        Err(error) => return Start::Refused(error),
    };
    let mut core: Core = parts.core(1);
    let (mut qcs, mut blocks) = (Side::<VerifiedQc>::new(), Side::<VerifiedBlock>::new());
    let mut inputs = VecDeque::from([Input::Begin]);
    let mut now = std::time::Duration::ZERO;
    loop {
        let input = match inputs.pop_front() {
            Some(input) => input,
            None => match core.next_deadline() {
                Some(deadline) if !disk.has_crashed() => {
                    now = now.max(deadline);
                    Input::Tick
                }
                _ => return Start::Ended("it waits for nothing".to_owned()),
            },
        };
        for effect in core.handle(now, input) {
            match effect {
                Effect::Start { actor: ActorKind::QcWal, generation, wal: Some(start) } => {
                    qcs.begin(&parts, generation, start);
                }
                Effect::Start { actor: ActorKind::BlockWal, generation, wal: Some(start) } => {
                    blocks.begin(&parts, generation, start);
                }
                Effect::QcWal(order) => qcs.order(order.order),
                Effect::BlockWal(order) => blocks.order(order.order),
                Effect::Load { first, verify_from, next_block, next_qc } => {
                    inputs.push_back(Input::Loaded(parts.load(first, verify_from, next_block, next_qc)));
                }
                Effect::Running(recovered) => return Start::Running(recovered, Box::new(parts)),
                Effect::Stop(StopReason::Start(error)) => return Start::Refused(error),
                Effect::Stop(reason) => return Start::Ended(reason.to_string()),
                _ => {}
            }
        }
        qcs.work(&mut inputs);
        blocks.work(&mut inputs);
    }
}

/// Reads blocks back and compares them with the chain; `may_be_damaged` lets some be missing, never other ones.
pub(super) fn check_served(
    parts: &Parts,
    recovered: &Recovered,
    chain: &Chain,
    stride: u64,
    may_be_damaged: bool,
) {
    let mut number = recovered.first.0;
    while number < recovered.next_block.0 {
        match parts.read(&Read::GlobalBlock(BlockNumber(number))) {
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
}
