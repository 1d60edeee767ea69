//! Canonical hashes, recomputed here from their description: bytes put behind one another by hand.

use roadbed_messages::{BlockNumber, ChainParams, Committee, Timestamp, testing};
use sha2::{Digest, Sha256};

use crate::samples;

fn domain(name: &str) -> Vec<u8> {
    let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes
}

fn put(bytes: &mut Vec<u8>, numbers: &[u64]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn header_hash_is_the_fields_in_order() {
    let header = samples::header(1);
    let mut bytes = domain("roadbed/1/block-header");
    bytes.extend(header.lane.0);
    put(&mut bytes, &[header.number.0]);
    bytes.extend(header.parent.0);
    bytes.extend(header.payload.0);
    assert_eq!(header.hash().0, sha256(&bytes));
}

#[test]
fn payload_hash_is_the_fields_in_order() {
    let payload = samples::payload();
    let mut bytes = domain("roadbed/1/payload");
    put(&mut bytes, &[payload.created_at.unix_us(), payload.gas, 3]);
    for end in [5_u32, 5, 10] {
        bytes.extend(end.to_le_bytes());
    }
    put(&mut bytes, &[10]);
    bytes.extend(b"firstthird");
    assert_eq!(payload.hash().0, sha256(&bytes));
}

#[test]
fn vote_hash_is_the_chain_and_the_fields_in_order() {
    let proposal = samples::proposal();
    let mut bytes = domain("roadbed/1/vote");
    bytes.extend(samples::chain_id().0);
    put(&mut bytes, &[7, 2, proposal.timestamp.unix_us(), 3]);
    for range in &proposal.lane_ranges {
        bytes.extend(range.lane.0);
        put(&mut bytes, &[range.first.0, range.next.0]);
        bytes.extend(range.last_hash.0);
    }
    let mut bare = bytes.clone();
    bytes.push(1);
    put(&mut bytes, &[41, 6]);
    bytes.extend(samples::app_proposal().hash.0);
    assert_eq!(proposal.vote_hash(&samples::chain_id()).0, sha256(&bytes));

    bare.push(0);
    let without = roadbed_messages::Proposal { app_proposal: None, ..proposal };
    assert_eq!(without.vote_hash(&samples::chain_id()).0, sha256(&bare));
}

#[test]
fn chain_id_is_the_sorted_keys_and_all_constants() {
    let keys = testing::committee(3, 4).committee.keys().to_vec();
    let params =
        ChainParams { lane_blocks_per_qc_max: 9, block_txs_max: 8, tx_bytes_max: 7, block_tx_bytes_max: 6 };
    let mut shuffled = keys.clone();
    shuffled.reverse();
    let committee = Committee::new(shuffled, BlockNumber(5), Timestamp::from_unix_us(4), params).unwrap();

    let mut bytes = domain("roadbed/1/chain");
    put(&mut bytes, &[4]);
    for key in &keys {
        bytes.extend(key.0);
    }
    put(&mut bytes, &[5, 4, 9, 8, 7, 6]);
    assert_eq!(committee.chain_id().0, sha256(&bytes));
}

#[test]
fn every_field_changes_the_vote() {
    let base = samples::proposal();
    let mut votes = vec![base.vote_hash(&samples::chain_id())];
    votes.push(base.vote_hash(&roadbed_messages::ChainId([1; 32])));
    let mut edit = |change: fn(&mut roadbed_messages::Proposal)| {
        let mut proposal = base.clone();
        change(&mut proposal);
        votes.push(proposal.vote_hash(&samples::chain_id()));
    };
    edit(|p| p.view.road_index.0 += 1);
    edit(|p| p.view.number.0 += 1);
    edit(|p| p.timestamp = p.timestamp.checked_add_us(1).unwrap());
    edit(|p| p.lane_ranges[0].lane.0[0] ^= 1);
    edit(|p| p.lane_ranges[0].first.0 += 1);
    edit(|p| p.lane_ranges[0].next.0 += 1);
    edit(|p| p.lane_ranges[2].last_hash.0[31] ^= 1);
    edit(|p| p.lane_ranges.swap(0, 1));
    edit(|p| {
        p.lane_ranges.pop();
    });
    edit(|p| p.app_proposal = None);
    edit(|p| p.app_proposal.as_mut().unwrap().number.0 += 1);
    edit(|p| p.app_proposal.as_mut().unwrap().road_index.0 += 1);
    edit(|p| p.app_proposal.as_mut().unwrap().hash.0[0] ^= 1);
    let len = votes.len();
    votes.sort_unstable();
    votes.dedup();
    assert_eq!(votes.len(), len);
}

#[test]
fn moving_a_boundary_between_transactions_changes_the_payload() {
    let hash =
        |txs: &[&[u8]]| roadbed_messages::Payload { txs: txs.iter().collect(), ..samples::payload() }.hash();
    let mut hashes = vec![
        hash(&[b"ab", b"c"]),
        hash(&[b"a", b"bc"]),
        hash(&[b"abc"]),
        hash(&[b"abc", b""]),
        hash(&[b"", b"abc"]),
    ];
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 5);
}
