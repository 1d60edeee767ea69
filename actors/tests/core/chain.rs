//! The chain in memory: what it holds, and what it lets go of.

use roadbed::state::core::chain::Chain;
use roadbed_messages::BlockNumber;
use roadbed_messages::testing::{self, ChainShape};

use crate::world::Source;

fn source(links: usize) -> Source {
    let shape = ChainShape { blocks_per_qc: 3, txs_per_block: 1, tx_bytes: 16, ..ChainShape::default() };
    Source::new(1, &testing::committee(1, 4), shape, links)
}

/// A chain that holds the first links of a source, all of it durable.
fn chain(links: usize) -> (Source, Chain) {
    let source = source(links);
    let mut chain = Chain::new(BlockNumber(0));
    for link in &source.links {
        chain.insert_qc(link.verified.clone());
        for (block, number) in link.blocks.iter().zip(link.first()..) {
            assert!(chain.insert_block(BlockNumber(number), block.clone()));
        }
    }
    chain.set_persisted(BlockNumber(source.end()));
    (source, chain)
}

fn held(chain: &Chain, source: &Source) -> Vec<u64> {
    (0..source.end()).filter(|number| chain.block(BlockNumber(*number)).is_some()).collect()
}

#[test]
fn memory_keeps_the_newest_blocks_and_their_qcs_within_its_limit() {
    let (source, mut chain) = chain(20);
    assert_eq!(chain.memory_bytes(), source.bytes_between(0, 60));
    // As much as the last five QCs take with all their blocks.
    chain.evict(source.bytes_between(45, 60));
    assert_eq!(held(&chain, &source), (45..60).collect::<Vec<_>>());
    assert!((45..60).all(|number| chain.global_block(BlockNumber(number)).is_some()));
    assert_eq!(chain.memory_bytes(), source.bytes_between(45, 60));
    chain.evict(source.bytes_between(45, 60) - 1);
    let left: Vec<_> = (46..60).collect();
    assert_eq!(held(&chain, &source), left, "the QC of the block that went is still needed");
    assert!(chain.qc(BlockNumber(45)).is_some());
    chain.evict(0);
    assert_eq!((held(&chain, &source), chain.memory_bytes()), (vec![], 0));
}

#[test]
fn a_block_that_comes_again_is_not_held_twice() {
    let source = source(3);
    let mut chain = Chain::new(BlockNumber(0));
    for link in &source.links {
        chain.insert_qc(link.verified.clone());
    }
    let again = |chain: &mut Chain, number: u64| {
        let before = chain.memory_bytes();
        assert!(!chain.insert_block(BlockNumber(number), source.block(number).clone()), "{number}");
        assert_eq!(chain.memory_bytes(), before, "{number}");
    };
    for number in [0, 1, 5] {
        assert!(chain.insert_block(BlockNumber(number), source.block(number).clone()));
        again(&mut chain, number);
    }
    chain.set_persisted(BlockNumber(2));
    chain.evict(0);
    assert_eq!(held(&chain, &source), [5]);
    again(&mut chain, 1);
    assert_eq!(held(&chain, &source), [5], "what is durable and was let go of does not come back by a push");
}

#[test]
fn qcs_are_numbered_on_from_what_their_log_has() {
    let source = source(3);
    let mut chain = Chain::recovered(Chain::new(BlockNumber(0)).cursors(), 7);
    for (link, index) in source.links.iter().zip(7..) {
        assert_eq!(chain.next_qc_index(), index);
        chain.insert_qc(link.verified.clone());
        assert_eq!(chain.qc(BlockNumber(link.first())).unwrap().index, index);
    }
    assert_eq!(chain.next_qc_index(), 10);
}

#[test]
fn qc_of_every_block_is_found_among_any_number_of_qcs() {
    let (source, mut chain) = chain(33);
    for dropped in 0..=33 {
        chain.evict(source.bytes_between(3 * dropped, source.end()));
        for number in 0..source.end() + 4 {
            let found = chain.qc(BlockNumber(number)).map(|found| found.qc.range());
            let held = (3 * dropped..source.end()).contains(&number);
            let first = BlockNumber(number - number % 3);
            assert_eq!(
                found,
                held.then(|| first..first.saturating_add(3)),
                "{number} without the first {dropped}"
            );
        }
        let from = source.end() - 3;
        let ends: Vec<_> = chain.qcs_from(BlockNumber(from)).map(|found| found.qc.range().start.0).collect();
        assert_eq!(ends, if dropped < 33 { vec![from] } else { vec![] });
    }
}

#[test]
fn nothing_goes_that_is_not_durable_with_its_qc() {
    let source = source(3);
    let mut chain = Chain::new(BlockNumber(0));
    for link in &source.links {
        chain.insert_qc(link.verified.clone());
    }
    for number in [0, 1, 2, 3, 5, 8] {
        chain.insert_block(BlockNumber(number), source.block(number).clone());
    }
    chain.set_persisted(BlockNumber(2));
    chain.evict(0);
    assert_eq!(held(&chain, &source), [2, 3, 5, 8]);
    let qcs = (0..9).all(|number| chain.qc(BlockNumber(number)).is_some());
    assert!(qcs, "a QC is needed for a block that is missing");
}

#[test]
fn pruned_blocks_leave_nothing_behind() {
    let (source, mut chain) = chain(4);
    chain.set_executed(BlockNumber(12));
    assert_eq!(chain.prune(BlockNumber(7)), BlockNumber(0)..BlockNumber(7));
    let hash = |number: u64| source.block(number).header_hash();
    assert_eq!(chain.number_of(&hash(6)), None);
    assert_eq!(chain.number_of(&hash(7)), Some(BlockNumber(7)));
    assert!(chain.qc(BlockNumber(5)).is_none() && chain.qc(BlockNumber(6)).is_some());
    let freed = source.block(6).size_bytes() as u64;
    assert_eq!(chain.memory_bytes(), source.bytes_between(6, 12) - freed);
    assert_eq!(chain.prune(BlockNumber(3)), BlockNumber(7)..BlockNumber(7), "it never goes back");
}

#[test]
fn cursors_keep_their_order_whatever_the_logs_claim() {
    let (_, mut chain) = chain(2);
    chain.set_persisted(BlockNumber(100));
    chain.set_persisted(BlockNumber(1));
    assert_eq!(chain.cursors().next_block_to_persist.0, 6);
    assert!(chain.cursors().in_order());
}

#[test]
#[should_panic(expected = "QCs are inserted without a gap")]
fn qc_with_a_gap_before_it_never_gets_in() {
    let source = source(3);
    Chain::new(BlockNumber(0)).insert_qc(source.links[1].verified.clone());
}

#[test]
#[should_panic(expected = "an app hash covers only durable blocks")]
fn app_hash_beyond_what_is_durable_never_gets_in() {
    chain(2).1.set_executed(BlockNumber(7));
}
