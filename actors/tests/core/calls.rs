//! The table of pending calls: who gets in, who makes room, and that no kind takes another's place.

use roadbed::Config;
use roadbed::state::core::calls::{Admission, Bound, Call, Calls, Kind, Pending, Stage};
use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{ActorKind, Error};

use crate::world::{Setup, World, small_bounds};

const BOUND: Bound = Bound { calls_max: 3, bytes_max: 100 };

fn call(number: u64, bytes: u64, stage: Stage) -> Call {
    Call {
        kind: Kind::PushQc,
        number,
        bytes,
        stage,
        pending: Pending::GetQc,
        suspected: false,
        verifier_deaths: 0,
    }
}

/// Admits a waiting call; answers who had to make room, or that it was refused.
fn admit(table: &mut Calls, id: u64, number: u64, bytes: u64) -> Result<Vec<u64>, String> {
    admit_needing(table, id, number, bytes, None)
}

fn admit_needing(
    table: &mut Calls,
    id: u64,
    number: u64,
    bytes: u64,
    needed_next: Option<u64>,
) -> Result<Vec<u64>, String> {
    match table.admit(CallId(id), call(number, bytes, Stage::Waiting), BOUND, needed_next) {
        Admission::Admitted(displaced) => Ok(displaced.into_iter().map(|(call, _)| call.0).collect()),
        Admission::Refused(error) => Err(error.to_string()),
    }
}

#[test]
fn highest_number_makes_room_for_a_lower_one() {
    let mut table = Calls::default();
    for (id, number) in [(1, 50), (2, 10), (3, 30)] {
        assert_eq!(admit(&mut table, id, number, 1), Ok(vec![]));
    }
    assert_eq!(admit(&mut table, 4, 20, 1), Ok(vec![1]));
    assert_eq!(admit(&mut table, 5, 5, 1), Ok(vec![3]));
    let refused = admit(&mut table, 6, 21, 1).unwrap_err();
    assert_eq!(
        refused,
        "too many push_qc calls wait (3 calls, 3 bytes): push lower numbers first, then retry 21"
    );
    assert!(admit(&mut table, 7, 20, 1).is_err(), "an equal number is no reason to send another away");
    assert_eq!((table.count(Kind::PushQc), table.bytes(Kind::PushQc)), (3, 3));
}

#[test]
fn as_many_make_room_as_the_bytes_need_and_none_where_that_is_not_enough() {
    let mut table = Calls::default();
    for (id, number) in [(1, 50), (2, 40), (3, 10)] {
        assert_eq!(admit(&mut table, id, number, 30), Ok(vec![]));
    }
    assert!(admit(&mut table, 4, 20, 71).is_err(), "number 10 stays, and there is no room beside it");
    assert_eq!(table.count(Kind::PushQc), 3);
    assert_eq!(admit(&mut table, 5, 20, 70), Ok(vec![1, 2]));
    assert_eq!(table.bytes(Kind::PushQc), 100);
}

#[test]
fn call_larger_than_the_bound_gets_in_alone() {
    let mut table = Calls::default();
    assert_eq!(admit(&mut table, 1, 50, u64::MAX), Ok(vec![]));
    assert!(admit(&mut table, 2, 60, 1).is_err());
    assert_eq!(admit(&mut table, 3, 40, 1), Ok(vec![1]));
    assert_eq!(admit(&mut table, 4, 30, 1_000), Ok(vec![3]));
}

#[test]
fn what_is_with_the_verifier_makes_room_like_what_waits() {
    let mut table = Calls::default();
    for id in 1..=3 {
        table.admit(CallId(id), call(100 + id, 1, Stage::Waiting), BOUND, None);
        table.set_stage(CallId(id), Stage::Verifying);
    }
    assert_eq!(admit(&mut table, 4, 1, 1), Ok(vec![3]));
}

#[test]
fn what_is_with_a_reader_or_the_logs_keeps_its_place() {
    for stage in [Stage::Reading, Stage::Finishing] {
        let mut table = Calls::default();
        for id in 1..=3 {
            table.admit(CallId(id), call(100 + id, 1, Stage::Waiting), BOUND, None);
            table.set_stage(CallId(id), stage);
        }
        assert!(admit(&mut table, 4, 1, 1).is_err(), "{stage:?}");
        table.set_stage(CallId(2), Stage::Queued);
        assert_eq!(admit(&mut table, 5, 1, 1), Ok(vec![2]), "{stage:?}");
    }
}

#[test]
fn what_is_needed_next_gets_in_beyond_a_full_bound() {
    let mut table = Calls::default();
    for id in 1..=2 {
        assert_eq!(admit(&mut table, id, 7, 50), Ok(vec![]));
    }
    assert!(admit(&mut table, 3, 7, 50).is_err(), "the bytes are used up");
    let admitted = (3..40).filter(|id| admit_needing(&mut table, *id, 7, 50, Some(7)).is_ok()).count();
    assert_eq!(table.count(Kind::PushQc), 2 + admitted);
    assert_eq!(table.count(Kind::PushQc), BOUND.calls_max + 16, "the reserve has a bound of its own");
    assert!(admit_needing(&mut table, 50, 7, 1, Some(8)).is_err(), "it is for nothing else");
}

#[test]
fn lowest_number_is_looked_at_first_and_equal_ones_in_their_order() {
    let mut table = Calls::default();
    let bound = Bound { calls_max: 10, bytes_max: 100 };
    for (id, number) in [(1, 9), (2, 5), (3, 5), (4, 7)] {
        table.admit(CallId(id), call(number, 1, Stage::Queued), bound, None);
    }
    let mut order = Vec::new();
    while let Some(next) = table.next_queued(0) {
        table.set_stage(next, Stage::Waiting);
        order.push(next.0);
    }
    assert_eq!(order, [2, 3, 4, 1]);
    assert_eq!(table.next_below(Kind::PushQc, 5), None);
    assert_eq!(table.next_below(Kind::PushQc, 6), Some(CallId(2)));
    assert_eq!(table.next_below(Kind::PushBlock, u64::MAX), None);
    assert_eq!(table.of_kind(Kind::PushQc), [1, 2, 3, 4].map(CallId));
    table.remove(CallId(2));
    assert_eq!(table.next_below(Kind::PushQc, 6), Some(CallId(3)));
    assert!(table.remove(CallId(2)).is_none());
}

#[test]
fn next_queued_prefers_what_the_chain_needs() {
    let mut table = Calls::default();
    let bound = Bound { calls_max: 10, bytes_max: 100 };
    for (id, number) in [(1, 2), (2, 8), (3, 9)] {
        table.admit(CallId(id), call(number, 1, Stage::Queued), bound, None);
    }
    assert_eq!(table.next_queued(8), Some(CallId(2)));
    assert_eq!(table.next_queued(0), Some(CallId(1)));
    assert_eq!(table.next_queued(10), Some(CallId(1)), "what nothing needs is not kept for ever");
}

// ---- through the core -----------------------------------------------------------------------------------------

/// A running world with small bounds, two links in it, and a verifier that does nothing.
fn crowded() -> World {
    let config = Config { bounds: small_bounds(), verify_jobs_max: 2, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 60, config, ..Setup::default() });
    world.push_links(0..2);
    world
}

#[test]
fn a_full_kind_of_calls_takes_no_place_of_another() {
    let mut world = crowded();
    for n in 0..30 {
        world.push_link(20 + n);
        world.push_block(60 + n as u64);
        world.get_qc(90 + n as u64);
        world.get_block(90 + n as u64);
        world.get_app_proposal(90 + n as u64);
        world.subscribe(90 + n as u64, false, 1);
    }
    world.run();
    let calls = [
        world.push_app_hash(5),
        world.prune(2),
        world.try_get_block(3),
        world.subscribe(2, true, 5),
        world.ask(Request::NextBlock),
        world.ask(Request::GetStatus),
        world.push_link(2),
        world.push_block(9),
    ];
    world.push_qc_alone(3);
    world.run();
    assert_eq!(world.fates(&calls), ["ok"; 8]);
    let shutdown = world.ask(Request::Shutdown);
    world.run();
    assert_eq!(world.fate(shutdown), "ok");
}

#[test]
fn qc_at_next_qc_and_block_at_next_block_get_in_behind_copies_of_old_numbers() {
    let mut world = crowded();
    world.held.insert(ActorKind::Verifier);
    for _ in 0..40 {
        world.push_link(0);
        world.push_block(1);
    }
    let needed = [world.push_link(2), world.push_block(6)];
    assert_eq!(world.fates(&needed), ["waits"; 2]);
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&needed), ["ok"; 2]);
}

#[test]
fn steady_flood_of_old_numbers_does_not_keep_the_next_qc_from_the_verifier() {
    let mut world = crowded();
    world.held.insert(ActorKind::Verifier);
    let mut flood: Vec<_> = (0..6).map(|_| world.push_block(0)).collect();
    let needed = world.push_link(2);
    let mut jobs = 0;
    while world.fate(needed) == "waits" {
        // As soon as one is answered the flood brings the next.
        world.work(ActorKind::Verifier);
        world.run_reports();
        let answered = flood.iter().filter(|call| !world.is_pending(**call)).count();
        flood.retain(|call| world.is_pending(*call));
        flood.extend((0..answered).map(|_| world.push_block(0)).collect::<Vec<_>>());
        jobs += 1;
        assert!(jobs < 10, "the verifier sees nothing but the flood");
    }
    assert_eq!(world.fate(needed), "ok");
}

#[test]
fn steady_flood_of_what_is_needed_does_not_keep_old_numbers_from_their_answer() {
    let mut world = crowded();
    world.push_qc_alone(2);
    world.run();
    world.held.insert(ActorKind::Verifier);
    // The verifier has what it takes before the old number comes.
    let mut flood: Vec<_> = (0..2).map(|_| world.push_block(7)).collect();
    let old = world.push_block(0);
    flood.extend((0..3).map(|_| world.push_block(7)).collect::<Vec<_>>());
    let mut jobs = 0;
    while world.fate(old) == "waits" {
        world.work(ActorKind::Verifier);
        world.run_reports();
        let answered = flood.iter().filter(|call| !world.is_pending(**call)).count();
        flood.retain(|call| world.is_pending(*call));
        flood.extend((0..answered).map(|_| world.push_block(7)).collect::<Vec<_>>());
        jobs += 1;
        assert!(jobs < 10, "the verifier sees nothing but the flood");
    }
    assert_eq!(world.fate(old), "ok");
}

#[test]
fn jobs_whose_callers_have_gone_are_bounded_in_bytes() {
    let config = Config { bounds: small_bounds(), ..Config::default() };
    let mut world = World::started(&Setup { tx_bytes: 5_000, config, ..Setup::default() });
    world.held.insert(ActorKind::Verifier);
    for _ in 0..30 {
        // The oracle adds up the bytes that are with the verifier.
        let calls = [world.push_block(0), world.push_block(1), world.push_link(0)];
        calls.into_iter().for_each(|call| world.forget(call));
    }
    let waits = world.push_link(0);
    assert_eq!(world.fate(waits), "waits");
    world.held.clear();
    world.run();
    assert_eq!(world.fate(waits), "ok");
}

#[test]
fn get_that_memory_can_answer_displaces_nobody() {
    let mut world = crowded();
    let waiting: Vec<_> = (0..6).map(|n| world.get_block(20 + n)).collect();
    let there = [world.get_block(3), world.get_global_block(5), world.get_block(99), world.get_block(7)];
    assert_eq!(world.fates(&there), ["ok", "ok", "busy", "waits"]);
    assert_eq!(world.fates(&waiting), ["waits", "waits", "waits", "waits", "waits", "busy"]);
}

#[test]
fn calls_that_come_early_keep_to_the_bounds_of_their_kinds() {
    let config = Config { bounds: small_bounds(), ..Config::default() };
    let mut world = World::new(&Setup { qcs: 60, config, ..Setup::default() });
    world.begin();
    let flood: Vec<_> =
        (20..60).rev().flat_map(|link| [world.push_link(link), world.push_block(link as u64)]).collect();
    let early = [
        world.push_link(0),
        world.push_block(3),
        world.push_app_hash(2),
        world.get_qc(1),
        world.get_block(1),
        world.try_get_block(1),
        world.get_by_hash(50),
        world.prune(9),
        world.subscribe(0, false, 3),
    ];
    assert_eq!(world.fates(&early), ["waits"; 9], "no flood of pushes takes their place");
    let waits = world.fates(&flood).iter().filter(|fate| **fate == "waits").count();
    assert_eq!(waits, 10, "six of each kind, the lowest numbers");
    let malformed = {
        let mut qc = (*world.source.links[0].qc).clone();
        qc.qc.proposal.lane_ranges.pop();
        world.push_lie((qc.into(), Vec::new()))
    };
    assert_eq!(world.fate(malformed), "lane_count");
    let status = world.status();
    assert_eq!((status.waiters["push_qc"], status.waiters["push_app_hash"]), (6, 1));
    world.run();
    assert_eq!(
        world.fates(&early),
        ["ok", "waits", "ok", "ok", "ok", "not_found", "not_found", "ok", "ok"],
        "taken up in their order when recovery is done"
    );
}

#[test]
fn copies_that_come_early_have_no_reserve_beyond_the_bound() {
    let config = Config { bounds: small_bounds(), ..Config::default() };
    let mut world = World::new(&Setup { config, ..Setup::default() });
    world.begin();
    let copies: Vec<_> = (0..30).map(|_| world.push_block(0)).collect();
    assert_eq!(world.fates(&copies)[..6], ["waits"; 6]);
    assert_eq!(world.fates(&copies)[6..], ["busy"; 24]);
}

#[test]
fn early_caller_that_goes_away_is_forgotten() {
    let mut world = World::new(&Setup::default());
    world.begin();
    let (dropped, kept) = (world.push_link(0), world.push_link(1));
    world.forget(dropped);
    world.run();
    assert_eq!(world.cursor_numbers(), [0; 5]);
    assert_eq!(world.fate(kept), "waits");
}

#[test]
fn cursors_and_status_are_answered_while_it_recovers() {
    let mut world = World::new(&Setup::default());
    world.begin();
    assert!(matches!(world.ask_now(Request::NextBlock), Ok(Answer::Cursors(_))));
    assert_eq!(world.state().name(), "recovering");
    world.run();
    assert_eq!(world.state().name(), "running");
}

/// ARCHITECTURE.md states what happens to each message when its bound is full; this is it for those that wait for a
/// number. The others: `too_many_prunings_and_shutdowns_are_busy_and_the_others_are_answered`, and
/// `what_waits_for_a_reader_only_is_busy_beyond_its_bound`.
#[test]
fn every_message_that_waits_for_a_number_makes_room_for_lower_ones() {
    type Ask = fn(&mut World, u64) -> CallId;
    let messages: [(&str, Ask); 10] = [
        ("PushQc", |world, number| world.push_qc_alone(usize::try_from(number).unwrap())),
        ("PushBlock", World::push_block),
        ("PushAppHash", World::push_app_hash),
        ("GetQc", World::get_qc),
        ("GetBlock", World::get_block),
        ("GetGlobalBlock", World::get_global_block),
        ("GetAppProposal", World::get_app_proposal),
        ("Subscribe", |world, number| world.subscribe(number, false, 1)),
        ("Subscribe, only_durable", |world, number| world.subscribe(number, true, 1)),
        ("PushBlock, invalid", |world, number| {
            let block = world.source.block(0).block().clone();
            world.push_block_lie(number, block)
        }),
    ];
    for (message, ask) in messages {
        let mut world = crowded();
        world.held.insert(ActorKind::Verifier);
        let waiting: Vec<_> = (41..47).map(|number| ask(&mut world, number)).collect();
        assert_eq!(world.fates(&waiting), ["waits"; 6], "{message}");
        let higher = ask(&mut world, 50);
        assert_eq!(world.fate(higher), "busy", "{message}");
        assert_eq!(world.fates(&waiting), ["waits"; 6], "{message}");
        let lower = ask(&mut world, 40);
        assert_eq!(world.fate(lower), "waits", "{message}");
        assert_eq!(world.fates(&waiting)[5..], ["busy"], "{message}");
        assert_eq!(world.fates(&waiting)[..5], ["waits"; 5], "{message}");
    }
}

#[test]
fn too_many_prunings_and_shutdowns_are_busy_and_the_others_are_answered() {
    let mut world = crowded();
    world.held.extend([ActorKind::QcWal, ActorKind::BlockWal]);
    world.push_link(2);
    world.run();
    world.execute_all();
    let prunings: Vec<_> = (0..8).map(|_| world.prune(4)).collect();
    assert_eq!(world.fates(&prunings)[5..], ["waits", "busy", "busy"]);
    let shutdowns: Vec<_> = (0..8).map(|_| world.ask(Request::Shutdown)).collect();
    assert_eq!(world.fates(&shutdowns)[5..], ["waits", "busy", "busy"]);
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&prunings)[..6], ["ok"; 6]);
    assert_eq!(world.fates(&shutdowns)[..6], ["ok"; 6]);
    let late = world.ask_now(Request::Shutdown);
    assert!(matches!(late, Err(Error::Stopped(_))));
}
