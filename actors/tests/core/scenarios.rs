//! The scenarios of the design that State's decisions must hold, each under its number.

use std::sync::Arc;

use roadbed::Config;
use roadbed::state::core::{Answer, Effect, Request};
use roadbed_messages::api::workers::{Cause, WalStart};
use roadbed_messages::api::{ActorKind, Error, WalKind};
use roadbed_messages::{BlockNumber, FullCommitQc};

use crate::world::{Setup, World, hash, small_bounds};

const LOGS: [ActorKind; 2] = [ActorKind::QcWal, ActorKind::BlockWal];

fn setup() -> Setup {
    Setup::default()
}

/// A world with the first links of its chain durable in it.
fn with_links(links: usize) -> World {
    let mut world = World::started(&setup());
    world.push_links(0..links);
    world
}

// ---- 2: stale QCs ---------------------------------------------------------------------------------------------

#[test]
fn scenario_02_stale_qc_of_outsiders_that_reaches_beyond_changes_nothing() {
    let mut world = with_links(2);
    let before = world.cursor_numbers();
    let lie = world.push_lie(world.source.forged(1..=4));
    world.run();
    assert_eq!(world.fate(lie), "ok", "its signatures need no check: it is not inserted");
    assert_eq!(world.cursor_numbers(), before);
    assert!((before[3]..world.source.links[4].end()).all(|number| world.need_block(number)));

    world.push_links(2..6);
}

#[test]
fn scenario_02_forged_qc_at_next_qc_is_refused_and_the_valid_one_gets_in() {
    let mut world = with_links(2);
    let before = world.cursor_numbers();
    let lies = [world.push_lie(world.source.forged(2..=2)), world.push_lie(world.source.forged(2..=5))];
    world.run();
    assert_eq!(world.fates(&lies), ["invalid_signature"; 2]);
    assert_eq!(world.cursor_numbers(), before);

    world.push_links(2..6);
}

#[test]
fn scenario_02_staleness_is_judged_again_after_verification() {
    let mut world = with_links(2);
    world.held.insert(ActorKind::Verifier);
    let copies = [world.push_qc_alone(2), world.push_link(2), world.push_qc_alone(2)];
    // All three are with the verifier with their signatures to check, and all three are valid.
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&copies), ["ok"; 3]);
    let end = world.source.links[2].end();
    assert_eq!(world.cursor_numbers()[2..], [end; 3], "inserted once, and the copy's blocks were taken");
}

#[test]
fn scenario_02_qc_that_was_verified_ahead_is_stale_if_its_number_has_come_and_gone() {
    let mut world = with_links(2);
    // Three copies of a QC whose turn has not come, with different blocks.
    let blocks = world.source.links[3].pushed_blocks();
    let copies =
        [world.push_qc_alone(3), world.push_link_with(3, vec![blocks[1].clone()]), world.push_qc_alone(3)];
    let forged = world.push_lie(world.source.forged(3..=4));
    world.run();
    assert_eq!(world.fates(&copies), ["waits"; 3]);
    assert_eq!(world.fate(forged), "invalid_signature", "an invalid one errs before its turn comes");
    world.push_links(2..3);
    assert_eq!(world.fates(&copies), ["ok"; 3]);
    let first = world.source.links[3].first();
    assert_eq!(world.cursors().next_qc.0, world.source.links[3].end());
    let needed: Vec<_> = (first..first + 3).filter(|number| world.need_block(*number)).collect();
    assert_eq!(needed, [first, first + 2], "inserted once, with what the copies brought");
}

#[test]
fn scenario_02_qcs_that_come_in_any_order_enter_in_theirs() {
    let mut world = World::started(&setup());
    let calls: Vec<_> = [4, 2, 0, 3, 1].into_iter().map(|link| world.push_link(link)).collect();
    world.run();
    assert_eq!(world.fates(&calls), ["ok"; 5]);
    assert_eq!(world.cursor_numbers(), [0, 0, 15, 15, 15]);
}

#[test]
fn scenario_02_stale_qc_brings_the_blocks_that_match() {
    let mut world = World::started(&setup());
    world.push_qc_alone(0);
    world.push_qc_alone(1);
    world.run();
    assert_eq!(world.cursors().next_block.0, 0);
    let stale = [world.push_link(1), world.push_link(0)];
    world.run();
    assert_eq!(world.fates(&stale), ["ok"; 2]);
    assert_eq!(world.cursors().next_block, world.cursors().next_qc);
}

// ---- 3: tampered headers --------------------------------------------------------------------------------------

#[test]
fn scenario_03_tampered_headers_bring_no_block_in() {
    let mut world = with_links(1);
    let fresh = world.push_lie(world.source.tampered(1));
    world.run();
    assert_eq!(world.fate(fresh), "header_chain", "{:?}", world.answer(fresh));

    world.push_qc_alone(1);
    world.run();
    let before = world.cursor_numbers();
    let stale = world.push_lie(world.source.tampered(1));
    world.run();
    assert_eq!(world.fate(stale), "ok", "a stale QC's headers are not looked at");
    assert_eq!(world.cursor_numbers(), before);
    let (from, to) = (world.source.links[1].first(), world.source.links[1].end());
    assert!((from..to).all(|number| world.need_block(number)), "no block of it is held");

    let (_, blocks) = world.source.tampered(1);
    let single = world.push_block_lie(from, blocks[0].clone());
    world.run();
    assert_eq!(world.fate(single), "hash_mismatch");
    world.push_link(1);
    world.run();
    assert_eq!(world.cursors().next_block.0, to);
}

// ---- 4: a block that comes before its QC ----------------------------------------------------------------------

#[test]
fn scenario_04_push_block_at_exactly_next_qc_waits() {
    let mut world = with_links(1);
    let number = world.cursors().next_qc.0;
    let call = world.push_block(number);
    world.run();
    assert_eq!(world.fate(call), "waits");
    world.push_qc_alone(1);
    world.run();
    assert_eq!(world.fate(call), "ok");
    assert_eq!(world.cursors().next_block.0, number + 1);
}

#[test]
fn scenario_04_invalid_block_errs_at_once_and_a_wrong_one_when_its_qc_comes() {
    let mut world = with_links(1);
    let next = world.cursors().next_qc.0;
    let invalid = world.push_block_lie(next + 2, world.source.wrong_payload(next + 2));
    let misplaced = world.push_block_lie(next, world.source.block(next + 1).block().clone());
    world.run();
    assert_eq!(world.fates(&[invalid, misplaced]), ["payload_mismatch", "waits"]);
    world.push_qc_alone(1);
    world.run();
    assert_eq!(world.fate(misplaced), "hash_mismatch");
    assert!(world.need_block(next));
}

#[test]
fn scenario_04_block_that_is_there_or_pruned_is_accepted_and_ignored() {
    let mut world = with_links(3);
    world.execute_all();
    world.prune(4);
    world.run();
    let calls = [world.push_block(1), world.push_block(5)];
    let invalid = world.push_block_lie(1, world.source.wrong_payload(1));
    world.run();
    assert_eq!(world.fates(&calls), ["ok"; 2]);
    assert_eq!(world.fate(invalid), "payload_mismatch", "an invalid one is never accepted");
    let early = world.get_block(1);
    assert_eq!(world.fate(early), "pruned");
}

// ---- 5: app hashes --------------------------------------------------------------------------------------------

#[test]
fn scenario_05_app_hash_waits_until_block_and_qc_are_durable() {
    for held in LOGS {
        let mut world = World::started(&setup());
        world.held.insert(held);
        world.push_link(0);
        world.run();
        let call = world.push_app_hash(1);
        world.run();
        assert_eq!(world.fate(call), "waits", "without {held}");
        world.held.clear();
        world.run();
        assert_eq!(world.fate(call), "ok");
        assert_eq!(world.cursors().next_app_proposal.0, 2);
    }
}

#[test]
fn scenario_05_app_hash_of_one_number_is_granted_once() {
    let mut world = World::started(&setup());
    let waiting = [
        world.push_app_hash_of(2, hash(1)),
        world.push_app_hash_of(2, hash(2)),
        world.push_app_hash_of(1, hash(3)),
    ];
    world.push_link(0);
    world.run();
    assert_eq!(world.fates(&waiting), ["ok", "app_hash_out_of_order", "ok"], "judged on waking, ascending");
    let again = world.push_app_hash_of(2, hash(1));
    assert_eq!(world.fate(again), "app_hash_out_of_order", "judged on arrival");
}

#[test]
fn scenario_05_jump_fills_the_numbers_between() {
    let mut world = with_links(3);
    let calls = [world.push_app_hash_of(1, hash(1)), world.push_app_hash_of(7, hash(7))];
    assert_eq!(world.fates(&calls), ["ok"; 2]);
    // The oracle compares each with the lowest report that covers it.
    let proposals: Vec<_> = (0..8).map(|number| world.get_app_proposal(number)).collect();
    assert_eq!(world.fates(&proposals), ["ok"; 8]);
    let Some(Ok(Answer::AppProposal(proposal))) = world.answer(proposals[3]) else { panic!("no proposal") };
    assert_eq!((proposal.number.0, proposal.hash), (7, hash(7)));
    let waits = world.get_app_proposal(8);
    assert_eq!(world.fate(waits), "waits");
}

// ---- 6: pruning -----------------------------------------------------------------------------------------------

fn pruned(world: &World, call: roadbed_messages::api::workers::CallId) -> std::ops::Range<u64> {
    match world.answer(call) {
        Some(Ok(Answer::Pruned(range))) => range.start.0..range.end.0,
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn scenario_06_pruning_keeps_what_is_not_executed_and_one_durable_block() {
    let mut world = with_links(3);
    world.push_app_hash(3);
    let call = world.prune(100);
    world.run();
    assert_eq!(pruned(&world, call), 0..4, "the rest is not executed");
    world.execute_all();
    let call = world.prune(u64::MAX);
    world.run();
    assert_eq!(pruned(&world, call), 4..8, "one stays");
    let call = world.prune(u64::MAX);
    world.run();
    assert_eq!(pruned(&world, call), 8..8, "nothing is left to prune");
}

#[test]
fn scenario_06_pruning_an_empty_store_takes_nothing_and_is_answered() {
    for with_logs in [true, false] {
        let mut world = World::started(&Setup { with_logs, first_block: 5, ..setup() });
        let call = world.prune(100);
        world.run();
        assert_eq!(pruned(&world, call), 5..5);
    }
}

#[test]
fn scenario_06_pruning_inside_a_qc_keeps_it_and_recovers_from_it() {
    let mut world = with_links(4);
    world.execute_all();
    let call = world.prune(4);
    world.run();
    assert_eq!(pruned(&world, call), 0..4);
    assert_eq!(world.qcs.disk.first(), 3, "the QC that straddles stays");
    for _ in 0..3 {
        world.restart();
        assert_eq!(world.cursor_numbers(), [4, 4, 12, 12, 12]);
        assert_eq!(world.running.as_ref().unwrap().reconcile_case, "5");
    }
    let calls = [world.get_qc(4), world.get_block(4), world.get_global_block(4), world.get_qc(3)];
    world.run();
    assert_eq!(world.fates(&calls), ["ok", "ok", "ok", "pruned"]);
}

#[test]
fn scenario_06_pruning_is_answered_when_both_logs_have_dropped_durably() {
    for held in LOGS {
        let mut world = with_links(4);
        world.execute_all();
        world.held.insert(held);
        let call = world.prune(6);
        world.run();
        assert_eq!(world.fate(call), "waits", "without {held}");
        assert_eq!(world.cursors().first.0, 6, "in memory it is done, State waits for nobody");
        let get = world.get_block(5);
        assert_eq!(world.fate(get), "pruned");
        world.held.clear();
        world.run();
        assert_eq!(pruned(&world, call), 0..6);
        world.restart();
        assert_eq!(world.cursors().first.0, 6, "it never comes back");
    }
}

#[test]
fn scenario_06_newest_truncation_wins_and_one_is_on_its_way_at_most() {
    let mut world = with_links(6);
    world.execute_all();
    world.held.extend(LOGS);
    let calls: Vec<_> = [2, 4, 6, 9].map(|retain_from| world.prune(retain_from)).into();
    assert_eq!(world.fates(&calls), ["waits"; 4]);
    world.held.clear();
    world.run();
    for wal in WalKind::BOTH {
        let truncations = &world.log(wal).truncations;
        assert_eq!(*truncations, [2, 9], "the first was on its way already, the others became one");
    }
    assert_eq!(world.fates(&calls), ["ok"; 4]);
}

#[test]
fn scenario_06_restarted_log_is_given_the_truncation_again() {
    for actor in LOGS {
        let mut world = with_links(4);
        world.execute_all();
        world.held.insert(actor);
        let call = world.prune(6);
        world.run();
        world.kill(actor, Cause::Error);
        world.held.clear();
        world.run();
        assert_eq!(world.fate(call), "waits");
        world.tick();
        let resumed = world.effects.iter().any(|effect| match effect {
            Effect::Start { wal: Some(WalStart::Resume { drop_below, .. }), .. } => drop_below.0 == 6,
            _ => false,
        });
        assert!(resumed, "{:?}", world.effects);
        world.run();
        assert_eq!(pruned(&world, call), 0..6);
    }
}

#[test]
fn scenario_06_pruning_late_on_a_long_history_costs_one_truncation() {
    let setup =
        Setup { qcs: 200, config: Config { memory_bytes_max: 5_000, ..Config::default() }, ..setup() };
    let mut world = World::started(&setup);
    world.push_links(0..200);
    world.execute_all();
    let call = world.prune(599);
    let orders = world.effects.iter().filter(|effect| matches!(effect, Effect::BlockWal(_))).count();
    assert_eq!(orders, 1);
    world.run();
    assert_eq!(pruned(&world, call), 0..599);
}

// ---- 7: without a directory -----------------------------------------------------------------------------------

#[test]
fn scenario_07_in_memory_behaves_the_same() {
    let memory_bytes_max = 1;
    let config = Config { memory_bytes_max, ..Config::default() };
    let mut world = World::started(&Setup { with_logs: false, config, ..setup() });
    let early = [world.get_block(4), world.subscribe(0, true, 100), world.push_app_hash(4)];
    world.push_links(0..4);
    assert_eq!(world.fates(&early), ["ok"; 3]);
    assert_eq!(world.cursor_numbers(), [0, 5, 12, 12, 12]);
    let retained: Vec<_> = (0..12).map(|number| world.get_global_block(number)).collect();
    assert_eq!(world.fates(&retained), ["ok"; 12], "all that is retained is in memory");
    let call = world.prune(100);
    assert_eq!(pruned(&world, call), 0..5);
    let gets = [world.get_by_hash(4), world.try_get_block(4), world.get_by_hash(5), world.try_get_block(12)];
    assert_eq!(world.fates(&gets), ["not_found", "pruned", "ok", "not_found"]);
    let sizes: Vec<_> = world.core.retention().sizes_bytes.iter().map(|(number, _)| number.0).collect();
    assert_eq!(sizes, (5..12).collect::<Vec<_>>());
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!(world.fate(shutdown), "ok");
    assert!(world.stopped.is_some());
}

// ---- 8: above a gap -------------------------------------------------------------------------------------------

#[test]
fn scenario_08_blocks_above_a_gap_are_not_asked_for_and_not_served() {
    let mut world = World::started(&setup());
    world.push_qc_alone(0);
    world.push_qc_alone(1);
    for number in [1, 2, 4] {
        world.push_block(number);
    }
    world.run();
    assert_eq!(world.cursor_numbers(), [0, 0, 0, 0, 6]);
    let needed: Vec<_> = (0..6).filter(|number| world.need_block(*number)).collect();
    assert_eq!(needed, [0, 3, 5]);
    let status = world.status();
    assert_eq!((status.buffered_blocks, status.missing_blocks), (3, 3));
    let gets =
        [world.try_get_block(1), world.get_by_hash(2), world.get_block(1), world.subscribe(0, false, 9)];
    assert_eq!(world.fates(&gets), ["not_found", "not_found", "waits", "waits"]);

    // Whatever comes under the number of a block that is held is accepted and ignored.
    let other = world.push_block_lie(1, world.source.block(5).block().clone());
    world.run();
    assert_eq!(world.fate(other), "ok");
    assert!(world.need_block(5));

    world.push_block(0);
    world.run();
    assert_eq!(world.cursors().next_block.0, 3, "it jumps when the gap closes");
    assert_eq!(world.fates(&gets)[2..], ["ok"; 2]);
}

// ---- 9: no deadlock -------------------------------------------------------------------------------------------

#[test]
fn scenario_09_next_qc_gets_in_after_a_restart_on_a_history_longer_than_the_window() {
    let config = Config { window_blocks: 12, memory_bytes_max: 5_000, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 310, config, ..setup() });
    for link in 0..300 {
        world.push_links(link..link + 1);
        world.execute_all();
    }
    world.restart();
    assert_eq!(world.cursor_numbers(), [0, 0, 900, 900, 900], "the application reports its hashes again");
    world.push_links(300..304);
    let shut = world.push_link(304);
    world.run();
    assert_eq!(world.fate(shut), "waits", "the window is as wide as ever");
    // The application is at the tip already, and jumps there.
    world.execute_all();
    world.run();
    assert_eq!(world.fate(shut), "ok");
}

#[test]
fn scenario_09_pushes_for_unreachable_numbers_lock_nothing_out() {
    let config = Config { bounds: small_bounds(), window_blocks: 6, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 40, config, ..setup() });
    world.push_links(0..2);
    for link in 4..40 {
        world.push_link(link);
        world.push_block(world.source.links[link].first());
        world.get_block(link as u64 * 3);
    }
    let far = world.push_app_hash(110);
    world.run();
    let shut = world.push_link(2);
    let executed = world.push_app_hash(5);
    world.run();
    assert_eq!(world.fates(&[shut, executed, far]), ["ok", "ok", "waits"]);
    world.execute_all();
    let next = world.push_link(3);
    world.run();
    assert_eq!(world.fate(next), "ok");
}

#[test]
fn scenario_09_application_ahead_of_the_recovered_store_waits_for_it() {
    let mut world = World::started(&setup());
    world.held.extend(LOGS);
    world.push_link(0);
    world.run();
    world.restart();
    assert_eq!(world.cursor_numbers(), [0; 5], "what it executed is lost");
    let ahead = world.push_app_hash(2);
    world.run();
    assert_eq!(world.fate(ahead), "waits");
    world.push_links(0..1);
    assert_eq!(world.fate(ahead), "ok");
}

#[test]
fn scenario_09_application_behind_the_prune_floor_is_told_where_to_go_on() {
    let mut world = with_links(3);
    world.execute_all();
    world.prune(5);
    world.run();
    world.restart();
    let behind = world.push_app_hash(4);
    match world.answer(behind) {
        Some(Err(Error::AppHashOutOfOrder { next_app_proposal, .. })) => assert_eq!(next_app_proposal.0, 5),
        answer => panic!("{answer:?}"),
    }
    let stream = world.subscribe(4, false, 10);
    match world.answer(stream) {
        Some(Err(Error::Pruned { first, .. })) => assert_eq!(first.0, 5),
        answer => panic!("{answer:?}"),
    }
}

// ---- 10: before the logs are open -----------------------------------------------------------------------------

#[test]
fn scenario_10_what_was_pushed_before_the_logs_were_open_is_persisted() {
    let mut world = World::new(&setup());
    world.begin();
    world.held.extend(LOGS);
    let pushes = [world.push_link(1), world.push_link(0), world.push_block(6), world.push_app_hash(5)];
    world.run();
    assert_eq!(world.fates(&pushes), ["waits"; 4]);
    world.held.clear();
    world.run();
    assert_eq!(world.fates(&pushes), ["ok", "ok", "waits", "ok"]);
    world.restart();
    assert_eq!(world.cursors().next_block.0, 6);
}

#[test]
fn scenario_10_what_was_pushed_while_the_logs_were_down_is_persisted() {
    let mut world = with_links(1);
    world.kill_logs(Cause::Panic);
    world.run();
    world.push_links(1..4);
    assert_eq!(world.cursor_numbers()[2..], [3, 12, 12]);
    world.run_on();
    assert_eq!(world.cursor_numbers()[2..], [12, 12, 12]);
}

// ---- 11: floods -----------------------------------------------------------------------------------------------

#[test]
fn scenario_11_flood_of_far_future_numbers_is_bounded_in_count_and_bytes() {
    // The oracle holds every step against the bounds, in calls and in bytes.
    let config = Config { bounds: small_bounds(), verify_jobs_max: 2, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 200, config, ..setup() });
    let flood: Vec<_> = (100..200)
        .rev()
        .flat_map(|link| [world.push_link(link), world.push_block(link as u64 * 3)])
        .collect();
    world.run();
    let busy = world.fates(&flood).iter().filter(|fate| **fate == "busy").count();
    let waits = world.fates(&flood).iter().filter(|fate| **fate == "waits").count();
    assert_eq!(busy + waits, flood.len());
    assert!(waits <= 12, "{waits} wait");
    let rejected = world.status().rejected;
    assert_eq!(rejected.get("busy"), Some(&(busy as u64)));
}

#[test]
fn scenario_11_blocks_far_above_a_lost_block_log_are_not_taken_into_memory_all_at_once() {
    let config = Config { window_blocks: 10, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 100, config: config.clone(), ..setup() });
    for link in 0..100 {
        world.push_links(link..link + 1);
        world.execute_all();
    }
    world.crash(config);
    world.blocks.disk.lose();
    world.excuse_lost_promises();
    world.begin();
    world.run();
    assert!(world.running.as_ref().unwrap().lost.is_some());
    assert_eq!(world.cursor_numbers(), [0, 0, 0, 0, 300]);

    // A stale QC that claims to be as long as all of them opens no other way in.
    let mut long = FullCommitQc::clone(&world.source.links[0].qc);
    long.headers = long.headers.iter().cycle().take(300).cloned().collect();
    let blocks = (1..300).map(|number| world.source.block(number).block().clone()).collect();
    let stale = world.push_lie((Arc::new(long), blocks));
    world.run();
    assert_eq!((world.fate(stale), world.status().buffered_blocks), ("ok", 11));

    let calls: Vec<_> = (1..300).rev().map(|number| world.push_block(number)).collect();
    world.run();
    assert_eq!(world.status().buffered_blocks, 11, "the window, and the rest of the QC that begins in it");
    world.push_block(0);
    world.run();
    assert_eq!(world.fates(&calls), vec!["ok"; 299], "they come in as the window moves on");
    assert_eq!(world.cursor_numbers(), [0, 0, 300, 300, 300]);
}

// ---- 12: callers that go away, and the end --------------------------------------------------------------------

#[test]
fn scenario_12_dropped_caller_leaves_no_waiter() {
    // The oracle compares the table with the callers that are left at every step.
    let mut world = World::started(&setup());
    let calls = [
        world.push_link(5),
        world.push_block(20),
        world.push_app_hash(9),
        world.get_qc(9),
        world.get_block(9),
        world.get_app_proposal(9),
        world.subscribe(9, false, 1),
        world.subscribe(9, true, 1),
    ];
    world.run();
    assert_eq!(world.fates(&calls), ["waits"; 8]);
    calls.into_iter().for_each(|call| world.forget(call));
    assert!(world.status().waiters.values().all(|count| *count == 0));
    world.push_links(0..7);
}

#[test]
fn scenario_12_push_dropped_while_it_is_verified_changes_nothing() {
    let mut world = World::started(&setup());
    world.held.insert(ActorKind::Verifier);
    let (dropped, kept) = (world.push_link(0), world.push_link(1));
    world.forget(dropped);
    world.held.clear();
    world.run();
    assert_eq!(world.cursor_numbers(), [0; 5]);
    world.push_links(0..1);
    assert_eq!(world.fate(kept), "ok");
}

#[test]
fn scenario_12_shutdown_with_thousands_of_waiters_answers_every_one() {
    let mut world = World::started(&Setup { qcs: 700, ..setup() });
    let mut calls = Vec::new();
    for n in 0..600 {
        let number = 1_000 + n;
        calls.extend([
            world.push_link(600 - usize::try_from(n).unwrap()),
            world.push_block(number),
            world.push_app_hash(number),
            world.get_qc(number),
            world.get_block(number),
            world.get_global_block(number),
            world.get_app_proposal(number),
            world.subscribe(number, false, 1),
            world.subscribe(number, true, 1),
        ]);
    }
    world.run();
    assert_eq!(world.fates(&calls), vec!["waits"; calls.len()]);
    let shutdowns = [world.ask(Request::Shutdown), world.ask(Request::Shutdown)];
    world.run();
    assert_eq!(world.fates(&calls), vec!["stopped"; calls.len()]);
    assert_eq!(world.fates(&shutdowns), ["ok"; 2]);
    assert!(world.stopped.is_some());
}

// ---- 13: sizes and numbers ------------------------------------------------------------------------------------

#[test]
fn scenario_13_committees_of_all_sizes_and_chains_from_anywhere() {
    for members in [1, 3, 4, 100] {
        for first_block in [0, 1, 1_000_000, u64::MAX - 60] {
            // Some of the lanes stay empty in each QC.
            let blocks_per_qc = 5;
            let setup = Setup { members, first_block, blocks_per_qc, qcs: 12, ..setup() };
            let mut world = World::started(&setup);
            let end = world.source.end();
            let stream = world.subscribe(first_block, true, 100);
            world.push_links(0..12);
            world.execute_all();
            assert_eq!(world.cursor_numbers(), [first_block, end, end, end, end]);
            assert_eq!(world.fate(stream), "ok");
            let beyond = [world.push_app_hash(u64::MAX), world.get_block(u64::MAX), world.get_qc(end)];
            assert_eq!(world.fates(&beyond), ["waits"; 3]);
            let call = world.prune(first_block + 7);
            world.run();
            assert_eq!(pruned(&world, call), first_block..first_block + 7);
            world.restart();
            let first = first_block + 7;
            assert_eq!(world.cursor_numbers(), [first, first, end, end, end]);
            let all: Vec<_> = (first..end).map(|number| world.get_global_block(number)).collect();
            world.run();
            assert_eq!(world.fates(&all), vec!["ok"; all.len()]);
        }
    }
}

#[test]
fn scenario_13_crash_between_the_two_logs_recovers_on_every_side() {
    for (held, case) in [(ActorKind::QcWal, "7"), (ActorKind::BlockWal, "8")] {
        let mut world = with_links(2);
        world.held.insert(held);
        world.push_links(2..3);
        world.restart();
        let recovered = world.running.clone().unwrap();
        assert_eq!((recovered.reconcile_case.as_str(), recovered.next_block), (case, BlockNumber(6)));
        world.push_links(2..4);
        assert_eq!(world.cursor_numbers()[2..], [12; 3]);
        assert_eq!(world.log(WalKind::Qcs).disk.durable_end(), 12);
    }
}
