//! On its way from the push to the disk a payload is copied once: into the buffer of the group that is written.

use std::sync::Arc;
use std::time::Duration;

use roadbed::Config;
use roadbed::sim::{LogLife, Parts, Record};
use roadbed::state::core::{Core, Effect, Input, Request};
use roadbed_messages::api::workers::{CallId, Event, Generation, Report};
use roadbed_messages::api::{ActorKind, PushAppHash, PushQc};
use roadbed_messages::testing::{self, ChainShape, app_hash};
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::FileSystem;

const BLOCKS: u64 = 10;
const TXS: usize = 1000;
const TX_BYTES: usize = 303;

/// State's core with its workers, all of it on this thread, so that its allocations can be counted.
struct OneThread {
    parts: Parts,
    core: Core,
    qcs: Option<(Generation, LogLife<VerifiedQc>)>,
    blocks: Option<(Generation, LogLife<VerifiedBlock>)>,
    calls: u64,
    answered: u64,
}

impl OneThread {
    fn ask(&mut self, request: Request) {
        let call = CallId(self.calls);
        self.calls += 1;
        self.input(Input::Call { call, request });
        self.run();
    }

    fn input(&mut self, input: Input) {
        for effect in self.core.handle(Duration::ZERO, input) {
            self.carry_out(effect);
        }
    }

    fn report(&mut self, actor: ActorKind, generation: Generation, events: Vec<Event>) {
        for event in events {
            self.input(Input::Report(Report { actor, generation, event }));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start { actor: ActorKind::QcWal, generation, wal: Some(start) } => {
                self.qcs = self.parts.log(start).map(|life| (generation, life));
            }
            Effect::Start { actor: ActorKind::BlockWal, generation, wal: Some(start) } => {
                self.blocks = self.parts.log(start).map(|life| (generation, life));
            }
            Effect::Start { actor, generation, .. } => self.report(actor, generation, vec![Event::Up]),
            Effect::QcWal(order) => self.qcs.as_mut().unwrap().1.order(order.order),
            Effect::BlockWal(order) => self.blocks.as_mut().unwrap().1.order(order.order),
            Effect::Verify(order) => {
                let events = self.parts.verify(&[order.order]);
                self.report(ActorKind::Verifier, order.generation, events);
            }
            Effect::Load { first, verify_from, next_block, next_qc } => {
                let loaded = self.parts.load(first, verify_from, next_block, next_qc);
                self.input(Input::Loaded(loaded));
            }
            Effect::Reply { answer, .. } => {
                answer.unwrap();
                self.answered += 1;
            }
            Effect::Running(_) => {}
            effect => panic!("nothing here asks for {effect:?}"),
        }
    }

    /// Lets the logs work until they have nothing to do.
    fn run(&mut self) {
        loop {
            let qcs = step(&mut self.qcs);
            let blocks = step(&mut self.blocks);
            if qcs.is_none() && blocks.is_none() {
                return;
            }
            for (actor, stepped) in [(ActorKind::QcWal, qcs), (ActorKind::BlockWal, blocks)] {
                if let Some((generation, events)) = stepped {
                    self.report(actor, generation, events);
                }
            }
        }
    }
}

fn step<R: Record>(life: &mut Option<(Generation, LogLife<R>)>) -> Option<(Generation, Vec<Event>)> {
    let (generation, life) = life.as_mut().filter(|(_, life)| life.has_work())?;
    Some((*generation, life.step()))
}

#[test]
fn large_blocks_become_durable_without_another_copy_of_any_payload() {
    let dir = tempfile::tempdir().unwrap();
    let members = testing::committee(1, 4);
    let shape = ChainShape {
        blocks_per_qc: usize::try_from(BLOCKS).unwrap(),
        txs_per_block: TXS,
        tx_bytes: TX_BYTES,
        ..ChainShape::default()
    };
    let config = Config { segment_bytes: 16 << 20, ..Config::default() };
    let parts = Parts::open(Arc::new(FileSystem), dir.path(), members.committee.clone(), config).unwrap();
    let core = parts.core(1);
    let mut here = OneThread { parts, core, qcs: None, blocks: None, calls: 0, answered: 0 };
    here.input(Input::Begin);
    here.run();

    let mut least_bytes = u64::MAX;
    for (round, (qc, blocks)) in testing::chain(1, &members, shape).take(8).enumerate() {
        let push = PushQc { qc: Arc::new(qc), blocks: blocks.into_iter().map(Arc::new).collect() };
        let last = BlockNumber((round as u64 + 1) * BLOCKS - 1);
        let measured = allocation_counter::measure(|| {
            here.ask(Request::PushQc(push));
            here.ask(Request::PushAppHash(PushAppHash { number: last, hash: app_hash(0, last) }));
        });
        assert_eq!(here.answered, 2 * (round as u64 + 1), "accepted, so durable with its QC");
        // The first groups grow the buffers, which are kept; a segment now and then costs something too.
        least_bytes = least_bytes.min(measured.bytes_total);
    }
    let one_payload = (TXS * TX_BYTES) as u64;
    assert!(
        least_bytes < one_payload / 8,
        "{least_bytes} bytes were allocated for ten blocks of {one_payload}"
    );
    println!("{least_bytes} bytes allocated for ten blocks with {one_payload} bytes of transactions each");
}
