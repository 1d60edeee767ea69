//! Deaths and the lives that follow them.

use roadbed::Config;
use roadbed::state::core::Effect;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{Cause, Event, Generation, LogFacts, WalStart};
use roadbed_messages::api::{ActorKind, RunState, StartError, WorkerState};

use crate::world::World;

use super::{LOGS, died, escalated, fail, fail_and_come_back, worker, world};

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

#[test]
fn what_a_worker_has_before_it_is_told_with_its_bound() {
    let mut world = world();
    for actor in [ActorKind::Verifier, ActorKind::QcWal, ActorKind::BlockWal] {
        world.held.insert(actor);
    }
    let before = |world: &mut World, actor: ActorKind| {
        let status = world.status();
        let found = status.workers.iter().find(|worker| worker.actor == actor).unwrap();
        (found.mailbox, found.capacity)
    };
    let jobs_max = Config::default().verify_jobs_max;
    assert_eq!(before(&mut world, ActorKind::Verifier), (0, jobs_max));
    world.push_link(2);
    world.push_link(3);
    assert_eq!(before(&mut world, ActorKind::Verifier), (2, jobs_max));
    assert_eq!(before(&mut world, ActorKind::Pruner), (0, 1), "State gives it nothing");
    world.held.remove(&ActorKind::Verifier);
    world.run();
    assert_eq!(before(&mut world, ActorKind::Verifier), (0, jobs_max));
    for actor in LOGS {
        let (waiting, max) = before(&mut world, actor);
        assert!((1..=max).contains(&waiting), "{actor}: {waiting} of {max}");
    }
}
