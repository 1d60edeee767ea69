//! `roadbed import`: QCs and blocks from an archive or from JSON lines into a new store, or to the end of one that is
//! there. Each QC's signatures and each block's hashes are verified before they are appended; what is there already is
//! skipped, so that an import that was interrupted goes on.

mod source;
mod target;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockNumber, Committee, FullCommitQc, VerifiedQc, codec, verify_block, verify_qcs,
};
use serde::Serialize;

use self::source::Source;
use self::target::Target;
use super::meter::Meter;
use super::mutate::{Extent, Seen};
use super::records::Raw;
use super::report::print;
use crate::exit::{Code, NodeError};

/// QCs that are verified and made durable at once, with their blocks.
const QCS_PER_BATCH: usize = 64;
/// Bytes of blocks after which a batch ends early.
const BATCH_BYTES: usize = 32 << 20;

/// Flags of `roadbed import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Directory of the store; made if it is missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// An archive or JSON lines, as `roadbed export` writes them; `-` reads JSON lines from stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Verify everything, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Bytes of a log's segment files; for tests, which want many small ones
    #[arg(long, env = "ROADBED_SEGMENT_BYTES", value_name = "N", hide = true)]
    segment_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// `ok`, `partly` (some blocks were left out), or `dry_run`.
    result: &'static str,
    dir: PathBuf,
    qcs_added: u64,
    blocks_added: u64,
    /// Records that were there already.
    skipped: u64,
    /// Records below the store's front, which only grows at its end: not added, and not there.
    below_front: u64,
    extent: Option<Extent>,
}

/// Imports.
///
/// # Errors
/// When something does not verify, does not follow what is there, or the store can't be written.
pub(crate) fn import(args: &ImportArgs) -> Result<Code, NodeError> {
    let (mut source, committee, range) = Source::open(&args.file)?;
    let mut target = Target::look(args, &committee)?;
    if !args.dry_run {
        target = Target::open(args, &committee)?;
    }
    let mut meter = Meter::new("import", range.end.0.saturating_sub(range.start.0));
    let mut importer = Importer { committee: &committee, last: None, found: VecDeque::new(), next_qc: None };
    let mut told = Report {
        schema: "roadbed.import/1",
        result: if args.dry_run { "dry_run" } else { "ok" },
        dir: args.dir.clone(),
        qcs_added: 0,
        blocks_added: 0,
        skipped: 0,
        below_front: 0,
        extent: None,
    };
    let taken = take(&mut source, &mut importer, &mut target, &mut meter, &mut told);
    // What came before a failure was verified: it is kept, QCs and blocks together.
    target.sync()?;
    let front = target.blocks.start;
    target.close()?;
    let taken = taken.and_then(|()| source.wants_its_end());
    if args.dry_run {
        taken?;
    } else {
        taken.map_err(|error| kept(error, &args.dir))?;
        told.extent = Some(Seen::of(&args.dir)?.sound()?.1);
    }
    told.judge_front(front)?;
    print(args.json, &told, || told.text())?;
    Ok(Code::Clean)
}

/// Takes everything that the source has, batch by batch.
fn take(
    source: &mut Source,
    importer: &mut Importer<'_>,
    target: &mut Target,
    meter: &mut Meter,
    told: &mut Report,
) -> Result<(), NodeError> {
    let (mut batch, mut qcs, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let record = source.next()?;
        let full = qcs >= QCS_PER_BATCH || bytes >= BATCH_BYTES;
        let begins = record.as_ref().is_none_or(|record| record.wal == WalKind::Qcs);
        if begins && (full || record.is_none()) {
            meter.add(batch.iter().filter(|raw: &&Raw| raw.wal == WalKind::Blocks).count() as u64);
            importer.add(std::mem::take(&mut batch), target, told)?;
            (qcs, bytes) = (0, 0);
        }
        let Some(record) = record else { return Ok(()) };
        qcs += usize::from(record.wal == WalKind::Qcs);
        bytes += record.payload.len();
        batch.push(record);
    }
}

/// Says of an import that failed what it leaves behind.
fn kept(error: NodeError, dir: &Path) -> NodeError {
    let kept = |why: String| {
        format!(
            "{why}. What was taken before is kept in {}, which can be used: give the command again with the whole file",
            dir.display()
        )
    };
    match error {
        NodeError::Refused(why) => NodeError::Refused(kept(why)),
        NodeError::Damaged(why) => NodeError::Damaged(kept(why)),
        error => error,
    }
}

impl Report {
    fn text(&self) -> String {
        let Self { qcs_added, blocks_added, skipped, below_front, .. } = self;
        let counts = format!("{qcs_added} QCs and {blocks_added} blocks");
        let rest = format!("{skipped} were there, {below_front} below the front were left out");
        let dir = self.dir.display();
        match &self.extent {
            None => format!("dry run: {counts} verify and would be added, {rest}; {dir} was not touched"),
            Some(Extent { first, next_block, next_qc }) => format!(
                "{dir}: {counts} verified and added, {rest}\n  now     blocks {first}..{next_block}, QCs up to {next_qc}"
            ),
        }
    }

    /// A store grows at its end only: what lies below its front was not added.
    fn judge_front(&mut self, front: u64) -> Result<(), NodeError> {
        if self.below_front == 0 {
            return Ok(());
        }
        self.result = "partly";
        if self.qcs_added + self.blocks_added > 0 {
            return Ok(());
        }
        Err(NodeError::Refused(format!(
            "nothing was added: {} records lie below the front of {}, which is block {front}, and were left out; what \
             was truncated or pruned can only be imported into a new directory",
            self.below_front,
            self.dir.display()
        )))
    }
}

/// Verifies what comes, and appends it.
struct Importer<'a> {
    committee: &'a Committee,
    /// The QC that covers the blocks which come next.
    last: Option<VerifiedQc>,
    found: VecDeque<VerifiedQc>,
    /// Where the next QC has to start.
    next_qc: Option<BlockNumber>,
}

fn invalid(what: &str, number: u64, error: impl std::fmt::Display) -> NodeError {
    NodeError::Refused(format!("{what} {number} does not verify: {error}; nothing from it on was taken"))
}

impl Importer<'_> {
    /// Verifies all QCs of a batch together, then appends it in order, durably.
    fn add(&mut self, batch: Vec<Raw>, target: &mut Target, told: &mut Report) -> Result<(), NodeError> {
        let mut qcs = Vec::new();
        let mut indices = Vec::new();
        for raw in batch.iter().filter(|raw| raw.wal == WalKind::Qcs) {
            let qc: FullCommitQc =
                codec::decode(&raw.payload).map_err(|error| invalid("QC", raw.index, error))?;
            qcs.push(Arc::new(qc));
            indices.push(raw.index);
        }
        for (qc, index) in verify_qcs(self.committee, qcs).into_iter().zip(indices) {
            self.found.push_back(qc.map_err(|error| invalid("QC", index, error))?);
        }
        for raw in batch {
            match raw.wal {
                WalKind::Qcs => self.add_qc(raw.index, target, told)?,
                WalKind::Blocks => self.add_block(&raw, target, told)?,
            }
        }
        target.sync()
    }

    fn add_qc(&mut self, index: u64, target: &mut Target, told: &mut Report) -> Result<(), NodeError> {
        let Some(qc) = self.found.pop_front() else { return Ok(()) };
        let range = qc.range();
        if let Some(expected) = self.next_qc
            && expected != range.start
        {
            let start = range.start;
            return Err(NodeError::Refused(format!(
                "QC {index} starts at block {start}, the one before it ends at {expected}"
            )));
        }
        // Nothing signs an index. Each QC before this one covers a block at least.
        if range.start.distance_from(self.committee.first_block()).is_none_or(|blocks| index > blocks) {
            return Err(invalid(
                "QC",
                index,
                format!("it can't be the QC of that index: it starts at block {}", range.start),
            ));
        }
        self.next_qc = Some(range.end);
        match target.covered {
            Some(end) if range.end <= end => {
                let below = range.end.0 <= target.blocks.start;
                *(if below { &mut told.below_front } else { &mut told.skipped }) += 1;
                self.last = Some(qc);
                return Ok(());
            }
            Some(end) if range.start != end => {
                return Err(NodeError::Refused(format!(
                    "QC {index} starts at block {}, but the store's QCs end at {end}: import what lies between first",
                    range.start
                )));
            }
            _ => {}
        }
        target.add_qc(index, &qc)?;
        told.qcs_added += 1;
        self.last = Some(qc);
        Ok(())
    }

    fn add_block(&mut self, raw: &Raw, target: &mut Target, told: &mut Report) -> Result<(), NodeError> {
        let number = BlockNumber(raw.index);
        let block: Block = codec::decode(&raw.payload).map_err(|error| invalid("block", raw.index, error))?;
        let block = verify_block(self.committee, Arc::new(block))
            .map_err(|error| invalid("block", raw.index, error))?;
        let matched = self.last.as_ref().map(|qc| qc.match_block(number, &block));
        match matched {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(invalid("block", raw.index, error)),
            None => return Err(invalid("block", raw.index, "no QC comes before it")),
        }
        target.begin_blocks(raw.index)?;
        let (front, next) = (target.blocks.start, target.blocks.end);
        if raw.index < next {
            *(if raw.index < front { &mut told.below_front } else { &mut told.skipped }) += 1;
            return Ok(());
        }
        if raw.index > next {
            return Err(NodeError::Refused(format!(
                "block {number} comes, but the store's blocks end at {next}: import what lies between first"
            )));
        }
        target.add_block(number, &block)?;
        told.blocks_added += 1;
        Ok(())
    }
}
