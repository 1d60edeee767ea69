//! Workers that fail: what their deaths cost, when they come back, and when State gives up.

use std::time::Duration;

use roadbed::Config;
use roadbed::supervision::RestartPolicy;
use roadbed_messages::api::workers::{Cause, Event};
use roadbed_messages::api::{ActorKind, StopReason, WorkerState};

use crate::world::{Setup, World};

mod budgets;
mod ends;
mod hangs;
mod lives;
mod verifier;

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

/// A budget of three restarts in ten seconds.
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

fn died(cause: Cause) -> Event {
    Event::Died { cause, error: "it failed".to_owned(), job: None }
}
