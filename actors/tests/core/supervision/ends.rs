//! Giving up: once, in order, with the first cause.

use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::{Answer, Request};
use roadbed::supervision::RestartPolicy;
use roadbed_messages::api::workers::{CallId, Cause, Event, Generation};
use roadbed_messages::api::{ActorKind, Error, StopReason};

use super::{died, escalated, fail, seconds, world, world_with};

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
