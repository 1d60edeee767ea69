//! Workers that fail: what their deaths cost, when they come back, and when State gives up.

use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::{Answer, Effect, Input, Request};
use roadbed::supervision::RestartPolicy;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation, LogFacts, Order, WalOrder, WalStart};
use roadbed_messages::api::{ActorKind, Error, RunState, StartError, StopReason, WorkerState};

use crate::world::{Setup, World};

const LOGS: [ActorKind; 2] = [ActorKind::QcWal, ActorKind::BlockWal];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn world_with(config: Config) -> World {
    let mut world = World::started(&Setup { qcs: 40, config, ..Setup::default() });
    world.push_links(0..2);
    world
}

fn world() -> World {
    world_with(Config::default())
}

fn worker(world: &mut World, actor: ActorKind) -> (WorkerState, u64) {
    let status = world.status();
    let found = status.workers.iter().find(|worker| worker.actor == actor).unwrap();
    (found.state, found.restarts)
}

fn escalated(world: &World) -> Option<(ActorKind, &str)> {
    match &world.stopped {
        Some(StopReason::Escalated { actor, error }) => Some((*actor, error)),
        _ => None,
    }
}

/// Kills a worker and lets State hear of it.
fn fail(world: &mut World, actor: ActorKind, cause: Cause) {
    world.kill(actor, cause);
    world.run();
}

/// Kills a worker and waits for its next life.
fn fail_and_come_back(world: &mut World, actor: ActorKind, cause: Cause) {
    fail(world, actor, cause);
    world.tick();
    world.run();
}

// ---- deaths and lives -----------------------------------------------------------------------------------------

#[test]
fn scenario_24_late_answers_of_an_old_life_have_no_effect() {
    let mut world = world();
    world.held.extend(LOGS);
    let waiting = world.push_link(2);
    world.run();
    world.held.clear();
    for actor in ActorKind::WORKERS {
        fail_and_come_back(&mut world, actor, Cause::Panic);
    }
    world.held.extend(LOGS);
    let push = world.push_link(3);
    let (cursors, status) = (world.cursor_numbers(), world.status());
    assert_eq!(world.fate(waiting), "ok");
    let facts = LogFacts { exists: true, range: None, next_index: 0, torn_bytes: 0 };
    let late = [
        Event::Up,
        Event::Judged(facts),
        Event::Refused(StartError::Corrupt { detail: "late".to_owned() }),
        Event::Opened { next_index: 0 },
        Event::Durable { next_index: 4, upto: BlockNumber(12) },
        Event::Truncated { first: BlockNumber(12) },
        Event::Closed,
        Event::Verified(vec![(push, Ok((None, Vec::new())))]),
        Event::Beat { running_for_seconds: Some(1e9), job: Some(push) },
        Event::Died { cause: Cause::Corruption, error: "late".to_owned(), job: Some(push) },
    ];
    for actor in ActorKind::WORKERS {
        for event in &late {
            for generation in [Generation(1), Generation(99)] {
                world.report(actor, generation, event.clone());
                world.deliver((actor, generation));
                assert!(world.effects.is_empty(), "{actor}: {event:?}: {:?}", world.effects);
            }
        }
    }
    assert_eq!((world.cursor_numbers(), world.status()), (cursors, status));
    world.held.clear();
    world.run();
    assert_eq!(world.fate(push), "ok");
}

#[test]
fn first_report_of_a_failure_ends_a_life_and_later_ones_count_nothing() {
    for actor in ActorKind::WORKERS {
        let mut world = world();
        let generation = world.alive(actor).unwrap();
        for _ in 0..20 {
            world.report(actor, generation, died(Cause::Error));
        }
        world.kill(actor, Cause::Panic);
        world.run();
        assert_eq!(worker(&mut world, actor), (WorkerState::Backoff, 1));
        world.tick();
        world.run();
        assert_eq!(worker(&mut world, actor), (WorkerState::Up, 1));
    }
}

fn died(cause: Cause) -> Event {
    Event::Died { cause, error: "it failed".to_owned(), job: None }
}

#[test]
fn log_that_fails_goes_on_from_its_durable_point() {
    for actor in LOGS {
        let mut world = world();
        let ahead = world.subscribe(0, true, 100);
        assert_eq!(world.fate(ahead), "ok");
        // Everything is written, nothing beyond link 1 is synced, and what was written is lost or not.
        world.push_links(2..4);
        world.held.insert(actor);
        world.push_links(4..9);
        world.kill(actor, Cause::Error);
        world.held.clear();
        world.run();
        world.tick();
        let resumed: Vec<_> = world
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Start { wal: Some(WalStart::Resume { next_index, .. }), .. } => Some(*next_index),
                _ => None,
            })
            .collect();
        assert_eq!(resumed, [if actor == ActorKind::QcWal { 4 } else { 12 }]);
        let waiting = world.push_app_hash(26);
        assert_eq!(world.fate(waiting), "waits");
        world.run();
        assert_eq!(world.fate(waiting), "ok", "nobody who waits notices more than time");
        assert_eq!(world.cursor_numbers(), [0, 27, 27, 27, 27]);
    }
}

#[test]
fn durable_report_of_a_life_that_just_ended_does_not_count() {
    for actor in LOGS {
        let mut world = world();
        world.held.insert(actor);
        world.push_links(2..3);
        let generation = world.alive(actor).unwrap();
        // It is written and synced, but State hears of the death first.
        world.report(actor, generation, died(Cause::Panic));
        while world.log(wal_of(actor)).can_work() {
            world.work(actor);
        }
        world.held.clear();
        world.run();
        assert_eq!(world.cursor_numbers()[2..], [6, 9, 9]);
        world.run_on();
        assert_eq!(world.cursor_numbers()[2..], [9, 9, 9]);
    }
}

fn wal_of(actor: ActorKind) -> roadbed_messages::api::WalKind {
    roadbed_messages::api::WalKind::BOTH.into_iter().find(|wal| wal.actor() == actor).unwrap()
}

#[test]
fn scenario_24_both_logs_die_at_once_and_nothing_is_lost() {
    let mut world = world();
    world.held.extend(LOGS);
    world.push_links(2..5);
    world.kill_logs(Cause::Error);
    world.held.clear();
    world.run();
    assert_eq!(world.state(), RunState::Degraded);
    world.run_on();
    assert_eq!(world.state(), RunState::Running);
    assert_eq!(world.cursor_numbers()[2..], [15; 3]);
}

#[test]
fn log_that_opens_anywhere_but_at_its_durable_point_ends_the_subsystem() {
    let mut world = world();
    fail(&mut world, ActorKind::BlockWal, Cause::Error);
    world.held.insert(ActorKind::BlockWal);
    world.tick();
    let generation = world.alive(ActorKind::BlockWal).unwrap();
    world.may_escalate = true;
    world.report(ActorKind::BlockWal, generation, Event::Opened { next_index: 7 });
    world.run();
    let (actor, error) = escalated(&world).unwrap();
    assert_eq!(actor, ActorKind::BlockWal);
    assert_eq!(error, "the blocks log opened at index 7, State expected 6");
}

// ---- the verifier ---------------------------------------------------------------------------------------------

#[test]
fn verifier_that_fails_is_given_its_jobs_again() {
    let mut world = world();
    world.held.insert(ActorKind::Verifier);
    let pushes: Vec<_> = (2..8).map(|link| world.push_link(link)).collect();
    for _ in 0..5 {
        // Nobody knows with which job, so that no job is blamed.
        fail(&mut world, ActorKind::Verifier, Cause::Panic);
        world.tick();
        world.held.clear();
        world.work(ActorKind::Verifier);
        world.held.insert(ActorKind::Verifier);
    }
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&pushes), ["ok"; 6]);
}

#[test]
fn job_that_a_life_ended_with_shares_its_batch_with_no_other_from_then_on() {
    let alone = |world: &World| -> Vec<bool> {
        let jobs = world.effects.iter();
        jobs.filter_map(|effect| match effect {
            Effect::Verify(job) => Some(job.order.alone),
            _ => None,
        })
        .collect()
    };
    let mut world = world();
    world.held.insert(ActorKind::Verifier);
    world.push_link(2);
    assert_eq!(alone(&world), [false]);
    fail(&mut world, ActorKind::Verifier, Cause::Panic);
    world.tick();
    world.work(ActorKind::Verifier);
    world.run_reports();
    assert_eq!(alone(&world), [true]);
    world.push_link(3);
    assert_eq!(alone(&world), [false]);
}

#[test]
fn scenario_25_job_that_always_kills_the_verifier_errs_and_the_others_are_served() {
    let mut world = world();
    world.held.insert(ActorKind::Verifier);
    let pushes: Vec<_> = (2..8).map(|link| world.push_link(link)).collect();
    let poison = world.push_link(8);
    let block = world.push_block(24);
    world.poison.extend([poison, block]);
    world.held.clear();
    world.run_on();
    assert_eq!(world.fates(&pushes), ["ok"; 6]);
    for call in [poison, block] {
        match world.answer(call) {
            Some(Err(Error::VerifierFailed { failures: 2, last_error })) => {
                assert_eq!(last_error, "verifier was made to fail: panic");
            }
            answer => panic!("{answer:?}"),
        }
    }
    assert_eq!(worker(&mut world, ActorKind::Verifier), (WorkerState::Up, 4));
    world.poison.clear();
    world.push_links(8..10);
}

#[test]
fn verdict_on_a_job_that_nobody_gave_has_no_effect() {
    let config = Config { window_blocks: 8, ..Config::default() };
    let mut world = world_with(config);
    world.push_links(2..3);
    let waits = world.push_link(4);
    world.run();
    assert_eq!(world.fate(waits), "waits", "it is beyond the window, not with the verifier");
    let generation = world.alive(ActorKind::Verifier).unwrap();
    for call in [waits, CallId(12345)] {
        let done = vec![(call, Err(Error::NotFound))];
        world.report(ActorKind::Verifier, generation, Event::Verified(done));
        world.run();
    }
    assert_eq!(world.fate(waits), "waits");
}

#[test]
fn verifier_that_does_its_work_in_between_may_fail_for_years() {
    let mut world = world_with(tight());
    for link in 2..22 {
        fail_and_come_back(&mut world, ActorKind::Verifier, Cause::Panic);
        world.push_links(link..link + 1);
        world.pass(seconds(11));
    }
    assert_eq!((world.stopped.clone(), worker(&mut world, ActorKind::Verifier).1), (None, 20));
}

#[test]
fn hung_verifier_is_replaced_and_a_job_that_hangs_twice_errs() {
    let mut world = world();
    world.held.insert(ActorKind::Verifier);
    let (other, hangs) = (world.push_link(2), world.push_link(2));
    for replaced in 1..=2 {
        let hung_after = world.config.hung_after.as_secs_f64();
        world.beat(ActorKind::Verifier, Some(hung_after - 0.1), Some(hangs));
        assert!(world.effects.is_empty());
        world.beat(ActorKind::Verifier, Some(hung_after), Some(hangs));
        assert!(matches!(world.effects[..], [Effect::Retire { actor: ActorKind::Verifier }]));
        assert_eq!(worker(&mut world, ActorKind::Verifier), (WorkerState::Backoff, replaced));
        world.held.clear();
        world.tick();
        // Its jobs are with the next life, which has not taken them up when it hangs as well.
        world.work(ActorKind::Verifier);
        world.run_reports();
        world.held.insert(ActorKind::Verifier);
    }
    assert_eq!(world.fate(hangs), "verifier_failed");
    world.held.clear();
    world.run();
    assert_eq!(world.fate(other), "ok");
    assert!(world.stopped.is_none());
}

// ---- budgets --------------------------------------------------------------------------------------------------

fn tight() -> Config {
    let restart = RestartPolicy {
        restarts_max: 3,
        window: seconds(10),
        failures_without_progress_max: 4,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(80),
    };
    Config { restart, ..Config::default() }
}

#[test]
fn scenario_24_restart_budget_is_spent_and_then_refilled_by_time() {
    let mut world = world_with(tight());
    let mut link = 2;
    for _ in 0..4 {
        for _ in 0..3 {
            fail_and_come_back(&mut world, ActorKind::BlockWal, Cause::Panic);
            world.push_links(link..link + 1);
            link += 1;
        }
        world.pass(seconds(10));
    }
    assert_eq!(world.stopped, None);
    for _ in 0..3 {
        fail_and_come_back(&mut world, ActorKind::BlockWal, Cause::Panic);
    }
    let waiting = [world.get_block(500), world.push_app_hash(500), world.push_link(30)];
    world.may_escalate = true;
    fail(&mut world, ActorKind::BlockWal, Cause::Panic);
    let expected = (ActorKind::BlockWal, "block_wal was made to fail: panic");
    assert_eq!(escalated(&world), Some(expected));
    for call in waiting {
        match world.answer(call) {
            Some(Err(Error::Stopped(StopReason::Escalated { actor, error }))) => {
                assert_eq!((*actor, error.as_str()), expected);
            }
            answer => panic!("{answer:?}"),
        }
    }
}

#[test]
fn failures_without_progress_spend_the_budget_however_far_apart() {
    let mut world = world_with(tight());
    for _ in 0..4 {
        fail_and_come_back(&mut world, ActorKind::QcWal, Cause::Error);
        world.pass(seconds(100));
    }
    assert_eq!(world.stopped, None);
    world.may_escalate = true;
    fail(&mut world, ActorKind::QcWal, Cause::Error);
    assert!(escalated(&world).is_some());
}

#[test]
fn a_long_life_without_work_is_progress_of_the_pruner_alone() {
    for (actor, lives) in [(ActorKind::Verifier, seconds(100)), (ActorKind::Pruner, seconds(6))] {
        let mut world = world_with(tight());
        for _ in 0..4 {
            fail_and_come_back(&mut world, actor, Cause::Panic);
            world.pass(lives);
        }
        assert_eq!(world.stopped, None);
        world.may_escalate = true;
        fail(&mut world, actor, Cause::Panic);
        assert!(escalated(&world).is_some(), "{actor}");
    }
}

#[test]
fn restarts_are_counted_by_what_ended_the_life_before() {
    let mut world = world();
    for cause in [Cause::Panic, Cause::Error, Cause::Panic] {
        fail_and_come_back(&mut world, ActorKind::BlockWal, cause);
    }
    let counted = [((ActorKind::BlockWal, Cause::Error), 1), ((ActorKind::BlockWal, Cause::Panic), 2)];
    assert_eq!(world.core.observe().restarts, counted.into());
}

#[test]
fn pruner_that_fails_now_and_then_never_ends_the_subsystem() {
    let mut world = world_with(tight());
    for _ in 0..100 {
        fail_and_come_back(&mut world, ActorKind::Pruner, Cause::Panic);
        world.pass(seconds(11));
    }
    assert_eq!(world.stopped, None);
    assert_eq!(worker(&mut world, ActorKind::Pruner), (WorkerState::Up, 100));

    world.may_escalate = true;
    for _ in 0..4 {
        fail_and_come_back(&mut world, ActorKind::Pruner, Cause::Panic);
    }
    assert!(escalated(&world).is_some(), "one that fails at once again and again does");
}

#[test]
fn backoff_doubles_with_jitter_and_starts_over_after_progress() {
    let mut world = world_with(Config::default());
    for round in 0..2 {
        fail(&mut world, ActorKind::QcWal, Cause::Error);
        assert_eq!(world.core.next_deadline(), Some(world.now), "it is restarted at once");
        world.tick();
        world.run();
        for doublings in 0..4 {
            fail(&mut world, ActorKind::QcWal, Cause::Error);
            let delay = world.core.next_deadline().unwrap() - world.now;
            let longest = Duration::from_millis(20 << doublings);
            assert!(longest / 2 < delay && delay <= longest, "{delay:?} of {longest:?}");
            let not_yet = world.now + delay - Duration::from_nanos(1);
            world.pass(not_yet - world.now);
            assert!(world.effects.is_empty(), "it does not come back before its time");
            world.tick();
            assert!(matches!(world.effects[..], [Effect::Start { .. }]));
            world.run();
        }
        let link = 2 + round;
        world.push_links(link..link + 1);
    }
}

#[test]
fn full_disk_is_retried_for_ever_outside_the_budget_and_goes_on_by_itself() {
    let mut world = world_with(tight());
    let push = world.push_link(2);
    world.held.insert(ActorKind::BlockWal);
    world.run();
    let executed = world.push_app_hash(8);
    for attempt in 1..=200 {
        fail(&mut world, ActorKind::BlockWal, Cause::DiskFull);
        assert_eq!(worker(&mut world, ActorKind::BlockWal), (WorkerState::DiskFull, attempt));
        let delay = world.core.next_deadline().unwrap() - world.now;
        assert!(delay <= Duration::from_millis(80));
        world.tick();
        // It opens, and fails with the first write.
        world.held.clear();
        world.work(ActorKind::BlockWal);
        world.run_reports();
        world.held.insert(ActorKind::BlockWal);
    }
    assert_eq!((world.fate(push), world.fate(executed)), ("ok", "waits"), "no new durable promise");
    let (status, read) = (world.status(), world.get_block(4));
    assert_eq!((status.state, world.fate(read)), (RunState::DiskFull, "ok"), "reads go on");
    assert_eq!(
        status.reasons,
        ["block_wal has made nothing durable since the disk was full: block_wal was made to fail: disk_full"]
    );

    fail_and_come_back(&mut world, ActorKind::BlockWal, Cause::Error);
    assert_eq!(world.stopped, None, "an ordinary failure afterwards finds the whole budget");
    world.held.clear();
    world.run();
    assert_eq!(world.fate(executed), "ok");
    assert_eq!(world.state(), RunState::Running);
    world.held.insert(ActorKind::BlockWal);
    world.push_links(3..4);
    assert_eq!(world.state(), RunState::Running, "it is over once something became durable");
}

#[test]
fn little_free_space_is_told_before_anything_fails() {
    let mut world = world();
    let reserve = Config::default().disk_reserve_bytes;
    assert_eq!((world.status().free_bytes, world.state()), (None, RunState::Running), "nobody has looked");
    for (free, state) in
        [(reserve, RunState::Running), (reserve - 1, RunState::Degraded), (reserve, RunState::Running)]
    {
        world.input(Input::Space { free_bytes: Some(free) });
        let status = world.status();
        assert_eq!((status.free_bytes, status.state), (Some(free), state));
        let told = format!("the disk is almost full: {free} bytes are free, {reserve} are kept free");
        assert_eq!(status.reasons, if free < reserve { vec![told] } else { Vec::new() });
    }
}

#[test]
fn corruption_is_not_retried() {
    for actor in LOGS {
        let mut world = world();
        let waiting = world.get_block(100);
        fail(&mut world, actor, Cause::Corruption);
        assert_eq!(escalated(&world).map(|(actor, _)| actor), Some(actor));
        assert_eq!(world.fate(waiting), "stopped");
    }
}

#[test]
fn log_that_refuses_to_resume_ends_the_subsystem() {
    let mut world = world();
    fail(&mut world, ActorKind::QcWal, Cause::Error);
    world.held.insert(ActorKind::QcWal);
    world.tick();
    world.refuse(ActorKind::QcWal);
    world.run();
    assert_eq!(escalated(&world), Some((ActorKind::QcWal, "damaged: qc_wal was made to refuse")));
}

// ---- hangs ----------------------------------------------------------------------------------------------------

#[test]
fn hung_log_degrades_and_is_never_opened_a_second_time() {
    for actor in LOGS {
        let mut world = world();
        world.push_links(2..4);
        world.held.insert(actor);
        let push = world.push_link(4);
        let executed = world.push_app_hash(14);
        world.run();
        let hung_after = world.config.hung_after.as_secs_f64();
        for age in [hung_after, hung_after * 2.0, hung_after * 11.9] {
            world.beat(actor, Some(age), None);
            assert!(world.effects.is_empty(), "{:?}", world.effects);
            assert_eq!(worker(&mut world, actor), (WorkerState::Hung, 0));
        }
        let status = world.status();
        assert_eq!(status.state, RunState::Degraded);
        assert_eq!(status.reasons, [format!("{actor} is hung: an operation has been running for 59.5 s")]);
        assert_eq!((world.fate(push), world.fate(executed)), ("ok", "waits"));
        let read = world.get_global_block(2);
        assert_eq!(world.fate(read), "ok", "reads go on");

        world.held.clear();
        world.beat(actor, None, None);
        world.run();
        assert_eq!(worker(&mut world, actor), (WorkerState::Up, 0));
        assert_eq!(world.fate(executed), "ok");
    }
}

#[test]
fn log_that_hangs_while_it_opens_is_not_taken_for_open() {
    let mut world = world();
    fail(&mut world, ActorKind::QcWal, Cause::Error);
    world.held.insert(ActorKind::QcWal);
    world.tick();
    world.push_links(2..3);
    world.beat(ActorKind::QcWal, Some(world.config.hung_after.as_secs_f64()), None);
    assert_eq!(worker(&mut world, ActorKind::QcWal).0, WorkerState::Starting);
    let status = world.status();
    assert_eq!(status.reasons, ["qc_wal is starting: an operation has been running for 5.0 s"]);
    world.beat(ActorKind::QcWal, None, None);
    assert_eq!(worker(&mut world, ActorKind::QcWal).0, WorkerState::Starting);
    world.held.clear();
    world.run();
    assert_eq!(world.cursor_numbers()[2..], [9; 3]);
}

#[test]
fn log_that_lags_is_given_so_many_orders_and_then_larger_ones() {
    for actor in LOGS {
        let mut world = world_with(Config::default());
        world.held.insert(actor);
        world.push_links(2..39);
        // The fake log holds every order against the limit.
        let status = world.status();
        let found = status.workers.iter().find(|worker| worker.actor == actor).unwrap();
        assert_eq!((found.mailbox, found.capacity), (32, 33));
        world.held.clear();
        world.run();
        assert_eq!(world.cursor_numbers()[2..], [117; 3]);
    }
}

/// How many records the orders to append hold that a log is given when it comes back to a whole chain.
fn orders_to_catch_up(actor: ActorKind, setup: &Setup) -> Vec<usize> {
    let mut world = World::started(setup);
    fail(&mut world, actor, Cause::Error);
    world.push_links(0..setup.qcs);
    world.tick();
    let mut orders = Vec::new();
    while world.run_once() {
        orders.extend(std::mem::take(&mut world.effects).into_iter().filter_map(|effect| match effect {
            Effect::QcWal(Order { order: WalOrder::Append { records, .. }, .. }) => Some(records.len()),
            Effect::BlockWal(Order { order: WalOrder::Append { records, .. }, .. }) => Some(records.len()),
            _ => None,
        }));
    }
    assert_eq!(world.cursor_numbers()[2..], [(setup.blocks_per_qc * setup.qcs) as u64; 3]);
    orders
}

#[test]
fn what_a_log_has_to_catch_up_with_comes_in_orders_of_so_many_records() {
    let config = Config { window_blocks: 10_000, ..Config::default() };
    let qcs = Setup { blocks_per_qc: 1, qcs: 1_100, config: config.clone(), ..Setup::default() };
    assert_eq!(orders_to_catch_up(ActorKind::QcWal, &qcs), [1_024, 76]);
    let blocks = Setup { blocks_per_qc: 100, qcs: 30, config, ..Setup::default() };
    assert_eq!(orders_to_catch_up(ActorKind::BlockWal, &blocks), [1_024, 1_024, 952]);
}

#[test]
fn what_a_log_has_to_catch_up_with_comes_in_orders_of_so_many_bytes() {
    let blocks = Setup { tx_bytes: 1 << 20, blocks_per_qc: 1, qcs: 10, ..Setup::default() };
    assert_eq!(orders_to_catch_up(ActorKind::BlockWal, &blocks), [4, 4, 2], "each is more than a MiB");
    // A large committee makes large QCs.
    let qcs = Setup { members: 300, blocks_per_qc: 1, qcs: 150, ..Setup::default() };
    let bytes = World::new(&qcs).source.links[0].verified.size_bytes();
    let full = (4_usize << 20).div_ceil(bytes);
    assert!(full < 150, "{full} QCs of {bytes} bytes fill an order");
    assert_eq!(orders_to_catch_up(ActorKind::QcWal, &qcs), [full, 150 - full], "{bytes} bytes each");
}

#[test]
fn durable_point_never_goes_back() {
    for actor in LOGS {
        let mut world = world();
        world.push_links(2..4);
        let generation = world.alive(actor).unwrap();
        world.report(actor, generation, Event::Durable { next_index: 1, upto: BlockNumber(3) });
        world.run();
        assert_eq!(world.cursor_numbers()[2..], [12; 3]);
        // The fake log takes a lower durable point for a gap.
        fail_and_come_back(&mut world, actor, Cause::Error);
        world.push_links(4..6);
        assert_eq!(world.cursor_numbers()[2..], [18; 3]);
    }
}

#[test]
fn log_that_hangs_past_the_deadline_is_given_up_without_waiting_for_it() {
    let mut world = world();
    world.held.insert(ActorKind::QcWal);
    let calls = [world.push_link(2), world.push_app_hash(8), world.get_block(99)];
    world.run();
    let give_up_after = world.config.give_up_after.as_secs_f64();
    world.beat(ActorKind::QcWal, Some(give_up_after), None);
    assert_eq!(world.fates(&calls), ["ok", "stopped", "stopped"], "at once");
    assert_eq!(world.stopped, None, "the other log is closed first");
    assert_eq!(world.state(), RunState::Stopping);
    world.run();
    assert_eq!(
        escalated(&world),
        Some((ActorKind::QcWal, "an operation has been running for 60.0 s")),
        "the hung one is not waited for"
    );
}

#[test]
fn age_that_no_clock_can_tell_is_taken_for_ever() {
    for age in [f64::NAN, f64::INFINITY, 1e300] {
        let mut world = world();
        world.may_escalate = true;
        world.beat(ActorKind::BlockWal, Some(age), None);
        world.run();
        assert!(escalated(&world).is_some(), "{age}");
    }
}

// ---- giving up ------------------------------------------------------------------------------------------------

#[test]
fn first_failure_that_ends_the_subsystem_is_the_one_that_is_told() {
    let mut world = world();
    world.held.insert(ActorKind::BlockWal);
    fail(&mut world, ActorKind::QcWal, Cause::Corruption);
    let deadline = world.core.next_deadline();
    assert_eq!(world.stopped, None, "the block log has not closed");
    world.pass(seconds(1));
    fail(&mut world, ActorKind::Verifier, Cause::Corruption);
    fail(&mut world, ActorKind::Pruner, Cause::Corruption);
    assert_eq!((world.stopped.clone(), world.core.next_deadline()), (None, deadline));
    world.held.clear();
    world.run();
    assert_eq!(escalated(&world).map(|(actor, _)| actor), Some(ActorKind::QcWal));
}

#[test]
fn log_that_never_closes_is_left_behind_at_the_deadline() {
    let mut world = world();
    world.held.insert(ActorKind::BlockWal);
    fail(&mut world, ActorKind::QcWal, Cause::Corruption);
    let late = world.ask_now(Request::NextBlock);
    assert!(matches!(late, Err(Error::Stopped(StopReason::Escalated { .. }))));
    assert!(matches!(world.ask_now(Request::GetStatus), Ok(Answer::Status(_))));
    world.tick();
    assert!(escalated(&world).is_some());
}

#[test]
fn nothing_begins_after_the_end() {
    let mut world = world();
    for actor in [ActorKind::Verifier, ActorKind::Pruner, ActorKind::QcWal, ActorKind::BlockWal] {
        fail(&mut world, actor, Cause::Error);
    }
    world.ask(Request::Shutdown);
    world.run();
    assert!(matches!(world.stopped, Some(StopReason::Shutdown(_))));
    // The oracle takes any effect but a reply for a fault.
    world.pass(seconds(3600));
    for actor in ActorKind::WORKERS {
        for generation in 0..5 {
            world.report(actor, Generation(generation), Event::Up);
            world.report(actor, Generation(generation), died(Cause::Panic));
        }
    }
    world.run();
    let call = world.push_link(2);
    assert_eq!(world.fate(call), "stopped");
    world.forget(CallId(0));
}

#[test]
fn settings_without_a_limit_do_not_overflow_the_clock() {
    let restart = RestartPolicy {
        backoff_min: Duration::MAX,
        backoff_max: Duration::MAX,
        window: Duration::MAX,
        ..RestartPolicy::default()
    };
    let config = Config {
        restart,
        shutdown_deadline: Duration::MAX,
        hung_after: Duration::MAX,
        give_up_after: Duration::MAX,
        ..Config::default()
    };
    let mut world = world_with(config);
    world.pass(seconds(1));
    fail(&mut world, ActorKind::Verifier, Cause::Error);
    let shutdown = world.ask(Request::Shutdown);
    world.run();
    assert_eq!(world.fate(shutdown), "ok");
}
