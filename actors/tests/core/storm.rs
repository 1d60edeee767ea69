//! Everything at random: callers honest and not, workers that die, hang, come back and report late, crashes of the
//! whole. The world's oracles look after every step; when the storm is over everything must come to its end.
//!
//! `ROADBED_CORE_STEPS` sets how many steps are taken in all, `ROADBED_CORE_SEED` replays the one seed that a
//! failure has named.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::time::Duration;

use roadbed::state::core::calls::Bound;
use roadbed::state::core::{Answer, Bounds, Request};
use roadbed::supervision::RestartPolicy;
use roadbed::{Config, RetentionPolicy};
use roadbed_messages::api::workers::{CallId, Cause};
use roadbed_messages::api::{
    ActorKind, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock,
    PruneBefore, PushAppHash, PushBlock, PushQc, StartError, StopReason, Subscribe, TryGetBlock,
};
use roadbed_messages::{AppHash, BlockNumber, HeaderHash};

use crate::world::{Luck, Setup, World};

const STEPS_PER_SEED: u64 = 2_000;
const STEPS_DEFAULT: u64 = 120_000;
/// Rounds after which a world that is left in peace must have come to its end.
const ROUNDS_MAX: usize = 20_000;

/// A subscriber that asks for the next stretch as soon as it has one.
struct Subscriber {
    next: u64,
    only_durable: bool,
    call: Option<CallId>,
}

struct Storm {
    world: World,
    subscribers: Vec<Subscriber>,
    /// How often in a thousand steps a worker dies.
    deaths_per_mille: u64,
}

/// Says which seed to replay, should the storm end in a panic.
struct Named(u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "it is how a failing test tells its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with ROADBED_CORE_SEED={}", self.0);
        }
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
fn whatever_fails_in_whatever_order_every_promise_holds_and_the_chain_comes_out_as_it_went_in() {
    if let Some(seed) = number_from_env("ROADBED_CORE_SEED") {
        weather(seed);
        return;
    }
    let steps = number_from_env("ROADBED_CORE_STEPS").unwrap_or(STEPS_DEFAULT);
    let mut seen = Seen::default();
    for seed in 0..steps.div_ceil(STEPS_PER_SEED) {
        seen.extend(weather(seed));
    }
    if steps >= STEPS_DEFAULT {
        let missing: Vec<_> = MUST_BE_SEEN.iter().filter(|outcome| !seen.contains(outcome)).collect();
        assert!(missing.is_empty(), "the storms are too tame: {missing:?} never happened");
    }
}

type Seen = BTreeSet<(&'static str, &'static str)>;

/// What a storm that is worth its name brings about: requests and what became of them, starts and ends.
const MUST_BE_SEEN: [(&str, &str); 46] = [
    ("push_qc", "ok"),
    ("push_qc", "busy"),
    ("push_qc", "stopped"),
    ("push_qc", "invalid_signature"),
    ("push_qc", "header_chain"),
    ("push_qc", "verifier_failed"),
    ("push_block", "ok"),
    ("push_block", "busy"),
    ("push_block", "stopped"),
    ("push_block", "payload_mismatch"),
    ("push_block", "hash_mismatch"),
    ("push_block", "verifier_failed"),
    ("push_app_hash", "ok"),
    ("push_app_hash", "busy"),
    ("push_app_hash", "stopped"),
    ("push_app_hash", "app_hash_out_of_order"),
    ("get_qc", "ok"),
    ("get_qc", "busy"),
    ("get_qc", "pruned"),
    ("get_block", "ok"),
    ("get_block", "pruned"),
    ("get_block", "damaged"),
    ("get_global_block", "ok"),
    ("get_global_block", "pruned"),
    ("get_global_block", "damaged"),
    ("get_app_proposal", "ok"),
    ("get_app_proposal", "pruned"),
    ("try_get_block", "ok"),
    ("try_get_block", "not_found"),
    ("try_get_block", "pruned"),
    ("try_get_block", "damaged"),
    ("get_block_by_hash", "ok"),
    ("get_block_by_hash", "not_found"),
    ("get_block_by_hash", "damaged"),
    ("subscribe", "ok"),
    ("subscribe", "pruned"),
    ("prune_before", "ok"),
    ("prune_before", "busy"),
    ("prune_before", "stopped"),
    ("shutdown", "ok"),
    ("shutdown", "stopped"),
    ("start", "ok"),
    ("start", "lost"),
    ("stop", "shutdown"),
    ("stop", "refused"),
    ("stop", "escalated"),
];

fn weather(seed: u64) -> Seen {
    let _named = Named(seed);
    let mut storm = Storm::new(seed);
    for _ in 0..STEPS_PER_SEED {
        storm.step();
    }
    storm.calm();
    storm.come_to_the_end();
    storm.world.seen
}

#[test]
fn equal_inputs_give_equal_effects() {
    for seed in 0..10 {
        let digest = || {
            let mut storm = Storm::new(seed);
            storm.world.digest = Some(DefaultHasher::new());
            for _ in 0..300 {
                storm.step();
            }
            storm.world.digest.unwrap().finish()
        };
        assert_eq!(digest(), digest(), "seed {seed}");
    }
}

fn setup(seed: u64, luck: &mut Luck) -> Setup {
    let (blocks_per_qc, qcs) = (1 + luck.below(5), 25);
    let first_block = luck.pick(&[0, 1, 1_000_000, u64::MAX - blocks_per_qc * qcs]);
    Setup {
        seed,
        members: luck.pick(&[1, 3, 4, 7]),
        first_block,
        blocks_per_qc: usize::try_from(blocks_per_qc).unwrap(),
        qcs: usize::try_from(qcs).unwrap(),
        config: config(luck),
        with_logs: luck.below(6) > 0,
        ..Setup::default()
    }
}

fn config(luck: &mut Luck) -> Config {
    let mut bound = |calls_max: &[usize]| Bound {
        calls_max: luck.pick(calls_max),
        bytes_max: luck.pick(&[0, 1_000, 3_000, 1 << 20]),
    };
    let bounds = Bounds {
        push_qc: bound(&[1, 2, 4, 20]),
        push_block: bound(&[1, 3, 8, 40]),
        push_app_hash: Bound { bytes_max: u64::MAX, ..bound(&[1, 2, 5, 20]) },
        get: Bound { bytes_max: u64::MAX, ..bound(&[2, 5, 20]) },
        prune: Bound { bytes_max: u64::MAX, ..bound(&[1, 2, 5]) },
    };
    let restart = if luck.below(4) == 0 {
        RestartPolicy::default()
    } else {
        RestartPolicy {
            restarts_max: 10_000,
            failures_without_progress_max: 10_000,
            ..RestartPolicy::default()
        }
    };
    Config {
        window_blocks: luck.pick(&[1, 2, 7, 30, 4000]),
        memory_bytes_max: luck.pick(&[0, 2_000, 10_000, 1 << 28]),
        bounds,
        verify_jobs_max: luck.pick(&[1, 2, 5, 256]),
        verify_threads: 1,
        restart,
        verify_all_on_start: luck.below(2) == 0,
        retention: RetentionPolicy::default(),
        ..Config::default()
    }
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut luck = Luck::seeded(seed);
        let mut world = World::new(&setup(seed, &mut luck));
        let subscribers = [false, true].map(|only_durable| Subscriber {
            next: world.source.first(),
            only_durable,
            call: None,
        });
        let deaths_per_mille = luck.pick(&[0, 3, 10, 40]);
        world.luck = luck;
        let mut storm = Self { world, subscribers: subscribers.into(), deaths_per_mille };
        storm.begin();
        storm
    }

    fn begin(&mut self) {
        self.world.may_escalate = self.world.config.restart == RestartPolicy::default();
        self.world.begin();
    }

    fn step(&mut self) {
        if self.world.stopped.is_some() {
            self.start_again();
        }
        match self.world.luck.below(1_000) {
            0..350 => self.work(),
            350..620 => self.deliver(),
            620..670 => self.read(),
            670..690 => self.world.finish_load(),
            690..900 => self.call(),
            900..930 => self.forget(),
            930..950 => {
                self.world.tick();
            }
            950..960 => {
                let time = Duration::from_millis(self.world.luck.below(200));
                self.world.pass(time);
            }
            960..970 => self.hold_or_let_go(),
            970..978 => self.beat(),
            978..980 => self.end_of_the_process(),
            _ => {}
        }
        if self.world.luck.below(1_000) < self.deaths_per_mille {
            self.kill();
        }
        self.follow();
    }

    fn work(&mut self) {
        let busy: Vec<_> =
            ActorKind::WORKERS.into_iter().filter(|actor| self.world.can_work(*actor)).collect();
        if !busy.is_empty() {
            let actor = self.world.luck.pick(&busy);
            self.world.work(actor);
        }
    }

    fn deliver(&mut self) {
        let reporting = self.world.reporting();
        if !reporting.is_empty() {
            let life = self.world.luck.pick(&reporting);
            self.world.deliver(life);
        }
    }

    fn read(&mut self) {
        let reads = self.world.reads();
        if reads > 0 {
            let position = self.world.luck.below(reads as u64);
            self.world.finish_read(usize::try_from(position).unwrap());
        }
    }

    fn forget(&mut self) {
        let pending = self.world.pending_calls();
        if !pending.is_empty() {
            let call = self.world.luck.pick(&pending);
            self.world.forget(call);
        }
    }

    fn hold_or_let_go(&mut self) {
        let actor = self.world.luck.pick(&ActorKind::WORKERS);
        if !self.world.held.remove(&actor) && self.world.luck.chance(30) {
            self.world.held.insert(actor);
        }
    }

    fn beat(&mut self) {
        let world = &mut self.world;
        let actor = world.luck.pick(&ActorKind::WORKERS);
        let hung_after = world.config.hung_after.as_secs_f64();
        let running_for = match world.luck.below(20) {
            0 => Some(world.config.give_up_after.as_secs_f64()),
            1..5 => Some(hung_after),
            5..10 => Some(hung_after / 2.0),
            _ => None,
        };
        let jobs: Vec<_> =
            world.verifier.iter().flat_map(|life| life.jobs.iter().map(|job| job.call)).collect();
        let job = if jobs.is_empty() { None } else { Some(world.luck.pick(&jobs)) };
        world.beat(actor, running_for, job.filter(|_| actor == ActorKind::Verifier));
    }

    fn kill(&mut self) {
        let world = &mut self.world;
        let actor = world.luck.pick(&ActorKind::WORKERS);
        let cause = match world.luck.below(40) {
            0 => Cause::Corruption,
            1..10 => Cause::DiskFull,
            10..20 => Cause::Error,
            20..25 => Cause::Stopped,
            _ => Cause::Panic,
        };
        match world.luck.below(20) {
            // Both logs at once.
            0 => {
                world.kill_logs(cause);
            }
            1 if world.running.is_none() => world.refuse(ActorKind::QcWal),
            _ => {
                let jobs: Vec<_> =
                    world.verifier.iter().flat_map(|life| life.jobs.iter().map(|job| job.call)).collect();
                let known = actor == ActorKind::Verifier && !jobs.is_empty() && world.luck.chance(50);
                let job = known.then(|| world.luck.pick(&jobs));
                world.kill_with(actor, cause, job);
            }
        }
    }

    /// A crash or a shutdown of the whole, now and then with a log lost on the way.
    fn end_of_the_process(&mut self) {
        match self.world.luck.below(4) {
            0 | 1 => {
                self.world.ask(Request::Shutdown);
            }
            _ => self.start_again(),
        }
    }

    fn start_again(&mut self) {
        let world = &mut self.world;
        // Whoever accepts the loss does so until the start has gone through.
        let accept_lost_qcs = matches!(world.stopped, Some(StopReason::Start(StartError::WouldLose { .. })))
            || world.config.accept_lost_qcs && world.running.is_none();
        let config = Config { accept_lost_qcs, ..config(&mut world.luck) };
        if accept_lost_qcs {
            world.excuse_lost_promises();
        }
        world.crash(config);
        if world.with_logs && !accept_lost_qcs {
            match world.luck.below(30) {
                0 => {
                    world.blocks.disk.lose();
                    world.excuse_lost_promises();
                }
                1 => world.qcs.disk.lose(),
                _ => {}
            }
        }
        world.may_refuse = !world.qcs.disk.facts().exists;
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.call = None);
        self.begin();
    }

    // ---- callers ----------------------------------------------------------------------------------------------

    /// A number near `cursor`, mostly.
    fn near(&mut self, cursor: BlockNumber, below: u64, above: u64) -> BlockNumber {
        let luck = &mut self.world.luck;
        if luck.chance(4) {
            return BlockNumber(luck.pick(&[0, u64::MAX, u64::MAX - 1, cursor.0.saturating_add(100_000)]));
        }
        BlockNumber(cursor.0.saturating_sub(below).saturating_add(luck.below(below + above + 1)))
    }

    /// As [`Storm::near`], but a number of the chain.
    fn near_of_chain(&mut self, cursor: BlockNumber, below: u64, above: u64) -> u64 {
        let (first, end) = (self.world.source.first(), self.world.source.end());
        self.near(cursor, below, above).0.clamp(first, end - 1)
    }

    fn call(&mut self) {
        let cursors = self.world.cursors();
        let request = match self.world.luck.below(100) {
            0..25 => return self.push_qc(),
            25..45 => return self.push_block(),
            45..60 => {
                let above = self.world.luck.pick(&[2, 10]);
                let number = self.near(cursors.next_app_proposal, 2, above);
                let hash = AppHash([u8::try_from(self.world.luck.below(3)).unwrap(); 32]);
                Request::PushAppHash(PushAppHash { number, hash })
            }
            60..64 => Request::GetQc(GetQc { number: self.near(cursors.next_qc, 10, 3) }),
            64..68 => Request::GetBlock(GetBlock { number: self.near(cursors.next_block, 15, 3) }),
            68..72 => {
                Request::GetGlobalBlock(GetGlobalBlock { number: self.near(cursors.next_block, 15, 3) })
            }
            72..76 => Request::GetAppProposal(GetAppProposal {
                number: self.near(cursors.next_app_proposal, 15, 3),
            }),
            76..80 => Request::TryGetBlock(TryGetBlock { number: self.near(cursors.next_block, 15, 3) }),
            80..84 => {
                let number = self.near_of_chain(cursors.next_block, 15, 5);
                let known = self.world.source.block(number).header_hash();
                let hash = if self.world.luck.chance(10) { HeaderHash([7; 32]) } else { known };
                Request::GetBlockByHash(GetBlockByHash { hash })
            }
            84..88 => Request::NeedBlock(NeedBlock { number: self.near(cursors.next_block, 2, 10) }),
            88..92 => {
                let retain_from = self.near(cursors.first, 1, 6);
                Request::PruneBefore(PruneBefore { retain_from })
            }
            92..95 => Request::NextBlock,
            95..97 => Request::GetStatus,
            _ => {
                let number = self.near_of_chain(cursors.next_block, 10, 0);
                if !self.world.damaged.remove(&number) {
                    self.world.damaged.insert(number);
                }
                return;
            }
        };
        self.world.ask(request);
    }

    fn push_qc(&mut self) {
        let next = self.world.cursors().next_qc;
        let number = self.near_of_chain(next, 10, 10);
        let position = self.world.source.position(number);
        let last = self.world.source.links.len() - 1;
        let lie = self.world.luck.below(12);
        let (qc, blocks) = match lie {
            0 => self.world.source.forged(position..=position),
            1 => {
                let end = position + usize::try_from(self.world.luck.below(4)).unwrap();
                self.world.source.forged(position..=end.min(last))
            }
            2 => self.world.source.tampered(position),
            _ => {
                let link = &self.world.source.links[position];
                (link.qc.clone(), link.pushed_blocks())
            }
        };
        let blocks = match self.world.luck.below(4) {
            0 => blocks,
            1 => Vec::new(),
            2 => blocks.into_iter().rev().collect(),
            _ => blocks.into_iter().filter(|_| self.world.luck.chance(50)).collect(),
        };
        let call = self.world.ask_as(Request::PushQc(PushQc { qc, blocks }), lie > 2);
        if self.world.luck.chance(1) {
            self.world.poison.insert(call);
        }
    }

    fn push_block(&mut self) {
        let next = self.world.cursors().next_block;
        let of_chain = self.near_of_chain(next, 3, 12);
        let lie = self.world.luck.below(15);
        let (number, block) = match lie {
            0 => (BlockNumber(of_chain), self.world.source.wrong_payload(of_chain)),
            1 => {
                let (_, blocks) = self.world.source.tampered(self.world.source.position(of_chain));
                (BlockNumber(of_chain), blocks[0].clone())
            }
            2 => (self.near(next, 3, 12), self.world.source.block(of_chain).block().clone()),
            _ => (BlockNumber(of_chain), self.world.source.block(of_chain).block().clone()),
        };
        let call = self.world.ask_as(Request::PushBlock(PushBlock { number, block }), lie > 2);
        if self.world.luck.chance(1) {
            self.world.poison.insert(call);
        }
    }

    /// Lets the subscribers take what has come, and ask for more.
    fn follow(&mut self) {
        for subscriber in &mut self.subscribers {
            let world = &mut self.world;
            if let Some(answer) = subscriber.call.and_then(|call| world.take_answer(call)) {
                subscriber.call = None;
                match answer {
                    // The oracle has seen that they begin where they must and are the chain's.
                    Ok(Answer::GlobalBlocks(blocks)) => subscriber.next += blocks.len() as u64,
                    Err(Error::Pruned { first, .. }) => subscriber.next = first.0,
                    Err(Error::Busy { .. } | Error::Stopped(_) | Error::Damaged { .. }) => {}
                    answer => panic!("{answer:?}"),
                }
            }
            let waits = subscriber.call.is_some_and(|call| world.is_pending(call));
            if !waits && world.stopped.is_none() && world.luck.chance(30) {
                let from = BlockNumber(subscriber.next);
                let blocks_max = world.luck.pick(&[0, 1, 5, 1_000]);
                let subscribe = Subscribe { from, only_durable: subscriber.only_durable, blocks_max };
                subscriber.call = Some(world.ask(Request::Subscribe(subscribe)));
            }
        }
        let waited_for: Vec<_> = self.subscribers.iter().filter_map(|subscriber| subscriber.call).collect();
        self.world.drop_answers_but(&waited_for);
    }

    // ---- the calm after it ------------------------------------------------------------------------------------

    /// No more faults: every block of the chain gets in, is executed, and reaches every subscriber.
    fn calm(&mut self) {
        let end = self.world.source.end();
        self.world.held.clear();
        self.world.damaged.clear();
        self.world.poison.clear();
        for _ in 0..ROUNDS_MAX {
            if self.world.stopped.is_some() {
                self.start_again();
            }
            self.world.run_on();
            if self.world.stopped.is_some() {
                continue;
            }
            self.push_what_is_needed();
            self.world.run();
            self.follow();
            let executed = self.world.cursors().next_app_proposal.0 == end;
            if executed && self.subscribers.iter().all(|subscriber| subscriber.next == end) {
                return;
            }
        }
        let subscribers: Vec<_> = self.subscribers.iter().map(|subscriber| subscriber.next).collect();
        panic!("no progress: {:?}, subscribers at {subscribers:?}", self.world.cursors());
    }

    fn push_what_is_needed(&mut self) {
        let world = &mut self.world;
        let end = world.source.end();
        let cursors = world.cursors();
        if cursors.next_qc.0 < end {
            let link = world.source.link(cursors.next_qc.0);
            let push = PushQc { qc: link.qc.clone(), blocks: Vec::new() };
            world.ask(Request::PushQc(push));
            world.run();
        }
        let wanted = world.cursors().next_block;
        if wanted < world.cursors().next_qc {
            let block = world.source.block(wanted.0).block().clone();
            world.ask(Request::PushBlock(PushBlock { number: wanted, block }));
            world.run();
        }
        let cursors = world.cursors();
        if cursors.next_app_proposal < cursors.next_block_to_persist {
            let number = cursors.next_block_to_persist.saturating_sub(1);
            world.ask(Request::PushAppHash(PushAppHash { number, hash: AppHash([1; 32]) }));
        }
    }

    /// What still waits asks for what there will never be. A shutdown answers it, and the next start finds it all.
    fn come_to_the_end(&mut self) {
        let world = &mut self.world;
        let end = world.source.end();
        world.assert_waits_only_for(end..=u64::MAX);
        let shutdown = world.ask(Request::Shutdown);
        world.run_on();
        assert!(matches!(world.stopped, Some(StopReason::Shutdown(_))), "{:?}", world.stopped);
        let Some(Ok(Answer::Shutdown(report))) = world.take_answer(shutdown) else { panic!("no report") };
        assert!(report.is_clean(), "{report:?}");
        let first = report.cursors.first;
        let late = world.ask_now(Request::NextBlock);
        assert!(matches!(late, Err(Error::Stopped(StopReason::Shutdown(_)))), "{late:?}");

        world.restart();
        let found = world.cursors();
        if world.with_logs {
            assert_eq!((found.first, found.next_block.0, found.next_qc.0), (first, end, end));
            self.read_everything(first.0..end);
        }
    }

    fn read_everything(&mut self, range: Range<u64>) {
        for number in range.map(BlockNumber) {
            let call = self.world.ask(Request::GetGlobalBlock(GetGlobalBlock { number }));
            self.world.run();
            // The oracle compares it with what went in.
            let answer = self.world.take_answer(call);
            assert!(matches!(answer, Some(Ok(_))), "{number}: {answer:?}");
        }
    }
}
