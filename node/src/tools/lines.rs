//! QCs and blocks as JSON lines: a first line with schema, chain and committee, then one record a line.

use std::io::{BufRead, Read, Write};

use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockHeader, BlockNumber, ChainId, Committee, FullCommitQc, Payload, Timestamp, Txs, codec,
};
use serde::{Deserialize, Serialize};

use super::records::Raw;

/// The schema of the first line.
pub(crate) const SCHEMA: &str = "roadbed.lines/1";
/// A line of a block with all its transactions in hexadecimal, and some room.
const LINE_BYTES_MAX: u64 = 160 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// The first line.
    Header { schema: String, chain: ChainId, committee: Committee, from: BlockNumber, to: BlockNumber },
    /// A QC and its place in the log.
    Qc { index: u64, first: BlockNumber, next: BlockNumber, qc: FullCommitQc },
    /// A block; transactions in hexadecimal.
    Block { number: u64, header: BlockHeader, created_at: Timestamp, gas: u64, txs: Vec<String> },
}

impl Line {
    /// A stored record as a line.
    ///
    /// # Errors
    /// Why it can't be decoded.
    pub(crate) fn of(committee: &Committee, raw: &Raw) -> Result<Self, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{what} {}: {error}", raw.index);
        match raw.wal {
            WalKind::Qcs => {
                let qc: FullCommitQc =
                    codec::decode(&raw.payload).map_err(|error| told("QC entry", &error))?;
                let range = qc.range(committee).map_err(|error| told("QC entry", &error))?;
                Ok(Self::Qc { index: raw.index, first: range.start, next: range.end, qc })
            }
            WalKind::Blocks => {
                let Block { header, payload } =
                    codec::decode(&raw.payload).map_err(|error| told("block", &error))?;
                let Payload { created_at, gas, txs } = payload;
                let txs = txs.iter().map(hex::encode).collect();
                Ok(Self::Block { number: raw.index, header, created_at, gas, txs })
            }
        }
    }

    /// The record that a line stands for; `None` for a header.
    ///
    /// # Errors
    /// What can't be in it.
    pub(crate) fn into_raw(self) -> Result<Option<Raw>, String> {
        Ok(Some(match self {
            Self::Header { .. } => return Ok(None),
            Self::Qc { index, next, qc, .. } => {
                Raw { wal: WalKind::Qcs, index, key: next.0, payload: codec::encode(&qc) }
            }
            Self::Block { number, header, created_at, gas, txs } => {
                let mut held = Txs::default();
                for tx in &txs {
                    let tx =
                        hex::decode(tx).map_err(|error| format!("block {number}: a transaction: {error}"))?;
                    held.push(&tx).map_err(|_| format!("block {number}: too many bytes of transactions"))?;
                }
                let block = Block { header, payload: Payload { created_at, gas, txs: held } };
                let key = number.saturating_add(1);
                Raw { wal: WalKind::Blocks, index: number, key, payload: codec::encode(&block) }
            }
        }))
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        to.write_all(b"\n")
    }
}

/// Reads the next line; `None` at the end, also where that lies within a line.
///
/// # Errors
/// Why it is no line of an export.
pub(crate) fn read(from: &mut impl BufRead, number: u64) -> Result<Option<Line>, String> {
    let mut text = Vec::new();
    let told = |error: &dyn std::fmt::Display| format!("line {number}: {error}");
    let read =
        Read::take(&mut *from, LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(|error| told(&error))?;
    if read == 0 {
        return Ok(None);
    }
    let whole = text.last() == Some(&b'\n');
    if !whole && text.len() as u64 == LINE_BYTES_MAX {
        return Err(told(&format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    match serde_json::from_slice(&text) {
        // Who reads knows where the lines have to end.
        Err(error) if !whole && error.is_eof() => Ok(None),
        line => line.map(Some).map_err(|error| told(&error)),
    }
}
