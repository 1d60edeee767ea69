//! What is a valid block.

use std::sync::Arc;

use roadbed_messages::{
    Block, BlockError, BlockNumber, ChainParams, PublicKey, codec,
    testing::{self, ChainShape, TestCommittee},
    verify_block,
};

fn limited() -> (TestCommittee, Block) {
    let params =
        ChainParams { block_txs_max: 3, tx_bytes_max: 10, block_tx_bytes_max: 15, ..ChainParams::default() };
    let members = testing::committee_with(1, 4, BlockNumber(0), params);
    let shape = ChainShape { txs_per_block: 3, tx_bytes: 5, ..ChainShape::default() };
    let block = testing::chain(1, &members, shape).next().unwrap().1.remove(0);
    (members, block)
}

fn refusal(members: &TestCommittee, block: Block) -> BlockError {
    verify_block(&members.committee, Arc::new(block)).unwrap_err()
}

fn with_txs(mut block: Block, txs: &[usize]) -> Block {
    block.payload.txs = txs.iter().map(|len| vec![1; *len]).collect();
    block.header.payload = block.payload.hash();
    block
}

#[test]
fn a_valid_block_proves_itself() {
    let (members, block) = limited();
    let verified = verify_block(&members.committee, Arc::new(block.clone())).unwrap();
    assert_eq!(**verified.block(), block);
    assert_eq!(verified.header_hash(), block.header.hash());
    assert_eq!(verified.size_bytes(), codec::encode(&block).len());
    assert_eq!(verified.clone(), verified);
}

#[test]
fn a_lane_outside_the_committee_is_refused() {
    let (members, mut block) = limited();
    let lane = PublicKey([9; 32]);
    block.header.lane = lane;
    assert_eq!(refusal(&members, block), BlockError::UnknownLane { lane });
}

#[test]
fn another_payload_is_refused() {
    let (members, block) = limited();
    let wrong = testing::wrong_payload(&block);
    let (expected, found) = (block.header.payload, wrong.payload.hash());
    assert_eq!(refusal(&members, wrong), BlockError::PayloadMismatch { expected, found });
}

#[test]
fn limits_of_the_chain_hold() {
    let (members, block) = limited();
    let of = |txs: &[usize]| verify_block(&members.committee, Arc::new(with_txs(block.clone(), txs)));
    assert_eq!(of(&[0, 0, 0, 0]), Err(BlockError::TooManyTxs { found: 4, max: 3 }));
    assert_eq!(of(&[5, 5, 6]), Err(BlockError::TxsTooLong { found: 16, max: 15 }));
    assert_eq!(of(&[1, 11, 1]), Err(BlockError::TxTooLong { found: 11, max: 10 }));
    for allowed in [&[][..], &[0, 0, 0], &[5, 10], &[10, 0, 5]] {
        assert!(of(allowed).is_ok(), "{allowed:?}");
    }
}

#[test]
fn reasons_are_stable() {
    let (members, block) = limited();
    assert_eq!(refusal(&members, testing::wrong_payload(&block)).reason(), "payload_mismatch");
    assert_eq!(refusal(&members, with_txs(block.clone(), &[0; 4])).reason(), "too_many_txs");
    assert_eq!(refusal(&members, with_txs(block.clone(), &[16])).reason(), "txs_too_long");
    assert_eq!(refusal(&members, with_txs(block.clone(), &[11])).reason(), "tx_too_long");
    let mut outside = block;
    outside.header.lane = PublicKey([9; 32]);
    assert_eq!(refusal(&members, outside).reason(), "unknown_lane");
}
