#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod api;
pub mod block;
pub mod codec;
pub mod committee;
pub mod hash;
pub mod keys;
pub mod limits;
pub mod numbers;
pub mod qc;
pub mod signatures;
#[cfg(feature = "testing")]
pub mod testing;
pub mod txs;
pub mod verify;

pub use block::{Block, BlockHeader, GlobalBlock, Payload, SharedPayload};
pub use codec::DecodeError;
pub use committee::{ChainParams, Committee, CommitteeError};
pub use hash::{AppHash, ChainId, HeaderHash, PayloadHash, VoteHash};
pub use keys::{PublicKey, Signature, SigningKey};
pub use numbers::{BlockNumber, LaneBlockNumber, RoadIndex, Timestamp, ViewNumber};
pub use qc::{AppProposal, CommitQc, FullCommitQc, LaneRange, Proposal, SignatureOf, View};
pub use txs::{Txs, TxsFull};
pub use verify::{
    BlockError, Known, MatchError, QcError, VerifiedBlock, VerifiedQc, verify_block, verify_commit_qc,
    verify_qc, verify_qcs,
};
