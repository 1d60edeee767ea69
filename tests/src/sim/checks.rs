//! What must hold: after every step, with every reply, and at every recovery.

use std::collections::BTreeMap;

use roadbed::state::core::calls::{Bound, Kind};
use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{ActorKind, Cursors, Error, Recovered, StartError, StopReason};
use roadbed_messages::{BlockNumber, GlobalBlock};
use roadbed_wal::sim::SimStorage;
use roadbed_wal::{OpenMode, Storage as _, SyncPoint};

use super::process::Asked;
use super::recover::{Start, check_other_history, check_served, recover};
use super::world::World;

/// Calls beyond a full bound that are let in when they bring exactly what is needed next.
const RESERVE: usize = 16;

/// What was promised, over all processes on one disk.
#[derive(Debug)]
pub(super) struct Ledger {
    first_block: u64,
    /// Blocks below were promised to survive a crash.
    pub(super) promised: u64,
    /// Blocks below were promised never to come back.
    pub(super) pruned: u64,
    /// Nothing at or beyond these was ever taken in.
    next_block_max: u64,
    next_qc_max: u64,
    /// The disk was damaged from outside: what was promised may be gone, and a start may be refused.
    pub(super) damaged: bool,
    /// Bits have rotted: until there is a new disk, nothing that is on this one can be relied on.
    pub(super) rotten: bool,
    /// The damage is in the marker.
    pub(super) marker_damaged: bool,
    /// A segment inside a log is gone.
    pub(super) gap: bool,
    /// No start has succeeded since the power was lost, or the process killed.
    after_crash: bool,
    /// The disk may have failed calls in this life of the machine: what reads see is not what is on it.
    pub(super) disk_failed: bool,
    /// The disk before a start that may be refused.
    pub(super) refusable: Option<SimStorage>,
    /// Of the QCs and of the blocks: below is durable, and below that something written later says so.
    logs: [Vouched; 2],
}

/// What one log has told of itself.
#[derive(Clone, Copy, Debug)]
struct Vouched {
    durable: u64,
    below: u64,
}

impl Ledger {
    pub(super) fn new(first_block: u64) -> Self {
        Self {
            first_block,
            promised: first_block,
            pruned: first_block,
            next_block_max: first_block,
            next_qc_max: first_block,
            damaged: false,
            rotten: false,
            marker_damaged: false,
            gap: false,
            after_crash: false,
            disk_failed: false,
            refusable: None,
            logs: [Vouched { durable: first_block, below: first_block }; 2],
        }
    }

    /// A group of a log is durable: whatever was before it is vouched for by it.
    pub(super) fn durable(&mut self, actor: ActorKind, upto: u64) {
        let log = &mut self.logs[usize::from(actor == ActorKind::BlockWal)];
        if upto > log.durable {
            *log = Vouched { durable: upto, below: log.durable };
        }
    }

    /// What reconcile has dropped nobody vouches for any more.
    fn recovered(&mut self, ends: [BlockNumber; 2]) {
        for (log, end) in self.logs.iter_mut().zip(ends) {
            *log = Vouched { durable: log.durable.min(end.0), below: log.below.min(end.0) };
        }
    }

    pub(super) fn crashed(&mut self) {
        self.after_crash = true;
        self.disk_failed = false;
        self.refusable = None;
    }

    /// Damage from outside: no promise about what is there holds any more, those about what it is do.
    pub(super) fn excuse(&mut self) {
        (self.promised, self.pruned) = (self.first_block, self.first_block);
        self.logs = [Vouched { durable: self.first_block, below: self.first_block }; 2];
        self.damaged = true;
    }
}

impl World {
    pub(super) fn check_cursors(&mut self, before: Cursors, was_running: bool) {
        let Some(process) = &self.process else { return };
        let now = process.core.cursors();
        assert!(now.in_order(), "{now:?}");
        self.ledger.next_block_max = self.ledger.next_block_max.max(now.next_block.0);
        self.ledger.next_qc_max = self.ledger.next_qc_max.max(now.next_qc.0);
        if !was_running {
            return;
        }
        let went_on = [
            (before.first, now.first),
            (before.next_app_proposal, now.next_app_proposal),
            (before.next_block_to_persist, now.next_block_to_persist),
            (before.next_block, now.next_block),
            (before.next_qc, now.next_qc),
        ];
        assert!(went_on.iter().all(|(before, now)| before <= now), "a cursor went back: {before:?}, {now:?}");
    }

    /// Memory and the tables of calls stay within their bounds.
    pub(super) fn check_bounds(&self) {
        let Some(process) = self.process.as_ref().filter(|process| process.running.is_some()) else { return };
        let now = process.core.cursors();
        let kept = if self.in_memory { now.first } else { now.next_block_to_persist };
        let not_durable = self.chain.bytes_between(kept.0, now.next_qc.0);
        let memory_bytes_max = self.config.memory_bytes_max + not_durable;
        let held = process.core.memory_bytes();
        assert!(
            held <= memory_bytes_max,
            "{held} bytes in memory, at most {memory_bytes_max} may be: {now:?}"
        );
        let window_end = self.window_end(now);
        let last_start = self.chain.link(now.next_qc.0.saturating_sub(1)).map_or(0, |last| last.first);
        // What was recovered may reach further.
        let beyond = process.running.as_ref().is_none_or(|recovered| now.next_qc > recovered.next_qc);
        assert!(!beyond || last_start < window_end, "a QC from beyond the window: {now:?}, {window_end}");
        let bounds = &self.config.bounds;
        for kind in Kind::ALL {
            let Bound { calls_max, .. } = match kind {
                Kind::PushQc => bounds.push_qc,
                Kind::PushBlock => bounds.push_block,
                Kind::PushAppHash => bounds.push_app_hash,
                Kind::PruneBefore | Kind::Shutdown => bounds.prune,
                _ => bounds.get,
            };
            let waiting = process.core.waiting(kind);
            assert!(waiting <= calls_max + RESERVE, "{}: {waiting} calls wait", kind.name());
        }
    }

    /// QCs from here on have to wait for the application.
    fn window_end(&self, now: Cursors) -> u64 {
        let running = self.process.as_ref().and_then(|process| process.running.as_ref());
        let recovered = running.map_or(0, |recovered| recovered.next_block.0);
        now.next_app_proposal.0.max(recovered).saturating_add(self.config.window_blocks)
    }

    pub(super) fn check_recovered(&mut self, recovered: &Recovered) {
        let Recovered { first, next_block, next_qc, ref reconcile_case, .. } = *recovered;
        for row in reconcile_case.split('+') {
            self.tales.count("reconcile", row);
        }
        if recovered.torn_bytes > 0 {
            self.tales.count("count", "torn tails repaired");
        }
        self.tales.count("count", "starts");
        if std::mem::take(&mut self.ledger.after_crash) {
            self.tales.count("count", "crash recoveries");
            self.tales.count("row", "crash: everything acknowledged is there");
        }
        assert!(first <= next_block && next_block <= next_qc, "{recovered:?}");
        self.check_promises(recovered);
        self.ledger.recovered([next_qc, next_block]);
        // What was lost is lost, and what is there from here on is promised anew; bits that have rotted stay rotten.
        self.ledger.damaged = self.ledger.rotten;
        self.ledger.refusable = None;
    }

    fn check_promises(&self, recovered: &Recovered) {
        let Recovered { next_block, next_qc, .. } = *recovered;
        let ledger = &self.ledger;
        if !ledger.rotten {
            self.check_kept(recovered);
        }
        assert!(
            next_block.0 <= ledger.next_block_max && next_qc.0 <= ledger.next_qc_max,
            "recovered what never came in: {recovered:?}, {ledger:?}"
        );
    }

    fn check_kept(&self, recovered: &Recovered) {
        let Recovered { first, next_block, .. } = *recovered;
        let ledger = &self.ledger;
        assert!(next_block.0 >= ledger.promised, "promised, but lost: {recovered:?}, {ledger:?}");
        assert!(first.0 >= ledger.pruned, "pruned, but back: {recovered:?}, {ledger:?}");
    }

    /// A refused start has changed nothing but who holds the locks. It makes the cache and the disk agree before it judges:
    /// what a failed write has left in the cache alone may go.
    pub(super) fn check_untouched(&self, before: Option<&SimStorage>) {
        let Some(before) = before.filter(|_| !self.ledger.disk_failed) else { return };
        let files = |disk: &SimStorage| {
            let files = disk.files().into_iter().filter(|path| !path.ends_with("LOCK"));
            files.map(|path| (path.clone(), disk.read_file(&path))).collect::<BTreeMap<_, _>>()
        };
        let (was, is) = (files(before), files(&self.disk));
        for path in was.keys() {
            let file = before.open(path, OpenMode::Read).expect("it is there");
            file.sync_data(SyncPoint::OpenTail)
                .and_then(|()| file.drop_cache())
                .expect("a disk without faults");
        }
        let settled = files(before);
        assert!(was.keys().eq(is.keys()), "a refused start has made or removed files: {:?}", is.keys());
        for (path, bytes) in &is {
            let untouched = was.get(path) == Some(bytes) || settled.get(path) == Some(bytes);
            assert!(untouched, "a refused start has changed {}", path.display());
        }
    }

    pub(super) fn count_refusal(&self, error: &StartError) {
        match error {
            StartError::WouldLose { detail } => {
                let row = if detail.contains("case 10") { "10" } else { "2b" };
                self.tales.count("reconcile", row);
            }
            StartError::Corrupt { .. } => {
                self.tales.count("row", "corruption at open: refused");
                if self.ledger.gap {
                    self.tales.count("reconcile", "11");
                }
            }
            // The marker has no checksum: a bit of it makes it another chain's, or a newer program's.
            StartError::Foreign { .. } | StartError::NewerFormat { .. } if self.ledger.marker_damaged => {
                self.tales.count("row", "corruption at open: refused");
            }
            // The number of a format has to be read before its checksum can be: a bit of it makes it a newer one.
            StartError::NewerFormat { .. } if self.ledger.rotten => {
                self.tales.count("row", "corruption at open: refused");
            }
            error => panic!("refused for another reason: {error}"),
        }
    }

    // ---- replies -----------------------------------------------------------------------------------------------

    pub(super) fn replied(&mut self, number: u64, call: CallId, answer: Result<Answer, Error>) {
        let Some(process) = self.present(number) else { return };
        let Some(asked) = process.pending.remove(&call) else {
            panic!("{call:?} was never asked, or is answered twice: {answer:?}")
        };
        let now = process.core.cursors();
        self.tell(format_args!("= {} {}", call.0, brief_answer(&answer)));
        match &answer {
            Ok(answer) => self.check_success(&asked, answer, now),
            Err(error) => self.check_refusal(call, &asked, error, now),
        }
        self.take_reply(number, &asked, answer);
    }

    fn check_success(&mut self, asked: &Asked, answer: &Answer, now: Cursors) {
        let chain = std::sync::Arc::clone(&self.chain);
        let served = |block: &GlobalBlock| {
            assert!(now.first <= block.number && block.number < now.next_block, "{}: {now:?}", block.number);
            assert!(chain.has(block), "block {} is not of the chain", block.number);
        };
        match (&asked.request, answer) {
            (Request::PushQc(push), Answer::Done) => {
                let range = push.qc.range(&chain.members.committee).expect("it was taken");
                assert!(!asked.honest || range.end <= now.next_qc, "not in: {range:?}");
            }
            (Request::PushBlock(push), Answer::Done) => {
                assert!(push.number < now.next_qc, "answered before there was a QC");
            }
            (Request::PushAppHash(push), Answer::Done) => {
                let process = self.process.as_mut().expect("it has just answered");
                let number = push.number.0;
                let above = process.granted.last().is_none_or(|(last, _)| *last < number);
                assert!(above && number >= asked.cursors.first.0, "granted twice: {number}");
                process.granted.push((number, push.hash));
                self.ledger.promised = self.ledger.promised.max(number + 1);
                self.tales.count("count", "app hashes granted");
                if self.luck.one_in(6) {
                    self.fork();
                }
            }
            (Request::GetQc(get), Answer::Qc(qc)) => {
                assert!(now.first <= get.number && get.number < now.next_qc, "{now:?}");
                assert!(chain.link(get.number.0).is_some_and(|link| link.qc == *qc), "not of the chain");
            }
            (Request::GetBlock(get), Answer::Block(block)) => {
                assert!(now.first <= get.number && get.number < now.next_block, "{now:?}");
                assert!(chain.block(get.number.0).is_some_and(|ours| ours == *block), "not of the chain");
            }
            (Request::TryGetBlock(get), Answer::Block(block)) => {
                assert!(now.first <= get.number && get.number < now.next_block, "{now:?}");
                assert!(chain.block(get.number.0).is_some_and(|ours| ours == *block), "not of the chain");
            }
            (Request::GetGlobalBlock(get), Answer::GlobalBlock(block)) => {
                assert_eq!(block.number, get.number);
                served(block);
            }
            (Request::GetBlockByHash(get), Answer::GlobalBlock(block)) => {
                assert_eq!(block.header.hash(), get.hash);
                served(block);
            }
            (Request::GetAppProposal(get), Answer::AppProposal(proposal)) => {
                let process = self.process.as_ref().expect("it has just answered");
                let at = process.granted.partition_point(|(granted, _)| *granted < get.number.0);
                let (covering, hash) = process.granted[at];
                assert_eq!((proposal.number.0, proposal.hash), (covering, hash));
                let link = chain.link(covering).expect("it was granted");
                assert_eq!(proposal.road_index, link.qc.road_index());
            }
            (Request::Subscribe(subscribe), Answer::GlobalBlocks(blocks)) => {
                assert!(!blocks.is_empty() && blocks.len() <= subscribe.blocks_max.max(1));
                for (block, number) in blocks.iter().zip(subscribe.from.0..) {
                    assert_eq!(block.number.0, number, "the stream has a gap or a repetition");
                    served(block);
                }
                let last = blocks[blocks.len() - 1].number;
                assert!(!subscribe.only_durable || last < now.next_block_to_persist, "not durable: {last}");
            }
            (Request::NeedBlock(need), Answer::Flag(needed)) => {
                assert!(!needed || need.number >= now.next_block);
            }
            (Request::NextBlock, Answer::Cursors(cursors)) => assert_eq!(*cursors, now),
            (Request::GetStatus, Answer::Status(status)) => {
                assert_eq!(status.cursors, now);
                self.check_status(status);
            }
            (Request::PruneBefore(_), Answer::Pruned(pruned)) => {
                assert!(pruned.start <= pruned.end && pruned.end <= now.first, "{pruned:?}: {now:?}");
                self.ledger.pruned = self.ledger.pruned.max(pruned.end.0);
                self.tales.count("count", "prunings");
                if pruned.start < pruned.end && self.luck.one_in(6) {
                    self.fork();
                }
            }
            (Request::Shutdown, Answer::Shutdown(report)) => {
                assert_eq!(report.cursors, now);
                assert_eq!(report.not_durable, now.next_block_to_persist..now.next_block);
                if report.is_clean() {
                    // What an ordered end has made durable is promised like anything else.
                    self.ledger.promised = self.ledger.promised.max(now.next_block.0);
                }
            }
            (request, answer) => panic!("{} was answered with {answer:?}", brief(request)),
        }
    }

    fn check_refusal(&mut self, call: CallId, asked: &Asked, error: &Error, now: Cursors) {
        let process = self.process.as_ref().expect("it has just answered");
        match (&asked.request, error) {
            (_, Error::Stopped(reason)) => {
                let ends = match reason {
                    StopReason::Shutdown(_) => process.shutting_down,
                    StopReason::Escalated { actor, .. } => process.excuses.has_given_up_on(*actor),
                    // Whether there was a reason for that is looked at when it stops.
                    StopReason::Start(_) => process.running.is_none(),
                    // There is no actor that could fail.
                    _ => false,
                };
                assert!(ends, "stopped without a reason: {error}");
            }
            (request, Error::Busy { .. }) => {
                assert!(!matches!(request, Request::NextBlock | Request::GetStatus), "{error}");
                self.tales.count("row", "flood: busy");
            }
            (Request::PushQc(_), Error::InvalidQc(_) | Error::InvalidBlock(_))
            | (Request::PushBlock(_), Error::InvalidBlock(_) | Error::HeaderMismatch { .. }) => {
                assert!(!asked.honest, "refused though it is of the chain: {error}");
                self.tales.count("row", "invalid input: refused");
            }
            (Request::PushQc(_) | Request::PushBlock(_), Error::VerifierFailed { failures, .. }) => {
                let deaths = process.excuses.deaths(ActorKind::Verifier) - asked.verifier_deaths;
                let blamed = process.excuses.blamed(call);
                assert!(blamed == *failures && blamed >= 2 && deaths >= 2, "{error}: {blamed} of {deaths}");
                self.tales.count("row", "poisonous input: given up");
            }
            (Request::PushAppHash(push), Error::AppHashOutOfOrder { number, next_app_proposal, .. }) => {
                assert_eq!(*number, push.number);
                assert!(number < next_app_proposal && *next_app_proposal <= now.next_app_proposal, "{error}");
            }
            (_, Error::Pruned { number, first }) => {
                assert!(number < first && *first == now.first, "{error}: {now:?}");
            }
            (Request::TryGetBlock(get), Error::NotFound) => {
                let there = asked.cursors.first..asked.cursors.next_block;
                assert!(!there.contains(&get.number) || get.number < now.first, "{}: {there:?}", get.number);
            }
            (Request::GetBlockByHash(_), Error::NotFound) => {}
            (_, Error::Damaged { .. }) => {
                let failed = process.excuses.failed_reads.contains(&call);
                assert!(self.ledger.rotten || failed, "{error}");
                if self.ledger.rotten {
                    self.tales.count("row", "corruption while serving: not served");
                }
            }
            (request, error) => panic!("{}: {error}", brief(request)),
        }
    }

    // ---- forks -------------------------------------------------------------------------------------------------

    /// Recovers, beside the run, what a loss of power now would leave: what was promised must be there. Some forks meet
    /// more on the way: another loss of power inside the recovery, or damage.
    pub(super) fn fork(&mut self) {
        let seed = self.luck.any();
        if self.ledger.rotten || self.in_memory {
            return;
        }
        let mut fork = self.disk.crash(seed);
        let mut luck = super::script::Luck::new(seed);
        if luck.one_in(4) {
            return self.damaged_at_work(&self.disk.kill(), &mut luck);
        }
        for _ in 0..luck.below(3) {
            fork.crash_at(luck.below(60));
            if let Start::Running(recovered, _) = recover(&fork, &self.chain, &self.config) {
                self.check_promises(&recovered);
            }
            if fork.has_crashed() {
                self.tales.count("row", "crash inside recovery");
            }
            self.tales.count("count", "crash recoveries");
            fork = fork.crash(luck.any());
        }
        match recover(&fork, &self.chain, &self.config) {
            Start::Running(recovered, mut node) => {
                for row in recovered.reconcile_case.split('+') {
                    self.tales.count("reconcile", row);
                }
                self.check_promises(&recovered);
                check_served(&node, &recovered, &self.chain, 1 + luck.below(20), false);
                if luck.one_in(4) {
                    check_other_history(&mut node, &recovered, &self.chain, self.config.window_blocks);
                    self.tales.count("count", "other histories");
                } else if luck.one_in(2) {
                    node.idle();
                    drop(node);
                    self.damaged_fork(&fork.kill(), &recovered, &mut luck);
                }
            }
            Start::Refused(error) => {
                panic!("a loss of power (fork seed {seed}) leaves what does not open: {error}")
            }
            Start::Ended(why) => {
                panic!("a loss of power (fork seed {seed}) leaves what does not start: {why}")
            }
        }
        self.tales.count("count", "crash recoveries");
        self.tales.count("count", "forks");
    }

    /// Flips a bit of a log that is at work: what is written after a group vouches for all before it, so that only the
    /// last group can be taken for one that was never written whole.
    fn damaged_at_work(&self, fork: &SimStorage, luck: &mut super::script::Luck) {
        let [qcs, blocks] = self.ledger.logs;
        let name = super::damage::flip_a_bit_of_a_log(fork, luck);
        let row = match recover(fork, &self.chain, &self.config) {
            Start::Running(recovered, node) => {
                let next_qc = if name == "qcs" { qcs.below } else { qcs.durable };
                let next_block = next_qc.min(if name == "blocks" { blocks.below } else { blocks.durable });
                let (found_qc, found_block) = (recovered.next_qc.0, recovered.next_block.0);
                assert!(
                    found_qc >= next_qc && found_block >= next_block,
                    "a flipped bit of {name} was taken for the end of the log, though what comes after it vouches for it: \
                     {recovered:?}, at least {next_block} and {next_qc}"
                );
                check_served(&node, &recovered, &self.chain, 1 + luck.below(8), true);
                "a bit flipped at work: nothing altered"
            }
            // The number of a format has to be read before its checksum can be: a bit of it makes it a newer one.
            Start::Refused(
                StartError::Corrupt { .. } | StartError::WouldLose { .. } | StartError::NewerFormat { .. },
            ) => "a bit flipped at work: refused",
            Start::Refused(error) => panic!("refused for another reason: {error}"),
            Start::Ended(why) => panic!("a flipped bit of {name} ends without a refusal: {why}"),
        };
        self.tales.count("damaged forks", row);
    }

    /// Whoever waits, waits for something: a call whose condition holds has its answer.
    pub(super) fn check_nobody_waits(&self) {
        let process = self.process.as_ref().expect("everything has come through");
        let now = process.core.cursors();
        for asked in process.pending.values() {
            let waits_rightly = match &asked.request {
                Request::PushQc(push) => {
                    let range = push.qc.range(&self.chain.members.committee);
                    range
                        .is_ok_and(|range| range.start > now.next_qc || range.start.0 >= self.window_end(now))
                }
                Request::PushBlock(push) => push.number >= now.next_qc,
                Request::PushAppHash(push) => push.number >= now.next_block_to_persist,
                Request::GetQc(get) => get.number >= now.next_qc,
                Request::GetBlock(get) => get.number >= now.next_block,
                Request::GetGlobalBlock(get) => get.number >= now.next_block,
                Request::GetAppProposal(get) => get.number >= now.next_app_proposal,
                Request::Subscribe(subscribe) if subscribe.only_durable => {
                    subscribe.from >= now.next_block_to_persist
                }
                Request::Subscribe(subscribe) => subscribe.from >= now.next_block,
                _ => false,
            };
            assert!(waits_rightly, "{} waits for nothing: {now:?}", brief(&asked.request));
        }
    }

    /// Damages a fork whose logs have come to rest: its recovery refuses, or serves nothing but the chain. A flipped bit
    /// loses nothing: something vouches for all of it.
    fn damaged_fork(&mut self, fork: &SimStorage, was: &Recovered, luck: &mut super::script::Luck) {
        let (kind, case) = super::damage::damage(fork, luck, &self.old);
        let before = fork.kill();
        match recover(fork, &self.chain, &self.config) {
            Start::Running(recovered, node) => {
                for row in recovered.reconcile_case.split('+') {
                    self.tales.count("reconcile", row);
                }
                if kind == "a bit flipped" {
                    let [was, is] = [was, &recovered].map(|it| (it.first, it.next_block, it.next_qc));
                    assert_eq!(was, is, "a flipped bit was taken for the end of a log");
                }
                check_served(&node, &recovered, &self.chain, 1 + luck.below(8), true);
                self.tales.count("damaged forks", format!("{kind}: nothing altered"));
            }
            Start::Refused(error) => {
                let was = (self.ledger.gap, self.ledger.marker_damaged, self.ledger.rotten);
                (self.ledger.gap, self.ledger.marker_damaged, self.ledger.rotten) =
                    (case == Some("11"), case == Some("marker"), kind == "a bit flipped");
                self.count_refusal(&error);
                (self.ledger.gap, self.ledger.marker_damaged, self.ledger.rotten) = was;
                let disk = std::mem::replace(&mut self.disk, fork.clone());
                self.check_untouched(Some(&before));
                self.disk = disk;
                self.tales.count("damaged forks", format!("{kind}: refused"));
            }
            Start::Ended(why) => panic!("a damaged fork ends without a refusal ({kind}): {why}"),
        }
    }
}

/// A request in a few words.
pub(super) fn brief(request: &Request) -> String {
    match request {
        Request::PushQc(push) => {
            format!("push QC of road {} with {} blocks", push.qc.road_index().0, push.blocks.len())
        }
        Request::PushBlock(push) => format!("push block {}", push.number),
        Request::PushAppHash(push) => format!("push app hash {}", push.number),
        request => format!("{request:?}"),
    }
}

fn brief_answer(answer: &Result<Answer, Error>) -> String {
    match answer {
        Ok(Answer::Qc(_)) => "a QC".to_owned(),
        Ok(Answer::Block(_)) => "a block".to_owned(),
        Ok(Answer::GlobalBlock(block)) => format!("block {}", block.number),
        Ok(Answer::GlobalBlocks(blocks)) => {
            format!("{} blocks from {:?}", blocks.len(), blocks.first().map(|block| block.number.0))
        }
        Ok(Answer::Status(status)) => format!("{:?} {:?}", status.state, status.cursors),
        Ok(answer) => format!("{answer:?}"),
        Err(error) => error.to_string(),
    }
}
