//! ed25519 by the ZIP-215 rules, one signature at a time or many at once.
//!
//! Single and batch verification accept exactly the same signatures: small-order and non-canonical points are
//! taken as they come, the scalar must be canonical, the equation holds up to the cofactor. So what one
//! replica accepts all accept, however each of them groups its work.

use ed25519_consensus::{Signature as RawSignature, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, SeedableRng};

use crate::{
    hash::VoteHash,
    keys::{PublicKey, Signature},
};

/// One signature of one key over one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Who signed.
    pub signer: PublicKey,
    /// The signature.
    pub signature: Signature,
    /// What was signed.
    pub vote: VoteHash,
}

/// Whether one signature is valid.
#[must_use]
pub fn verify_one(signed: &Signed) -> bool {
    VerificationKey::try_from(signed.signer.0)
        .is_ok_and(|point| verify_point(&point, &signed.signature, &signed.vote))
}

/// Whether all of them are valid. True of none.
#[must_use]
pub fn verify_all<'a>(signed: impl Iterator<Item = &'a Signed> + Clone) -> bool {
    // The coefficients must be unpredictable to whoever made the signatures. Without randomness from the
    // system each is verified on its own, which accepts the same.
    let Ok(rng) = ChaCha20Rng::from_rng(OsRng) else {
        return signed.into_iter().all(verify_one);
    };
    let mut batch = batch::Verifier::new();
    for one in signed {
        let key = VerificationKeyBytes::from(one.signer.0);
        batch.queue((key, RawSignature::from(one.signature.0), &one.vote.0));
    }
    batch.verify(rng).is_ok()
}

pub(crate) fn verify_point(point: &VerificationKey, signature: &Signature, vote: &VoteHash) -> bool {
    point.verify(&RawSignature::from(signature.0), &vote.0).is_ok()
}

/// Whether `key` is the one encoding of its point that encoders make: y below 2^255 - 19.
///
/// The other non-canonical form, a sign bit on x = 0, only exists for points of small order.
pub(crate) fn is_canonical(key: &PublicKey) -> bool {
    let [low, middle @ .., high] = &key.0;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// Whether the point is of small order, so that a signature for it needs no secret.
///
/// The signature R = identity, s = 0 is valid exactly if the cofactor times the challenge times the point
/// vanishes: always for a small-order point, and for any other only if SHA-512 hits a multiple of the group
/// order.
pub(crate) fn is_small_order(point: &VerificationKey) -> bool {
    let mut forged = [0; 64];
    forged[0] = 1;
    verify_point(point, &Signature(forged), &VoteHash(*b"roadbed small order probe vote.."))
}
