//! Committees, chains and Byzantine input for tests and demos, all of it a function of a seed.
//!
//! ```
//! use std::sync::Arc;
//! use roadbed_messages::{testing, verify_qc};
//!
//! let tc = testing::committee(7, 4);
//! let (qc, blocks) = testing::chain(7, &tc, testing::ChainShape::default()).next().unwrap();
//! assert_eq!(qc.headers.len(), blocks.len());
//! let verified = verify_qc(&tc.committee, Arc::new(qc)).unwrap();
//! assert_eq!(verified.range().start, tc.committee.first_block());
//! ```

mod byzantine;
mod chain;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

pub use byzantine::{
    duplicate_signer, invalid_signature, outsider_signed, tampered_headers, too_few_signatures, wrong_payload,
};
pub use chain::{Chain, ChainShape, app_hash, chain};

use crate::{
    committee::{ChainParams, Committee},
    hash::CanonicalHasher,
    keys::SigningKey,
    numbers::{BlockNumber, Timestamp},
    qc::{CommitQc, Proposal, SignatureOf},
};

/// 2026-01-01T00:00:00Z.
const GENESIS: Timestamp = Timestamp::from_unix_us(1_767_225_600_000_000);

/// A committee with its members' keys.
#[derive(Debug, Clone)]
pub struct TestCommittee {
    /// The committee.
    pub committee: Committee,
    /// Keys of the members, in the committee's order.
    pub keys: Vec<SigningKey>,
}

/// `n` members whose keys come from the seed; the chain starts at block 0.
///
/// # Panics
/// When `n` is no size of a committee.
#[must_use]
pub fn committee(seed: u64, n: usize) -> TestCommittee {
    committee_from(seed, n, BlockNumber(0))
}

/// As [`committee`], with the chain's first block.
///
/// # Panics
/// As [`committee`].
#[must_use]
pub fn committee_from(seed: u64, n: usize, first_block: BlockNumber) -> TestCommittee {
    committee_with(seed, n, first_block, ChainParams::default())
}

/// As [`committee_from`], with the chain's parameters.
///
/// # Panics
/// When `n` or the parameters are out of range.
#[must_use]
pub fn committee_with(seed: u64, n: usize, first_block: BlockNumber, params: ChainParams) -> TestCommittee {
    let mut keys = signing_keys("committee", seed, n);
    keys.sort_unstable_by_key(SigningKey::public_key);
    let public: Vec<_> = keys.iter().map(SigningKey::public_key).collect();
    match Committee::new(public, first_block, GENESIS, params) {
        Ok(committee) => TestCommittee { committee, keys },
        Err(error) => panic!("no committee of {n}: {error}"),
    }
}

impl TestCommittee {
    /// A certificate for `proposal`, really signed by the members at these positions, whoever they are.
    ///
    /// # Panics
    /// When a position is outside the committee.
    #[must_use]
    pub fn sign(&self, proposal: Proposal, signers: impl IntoIterator<Item = usize>) -> CommitQc {
        sign_with(&self.committee, proposal, signers.into_iter().map(|signer| &self.keys[signer]))
    }

    /// As many members as the quorum needs, starting at a position that rotates with the road index.
    pub fn quorum_of(&self, proposal: &Proposal) -> impl Iterator<Item = usize> + use<> {
        let n = self.keys.len();
        // The remainder is below n, a usize.
        let start = usize::try_from(proposal.view.road_index.0 % n as u64).unwrap_or(0);
        (start..start + self.committee.commit_quorum()).map(move |signer| signer % n)
    }
}

fn sign_with<'a>(
    committee: &Committee,
    proposal: Proposal,
    keys: impl Iterator<Item = &'a SigningKey>,
) -> CommitQc {
    let vote = proposal.vote_hash(&committee.chain_id());
    let mut signatures: Vec<_> =
        keys.map(|key| SignatureOf { signer: key.public_key(), signature: key.sign(&vote) }).collect();
    signatures.sort_by_key(|one| one.signer);
    CommitQc { proposal, signatures }
}

/// `n` keys of which nobody else with another purpose or seed has any.
fn signing_keys(purpose: &'static str, seed: u64, n: usize) -> Vec<SigningKey> {
    let mut rng = rng(purpose, &[seed]);
    let mut secret = [0; 32];
    (0..n)
        .map(|_| {
            rng.fill_bytes(&mut secret);
            SigningKey::from_seed(secret)
        })
        .collect()
}

/// Randomness that is a function of a purpose and some numbers.
fn rng(purpose: &'static str, numbers: &[u64]) -> ChaCha8Rng {
    let mut hasher = CanonicalHasher::new("roadbed/testing");
    hasher.bytes(purpose.as_bytes()).count(numbers.len());
    for number in numbers {
        hasher.u64(*number);
    }
    ChaCha8Rng::from_seed(hasher.finish())
}
