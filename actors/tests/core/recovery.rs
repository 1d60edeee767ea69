//! Starts: what is read, repaired and refused, and every death on the way.

use std::time::Duration;

use roadbed::Config;
use roadbed::state::core::{Core, Effect, Input};
use roadbed_messages::api::workers::{Cause, Event, Generation, Loaded, LogFacts, Report};
use roadbed_messages::api::{ActorKind, StartError, StopReason, WalKind};
use roadbed_messages::{BlockNumber, testing};

use crate::world::{Setup, World};

const LOGS: [ActorKind; 2] = [ActorKind::QcWal, ActorKind::BlockWal];

fn setup() -> Setup {
    Setup { qcs: 40, ..Setup::default() }
}

/// A world that crashed with more blocks than QCs, and with QCs in front that a pruning has not reached: cases 7
/// and 5. It has not begun again.
fn crashed() -> World {
    let mut world = World::started(&setup());
    world.push_links(0..4);
    world.execute_all();
    world.held.insert(ActorKind::QcWal);
    world.prune(7);
    world.push_links(4..6);
    world.crash(Config::default());
    world
}

const RECOVERED: [u64; 5] = [7, 7, 12, 12, 12];

fn may_open(world: &World) -> bool {
    !matches!(world.stopped, Some(StopReason::Start(_)))
}

fn opened(world: &World) -> Vec<WalKind> {
    let opens = |effect: &Effect| match effect {
        Effect::QcWal(_) => Some(WalKind::Qcs),
        Effect::BlockWal(_) => Some(WalKind::Blocks),
        _ => None,
    };
    world.effects.iter().filter_map(opens).collect()
}

#[test]
fn a_start_repairs_loads_and_says_what_it_found() {
    let mut world = crashed();
    world.begin();
    world.run();
    assert_eq!(world.cursor_numbers(), RECOVERED);
    let recovered = world.running.clone().unwrap();
    assert_eq!((recovered.reconcile_case.as_str(), recovered.lost), ("7+5", None));
    assert_eq!(world.status().recovered.unwrap().reconcile_case, "7+5");
    world.restart();
    assert_eq!(world.running.clone().unwrap().reconcile_case, "5");
    world.push_links(4..8);
}

#[test]
fn scenario_24_death_of_any_worker_at_any_point_of_a_start_only_costs_time() {
    let mut steps = 0;
    let mut begun = crashed();
    begun.begin();
    while begun.running.is_none() {
        begun.run_once();
        steps += 1;
    }
    assert!(steps > 8);
    for second_after in [None, Some(0), Some(2), Some(5)] {
        for actor in ActorKind::WORKERS {
            for step in 0..steps {
                let mut world = crashed();
                world.begin();
                world.run_steps(step);
                world.kill(actor, Cause::Panic);
                if let Some(steps) = second_after {
                    world.run_steps(steps);
                    world.kill_logs(Cause::Error);
                }
                let early = world.push_link(4);
                world.run_on();
                assert_eq!(
                    world.cursor_numbers(),
                    [7, 7, 15, 15, 15],
                    "{actor} at {step}: {:?}",
                    world.stopped
                );
                assert_eq!(world.fate(early), "ok");
            }
        }
    }
}

/// A world whose load is under way when a log dies, and both logs are open again.
fn with_a_load_that_was_overtaken(killed: ActorKind) -> World {
    let mut world = crashed();
    world.begin();
    while world.loads() == 0 {
        assert!(world.run_once());
    }
    world.kill(killed, Cause::Error);
    world.run_reports();
    world.tick();
    while ActorKind::WORKERS.into_iter().any(|actor| world.can_work(actor)) || !world.reporting().is_empty() {
        ActorKind::WORKERS.into_iter().for_each(|actor| world.work(actor));
        world.run_reports();
    }
    assert_eq!((world.loads(), world.running.is_none()), (1, true));
    world
}

#[test]
fn load_of_an_earlier_attempt_is_not_taken_for_the_present_one() {
    for killed in LOGS {
        let mut world = with_a_load_that_was_overtaken(killed);
        world.fail_load();
        assert_eq!(world.stopped, None, "its error says nothing about the logs as they are now");
        assert_eq!(world.loads(), 1, "now they are loaded");
        world.run();
        assert_eq!(world.cursor_numbers(), RECOVERED);

        let mut world = with_a_load_that_was_overtaken(killed);
        world.finish_load();
        assert_eq!((world.loads(), world.running.is_none()), (1, true));
        world.run();
        assert_eq!(world.cursor_numbers(), RECOVERED);
    }
}

#[test]
fn load_that_fails_refuses_the_start() {
    let mut world = crashed();
    world.begin();
    while world.loads() == 0 {
        assert!(world.run_once());
    }
    world.may_fail_to_load = true;
    world.fail_load();
    assert!(matches!(&world.stopped, Some(StopReason::Start(StartError::Failed { .. }))));
}

#[test]
fn refused_start_writes_nothing() {
    let mut world = crashed();
    world.qcs.disk.lose();
    world.may_refuse = true;
    let blocks = world.blocks.disk.facts();
    let early = {
        world.begin();
        world.push_link(4)
    };
    while world.run_once() {
        assert_eq!(opened(&world), [], "no log is told to open");
    }
    match &world.stopped {
        Some(StopReason::Start(StartError::WouldLose { detail })) => {
            assert!(detail.contains("the QC log is missing") && detail.contains("case 2b"), "{detail}");
        }
        stopped => panic!("{stopped:?}"),
    }
    assert_eq!(world.fate(early), "stopped");
    assert_eq!(world.blocks.disk.facts(), blocks);
}

#[test]
fn log_that_refuses_to_be_judged_refuses_the_start() {
    for actor in LOGS {
        let mut world = crashed();
        world.begin();
        world.refuse(actor);
        world.run();
        assert!(matches!(&world.stopped, Some(StopReason::Start(StartError::Corrupt { .. }))));
    }
}

#[test]
fn blocks_are_safe_aside_before_a_new_qc_log_is_made() {
    let accept = Config { accept_lost_qcs: true, ..Config::default() };
    let mut world = World::started(&setup());
    world.push_links(0..4);
    world.crash(accept.clone());
    world.qcs.disk.lose();
    world.excuse_lost_promises();
    world.begin();
    world.held.insert(ActorKind::BlockWal);
    world.run();
    world.held.clear();
    world.work(ActorKind::BlockWal);
    world.run_reports();
    world.finish_load();
    assert_eq!(opened(&world), [WalKind::Blocks], "the QC log waits");
    assert!(!world.can_work(ActorKind::QcWal));
    world.work(ActorKind::BlockWal);
    assert_eq!(world.blocks.disk.aside, 1);

    // A crash here must not let the blocks be taken for those of the very first write.
    world.crash(accept);
    world.begin();
    world.run();
    assert!(may_open(&world));
    assert_eq!(world.cursor_numbers(), [0; 5]);
    assert!(world.running.as_ref().unwrap().lost.is_some());
    assert!(world.blocks.disk.aside >= 1);
    world.push_links(0..4);
}

#[test]
fn lost_block_log_is_told_and_its_blocks_are_asked_for_again() {
    let mut world = World::started(&setup());
    world.push_links(0..4);
    world.execute_all();
    world.prune(4);
    world.run();
    world.crash(Config::default());
    world.blocks.disk.lose();
    world.excuse_lost_promises();
    world.begin();
    world.run();
    assert_eq!(world.cursor_numbers(), [3, 3, 3, 3, 12]);
    let lost = world.status().recovered.unwrap().lost.unwrap();
    assert_eq!(lost, "the block log is missing: blocks 3 to 12 are asked for again");
    assert!((3..12).all(|number| world.need_block(number)));
    for number in (3..12).rev() {
        world.push_block(number);
    }
    world.run();
    assert_eq!(world.cursor_numbers(), [3, 3, 12, 12, 12]);
}

#[test]
fn loss_that_an_overtaken_attempt_has_mended_is_told_all_the_same() {
    for killed in LOGS {
        for first in [0, 3] {
            let mut world = World::started(&setup());
            world.push_links(0..4);
            world.execute_all();
            world.prune(first);
            world.run();
            world.crash(Config::default());
            world.blocks.disk.lose();
            world.excuse_lost_promises();
            world.begin();
            world.held.insert(ActorKind::QcWal);
            world.work(ActorKind::QcWal);
            world.run();
            assert!(
                world.blocks.disk.facts().exists && world.running.is_none(),
                "the block log is made anew"
            );
            world.held.clear();
            world.kill(killed, Cause::Error);
            world.run_on();
            let told = world.running.clone().unwrap().lost.unwrap();
            assert_eq!(told, format!("the block log is missing: blocks {first} to 12 are asked for again"));
        }
    }
}

#[test]
fn log_that_is_given_up_in_a_start_begins_no_life_of_the_other() {
    for actor in LOGS {
        let mut world = crashed();
        world.begin();
        world.kill(actor, Cause::Corruption);
        world.run_reports();
        assert!(matches!(world.stopped, Some(StopReason::Escalated { .. })));
        assert!(
            !world.effects.iter().any(|effect| matches!(effect, Effect::Start { .. })),
            "{:?}",
            world.effects
        );
    }
}

#[test]
fn log_that_opens_where_its_plan_does_not_put_it_refuses_the_start() {
    let mut world = crashed();
    world.begin();
    world.held.insert(ActorKind::BlockWal);
    world.run();
    world.held.clear();
    world.work(ActorKind::BlockWal);
    world.run_reports();
    let generation = world.alive(ActorKind::BlockWal).unwrap();
    world.may_escalate = true;
    world.report(ActorKind::BlockWal, generation, Event::Opened { next_index: 18 });
    world.run_reports();
    match &world.stopped {
        Some(StopReason::Escalated { error, .. }) => {
            assert_eq!(error, "the blocks log opened at index 18, State expected 12");
        }
        stopped => panic!("{stopped:?}"),
    }
}

#[test]
fn only_the_window_is_verified_unless_everything_is_asked_for() {
    for (verify_all_on_start, from) in [(false, 110), (true, 2)] {
        let mut world = World::started(&setup());
        world.push_links(0..40);
        world.execute_all();
        world.prune(2);
        world.run();
        world.crash(Config { verify_all_on_start, window_blocks: 10, ..Config::default() });
        world.begin();
        let mut loaded_from = None;
        while world.run_once() {
            loaded_from = world
                .effects
                .iter()
                .find_map(|effect| match effect {
                    Effect::Load { verify_from, .. } => Some(verify_from.0),
                    _ => None,
                })
                .or(loaded_from);
        }
        assert_eq!(loaded_from, Some(from));
    }
}

#[test]
fn memory_holds_its_limit_after_a_start_too() {
    // The oracle holds every step against the limit.
    let config = Config { memory_bytes_max: 3_000, ..Config::default() };
    let mut world = World::started(&Setup { config, ..setup() });
    world.push_links(0..40);
    world.restart();
    assert!(world.core.memory_bytes() <= 3_000);
    let all: Vec<_> = (0..120).map(|number| world.get_global_block(number)).collect();
    world.run();
    assert_eq!(world.fates(&all), vec!["ok"; 120]);
}

#[test]
fn what_was_cut_from_both_logs_and_the_time_that_it_took_are_told() {
    let members = testing::committee_from(1, 4, BlockNumber(0));
    let mut core = Core::new(members.committee, Config::default(), true, 1);
    core.handle(Duration::ZERO, Input::Begin);
    let report = |core: &mut Core, seconds, actor, event| {
        let report = Report { actor, generation: Generation(1), event };
        core.handle(Duration::from_secs(seconds), Input::Report(report))
    };
    let judged =
        |torn_bytes| Event::Judged(LogFacts { exists: true, range: None, next_index: 0, torn_bytes });
    report(&mut core, 1, ActorKind::QcWal, judged(300));
    report(&mut core, 2, ActorKind::BlockWal, judged(40));
    core.handle(Duration::from_secs(3), Input::Loaded(Ok(Loaded { qcs: Vec::new(), blocks: Vec::new() })));
    let opened = Event::Opened { next_index: 0 };
    report(&mut core, 4, ActorKind::QcWal, opened.clone());
    let effects = report(&mut core, 4, ActorKind::BlockWal, opened);
    let told = effects.into_iter().find_map(|effect| match effect {
        Effect::Running(recovered) => Some((recovered.torn_bytes, recovered.seconds)),
        _ => None,
    });
    assert_eq!(told, Some((340, 4.0)));
}
