//! Which committees can be, and how they are written down.

use roadbed_messages::{
    BlockNumber, ChainParams, Committee, CommitteeError, PublicKey, Timestamp,
    limits::{BLOCK_TX_BYTES_MAX, BLOCK_TXS_MAX, COMMITTEE_LEN_MAX, QC_HEADERS_MAX},
    testing,
};

use crate::zip215::small_order_encodings;

fn new(keys: Vec<PublicKey>, params: ChainParams) -> Result<Committee, CommitteeError> {
    Committee::new(keys, BlockNumber(0), Timestamp::from_unix_us(0), params)
}

fn keys(n: usize) -> Vec<PublicKey> {
    testing::committee(9, n).committee.keys().to_vec()
}

#[test]
fn quorums_follow_the_size() {
    for (n, faulty, quorum) in [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (7, 2, 5), (100, 33, 67)] {
        let committee = testing::committee(1, n).committee;
        assert_eq!((committee.len(), committee.faulty_max(), committee.commit_quorum()), (n, faulty, quorum));
        // Any two quorums share a member that is not faulty.
        assert!(2 * quorum > n + faulty);
    }
}

#[test]
fn keys_are_sorted_and_found() {
    let members = testing::committee(1, 20);
    let committee = &members.committee;
    assert!(committee.keys().is_sorted());
    for (index, key) in committee.keys().iter().enumerate() {
        assert_eq!(committee.index_of(key), Some(index));
        assert_eq!(members.keys[index].public_key(), *key);
    }
    assert_eq!(committee.index_of(&PublicKey([7; 32])), None);
}

#[test]
fn impossible_committees_are_refused() {
    let params = ChainParams::default();
    assert_eq!(new(vec![], params), Err(CommitteeError::Empty));
    let two = keys(2);
    let twice = vec![two[0], two[1], two[0]];
    assert_eq!(new(twice, params), Err(CommitteeError::DuplicateKey { key: two[0] }));
    // y = 2 is on no point of the curve.
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let key = PublicKey(off_curve);
    assert_eq!(new(vec![key], params), Err(CommitteeError::InvalidKey { key }));
    let found = COMMITTEE_LEN_MAX + 1;
    let too_many = vec![two[0]; found];
    assert_eq!(new(too_many, params), Err(CommitteeError::TooLarge { found, max: COMMITTEE_LEN_MAX }));
}

#[test]
fn keys_that_everybody_can_sign_for_are_refused() {
    let good = keys(1)[0];
    for key in small_order_encodings().map(PublicKey) {
        let refused = new(vec![good, key], ChainParams::default()).unwrap_err();
        assert!(matches!(refused, CommitteeError::WeakKey { key: found, .. } if found == key), "{refused}");
    }
}

#[test]
fn a_second_encoding_of_a_point_is_refused() {
    // From y = p to y = 2^255 - 1, which stand for y = 0 to 18, with either sign.
    let mut on_curve = 0;
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            let key = PublicKey(bytes);
            match new(vec![key], ChainParams::default()) {
                Err(CommitteeError::WeakKey { key: found, .. }) if found == key => on_curve += 1,
                Err(CommitteeError::InvalidKey { key: found }) if found == key => {}
                other => panic!("{key}: {other:?}"),
            }
        }
    }
    assert!(on_curve > 10, "{on_curve}");
}

#[test]
fn parameters_have_bounds() {
    type Set = fn(&mut ChainParams, u64);
    let cases: [(&'static str, Set, usize); 4] = [
        ("lane_blocks_per_qc_max", |p, v| p.lane_blocks_per_qc_max = v, QC_HEADERS_MAX),
        ("block_txs_max", |p, v| p.block_txs_max = v, BLOCK_TXS_MAX),
        ("tx_bytes_max", |p, v| p.tx_bytes_max = v, BLOCK_TX_BYTES_MAX),
        ("block_tx_bytes_max", |p, v| p.block_tx_bytes_max = v, BLOCK_TX_BYTES_MAX),
    ];
    for (name, set, max) in cases {
        let max = max as u64;
        let with = |value| {
            let mut params = ChainParams::default();
            set(&mut params, value);
            new(keys(1), params)
        };
        for found in [0, max + 1, u64::MAX] {
            assert_eq!(with(found), Err(CommitteeError::Param { name, found, max }));
        }
        assert!(with(1).is_ok() && with(max).is_ok());
    }
    let params = ChainParams { lane_blocks_per_qc_max: 16_385, ..ChainParams::default() };
    let refused = new(keys(4), params).unwrap_err();
    assert_eq!(
        refused,
        CommitteeError::QcTooLarge { members: 4, lane_blocks_per_qc_max: 16_385, max: QC_HEADERS_MAX }
    );
    assert!(refused.to_string().contains("65540"), "{refused}");
}

#[test]
fn the_largest_committee_works() {
    let members = testing::committee(1, COMMITTEE_LEN_MAX);
    assert_eq!(members.committee.commit_quorum(), 667);
}

#[test]
fn json_comes_back_and_is_validated() {
    let committee = testing::committee_from(5, 3, BlockNumber(u64::MAX)).committee;
    let text = serde_json::to_string_pretty(&committee).unwrap();
    let again: Committee = serde_json::from_str(&text).unwrap();
    assert_eq!(again, committee);
    assert_eq!(again.keys(), committee.keys());
    assert_eq!(again.first_block(), BlockNumber(u64::MAX));
    assert_eq!(again.genesis(), committee.genesis());

    let key = committee.keys()[0].to_string();
    let other = committee.keys()[1].to_string();
    for (from, to, complaint) in [
        (other.as_str(), key.as_str(), "is there twice"),
        (key.as_str(), "00", "expected 64 hex digits, found 2"),
        (&key[..2], "zz", "is not a hex digit"),
        ("\"params\"", "\"parameters\"", "unknown field `parameters`"),
        ("\"block_txs_max\": 131072", "\"block_txs_max\": 0", "block_txs_max is 0"),
    ] {
        let refused = serde_json::from_str::<Committee>(&text.replacen(from, to, 1)).unwrap_err();
        assert!(refused.to_string().contains(complaint), "{complaint}: {refused}");
    }
}

#[test]
fn any_constant_makes_another_chain() {
    let base = testing::committee(1, 4).committee;
    let make = |first: u64, genesis: u64, params: ChainParams| {
        let genesis = Timestamp::from_unix_us(genesis);
        Committee::new(base.keys(), BlockNumber(first), genesis, params).unwrap()
    };
    let genesis = base.genesis().unix_us();
    assert_eq!(make(0, genesis, *base.params()), base);
    assert_ne!(make(1, genesis, *base.params()), base);
    assert_ne!(make(0, genesis + 1, *base.params()), base);
    let params = ChainParams { lane_blocks_per_qc_max: 31, ..*base.params() };
    assert_ne!(make(0, genesis, params), base);
    assert_ne!(testing::committee(2, 4).committee, base);
}

#[test]
fn a_signing_key_does_not_print_its_secret() {
    let key = roadbed_messages::SigningKey::from_seed([0xab; 32]);
    let text = format!("{key:?}");
    assert!(text.contains(&key.public_key().to_string()));
    assert!(!text.contains("abab"));
}
