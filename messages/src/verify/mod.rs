//! Verification, and the types that prove it.
//!
//! [`VerifiedBlock`] and [`VerifiedQc`] have no public constructor: who holds one knows that it was verified
//! against the committee. So "nothing unverified enters" is a rule of types.
//!
//! What is checked, cheap before dear, so that a lie costs its teller more than us:
//!
//! - A block: its lane is in the committee; its transactions are within the chain's limits; its payload
//!   hashes to what the header says.
//! - A QC: a quorum of distinct members, ascending; one range per lane, and no sum overflows; it covers a
//!   block, and no lane too many; one header per block; timestamps fit; headers are at their place and chain
//!   back from the last hash; every signature is valid.
//!
//! A QC and a block are valid on their own. That a block is the one a QC finalizes under a number is a third
//! question: [`VerifiedQc::match_block`].

mod batch;
mod block;
mod error;
mod known;
mod qc;

pub use batch::verify_qcs;
pub use block::{VerifiedBlock, verify_block};
pub use error::{BlockError, MatchError, QcError};
pub use known::Known;
pub use qc::{VerifiedQc, verify_commit_qc, verify_qc};
