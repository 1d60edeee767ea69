//! Public keys, signatures, and a signing key for tests and demos.

use std::fmt;

use crate::hash::{VoteHash, hex_bytes};

hex_bytes! {
    /// An ed25519 public key as its 32 bytes. A member of the committee is known by it, and so is its lane.
    ///
    /// Any 32 bytes can stand here; only a [`Committee`](crate::Committee) says which are valid keys.
    PublicKey, 32
}
hex_bytes! {
    /// An ed25519 signature. Any 64 bytes can stand here until they are verified.
    Signature, 64
}

/// An ed25519 signing key, for validators in tests and demos. Its debug form shows the public key only.
#[derive(Clone)]
pub struct SigningKey(ed25519_consensus::SigningKey);

impl SigningKey {
    /// The key that a 32-byte secret stands for.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(seed.into())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verification_key().to_bytes())
    }

    /// Signs a vote.
    #[must_use]
    pub fn sign(&self, vote: &VoteHash) -> Signature {
        Signature(self.0.sign(&vote.0).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key()).finish()
    }
}
