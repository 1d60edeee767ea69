//! The edges of ed25519: one accept set, for single and batch verification alike.

use curve25519_dalek_ng::{
    constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION},
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
};
use proptest::prelude::*;
use roadbed_messages::{
    PublicKey, Signature, SigningKey, VoteHash,
    signatures::{Signed, verify_all, verify_one},
};
use sha2::{Digest, Sha512};

const VOTE: VoteHash = VoteHash([0x5a; 32]);

/// All 14 encodings of the 8 points of small order, canonical or not.
pub(crate) fn small_order_encodings() -> [[u8; 32]; 14] {
    // A non-canonical encoding has y + p instead of y, or a sign bit on x = 0.
    let y = |low: u8, middle: u8, high: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (low, high);
        bytes
    };
    let torsion: [[u8; 32]; 8] = EIGHT_TORSION.map(|point| point.compress().to_bytes());
    let odd = [
        y(0x01, 0x00, 0x80), // identity, sign bit
        y(0xee, 0xff, 0x7f), // identity, y + p
        y(0xee, 0xff, 0xff), // identity, y + p, sign bit
        y(0xec, 0xff, 0xff), // order 2, sign bit
        y(0xed, 0xff, 0x7f), // order 4, y + p
        y(0xed, 0xff, 0xff), // order 4, y + p, sign bit
    ];
    std::array::from_fn(|at| if at < 8 { torsion[at] } else { odd[at - 8] })
}

fn honest(at: u8) -> Signed {
    let key = SigningKey::from_seed([at; 32]);
    let vote = VoteHash([at; 32]);
    Signed { signer: key.public_key(), signature: key.sign(&vote), vote }
}

/// Whether it is valid, alone, in a batch of one, and in the middle of honest neighbours; all must agree.
fn verdict(signed: Signed) -> bool {
    let single = verify_one(&signed);
    assert_eq!(verify_all([signed].iter()), single, "batch of one: {signed:?}");
    let crowd = [honest(1), honest(2), signed, honest(1), honest(3)];
    assert_eq!(verify_all(crowd.iter()), single, "batch of five: {signed:?}");
    single
}

fn signature(r: [u8; 32], s: [u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&r);
    bytes[32..].copy_from_slice(&s);
    Signature(bytes)
}

fn challenge(r: &[u8; 32], a: &[u8; 32], vote: &VoteHash) -> Scalar {
    let digest = Sha512::new().chain_update(r).chain_update(a).chain_update(vote.0).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

#[test]
fn the_encodings_are_fourteen_points_of_small_order() {
    let mut encodings = small_order_encodings();
    for bytes in encodings {
        assert!(CompressedEdwardsY(bytes).decompress().unwrap().is_small_order());
    }
    encodings.sort_unstable();
    assert!(encodings.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn small_order_points_are_accepted_everywhere() {
    for key in small_order_encodings() {
        for r in small_order_encodings() {
            let signature = signature(r, [0; 32]);
            assert!(verdict(Signed { signer: PublicKey(key), signature, vote: VOTE }));
        }
    }
}

#[test]
fn a_torsion_component_in_key_and_nonce_is_accepted_everywhere() {
    let (secret, nonce) = (Scalar::from(123_456_789_u64), Scalar::from(987_654_321_u64));
    let mut cofactor_needed = 0;
    for key_torsion in EIGHT_TORSION {
        for nonce_torsion in EIGHT_TORSION {
            let key = (secret * ED25519_BASEPOINT_POINT + key_torsion).compress().to_bytes();
            let r_point = nonce * ED25519_BASEPOINT_POINT + nonce_torsion;
            let r = r_point.compress().to_bytes();
            let k = challenge(&r, &key, &VOTE);
            let s = nonce + k * secret;
            assert!(verdict(Signed {
                signer: PublicKey(key),
                signature: signature(r, s.to_bytes()),
                vote: VOTE
            }));
            let key_point: EdwardsPoint = CompressedEdwardsY(key).decompress().unwrap();
            cofactor_needed += usize::from(s * ED25519_BASEPOINT_POINT != r_point + k * key_point);
        }
    }
    assert!(cofactor_needed > 40, "the vectors must tell ZIP-215 from the plain equation");
}

#[test]
fn a_scalar_that_is_not_canonical_is_refused_everywhere() {
    let good = honest(7);
    assert!(verdict(good));
    // The group order, little-endian.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleable = good;
    let mut carry = 0;
    for (byte, add) in malleable.signature.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert!(!verdict(malleable));
    // s = order is 0 once more.
    for r in small_order_encodings() {
        let signature = signature(r, order);
        assert!(!verdict(Signed { signer: PublicKey(r), signature, vote: VOTE }));
    }
}

#[test]
fn bytes_that_are_no_point_are_refused_everywhere() {
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let good = honest(7);
    assert!(!verdict(Signed { signer: PublicKey(off_curve), ..good }));
    let mut bad_nonce = good;
    bad_nonce.signature.0[..32].copy_from_slice(&off_curve);
    assert!(!verdict(bad_nonce));
}

#[test]
fn no_signatures_are_all_valid() {
    assert!(verify_all([].iter()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn single_and_batch_agree_on_damage(at: u8, byte in 0..128_usize, value: u8) {
        let mut signed = honest(at);
        match byte {
            0..64 => signed.signature.0[byte] = value,
            64..96 => signed.signer.0[byte - 64] = value,
            _ => signed.vote.0[byte - 96] = value,
        }
        prop_assert_eq!(verdict(signed), signed == honest(at));
    }
}
