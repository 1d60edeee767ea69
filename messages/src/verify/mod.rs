//! Verification, and the types that prove it.
//!
//! [`VerifiedBlock`] and [`VerifiedQc`] have no public constructor: who holds one knows that it was verified
//! against the committee. So "nothing unverified enters" is a rule of types.

mod batch;
mod block;
mod error;
mod qc;

pub use batch::verify_qcs;
pub use block::{VerifiedBlock, verify_block};
pub use error::{BlockError, MatchError, QcError};
pub use qc::{VerifiedQc, verify_commit_qc, verify_qc};
