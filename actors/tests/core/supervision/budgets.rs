//! Budgets of restarts: what spends them, what refills them, and what is outside.

use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::{Effect, Input};
use roadbed_messages::api::workers::Cause;
use roadbed_messages::api::{ActorKind, Error, RunState, StopReason, WorkerState};

use super::{LOGS, escalated, fail, fail_and_come_back, seconds, tight, worker, world, world_with};

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
fn log_that_has_nothing_to_write_after_a_full_disk_is_healthy() {
    for actor in LOGS {
        let mut world = world();
        world.run();
        fail_and_come_back(&mut world, actor, Cause::DiskFull);
        let status = world.status();
        assert_eq!((status.state, status.reasons), (RunState::Running, vec![]), "{actor}");
        // With something to write it is not, until that is durable.
        world.held.insert(actor);
        world.push_link(2);
        world.run();
        let status = world.status();
        assert_eq!((status.state, status.reasons.len()), (RunState::DiskFull, 1), "{actor}");
        world.held.clear();
        world.run();
        assert_eq!(world.state(), RunState::Running, "{actor}");
    }
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
