//! The verifier: its jobs come again, and what kills it errs for its caller alone.

use roadbed::Config;
use roadbed::state::core::Effect;
use roadbed_messages::api::workers::{CallId, Cause, Event};
use roadbed_messages::api::{ActorKind, Error, WorkerState};

use super::{fail, fail_and_come_back, seconds, tight, worker, world, world_with};
use crate::world::World;

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
