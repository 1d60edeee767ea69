//! What hangs or lags: told, never opened twice, given so much to do.

use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::{Effect, Input};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{Cause, Event, Order, WalOrder};
use roadbed_messages::api::{ActorKind, RunState, WorkerState};

use super::{LOGS, escalated, fail, fail_and_come_back, worker, world, world_with};
use crate::world::{Setup, World};

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

#[test]
fn a_read_that_hangs_degrades_until_it_ends() {
    let mut world = world();
    world.run();
    let hung_after = Config::default().hung_after;
    let just_below = hung_after - Duration::from_millis(1);
    for (running_for, state) in [
        (Some(just_below), RunState::Running),
        (Some(hung_after), RunState::Degraded),
        (Some(hung_after * 3), RunState::Degraded),
        (None, RunState::Running),
    ] {
        world.input(Input::Reading { running_for });
        let status = world.status();
        assert_eq!(status.state, state, "{running_for:?}");
        let told = status.reasons.iter().any(|reason| reason.starts_with("a read has been running"));
        assert_eq!(told, state == RunState::Degraded, "{:?}", status.reasons);
    }
}
