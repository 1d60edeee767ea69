//! A chain verifies, survives its encoding, and goes on from any of its QCs.
#![cfg(feature = "testing")]

use std::sync::Arc;

use roadbed_messages::{
    Block, FullCommitQc,
    codec::{decode, encode},
    testing::{self, ChainShape},
    verify_block, verify_qc,
};

#[test]
fn a_chain_verifies_and_survives_its_encoding() {
    let members = testing::committee(1, 4);
    let mut next = members.committee.first_block();
    for (qc, blocks) in testing::chain(1, &members, ChainShape::default()).take(20) {
        let again: FullCommitQc = decode(&encode(&qc)).unwrap();
        assert_eq!(again, qc);
        let verified = verify_qc(&members.committee, Arc::new(qc)).unwrap();
        assert_eq!(verified.range().start, next);
        for block in blocks {
            let again: Block = decode(&encode(&block)).unwrap();
            assert_eq!(again, block);
            let block = verify_block(&members.committee, Arc::new(block)).unwrap();
            verified.match_block(next, &block).unwrap();
            next = next.next().unwrap();
        }
        assert_eq!(verified.range().end, next);
    }
}
