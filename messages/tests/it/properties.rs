//! Any value comes back from its encoding; any bytes are refused or are the one encoding of a value.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*};
use roadbed_messages::{
    AppHash, AppProposal, Block, BlockHeader, BlockNumber, CommitQc, FullCommitQc, HeaderHash,
    LaneBlockNumber, LaneRange, Payload, PayloadHash, Proposal, PublicKey, RoadIndex, Signature, SignatureOf,
    Timestamp, Txs, View, ViewNumber,
    codec::{decode, encode, encoded_len},
    testing, verify_qc,
};

use crate::malformed::check_strict;

prop_compose! {
    fn header()(lane: [u8; 32], number: u64, parent: [u8; 32], payload: [u8; 32]) -> BlockHeader {
        BlockHeader {
            lane: PublicKey(lane),
            number: LaneBlockNumber(number),
            parent: HeaderHash(parent),
            payload: PayloadHash(payload),
        }
    }
}

prop_compose! {
    fn block()(
        header in header(),
        created_at: u64,
        gas: u64,
        txs in vec(vec(any::<u8>(), 0..50), 0..400),
    ) -> Block {
        let created_at = Timestamp::from_unix_us(created_at);
        Block { header, payload: Payload { created_at, gas, txs: Txs::from(txs) } }
    }
}

prop_compose! {
    fn app_proposal()(number: u64, road_index: u64, hash: [u8; 32]) -> AppProposal {
        AppProposal { number: BlockNumber(number), road_index: RoadIndex(road_index), hash: AppHash(hash) }
    }
}

type Lanes = BTreeMap<[u8; 32], (u64, u64, [u8; 32])>;

prop_compose! {
    fn proposal()(
        road_index: u64,
        number: u64,
        timestamp: u64,
        lanes in proptest::collection::btree_map(any::<[u8; 32]>(), any::<(u64, u64, [u8; 32])>(), 0..20),
        app_proposal in proptest::option::of(app_proposal()),
    ) -> Proposal {
        let lanes: Lanes = lanes;
        let range = |(lane, (first, next, last_hash))| LaneRange {
            lane: PublicKey(lane),
            first: LaneBlockNumber(first),
            next: LaneBlockNumber(next),
            last_hash: HeaderHash(last_hash),
        };
        Proposal {
            view: View { road_index: RoadIndex(road_index), number: ViewNumber(number) },
            timestamp: Timestamp::from_unix_us(timestamp),
            lane_ranges: lanes.into_iter().map(range).collect(),
            app_proposal,
        }
    }
}

prop_compose! {
    fn qc()(
        proposal in proposal(),
        signatures in proptest::collection::btree_map(any::<[u8; 32]>(), any::<[u8; 32]>(), 0..20),
        headers in vec(header(), 0..20),
    ) -> FullCommitQc {
        let signature = |half: [u8; 32]| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            Signature(signature)
        };
        let signatures = signatures
            .into_iter()
            .map(|(signer, half)| SignatureOf { signer: PublicKey(signer), signature: signature(half) })
            .collect();
        FullCommitQc { qc: CommitQc { proposal, signatures }, headers }
    }
}

proptest! {
    #[test]
    fn blocks_come_back(block in block()) {
        let bytes = encode(&block);
        prop_assert_eq!(bytes.len(), encoded_len(&block));
        let again: Block = decode(&bytes).unwrap();
        prop_assert_eq!(again.payload.hash(), block.payload.hash());
        prop_assert_eq!(again, block);
    }

    #[test]
    fn qcs_come_back(qc in qc()) {
        let bytes = encode(&qc);
        prop_assert_eq!(bytes.len(), encoded_len(&qc));
        prop_assert_eq!(decode::<FullCommitQc>(&bytes), Ok(qc));
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..600)) {
        check_strict::<Block>(&bytes);
        check_strict::<Txs>(&bytes);
        check_strict::<FullCommitQc>(&bytes);
    }

    // Mostly zeros: counts and tags are then often plausible, so the decoder gets far.
    #[test]
    fn sparse_bytes_are_refused_or_canonical(
        len in 0..900_usize,
        set in vec((any::<prop::sample::Index>(), 0..8_u8), 0..12),
    ) {
        let mut bytes = vec![0; len];
        if len > 0 {
            for (at, value) in set {
                bytes[at.index(len)] = value;
            }
        }
        check_strict::<Block>(&bytes);
        check_strict::<Txs>(&bytes);
        check_strict::<Proposal>(&bytes);
        check_strict::<FullCommitQc>(&bytes);
    }

    #[test]
    fn damaged_qcs_are_refused_or_canonical(
        qc in qc(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = encode(&qc);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_strict::<FullCommitQc>(&bytes);
    }

    // Sums in u128, where nothing overflows, say what the range is.
    #[test]
    fn a_range_is_the_sums_or_an_error(
        first_block in extreme(),
        lanes in vec((extreme(), extreme()), 4),
    ) {
        let members = testing::committee_from(1, 4, BlockNumber(first_block));
        let low = testing::committee(1, 4);
        let (mut qc, _) = testing::chain(1, &low, testing::ChainShape::default()).next().unwrap();
        for (range, (first, next)) in qc.qc.proposal.lane_ranges.iter_mut().zip(&lanes) {
            (range.first, range.next) = (LaneBlockNumber(*first), LaneBlockNumber(*next));
        }
        let sum = |side: fn(&(u64, u64)) -> u64| {
            lanes.iter().map(|lane| u128::from(side(lane))).sum::<u128>() + u128::from(first_block)
        };
        let (first, next) = (sum(|lane| lane.0), sum(|lane| lane.1));
        let fits = lanes.iter().all(|(first, next)| first <= next) && next <= u128::from(u64::MAX);
        let range = qc.range(&members.committee);
        prop_assert_eq!(range.is_ok(), fits);
        if let Ok(range) = range {
            prop_assert_eq!((u128::from(range.start.0), u128::from(range.end.0)), (first, next));
        }
        prop_assert!(verify_qc(&members.committee, Arc::new(qc)).is_err());
    }
}

fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::MAX / 4), u64::MAX - 12..u64::MAX, any::<u64>()]
}
