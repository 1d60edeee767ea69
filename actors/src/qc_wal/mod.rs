//! The QC WAL actor: its log's index is a running number, its key the end of the QC's range, so that block n's QC is
//! the first entry with a key above n.

use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee, FullCommitQc, VerifiedQc, codec};
use roadbed_wal::StoredEntry;

use crate::wal_worker::{Record, WalActor};

/// Makes QCs durable.
pub(crate) type QcWal = WalActor<VerifiedQc>;

impl Record for VerifiedQc {
    const WAL: WalKind = WalKind::Qcs;

    fn first_index(_: &Committee) -> u64 {
        0
    }

    fn end(&self, _: u64) -> BlockNumber {
        self.range().end
    }

    fn digest(&self) -> u64 {
        0
    }

    fn encoded_len(&self) -> usize {
        self.size_bytes()
    }

    fn encode_into(&self, buffer: &mut [u8]) {
        codec::encode_into(&**self.qc(), buffer).expect("the buffer has the encoded length");
    }

    fn start_of(entry: &StoredEntry, committee: &Committee) -> Result<BlockNumber, String> {
        let qc: FullCommitQc = codec::decode(&entry.payload).map_err(|error| error.to_string())?;
        qc.range(committee).map(|range| range.start).map_err(|error| error.to_string())
    }
}
