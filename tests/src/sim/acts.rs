//! Everybody around the subsystem: peers, the application, subscribers, operators, and what breaks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roadbed::sim::Parts;
use roadbed::state::core::{Answer, Input, Request};
use roadbed::supervision::Fault;
use roadbed_messages::api::workers::{CallId, Cause, Event};
use roadbed_messages::api::{
    ActorKind, Cursors, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock,
    PruneBefore, PushAppHash, PushBlock, PushQc, StartError, Subscribe, TryGetBlock, WalKind,
};
use roadbed_messages::{BlockNumber, testing};
use roadbed_wal::sim::{self, Op, SimStorage};

use super::DIR;
use super::chain::Link;
use super::process::{Asked, Who};
use super::script::{Act, Luck};
use super::world::{Happening, Subscriber, World};

const MILLI: Duration = Duration::from_millis(1);
const WALS: [&str; 2] = ["qcs", "blocks"];

impl World {
    pub(super) fn act(&mut self, act: Act) {
        self.check_bounds();
        let group = if Act::FAULTS.contains(&act) { "fault" } else { "act" };
        if self.process.is_some() || matches!(act, Act::AppAhead | Act::AppRestart) {
            self.tales.count(group, act.name());
        }
        match act {
            Act::Qcs => self.peers_push_qcs(),
            Act::Blocks => self.peers_push_blocks(),
            Act::Invalid => self.peers_lie(),
            Act::Equivocating => self.peers_equivocate(),
            Act::Execute => self.execute(),
            Act::Poll => self.poll(),
            Act::Get => self.get(),
            Act::Prune => self.prune(),
            Act::Forget => self.forget(),
            Act::Flood => self.flood(),
            Act::Status => {
                let request = if self.luck.one_in(2) { Request::GetStatus } else { Request::NextBlock };
                self.ask(request, Who::Other, true);
            }
            Act::AppRestart => {
                let back = self.luck.below(40);
                let first = self.chain.first_block;
                self.application.next = self.application.next.saturating_sub(back).max(first);
                self.application.call = None;
            }
            Act::AppAhead => {
                let ahead = self.luck.below(12);
                self.application.next = (self.application.next + ahead).min(self.chain.end());
            }
            Act::Shutdown => {
                self.ask(Request::Shutdown, Who::Other, true);
            }
            Act::Poison => self.poison(),
            Act::SecondProcess => self.second_process(),
            act => self.fault(act),
        }
    }

    // ---- peers -------------------------------------------------------------------------------------------------

    /// Sends it a while later, perhaps twice, perhaps never.
    fn send(&mut self, request: Request, who: Who, honest: bool) {
        let copies = match self.luck.below(20) {
            0 => 0,
            1 | 2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = self.luck.time(Duration::ZERO, 40 * MILLI);
            self.after(delay, Happening::Arrives { request: request.clone(), who, honest });
        }
    }

    /// Where the peers think that the node is.
    fn tip(&self) -> (u64, u64) {
        let first = self.chain.first_block;
        self.process.as_ref().map_or((first, first), |process| {
            let cursors = process.core.cursors();
            (cursors.next_block.0, cursors.next_qc.0)
        })
    }

    fn links_around(&mut self) -> Vec<Arc<Link>> {
        let (next_block, next_qc) = self.tip();
        let start = match self.luck.below(10) {
            0 => next_block.saturating_sub(self.luck.below(20)),
            1 => next_block,
            2 => next_qc.saturating_add(self.luck.below(60)),
            _ => next_qc,
        };
        let mut links: Vec<Arc<Link>> = Vec::new();
        for _ in 0..=self.luck.below(4) {
            let at = links.last().map_or(start.max(self.chain.first_block), |link| link.end);
            links.extend(self.chain.link(at));
        }
        links
    }

    fn peers_push_qcs(&mut self) {
        for link in self.links_around() {
            let blocks = match self.luck.below(6) {
                0 => Vec::new(),
                1 => link.blocks.iter().filter(|_| self.luck.one_in(2)).cloned().collect(),
                _ => link.blocks.clone(),
            };
            let push = PushQc { qc: Arc::clone(&link.qc), blocks };
            self.send(Request::PushQc(push), Who::Peer, true);
        }
    }

    fn peers_push_blocks(&mut self) {
        let (next_block, next_qc) = self.tip();
        let start = if self.luck.one_in(5) { next_qc } else { next_block };
        for ahead in 0..=self.luck.below(8) {
            let Some(block) = self.chain.block(start.saturating_add(ahead)) else { return };
            let number = BlockNumber(start + ahead);
            self.send(Request::PushBlock(PushBlock { number, block }), Who::Peer, true);
        }
    }

    fn peers_lie(&mut self) {
        let Some(link) = self.links_around().pop() else { return };
        let members = &self.chain.members;
        let position = self.luck.index(4);
        let lie = self.luck.below(8);
        let (qc, blocks) = match lie {
            0 => (testing::outsider_signed(members, &link.qc), link.blocks.clone()),
            1 => (testing::too_few_signatures(members, &link.qc), link.blocks.clone()),
            2 => (testing::duplicate_signer(&link.qc), link.blocks.clone()),
            3 => (testing::invalid_signature(&link.qc, position), link.blocks.clone()),
            4 => {
                let blocks: Vec<_> = link.blocks.iter().map(|block| (**block).clone()).collect();
                let (qc, blocks) = testing::tampered_headers(&link.qc, &blocks);
                (qc, blocks.into_iter().map(Arc::new).collect())
            }
            _ => {
                let at = self.luck.index(link.blocks.len());
                let number = BlockNumber(link.first + at as u64);
                let block = match lie {
                    5 => Arc::new(testing::wrong_payload(&link.blocks[at])),
                    // A block of the chain, under another number.
                    6 => self.chain.block(link.end).unwrap_or_else(|| Arc::clone(&link.blocks[at])),
                    _ => self.chain.fork_link(link.first).map_or_else(
                        || Arc::clone(&link.blocks[at]),
                        |fork| Arc::clone(&fork.blocks[at % fork.blocks.len()]),
                    ),
                };
                return self.send(Request::PushBlock(PushBlock { number, block }), Who::Peer, false);
            }
        };
        self.send(Request::PushQc(PushQc { qc: Arc::new(qc), blocks }), Who::Peer, false);
    }

    /// Another QC, as validly signed, for numbers that are finalized: it comes at once, for the node must have them.
    fn peers_equivocate(&mut self) {
        let Some(Cursors { first, next_qc, .. }) = self.cursors() else { return };
        if next_qc.0 <= self.chain.first_block {
            return;
        }
        let back = self.luck.below(30.min(next_qc.0 - first.0 + 1)) + 1;
        let at = next_qc.0.saturating_sub(back).max(self.chain.first_block);
        let Some(link) = self.chain.fork_link(at) else { return };
        let push = PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() };
        self.ask(Request::PushQc(push), Who::Peer, false);
    }

    fn flood(&mut self) {
        let (_, next_qc) = self.tip();
        for _ in 0..60 {
            let at = next_qc.saturating_add(self.luck.below(400));
            let Some(link) = self.chain.link(at) else { continue };
            let request = match self.luck.below(3) {
                0 => Request::PushQc(PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() }),
                1 => Request::PushBlock(PushBlock {
                    number: BlockNumber(link.first),
                    block: Arc::clone(&link.blocks[0]),
                }),
                _ => Request::GetBlock(GetBlock { number: BlockNumber(at) }),
            };
            self.ask(request, Who::Peer, true);
        }
        self.check_bounds();
    }

    // ---- application and subscribers ---------------------------------------------------------------------------

    fn execute(&mut self) {
        let next = self.application.next;
        if self.application.call.is_none_or(|call| !self.is_pending(call)) {
            let blocks_max = 1 + self.luck.index(30);
            let subscribe = Subscribe { from: BlockNumber(next), only_durable: true, blocks_max };
            self.application.call = self.ask(Request::Subscribe(subscribe), Who::Stream, true);
        }
        // What was executed is told again to a node that has forgotten it: as far as the node has it, so that one that has
        // lost more than its window gets on.
        let durable = self.cursors().map_or(0, |cursors| cursors.next_block_to_persist.0);
        let known = next.min(durable);
        if known > self.application.reported {
            self.report_app_hash(known - 1);
        } else if next > durable && self.luck.one_in(8) {
            self.report_app_hash(next - 1);
        }
        if self.luck.one_in(12) {
            let number = next.saturating_sub(self.luck.below(5));
            self.report_app_hash(number);
        }
    }

    fn report_app_hash(&mut self, number: u64) {
        let number = BlockNumber(number);
        let hash = testing::app_hash(self.chain.seed, number);
        self.ask(Request::PushAppHash(PushAppHash { number, hash }), Who::Report, true);
    }

    fn poll(&mut self) {
        let at = self.luck.index(self.subscribers.len());
        if let Some(call) = self.subscribers[at].call
            && self.is_pending(call)
        {
            self.tales.count("row", "a subscriber dies or lags");
            if self.luck.one_in(4) {
                // It dies; it comes back, and resumes by number.
                self.caller_goes(call);
                self.subscribers[at].call = None;
            }
            return;
        }
        let blocks_max = 1 + self.luck.index(40);
        self.ask_for_more(at, blocks_max);
    }

    fn ask_for_more(&mut self, at: usize, blocks_max: usize) {
        let Subscriber { next, only_durable, .. } = self.subscribers[at];
        let subscribe = Subscribe { from: BlockNumber(next), only_durable, blocks_max };
        self.subscribers[at].call = self.ask(Request::Subscribe(subscribe), Who::Subscriber(at), true);
    }

    fn get(&mut self) {
        let Some(now) = self.cursors() else { return };
        let from = now.first.0.saturating_sub(2).max(self.chain.first_block);
        let number = BlockNumber(from + self.luck.below((now.next_qc.0 - from).saturating_add(4)));
        let request = match self.luck.below(7) {
            0 => Request::GetQc(GetQc { number }),
            1 => Request::GetBlock(GetBlock { number }),
            2 => Request::GetGlobalBlock(GetGlobalBlock { number }),
            3 => Request::GetAppProposal(GetAppProposal { number }),
            4 => Request::TryGetBlock(TryGetBlock { number }),
            5 => match self.chain.block(number.0) {
                Some(block) => Request::GetBlockByHash(GetBlockByHash { hash: block.header.hash() }),
                None => return,
            },
            _ => Request::NeedBlock(NeedBlock { number }),
        };
        self.ask(request, Who::Other, true);
    }

    fn prune(&mut self) {
        let Some(now) = self.cursors() else { return };
        let reach = now.next_app_proposal.0 - now.first.0;
        let retain_from = BlockNumber(now.first.0 + self.luck.below(reach + 3));
        self.ask(Request::PruneBefore(PruneBefore { retain_from }), Who::Other, true);
    }

    fn forget(&mut self) {
        let Some(process) = &self.process else { return };
        let pending = process.pending.keys().copied().collect::<Vec<_>>();
        if !pending.is_empty() {
            let call = pending[self.luck.index(pending.len())];
            if process.pending[&call].who != Who::Pruner {
                self.caller_goes(call);
            }
        }
    }

    fn caller_goes(&mut self, call: CallId) {
        if let Some(process) = &mut self.process {
            process.pending.remove(&call);
            self.tell(format_args!("the caller of {} goes", call.0));
            self.input(Input::Forget { call });
        }
    }

    pub(super) fn take_reply(&mut self, number: u64, asked: &Asked, answer: Result<Answer, Error>) {
        // Who has gone back, or died, no longer wants what it asked for before.
        let wanted = |next: u64| matches!(&asked.request, Request::Subscribe(asked) if asked.from.0 == next);
        match (asked.who, answer) {
            (Who::Stream, Ok(Answer::GlobalBlocks(blocks))) if wanted(self.application.next) => {
                self.application.next = blocks.last().map_or(0, |block| block.number.0 + 1);
                for block in &blocks {
                    // A jump stands for the blocks between.
                    if block.number.0 + 1 == self.application.next || self.luck.one_in(3) {
                        let request = Request::PushAppHash(PushAppHash {
                            number: block.number,
                            hash: testing::app_hash(self.chain.seed, block.number),
                        });
                        let delay = self.luck.time(Duration::ZERO, 5 * MILLI);
                        self.after(delay, Happening::Arrives { request, who: Who::Report, honest: true });
                    }
                }
            }
            // It was behind what is retained, and goes on from there.
            (Who::Stream, Err(Error::Pruned { first, .. })) => self.application.next = first.0,
            (Who::Report, Ok(_)) => {
                if let Request::PushAppHash(push) = &asked.request {
                    self.application.reported = self.application.reported.max(push.number.0 + 1);
                }
            }
            (Who::Report, Err(Error::AppHashOutOfOrder { next_app_proposal, .. })) => {
                self.application.reported = self.application.reported.max(next_app_proposal.0);
            }
            (Who::Subscriber(at), Ok(Answer::GlobalBlocks(blocks))) if wanted(self.subscribers[at].next) => {
                self.subscribers[at].next = blocks.last().map_or(0, |block| block.number.0 + 1);
            }
            (Who::Subscriber(at), Err(Error::Pruned { first, .. })) => self.subscribers[at].next = first.0,
            (Who::Pruner, _) => self.pruner_goes_on(number),
            _ => {}
        }
    }

    // ---- what breaks -------------------------------------------------------------------------------------------

    fn fault(&mut self, act: Act) {
        let wal = if self.luck.one_in(2) { WalKind::Qcs } else { WalKind::Blocks };
        match act {
            Act::PowerLoss => self.power_loss(),
            Act::PowerLossWithin => {
                let at = self.disk.steps() + self.luck.below(25);
                self.disk.crash_at(at);
            }
            Act::Kill => self.kill(),
            Act::Eio | Act::Enospc | Act::ShortWrite => self.disk_fails(act),
            Act::DiskFull => {
                self.ledger.disk_failed = true;
                let room = self.luck.pick(&[0, 4096, 70_000]);
                self.disk.set_capacity_bytes(Some(self.disk.used_bytes() + room));
            }
            Act::SlowDisk => self.slow_until = self.now + Duration::from_secs(1 + self.luck.below(4)),
            Act::StuckDisk => {
                let long = self.luck.pick(&[1500, 3000, 12_000, 12_000]);
                self.stuck.insert(wal.name(), Duration::from_millis(long));
            }
            Act::ThreadPanic => {
                let fault = if self.luck.one_in(3) { Fault::Error } else { Fault::Panic };
                self.thread_fails(wal, &fault);
            }
            Act::PanicWithin => {
                let ops =
                    [Op::Write, Op::Sync, Op::SyncDir, Op::Create, Op::Rename, Op::Allocate, Op::Remove];
                let fault = sim::Fault::panic(self.luck.pick(&ops)).path(wal.name());
                let fault = fault.nth(1 + self.luck.below(8));
                self.tell(format_args!("{fault:?}"));
                self.disk.fail(fault);
            }
            Act::BothLogs => {
                for wal in WalKind::BOTH {
                    let fault = if self.luck.one_in(2) { Fault::Error } else { Fault::Panic };
                    self.thread_fails(wal, &fault);
                }
            }
            Act::ActorPanic => self.actor_dies(wal),
            Act::VerifierPanic | Act::VerifierError => {
                let fault = if act == Act::VerifierPanic { Fault::Panic } else { Fault::Error };
                if let Some(process) = &mut self.process {
                    process.excuses.verifier_faults += 1;
                    process.parts.faults().inject(ActorKind::Verifier, fault);
                }
            }
            Act::VerifierHang => drop(self.stuck.insert("verifier", Duration::from_secs(3))),
            Act::PrunerPanic => {
                if let Some(process) = &self.process
                    && let Some(generation) = process.pruner
                {
                    let error = "handler: the pruner".to_owned();
                    let event = Event::Died { cause: Cause::Panic, error, job: None };
                    self.report(ActorKind::Pruner, generation, event);
                }
            }
            Act::ClockBack | Act::ClockForward => {
                let by = i64::try_from(self.luck.below(30_000_000_000)).unwrap_or_default();
                if let Some(process) = &mut self.process {
                    process.clock_set += if act == Act::ClockBack { -by } else { by };
                    self.input(Input::Tick);
                }
            }
            Act::BitRot | Act::LoseLog | Act::LoseSegment | Act::OldLog => self.damage(act),
            Act::Heal => {
                self.disk.heal();
                self.disk.set_capacity_bytes(None);
                self.workers_heal();
            }
            act => unreachable!("{} is no fault", act.name()),
        }
    }

    fn disk_fails(&mut self, act: Act) {
        self.ledger.disk_failed = true;
        let ops = [
            Op::Write,
            Op::Sync,
            Op::SyncDir,
            Op::Create,
            Op::Rename,
            Op::Allocate,
            Op::Remove,
            Op::Open,
            Op::Read,
            Op::List,
        ];
        let op = self.luck.pick(&ops);
        let fault = match act {
            Act::Eio => sim::Fault::eio(op),
            Act::Enospc => {
                sim::Fault::enospc(self.luck.pick(&[Op::Write, Op::Create, Op::Allocate, Op::SyncDir]))
            }
            _ => sim::Fault::short_write(self.luck.index(5000)),
        };
        let fault = if self.luck.one_in(2) { fault.path(self.luck.pick(&WALS)) } else { fault };
        let fault = fault.nth(1 + self.luck.below(12)).times(1 + self.luck.below(3));
        self.tell(format_args!("{fault:?}"));
        self.disk.fail(fault);
    }

    /// The next operation of a log's thread fails.
    fn thread_fails(&mut self, wal: WalKind, fault: &Fault) {
        let Some(process) = &mut self.process else { return };
        let number = process.number;
        match wal {
            WalKind::Qcs => process.qcs.next_fails(fault),
            WalKind::Blocks => process.blocks.next_fails(fault),
        }
        self.next_operation(number, wal);
    }

    /// The actor before a log's thread dies: the thread goes on with what it was given, and then ends.
    fn actor_dies(&mut self, wal: WalKind) {
        let Some(process) = &mut self.process else { return };
        let generation = match wal {
            WalKind::Qcs => process.qcs.attached().map(|life| life.generation),
            WalKind::Blocks => process.blocks.attached().map(|life| life.generation),
        };
        let Some(generation) = generation else { return };
        let actor = wal.actor();
        let event = Event::Died { cause: Cause::Panic, error: format!("handler of {actor}"), job: None };
        self.report(actor, generation, event);
    }

    /// What was injected, and has not happened yet, does not happen.
    fn workers_heal(&mut self) {
        if let Some(process) = &mut self.process {
            process.parts.faults().clear();
            process.excuses.verifier_faults = 0;
            process.excuses.poisoned.clear();
        }
    }

    /// From now on a block kills whoever verifies it.
    fn poison(&mut self) {
        let (next_block, next_qc) = self.tip();
        let at = if self.luck.one_in(2) { next_block } else { next_qc };
        let Some(block) = self.chain.block(at) else { return };
        if let Some(process) = &mut self.process {
            process.excuses.poisoned.insert(block.header.hash());
            process.parts.faults().poison(block.header.hash(), Fault::Panic);
            self.peers_push_qcs();
        }
    }

    fn second_process(&mut self) {
        if self.process.is_none() || self.in_memory {
            return;
        }
        let committee = self.chain.members.committee.clone();
        let storage = Arc::new(self.disk.clone());
        let opened = Parts::open(storage, Path::new(DIR), committee, self.config.clone());
        let met = self.disk.take_failures();
        match opened {
            Err(StartError::InUse { .. }) => self.tales.count("row", "second process: refused"),
            Err(_) if self.disk.has_crashed() || !met.is_empty() => {}
            // What is wrong with the directory is found before who has it.
            Err(_) if self.ledger.marker_damaged => {}
            Err(error) => panic!("a second process is refused for another reason: {error}"),
            Ok(_) => panic!("a second process has the directory too"),
        }
    }

    /// The disk is damaged from outside, mostly while nothing runs on it.
    fn damage(&mut self, act: Act) {
        if act == Act::OldLog && self.luck.one_in(2) {
            return self.keep_old();
        }
        let running = act == Act::BitRot && self.luck.one_in(2);
        if !running && (self.process.is_some() || self.lingering.is_some()) {
            if self.luck.one_in(2) { self.kill() } else { self.power_loss() }
        }
        let mut luck = self.luck.clone();
        let (kind, case) = damage_by(act, &self.disk, &mut luck, &self.old);
        self.tell(format_args!("damaged: {kind}"));
        self.ledger.excuse();
        self.ledger.refusable = None;
        self.ledger.gap |= case == Some("11");
        self.ledger.marker_damaged |= case == Some("marker");
        self.ledger.rotten |= act == Act::BitRot;
        if running {
            // Somebody wants what has rotted.
            (0..12).for_each(|_| self.get());
        }
    }

    /// Remembers what the logs hold now, for a backup that is put back later.
    fn keep_old(&mut self) {
        for name in WALS {
            let dir = Path::new(DIR).join(name);
            let disk = self.disk.crash(self.luck.any());
            let files =
                disk.files().into_iter().filter(|path| path.starts_with(&dir) && !path.ends_with("LOCK"));
            let files = files.filter_map(|path| Some((path.clone(), disk.read_file(&path)?)));
            self.old.insert(name, files.collect());
        }
    }

    // ---- calm --------------------------------------------------------------------------------------------------

    /// The end of all faults: from here on everything must make progress again.
    pub(super) fn calm(&mut self) {
        self.luck = Luck::new(self.seed ^ 0xca11);
        self.tell(format_args!("calm"));
        self.disk.heal();
        self.disk.set_capacity_bytes(None);
        self.stuck.clear();
        self.slow_until = Duration::ZERO;
        self.workers_heal();
        if self.disk.has_crashed() {
            self.power_loss();
        }
        // An armed loss of power is no fault of a calm disk.
        self.disk.crash_at(u64::MAX);
        if self.ledger.rotten {
            self.wipe();
            self.after(Duration::ZERO, Happening::Start);
        }
        // Hung operations end, backoffs pass, budgets fill up again.
        self.pass(Duration::from_secs(45));

        let target = self.everything_comes_through();
        self.pass(Duration::from_secs(3));
        self.check_nobody_waits();
        self.check_healthy();
        self.ends_in_order(target);
        self.pass(Duration::from_secs(8));
        let recovered = self.process.as_ref().and_then(|process| process.running.clone());
        let recovered = recovered.unwrap_or_else(|| panic!("it does not start after an ordered end"));
        let kept = if self.in_memory { self.chain.first_block } else { target };
        assert!(recovered.next_block.0 >= kept, "{recovered:?} after {target}");
        self.fork();
    }

    fn everything_comes_through(&mut self) -> u64 {
        let (next_block, next_qc) = self.tip();
        let asked = self.subscribers.iter().map(|subscriber| subscriber.next);
        let furthest = asked.chain([self.application.next, next_block, next_qc]).max().unwrap_or_default();
        let target = furthest.saturating_add(20).min(self.chain.end());
        for round in 0.. {
            let now = self.process.as_ref().map(|process| process.core.cursors());
            assert!(round < 4000, "no progress since the last fault: {now:?}, up to {target}");
            self.offer_what_is_needed();
            self.execute();
            for at in 0..self.subscribers.len() {
                if self.subscribers[at].call.is_none_or(|call| !self.is_pending(call)) {
                    self.ask_for_more(at, 100);
                }
            }
            self.pass(20 * MILLI);
            let executed = now.is_some_and(|now| now.next_app_proposal.0 >= target);
            if executed && self.subscribers.iter().all(|subscriber| subscriber.next >= target) {
                break;
            }
        }
        target
    }

    /// An honest fetcher: what the node needs next.
    fn offer_what_is_needed(&mut self) {
        let (next_block, next_qc) = self.tip();
        let mut at = next_qc;
        for _ in 0..6 {
            let Some(link) = self.chain.link(at) else { break };
            at = link.end;
            let push = PushQc { qc: Arc::clone(&link.qc), blocks: link.blocks.clone() };
            self.ask(Request::PushQc(push), Who::Peer, true);
        }
        for number in next_block..next_qc.min(next_block.saturating_add(30)) {
            if let Some(block) = self.chain.block(number) {
                let number = BlockNumber(number);
                self.ask(Request::PushBlock(PushBlock { number, block }), Who::Peer, true);
            }
        }
    }

    /// Prunes, shuts down, and looks that nobody is left without an answer.
    fn ends_in_order(&mut self, target: u64) {
        let retain_from = BlockNumber(target.saturating_sub(4));
        let prune = self.ask(Request::PruneBefore(PruneBefore { retain_from }), Who::Other, true);
        self.pass(Duration::from_secs(2));
        assert!(prune.is_some_and(|prune| !self.is_pending(prune)), "a pruning gets no answer");
        let last = self.process.as_ref().map(|process| process.core.cursors());
        assert!(last.is_some_and(|last| last.first >= retain_from), "not pruned: {last:?}");
        self.ask(Request::Shutdown, Who::Other, true);
        for _ in 0..1000 {
            if self.process.is_none() && self.lingering.is_none() {
                break;
            }
            self.pass(MILLI);
        }
        assert!(self.process.is_none(), "an ordered end takes too long");
        assert!(self.lingering.is_none(), "a thread is left behind");
        let promised = self.ledger.promised;
        assert!(self.in_memory || promised >= target, "not everything is durable after an ordered end");
    }
}

/// Some damage, of any kind; answers what was done, and the row of reconcile that it must end in, where there is one.
pub(super) fn damage(
    disk: &SimStorage,
    luck: &mut Luck,
    old: &std::collections::BTreeMap<&'static str, Vec<(PathBuf, Vec<u8>)>>,
) -> (&'static str, Option<&'static str>) {
    let act = luck.pick(&[Act::BitRot, Act::BitRot, Act::LoseLog, Act::LoseSegment, Act::OldLog]);
    damage_by(act, disk, luck, old)
}

/// Flips a bit of something written in the segments of one log; answers which.
pub(super) fn flip_a_bit_of_a_log(disk: &SimStorage, luck: &mut Luck) -> &'static str {
    let name = luck.pick(&WALS);
    let dir = Path::new(DIR).join(name);
    let mut files = disk.files();
    files.retain(|path| path.starts_with(&dir) && path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    // Mostly the newest, where the log is at work.
    let path = if luck.one_in(4) { files.get(luck.index(files.len())) } else { files.last() };
    if let Some(path) = path {
        flip_a_bit(disk, path, luck);
    }
    name
}

fn flip_a_bit(disk: &SimStorage, path: &Path, luck: &mut Luck) {
    let bytes = disk.read_file(path).unwrap_or_default();
    // Most of a segment is zeros: look for something written.
    let start = luck.index(bytes.len());
    let at = (start..bytes.len()).chain(0..start).find(|at| bytes[*at] != 0).unwrap_or(start);
    disk.flip_bit(path, 8 * at as u64 + luck.below(8));
}

fn lose(disk: &SimStorage, files: &[PathBuf]) {
    for path in files {
        disk.lose_file(path);
    }
}

fn damage_by(
    act: Act,
    disk: &SimStorage,
    luck: &mut Luck,
    old: &std::collections::BTreeMap<&'static str, Vec<(PathBuf, Vec<u8>)>>,
) -> (&'static str, Option<&'static str>) {
    let name = luck.pick(&WALS);
    let dir = Path::new(DIR).join(name);
    let mut files: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with(&dir)).collect();
    files.retain(|path| !path.ends_with("LOCK"));
    files.sort();
    match act {
        Act::BitRot => {
            if luck.one_in(12) {
                files = vec![Path::new(DIR).join("STORE"), Path::new(DIR).join("committee.json")];
            }
            if files.is_empty() {
                return ("nothing to damage", None);
            }
            let path = &files[luck.index(files.len())];
            flip_a_bit(disk, path, luck);
            ("a bit flipped", path.parent().is_some_and(|dir| dir == Path::new(DIR)).then_some("marker"))
        }
        Act::LoseLog => {
            lose(disk, &files);
            ("a log lost", None)
        }
        Act::LoseSegment => {
            let segments: Vec<_> =
                files.iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
            if segments.len() < 3 {
                return ("nothing to lose", None);
            }
            disk.lose_file(segments[1 + luck.index(segments.len() - 2)]);
            ("a segment inside a log lost", Some("11"))
        }
        _ => {
            let Some(older) = old.get(name) else { return ("no older state", None) };
            lose(disk, &files);
            older.iter().for_each(|(path, bytes)| disk.put_file(path, bytes));
            ("a log put back to an older state", None)
        }
    }
}
