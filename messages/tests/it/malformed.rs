//! Bytes that encode nothing are refused, by the right name, and without allocating for what they only claim.

use std::fmt::Debug;

use roadbed_messages::{
    Block, BlockHeader, BlockNumber, CommitQc, DecodeError, FullCommitQc, PublicKey, Txs,
    codec::{EncodeError, Wire, decode, encode, encode_into, encoded_len},
    limits::{BLOCK_TX_BYTES_MAX, BLOCK_TXS_MAX, COMMITTEE_LEN_MAX, MESSAGE_BYTES_MAX, QC_HEADERS_MAX},
};

use crate::{fuzz::strict, samples};

/// What decoding answers, and how much it allocated at most for it.
pub(crate) fn decode_measured<T: Wire>(bytes: &[u8]) -> (Result<T, DecodeError>, u64) {
    let mut answer = None;
    let measured = allocation_counter::measure(|| answer = Some(decode(bytes)));
    (answer.unwrap(), measured.bytes_max)
}

/// Whatever bytes come: a refusal, or the value whose one encoding they are; and no more memory than the
/// bytes themselves take (what a refusal formats apart, which is short).
pub(crate) fn check_strict<T: Wire + PartialEq + Debug>(bytes: &[u8]) {
    drop(strict::<T>(bytes));
}

fn check_type<T: Wire + PartialEq + Debug>(value: &T) {
    let bytes = encode(value);
    assert_eq!(encoded_len(value), bytes.len());
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));

    for len in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..len]).is_err(), "{len} of {} bytes of {value:?}", bytes.len());
        check_strict::<T>(&bytes[..len]);
    }
    for tail in [&[0][..], &[1], &[0xff], &[0; 9], &bytes] {
        let longer = [&bytes, tail].concat();
        assert_eq!(decode::<T>(&longer), Err(DecodeError::TrailingBytes { count: tail.len() }));
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            check_strict::<T>(&changed);
        }
    }

    let mut buffer = vec![0xcc; bytes.len() + 8];
    assert_eq!(encode_into(value, &mut buffer), Ok(bytes.len()));
    assert_eq!(buffer[..bytes.len()], bytes);
    assert_eq!(buffer[bytes.len()..], [0xcc; 8]);
    let available = bytes.len() - 1;
    let short = encode_into(value, &mut buffer[..available]);
    assert_eq!(short, Err(EncodeError::BufferTooShort { needed: bytes.len(), available }));
}

#[test]
fn every_type_is_strict_at_every_byte() {
    check_type(&samples::header(1));
    check_type(&samples::payload().txs);
    check_type(&Txs::new());
    check_type(&samples::payload());
    check_type(&samples::empty_payload());
    check_type(&samples::block());
    check_type(&samples::view());
    check_type(&samples::lane_range(1));
    check_type(&samples::app_proposal());
    check_type(&samples::signature_of(1));
    check_type(&samples::proposal());
    check_type(&samples::bare_proposal());
    check_type(&samples::commit_qc());
    check_type(&samples::full_commit_qc());
    check_type(&BlockNumber(7));
    check_type(&samples::chain_id());
}

#[test]
fn a_message_above_the_limit_is_not_looked_at() {
    let bytes = vec![0; MESSAGE_BYTES_MAX + 1];
    let refused = DecodeError::MessageTooLong { found: MESSAGE_BYTES_MAX + 1, max: MESSAGE_BYTES_MAX };
    let (answer, allocated) = decode_measured::<Block>(&bytes);
    assert_eq!((answer, allocated), (Err(refused), 0));
}

/// Puts `count` over the list's count at `at`, which must be `now`.
fn with_count(mut bytes: Vec<u8>, at: usize, now: usize, count: usize) -> Vec<u8> {
    let field = &mut bytes[at..at + 4];
    assert_eq!(field, u32::try_from(now).unwrap().to_le_bytes());
    field.copy_from_slice(&u32::try_from(count).unwrap().to_le_bytes());
    bytes
}

fn check_counts<T: Wire + Debug + PartialEq>(
    value: &T,
    list: &'static str,
    at: usize,
    now: usize,
    max: usize,
) {
    // Lists that were there before this one are legitimately in memory.
    let before = at as u64;
    for found in [max + 1, max * 2, u32::MAX as usize] {
        let (answer, allocated) = decode_measured::<T>(&with_count(encode(value), at, now, found));
        assert_eq!(answer, Err(DecodeError::ListTooLong { list, found, max }));
        assert!(allocated <= before, "{list}: {allocated} bytes allocated");
    }
    for items in [max, max - 1, 900] {
        let (answer, allocated) = decode_measured::<T>(&with_count(encode(value), at, now, items));
        assert_eq!(answer, Err(DecodeError::ListBeyondEnd { list, items }));
        assert!(allocated <= before, "{list}: {allocated} bytes allocated");
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let proposal = samples::proposal();
    check_counts(&proposal, "lane ranges", 24, 3, COMMITTEE_LEN_MAX);
    let proposal_len = encoded_len(&proposal);
    check_counts(&samples::commit_qc(), "signatures", proposal_len, 2, COMMITTEE_LEN_MAX);
    let qc_len = encoded_len(&samples::commit_qc());
    check_counts(&samples::full_commit_qc(), "headers", qc_len, 3, QC_HEADERS_MAX);
    check_counts(&samples::payload().txs, "transactions", 0, 3, BLOCK_TXS_MAX);
}

#[test]
fn nothing_at_all_is_allocated_for_the_first_list() {
    for count in [COMMITTEE_LEN_MAX, COMMITTEE_LEN_MAX + 1, u32::MAX as usize] {
        let bytes = with_count(encode(&samples::proposal()), 24, 3, count);
        assert_eq!(decode_measured::<roadbed_messages::Proposal>(&bytes).1, 0);
    }
    for count in [BLOCK_TXS_MAX, BLOCK_TXS_MAX + 1, u32::MAX as usize] {
        let bytes = with_count(encode(&samples::block()), encoded_len(&samples::header(1)) + 16, 3, count);
        assert_eq!(decode_measured::<Block>(&bytes).1, 0);
    }
}

#[test]
fn absurd_transaction_lengths_are_refused() {
    let bytes = |ends: &[u32], data: &[u8]| {
        let mut bytes = u32::try_from(ends.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(ends.iter().flat_map(|end| end.to_le_bytes()));
        bytes.extend(data);
        bytes
    };
    let max = BLOCK_TX_BYTES_MAX;
    let over = u32::try_from(max).unwrap() + 1;
    for (ends, refusal) in [
        (vec![u32::MAX], DecodeError::TxBytesTooLong { found: u32::MAX as usize, max }),
        (vec![1, over], DecodeError::TxBytesTooLong { found: max + 1, max }),
        (vec![1, over - 1], DecodeError::TxBytesBeyondEnd { claimed: max }),
        (vec![4], DecodeError::TxBytesBeyondEnd { claimed: 4 }),
        (vec![2, 1], DecodeError::OutOfOrder { list: "transactions", position: 1 }),
        (vec![u32::MAX, 0, 3], DecodeError::OutOfOrder { list: "transactions", position: 1 }),
        (vec![1, 2], DecodeError::TrailingBytes { count: 1 }),
        (vec![], DecodeError::TrailingBytes { count: 3 }),
    ] {
        let (answer, allocated) = decode_measured::<Txs>(&bytes(&ends, b"abc"));
        assert_eq!(answer, Err(refusal));
        assert!(allocated <= 4 * ends.len() as u64 + 3);
    }
}

#[test]
fn duplicates_and_disorder_are_refused() {
    let refused = |change: fn(&mut FullCommitQc)| {
        let mut qc = samples::full_commit_qc();
        change(&mut qc);
        decode::<FullCommitQc>(&encode(&qc)).unwrap_err()
    };
    let (lanes, signers) = ("lane ranges", "signatures");
    assert_eq!(
        refused(|qc| qc.qc.proposal.lane_ranges[2] = samples::lane_range(2)),
        DecodeError::Duplicate { list: lanes, position: 2 }
    );
    assert_eq!(
        refused(|qc| qc.qc.proposal.lane_ranges.swap(0, 1)),
        DecodeError::OutOfOrder { list: lanes, position: 1 }
    );
    assert_eq!(
        refused(|qc| qc.qc.signatures[1].signer = qc.qc.signatures[0].signer),
        DecodeError::Duplicate { list: signers, position: 1 }
    );
    assert_eq!(
        refused(|qc| qc.qc.signatures.swap(0, 1)),
        DecodeError::OutOfOrder { list: signers, position: 1 }
    );
}

#[test]
fn an_option_has_two_tags() {
    let bytes = encode(&samples::bare_proposal());
    for tag in 2..=255 {
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() = tag;
        let refused = DecodeError::InvalidTag { found: tag.into() };
        assert_eq!(decode::<roadbed_messages::Proposal>(&changed), Err(refused));
    }
}

/// `count` keys, ascending.
fn key(at: usize) -> PublicKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(at as u64).to_be_bytes());
    PublicKey(key)
}

#[test]
fn lists_are_accepted_up_to_their_caps_and_no_further() {
    let qc = |lanes: usize, signers: usize, headers: usize| {
        let mut qc = samples::full_commit_qc();
        let range = samples::lane_range(1);
        qc.qc.proposal.lane_ranges =
            (0..lanes).map(|at| roadbed_messages::LaneRange { lane: key(at), ..range }).collect();
        let one = samples::signature_of(1);
        qc.qc.signatures =
            (0..signers).map(|at| roadbed_messages::SignatureOf { signer: key(at), ..one }).collect();
        qc.headers = vec![samples::header(1); headers];
        encode(&qc)
    };
    let (members, headers) = (COMMITTEE_LEN_MAX, QC_HEADERS_MAX);
    let full = qc(members, members, headers);
    assert_eq!(encode(&decode::<FullCommitQc>(&full).unwrap()), full);
    for (bytes, list, found, max) in [
        (qc(members + 1, members, 0), "lane ranges", members + 1, members),
        (qc(members, members + 1, 0), "signatures", members + 1, members),
        (qc(1, 1, headers + 1), "headers", headers + 1, headers),
    ] {
        assert_eq!(decode::<FullCommitQc>(&bytes), Err(DecodeError::ListTooLong { list, found, max }));
    }
    let txs: Txs = std::iter::repeat_n([], BLOCK_TXS_MAX).collect();
    assert_eq!(decode::<Txs>(&encode(&txs)).unwrap(), txs);
    let txs: Txs = [vec![7; BLOCK_TX_BYTES_MAX]].into_iter().collect();
    assert_eq!(decode::<Txs>(&encode(&txs)).unwrap(), txs);
}

#[test]
fn a_type_is_not_decoded_as_another() {
    let bytes = encode(&samples::commit_qc());
    assert!(decode::<FullCommitQc>(&bytes).is_err());
    assert!(decode::<BlockHeader>(&bytes).is_err());
    assert!(decode::<CommitQc>(&encode(&samples::block())).is_err());
}

#[test]
fn refusals_have_distinct_reasons_and_say_numbers() {
    let all = [
        DecodeError::MessageTooLong { found: 9, max: 8 },
        DecodeError::ListTooLong { list: "headers", found: 9, max: 8 },
        DecodeError::UnexpectedEnd { missing: 3 },
        DecodeError::ListBeyondEnd { list: "headers", items: 9 },
        DecodeError::Duplicate { list: "headers", position: 9 },
        DecodeError::OutOfOrder { list: "headers", position: 9 },
        DecodeError::TxBytesTooLong { found: 9, max: 8 },
        DecodeError::TxBytesBeyondEnd { claimed: 9 },
        DecodeError::InvalidTag { found: 2 },
        DecodeError::TrailingBytes { count: 1 },
    ];
    let mut reasons: Vec<_> = all.iter().map(DecodeError::reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), all.len());
    assert!(all.iter().all(|error| error.to_string().bytes().any(|byte| byte.is_ascii_digit())));
}
