//! QCs and blocks as lists, and one of them in full.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use comfy_table::{Table, presets};
use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockHeader, BlockNumber, Committee, FullCommitQc, codec, verify_block, verify_qc,
};
use roadbed_wal::{Reader, StoredEntry};
use serde::Serialize;

use super::{Looked, Page, STORAGE};
use crate::exit::{Code, NodeError};
use crate::tools::facts::judge;
use crate::tools::report::{bytes, rendered};
use crate::tools::store::Store;

pub(super) const QCS_SCHEMA: &str = "roadbed.inspect.qcs/1";
pub(super) const BLOCKS_SCHEMA: &str = "roadbed.inspect.blocks/1";
pub(super) const RECORD_SCHEMA: &str = "roadbed.inspect.record/1";

#[derive(Debug, Serialize)]
struct List<T> {
    schema: &'static str,
    dir: PathBuf,
    /// What is retained: indices of QCs, numbers of blocks.
    retained: Range<u64>,
    rows: Vec<T>,
}

#[derive(Debug, Serialize)]
struct QcRow {
    index: u64,
    first: BlockNumber,
    next: BlockNumber,
    road_index: u64,
    signatures: usize,
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct BlockRow {
    number: u64,
    lane: String,
    lane_number: u64,
    hash: String,
    txs: usize,
    tx_bytes: usize,
}

fn reader(store: &Store, wal: WalKind) -> Result<Reader, NodeError> {
    let judged = judge(&store.paths, STORAGE, wal, store.options(wal))?;
    judged.try_reader().ok_or_else(|| {
        NodeError::Refused(format!(
            "{} is missing: `roadbed inspect {}` shows what is there",
            store.paths.log(wal).display(),
            store.paths.dir.display()
        ))
    })
}

fn damaged(what: &str, index: u64, error: &impl std::fmt::Display) -> NodeError {
    NodeError::Damaged(format!("{what} {index} can't be decoded: {error}"))
}

/// A part of the QCs.
pub(super) fn qcs(store: &Store, page: &Page, json: bool) -> Result<Looked, NodeError> {
    let (log, committee) = (reader(store, WalKind::Qcs)?, store.committee()?);
    let from = match page.from {
        Some(number) => log.get_by_key(number)?.map_or(log.range().end, |entry| entry.index),
        None => log.range().start,
    };
    let mut rows = Vec::new();
    for entry in log.replay(from..from.saturating_add(page.count)) {
        let entry = entry?;
        let qc: FullCommitQc =
            codec::decode(&entry.payload).map_err(|error| damaged("QC entry", entry.index, &error))?;
        let range = qc.range(committee).map_err(|error| damaged("QC entry", entry.index, &error))?;
        rows.push(QcRow {
            index: entry.index,
            first: range.start,
            next: range.end,
            road_index: qc.road_index().0,
            signatures: qc.qc.signatures.len(),
            bytes: entry.payload.len(),
        });
    }
    let list = List { schema: QCS_SCHEMA, dir: store.paths.dir.clone(), retained: log.range(), rows };
    let text = rendered(json, &list, || {
        let mut table = table(["index", "blocks", "road", "signatures", "size"]);
        for QcRow { index, first, next, road_index, signatures, bytes: size } in &list.rows {
            table.add_row([
                index.to_string(),
                format!("{first}..{next}"),
                road_index.to_string(),
                signatures.to_string(),
                bytes(*size as u64),
            ]);
        }
        text(&table, &list.retained, list.rows.len(), "QCs")
    })?;
    Ok((text, Code::Clean))
}

/// A part of the blocks.
pub(super) fn blocks(store: &Store, page: &Page, json: bool) -> Result<Looked, NodeError> {
    let log = reader(store, WalKind::Blocks)?;
    let from = page.from.unwrap_or(log.range().start).max(log.range().start);
    let mut rows = Vec::new();
    for entry in log.replay(from..from.saturating_add(page.count)) {
        let entry = entry?;
        let Block { header, payload } =
            codec::decode(&entry.payload).map_err(|error| damaged("block", entry.index, &error))?;
        rows.push(BlockRow {
            number: entry.index,
            lane: header.lane.to_string(),
            lane_number: header.number.0,
            hash: header.hash().to_string(),
            txs: payload.txs.len(),
            tx_bytes: payload.txs.total_bytes(),
        });
    }
    let list = List { schema: BLOCKS_SCHEMA, dir: store.paths.dir.clone(), retained: log.range(), rows };
    let text = rendered(json, &list, || {
        let mut table = table(["number", "lane", "lane number", "hash", "txs", "size"]);
        let short = |text: &str| text.chars().take(12).collect::<String>() + "…";
        for BlockRow { number, lane, lane_number, hash, txs, tx_bytes } in &list.rows {
            table.add_row([
                number.to_string(),
                short(lane),
                lane_number.to_string(),
                short(hash),
                txs.to_string(),
                bytes(*tx_bytes as u64),
            ]);
        }
        text(&table, &list.retained, list.rows.len(), "blocks")
    })?;
    Ok((text, Code::Clean))
}

fn table(header: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn text(table: &Table, retained: &Range<u64>, shown: usize, what: &str) -> String {
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let Range { start, end } = retained;
    lines.push(format!("{shown} {what} shown, index {start}..{end} retained"));
    lines.join("\n")
}

#[derive(Debug, Serialize)]
struct Record {
    schema: &'static str,
    number: u64,
    qc_index: u64,
    range: Range<BlockNumber>,
    /// Whether the QC's signatures and the block's hashes hold, and what does not.
    verified: bool,
    problem: Option<String>,
    hash: String,
    header: BlockHeader,
    created_at: String,
    gas: u64,
    txs: Vec<String>,
    qc: FullCommitQc,
}

/// One block with its QC.
pub(super) fn record(store: &Store, number: u64, json: bool) -> Result<Looked, NodeError> {
    let (qcs, blocks, committee) =
        (reader(store, WalKind::Qcs)?, reader(store, WalKind::Blocks)?, store.committee()?);
    let missing = || {
        let Range { start, end } = blocks.range();
        NodeError::Usage(format!(
            "block {number} is not in {}: it holds blocks {start}..{end}",
            store.paths.dir.display()
        ))
    };
    let block_entry = blocks.get(number)?.ok_or_else(missing)?;
    let qc_entry = qcs.get_by_key(number)?.ok_or_else(|| {
        NodeError::Refused(format!(
            "block {number} has no QC: the next start drops it, for it was never promised"
        ))
    })?;
    let qc: FullCommitQc =
        codec::decode(&qc_entry.payload).map_err(|error| damaged("QC entry", qc_entry.index, &error))?;
    let block: Block =
        codec::decode(&block_entry.payload).map_err(|error| damaged("block", number, &error))?;
    let problem = verified(committee, number, &qc, &block_entry).err();
    let range = qc.range(committee).map_err(|error| damaged("QC entry", qc_entry.index, &error))?;
    let record = Record {
        schema: RECORD_SCHEMA,
        number,
        qc_index: qc_entry.index,
        range,
        verified: problem.is_none(),
        problem,
        hash: block.header.hash().to_string(),
        header: block.header,
        created_at: block.payload.created_at.to_string(),
        gas: block.payload.gas,
        txs: block.payload.txs.iter().map(hex::encode).collect(),
        qc,
    };
    let text = rendered(json, &record, || record.text())?;
    Ok((text, if record.verified { Code::Clean } else { Code::Corrupt }))
}

fn verified(
    committee: &Committee,
    number: u64,
    qc: &FullCommitQc,
    block: &StoredEntry,
) -> Result<(), String> {
    let qc = verify_qc(committee, Arc::new(qc.clone())).map_err(|error| error.to_string())?;
    let block = codec::decode(&block.payload).map_err(|error| error.to_string())?;
    let block = verify_block(committee, Arc::new(block)).map_err(|error| error.to_string())?;
    qc.match_block(BlockNumber(number), &block).map_err(|error| error.to_string())
}

impl Record {
    fn text(&self) -> String {
        let signers = self
            .qc
            .qc
            .signatures
            .iter()
            .map(|one| format!("\n            {}", one.signer))
            .collect::<String>();
        let tx_bytes: usize = self.txs.iter().map(|tx| tx.len() / 2).sum();
        let verdict = match &self.problem {
            None => "signatures and hashes hold".to_owned(),
            Some(problem) => format!("PROBLEM: {problem}"),
        };
        [
            format!("block       {}", self.number),
            format!("hash        {}", self.hash),
            format!("lane        {}", self.header.lane),
            format!("lane number {}", self.header.number),
            format!("parent      {}", self.header.parent),
            format!("payload     {}", self.header.payload),
            format!("created at  {}", self.created_at),
            format!("gas         {}", self.gas),
            format!("txs         {} ({}); --json shows them", self.txs.len(), bytes(tx_bytes as u64)),
            format!("QC          entry {}, blocks {}..{}", self.qc_index, self.range.start, self.range.end),
            format!("road        {}, view {}", self.qc.road_index(), self.qc.qc.proposal.view.number),
            format!("signed by   {}{signers}", self.qc.qc.signatures.len()),
            format!("verified    {verdict}"),
        ]
        .join("\n")
    }
}
