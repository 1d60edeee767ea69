//! The ordered end: nothing more comes in, what is in becomes durable, everyone is answered.

use roadbed::Config;
use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::{CallId, Cause};
use roadbed_messages::api::{ActorKind, RunState, ShutdownReport, StopReason};

use crate::world::{Setup, World};

const LOGS: [ActorKind; 2] = [ActorKind::QcWal, ActorKind::BlockWal];

fn world() -> World {
    let mut world = World::started(&Setup { qcs: 40, ..Setup::default() });
    world.push_links(0..2);
    world
}

fn report(world: &World, call: CallId) -> ShutdownReport {
    match world.answer(call) {
        Some(Ok(Answer::Shutdown(report))) => report.clone(),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn shutdown_makes_the_contiguous_run_durable_before_it_answers() {
    let mut world = world();
    world.held.extend(LOGS);
    world.push_links(2..5);
    let (executed, above_a_gap) = (world.push_app_hash(14), world.push_block(20));
    let shutdown = world.ask(Request::Shutdown);
    world.run();
    assert_eq!(world.fate(shutdown), "waits");
    assert_eq!(world.fate(above_a_gap), "stopped", "pushes end at once");
    let status = world.status();
    assert_eq!(status.state, RunState::Stopping);
    assert!(
        status.rejected.is_empty(),
        "nothing is wrong with what a shutdown answers: {:?}",
        status.rejected
    );
    let late = [world.push_link(5), world.push_block(15), world.get_block(14)];
    assert_eq!(world.fates(&late), ["stopped", "stopped", "ok"]);
    world.held.clear();
    world.run();
    assert_eq!(world.fate(executed), "ok", "what became durable on the way is told");
    assert!(report(&world, shutdown).is_clean());
    assert!(matches!(world.stopped, Some(StopReason::Shutdown(_))));
    world.restart();
    assert_eq!(world.cursors().next_block.0, 15);
}

#[test]
fn shutdown_reports_what_is_not_durable_at_its_deadline() {
    let mut world = world();
    world.held.insert(ActorKind::BlockWal);
    world.push_links(2..5);
    let shutdown = world.ask(Request::Shutdown);
    world.run();
    assert_eq!(world.core.next_deadline(), Some(world.now + world.config.shutdown_deadline));
    world.tick();
    let report = report(&world, shutdown);
    assert_eq!((report.not_durable.start.0, report.not_durable.end.0), (6, 15));
    assert!(world.stopped.is_some());
}

#[test]
fn log_that_dies_during_a_shutdown_comes_back_and_everything_becomes_durable() {
    for actor in LOGS {
        let mut world = world();
        world.held.insert(actor);
        world.push_links(2..5);
        let shutdown = world.ask(Request::Shutdown);
        world.kill(actor, Cause::Error);
        world.held.clear();
        world.run();
        assert_eq!(world.fate(shutdown), "waits");
        world.tick();
        world.run();
        assert!(report(&world, shutdown).is_clean());
    }
}

#[test]
fn scenario_24_death_of_any_worker_at_any_point_of_a_shutdown_ends_in_an_answer() {
    for actor in ActorKind::WORKERS {
        for step in 0..20 {
            let mut world = world();
            world.held.extend(LOGS);
            world.push_links(2..5);
            world.held.clear();
            let shutdown = world.ask(Request::Shutdown);
            world.run_steps(step);
            world.kill(actor, Cause::Panic);
            world.run_on();
            assert!(report(&world, shutdown).is_clean(), "{actor} at {step}");
            world.restart();
            assert_eq!(world.cursors().next_block.0, 15);
        }
    }
}

#[test]
fn failure_that_ends_the_subsystem_during_a_shutdown_is_told() {
    let mut world = world();
    world.held.extend(LOGS);
    world.push_links(2..5);
    let shutdown = world.ask(Request::Shutdown);
    world.kill(ActorKind::QcWal, Cause::Corruption);
    world.held.clear();
    world.run();
    assert_eq!(world.fate(shutdown), "stopped");
    assert!(matches!(world.stopped, Some(StopReason::Escalated { actor: ActorKind::QcWal, .. })));
}

#[test]
fn log_that_dies_while_it_closes_is_not_waited_for() {
    for actor in LOGS {
        let mut world = world();
        world.held.insert(actor);
        let shutdown = world.ask(Request::Shutdown);
        world.run();
        assert_eq!(world.fate(shutdown), "waits", "everything is durable, and {actor} is closing");
        world.kill(actor, Cause::Error);
        world.run();
        assert!(report(&world, shutdown).is_clean());
    }
}

#[test]
fn log_that_is_closing_is_waited_for_when_the_other_ends_the_subsystem() {
    let mut world = world();
    world.held.extend(LOGS);
    let shutdown = world.ask(Request::Shutdown);
    world.kill(ActorKind::QcWal, Cause::Corruption);
    world.run();
    assert_eq!((world.fate(shutdown), &world.stopped), ("stopped", &None));
    world.held.clear();
    world.run();
    assert!(matches!(world.stopped, Some(StopReason::Escalated { actor: ActorKind::QcWal, .. })));
}

#[test]
fn pruning_under_way_is_finished_or_told_to_have_stopped() {
    let mut world = world();
    world.execute_all();
    world.held.extend(LOGS);
    let pruning = world.prune(4);
    world.ask(Request::Shutdown);
    let later = world.prune(5);
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&[pruning, later]), ["ok", "stopped"]);
    world.restart();
    assert_eq!(world.cursors().first.0, 4);
}

#[test]
fn shutdown_while_it_recovers_ends_it_without_writing() {
    let mut world = world();
    world.crash(Config::default());
    world.begin();
    world.run_once();
    let early =
        [world.push_link(2), world.get_block(1), world.push_app_hash(3), world.subscribe(0, false, 1)];
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!(world.fate(shutdown), "ok");
    assert_eq!(world.fates(&early), ["stopped"; 4]);
    assert!(world.stopped.is_some() && world.running.is_none());
    world.run();
    world.restart();
    assert_eq!(world.cursors().next_block.0, 6);
}

#[test]
fn shutdown_without_a_directory_ends_at_once() {
    let mut world = World::started(&Setup { with_logs: false, ..Setup::default() });
    world.push_links(0..3);
    let waits = world.get_block(100);
    let shutdown = world.ask(Request::Shutdown);
    assert!(report(&world, shutdown).is_clean());
    assert_eq!(world.fate(waits), "stopped");
}
