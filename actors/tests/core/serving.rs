//! Gets and streams: from memory, from the logs, and across both.

use roadbed::Config;
use roadbed::state::core::{Answer, Request};
use roadbed_messages::api::workers::CallId;
use roadbed_messages::api::{ActorKind, GetBlockByHash};
use roadbed_messages::{BlockNumber, HeaderHash};

use crate::world::{Setup, World, small_bounds};

/// A world with forty links in it, of which memory holds next to nothing.
fn world() -> World {
    let config = Config { memory_bytes_max: 2_000, ..Config::default() };
    let mut world = World::started(&Setup { qcs: 60, config, ..Setup::default() });
    world.push_links(0..40);
    world
}

fn numbers(world: &World, call: CallId) -> Vec<u64> {
    match world.answer(call) {
        Some(Ok(Answer::GlobalBlocks(blocks))) => blocks.iter().map(|block| block.number.0).collect(),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_memory_has_let_go_of_is_read_and_waits_for_the_reader_only() {
    let mut world = world();
    let calls = [
        world.get_qc(3),
        world.get_block(3),
        world.get_global_block(3),
        world.try_get_block(3),
        world.get_by_hash(3),
        world.subscribe(3, true, 5),
    ];
    assert_eq!(world.fates(&calls), ["waits"; 6]);
    assert_eq!(world.reads(), 6);
    let held = [world.get_block(119), world.get_global_block(119)];
    assert_eq!(world.fates(&held), ["ok"; 2], "the newest are in memory");
    world.run();
    assert_eq!(world.fates(&calls), ["ok"; 6]);
    assert_eq!(numbers(&world, calls[5]), [3, 4, 5, 6, 7]);
}

fn held(world: &World, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let blocks = world.core.blocks(BlockNumber(numbers.start)..BlockNumber(numbers.end));
    blocks.map(|block| world.source.number_of(&block.header_hash()).unwrap()).collect()
}

#[test]
fn block_stays_in_memory_until_its_qc_is_durable_too() {
    let config = Config { memory_bytes_max: 0, ..Config::default() };
    let mut world = World::started(&Setup { config, ..Setup::default() });
    world.held.insert(ActorKind::QcWal);
    world.push_links(0..4);
    let calls =
        [world.get_block(2), world.get_by_hash(2), world.get_global_block(2), world.subscribe(0, false, 9)];
    assert_eq!(world.fates(&calls), ["ok"; 4]);
    assert_eq!(world.core.memory_bytes(), world.source.bytes_between(0, 12));
    assert_eq!(held(&world, 2..5), [2, 3, 4]);
    world.held.clear();
    world.run();
    assert_eq!((world.core.memory_bytes(), held(&world, 2..5)), (0, vec![]));
}

#[test]
fn read_that_a_pruning_has_overtaken_is_answered_with_it() {
    let mut world = world();
    world.push_app_hash(4);
    world.execute_all();
    let calls = [
        world.get_qc(3),
        world.get_block(3),
        world.get_global_block(3),
        world.get_app_proposal(3),
        world.try_get_block(3),
        world.subscribe(3, true, 5),
    ];
    let by_hash = [world.get_by_hash(3), world.get_by_hash(60)];
    world.prune(50);
    while world.can_work(ActorKind::QcWal) || world.can_work(ActorKind::BlockWal) {
        world.work(ActorKind::QcWal);
        world.work(ActorKind::BlockWal);
    }
    world.run();
    assert_eq!(world.fates(&calls), ["pruned"; 6]);
    assert_eq!(world.fates(&by_hash), ["not_found", "ok"]);
}

#[test]
fn what_a_reader_found_by_hash_is_not_served_once_it_is_pruned() {
    let mut world = world();
    world.push_app_hash(4);
    world.execute_all();
    let calls = [3, 49, 50].map(|number| world.get_by_hash(number));
    let mut found: Vec<_> = calls.iter().map(|_| world.find(0).unwrap()).collect();
    world.damaged.extend([3, 49, 50]);
    let damaged = [3, 49, 50].map(|number| world.get_by_hash(number));
    found.extend(damaged.iter().map(|_| world.find(0).unwrap()));
    world.prune(50);
    world.run();
    found.into_iter().for_each(|answer| world.input(answer));
    assert_eq!(world.fates(&calls), ["pruned", "pruned", "ok"]);
    assert_eq!(world.fates(&damaged), ["not_found", "not_found", "damaged"]);
}

#[test]
fn damaged_block_errs_and_everything_else_goes_on() {
    let mut world = world();
    world.damaged.insert(7);
    let calls =
        [world.get_block(7), world.try_get_block(7), world.get_by_hash(7), world.subscribe(7, false, 3)];
    let others = [world.get_block(6), world.get_block(8), world.get_qc(7), world.subscribe(5, false, 9)];
    world.run();
    assert_eq!(world.fates(&calls), ["damaged"; 4]);
    assert_eq!(world.fates(&others), ["ok"; 4]);
    assert_eq!(numbers(&world, others[3]), [5, 6], "a stream ends before it, and errs there");
}

#[test]
fn unknown_hash_is_not_found() {
    for with_logs in [true, false] {
        let mut world = World::started(&Setup { with_logs, ..Setup::default() });
        world.push_links(0..2);
        let unknown = Request::GetBlockByHash(GetBlockByHash { hash: HeaderHash([9; 32]) });
        let calls = [world.ask(unknown), world.get_by_hash(10), world.get_by_hash(5)];
        world.run();
        assert_eq!(world.fates(&calls), ["not_found", "not_found", "ok"]);
    }
}

#[test]
fn app_proposal_whose_qc_was_let_go_of_is_read() {
    let mut world = world();
    let calls = [world.push_app_hash(4), world.push_app_hash(100)];
    assert_eq!(world.fates(&calls), ["ok"; 2]);
    let proposals = [world.get_app_proposal(2), world.get_app_proposal(5)];
    assert_eq!(world.fates(&proposals), ["waits"; 2]);
    world.run();
    assert_eq!(world.fates(&proposals), ["ok"; 2]);
}

#[test]
fn what_waits_for_a_reader_only_is_busy_beyond_its_bound() {
    let config = Config { memory_bytes_max: 0, bounds: small_bounds(), ..Config::default() };
    let mut world = World::started(&Setup { config, ..Setup::default() });
    world.push_links(0..4);
    let reads: Vec<_> =
        (0..6).map(|n| if n % 2 == 0 { world.try_get_block(n) } else { world.get_by_hash(n) }).collect();
    let more = [world.try_get_block(0), world.get_by_hash(0)];
    assert_eq!((world.fates(&more), world.reads()), (vec!["busy"; 2], 6));
    assert_eq!(world.fates(&reads), ["waits"; 6]);
    world.run();
    assert_eq!(world.fates(&reads), ["ok"; 6]);
}

#[test]
fn reads_whose_callers_have_gone_are_bounded_like_the_others() {
    let config = Config { memory_bytes_max: 0, bounds: small_bounds(), ..Config::default() };
    let mut world = World::started(&Setup { config, ..Setup::default() });
    world.push_links(0..4);
    for _ in 0..6 {
        let call = world.get_block(1);
        assert_eq!(world.fate(call), "waits");
        world.forget(call);
    }
    let refused = world.get_block(1);
    assert_eq!((world.fate(refused), world.reads()), ("busy", 6));
    world.finish_read(3);
    let call = world.get_block(1);
    assert_eq!(world.fate(call), "waits");
    world.run();
    assert_eq!(world.fate(call), "ok");
    let left = world.get_block(2);
    world.forget(left);
    let shutdown = world.ask(Request::Shutdown);
    world.run();
    assert_eq!(world.fate(shutdown), "ok", "nobody waits for a read that nobody waits for");
}

#[test]
fn reads_go_on_while_both_logs_are_down() {
    let mut world = world();
    for actor in [ActorKind::QcWal, ActorKind::BlockWal] {
        world.kill(actor, roadbed_messages::api::workers::Cause::DiskFull);
    }
    world.run();
    let calls = [world.get_block(3), world.get_qc(60), world.subscribe(0, true, 100)];
    world.run();
    assert_eq!(world.fates(&calls), ["ok"; 3]);
}

#[test]
fn stream_carries_every_block_once_in_order_across_logs_and_memory() {
    let mut world = world();
    world.held.insert(ActorKind::BlockWal);
    world.push_links(40..44);
    for only_durable in [true, false] {
        let (mut next, end) = (0, if only_durable { 120 } else { 132 });
        while next < end {
            let call = world.subscribe(next, only_durable, 7);
            world.run();
            let got = numbers(&world, call);
            assert!(!got.is_empty() && got.len() <= 7);
            assert_eq!(got[0], next);
            next += got.len() as u64;
        }
        assert_eq!(next, end);
        let waits = world.subscribe(next, only_durable, 7);
        assert_eq!(world.fate(waits), "waits");
    }
}

#[test]
fn stream_reply_of_no_blocks_counts_as_one() {
    let mut world = world();
    let call = world.subscribe(119, false, 0);
    assert_eq!(numbers(&world, call), [119]);
}

#[test]
fn stream_reply_is_bounded_whatever_is_asked_for() {
    let mut world = World::started(&Setup { blocks_per_qc: 100, qcs: 4, ..Setup::default() });
    world.push_links(0..4);
    let call = world.subscribe(3, false, usize::MAX);
    assert_eq!(numbers(&world, call), (3..259).collect::<Vec<_>>(), "in blocks");

    let mut world = World::started(&Setup { tx_bytes: 1 << 20, qcs: 4, ..Setup::default() });
    world.push_links(0..4);
    let call = world.subscribe(3, false, usize::MAX);
    assert_eq!(numbers(&world, call), [3, 4, 5, 6], "in bytes");
}
