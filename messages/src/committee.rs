//! Who votes, and the constants of their chain.

use std::{fmt, sync::Arc};

use ed25519_consensus::VerificationKey;
use serde::{Deserialize, Serialize};

use crate::{
    hash::{CanonicalHasher, ChainId},
    keys::PublicKey,
    limits::{BLOCK_TX_BYTES_MAX, BLOCK_TXS_MAX, COMMITTEE_LEN_MAX, QC_HEADERS_MAX},
    numbers::{BlockNumber, Timestamp},
    signatures,
};

/// Constants that all replicas of a chain share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainParams {
    /// Blocks that one QC may finalize of one lane.
    pub lane_blocks_per_qc_max: u64,
    /// Transactions of one block.
    pub block_txs_max: u64,
    /// Bytes of one transaction.
    pub tx_bytes_max: u64,
    /// Bytes of all transactions of one block.
    pub block_tx_bytes_max: u64,
}

impl Default for ChainParams {
    fn default() -> Self {
        Self {
            lane_blocks_per_qc_max: 30,
            block_txs_max: 1 << 17,
            tx_bytes_max: 4 << 20,
            block_tx_bytes_max: 4 << 20,
        }
    }
}

/// A committee that can not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// No member.
    #[error("a committee needs at least one key")]
    Empty,
    /// Too many members.
    #[error("{found} keys, at most {max} are supported")]
    TooLarge {
        /// Keys that were given.
        found: usize,
        /// Keys that may be.
        max: usize,
    },
    /// Two equal keys.
    #[error("key {key} is there twice")]
    DuplicateKey {
        /// The key.
        key: PublicKey,
    },
    /// Not a point of the curve.
    #[error("key {key} is not a valid ed25519 public key")]
    InvalidKey {
        /// The key.
        key: PublicKey,
    },
    /// A point that everybody can sign for, or a second encoding of another key.
    #[error("key {key} is weak: {why}")]
    WeakKey {
        /// The key.
        key: PublicKey,
        /// What is weak about it.
        why: &'static str,
    },
    /// A parameter outside of what the data model supports.
    #[error("parameter {name} is {found}, it must be from 1 to {max}")]
    Param {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        found: u64,
        /// Its largest value.
        max: u64,
    },
    /// One QC could finalize more blocks than its encoding may hold.
    #[error(
        "{members} keys with {lane_blocks_per_qc_max} blocks per lane and QC make up to {} blocks per QC, \
         at most {max} are supported",
        (*members as u128) * u128::from(*lane_blocks_per_qc_max)
    )]
    QcTooLarge {
        /// Keys that were given.
        members: usize,
        /// The parameter.
        lane_blocks_per_qc_max: u64,
        /// Blocks that may be.
        max: usize,
    },
}

/// The members of a chain and its constants. Cheap to clone; equal when the chain is the same.
///
/// ```
/// use roadbed_messages::{BlockNumber, ChainParams, Committee, SigningKey, Timestamp};
///
/// let keys: Vec<_> = (1..=4).map(|seed| SigningKey::from_seed([seed; 32]).public_key()).collect();
/// let genesis = Timestamp::from_unix_us(1_767_225_600_000_000);
/// let committee = Committee::new(keys, BlockNumber(0), genesis, ChainParams::default())?;
/// assert_eq!((committee.faulty_max(), committee.commit_quorum()), (1, 3));
/// # Ok::<(), roadbed_messages::CommitteeError>(())
/// ```
///
/// Invariants: from 1 to [`COMMITTEE_LEN_MAX`] keys, strictly ascending, each a valid point in its one
/// encoding and not of small order; parameters within [`limits`](crate::limits).
#[derive(Clone)]
pub struct Committee(Arc<Inner>);

struct Inner {
    keys: Vec<PublicKey>,
    // Decompressed once; same order as `keys`.
    points: Vec<VerificationKey>,
    first_block: BlockNumber,
    genesis: Timestamp,
    params: ChainParams,
    chain_id: ChainId,
}

impl Committee {
    /// A committee of `keys`, in any order.
    ///
    /// # Errors
    /// When an invariant of the type does not hold.
    pub fn new(
        keys: impl Into<Vec<PublicKey>>,
        first_block: BlockNumber,
        genesis: Timestamp,
        params: ChainParams,
    ) -> Result<Self, CommitteeError> {
        let mut keys = keys.into();
        if keys.is_empty() {
            return Err(CommitteeError::Empty);
        }
        if keys.len() > COMMITTEE_LEN_MAX {
            return Err(CommitteeError::TooLarge { found: keys.len(), max: COMMITTEE_LEN_MAX });
        }
        check_params(keys.len(), &params)?;
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CommitteeError::DuplicateKey { key: pair[0] });
        }
        let points = keys.iter().map(check_key).collect::<Result<_, _>>()?;
        let chain_id = hash_chain(&keys, first_block, genesis, &params);
        Ok(Self(Arc::new(Inner { keys, points, first_block, genesis, params, chain_id })))
    }

    /// N, the number of members and of lanes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a committee is never empty")]
    pub fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// f, the number of members that may be faulty: (N - 1) / 3.
    #[must_use]
    pub fn faulty_max(&self) -> usize {
        (self.len() - 1) / 3
    }

    /// N - f, the number of members whose signatures commit.
    #[must_use]
    pub fn commit_quorum(&self) -> usize {
        self.len() - self.faulty_max()
    }

    /// The members, ascending.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.0.keys
    }

    /// Position of a member among [`keys`](Self::keys).
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<usize> {
        self.0.keys.binary_search(key).ok()
    }

    /// Number of the chain's first global block.
    #[must_use]
    pub fn first_block(&self) -> BlockNumber {
        self.0.first_block
    }

    /// When the chain began.
    #[must_use]
    pub fn genesis(&self) -> Timestamp {
        self.0.genesis
    }

    /// The chain's constants.
    #[must_use]
    pub fn params(&self) -> &ChainParams {
        &self.0.params
    }

    /// Identity of the chain: the canonical hash of all of this.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.0.chain_id
    }

    pub(crate) fn point(&self, index: usize) -> &VerificationKey {
        &self.0.points[index]
    }
}

fn check_params(members: usize, params: &ChainParams) -> Result<(), CommitteeError> {
    let caps = [
        ("lane_blocks_per_qc_max", params.lane_blocks_per_qc_max, QC_HEADERS_MAX),
        ("block_txs_max", params.block_txs_max, BLOCK_TXS_MAX),
        ("tx_bytes_max", params.tx_bytes_max, BLOCK_TX_BYTES_MAX),
        ("block_tx_bytes_max", params.block_tx_bytes_max, BLOCK_TX_BYTES_MAX),
    ];
    for (name, found, max) in caps {
        let max = max as u64;
        if found == 0 || found > max {
            return Err(CommitteeError::Param { name, found, max });
        }
    }
    let lane_blocks_per_qc_max = params.lane_blocks_per_qc_max;
    match lane_blocks_per_qc_max.checked_mul(members as u64) {
        Some(blocks) if blocks <= QC_HEADERS_MAX as u64 => Ok(()),
        _ => Err(CommitteeError::QcTooLarge { members, lane_blocks_per_qc_max, max: QC_HEADERS_MAX }),
    }
}

fn check_key(key: &PublicKey) -> Result<VerificationKey, CommitteeError> {
    let key = *key;
    let point = VerificationKey::try_from(key.0).map_err(|_| CommitteeError::InvalidKey { key })?;
    if !signatures::is_canonical(&key) {
        return Err(CommitteeError::WeakKey { key, why: "not the canonical encoding of its point" });
    }
    if signatures::is_small_order(&point) {
        return Err(CommitteeError::WeakKey { key, why: "of small order, everybody can sign for it" });
    }
    Ok(point)
}

fn hash_chain(keys: &[PublicKey], first: BlockNumber, genesis: Timestamp, params: &ChainParams) -> ChainId {
    let mut hasher = CanonicalHasher::new("roadbed/1/chain");
    hasher.count(keys.len());
    for key in keys {
        hasher.fixed(&key.0);
    }
    hasher.u64(first.0).u64(genesis.unix_us());
    hasher.u64(params.lane_blocks_per_qc_max).u64(params.block_txs_max);
    hasher.u64(params.tx_bytes_max).u64(params.block_tx_bytes_max);
    ChainId(hasher.finish())
}

impl PartialEq for Committee {
    fn eq(&self, other: &Self) -> bool {
        self.chain_id() == other.chain_id()
    }
}

impl Eq for Committee {}

impl fmt::Debug for Committee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committee")
            .field("len", &self.len())
            .field("first_block", &self.first_block())
            .field("genesis", &self.genesis())
            .field("params", self.params())
            .field("chain_id", &self.chain_id())
            .finish()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    first_block: BlockNumber,
    genesis_unix_us: Timestamp,
    params: ChainParams,
    keys: Vec<PublicKey>,
}

impl Serialize for Committee {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = Form {
            first_block: self.first_block(),
            genesis_unix_us: self.genesis(),
            params: *self.params(),
            keys: self.keys().to_vec(),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Committee {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        Self::new(form.keys, form.first_block, form.genesis_unix_us, form.params)
            .map_err(serde::de::Error::custom)
    }
}
