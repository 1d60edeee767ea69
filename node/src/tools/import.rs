//! `roadbed import`: QCs and blocks from an archive or from JSON lines into a new store, or to the end of one that is
//! there. Each QC's signatures and each block's hashes are verified before they are appended; what is there already is
//! skipped, so that an import that was interrupted goes on.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use roadbed::store::{append_block, append_qc, log_options, prepare};
use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockNumber, Committee, FullCommitQc, VerifiedQc, codec, verify_block, verify_qcs,
};
use roadbed_wal::{FileSystem, Log, Storage};
use serde::Serialize;

use super::archive::Archive;
use super::lines::{self, Line};
use super::meter::Meter;
use super::mutate::{Extent, Seen, with_segments};
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

/// Where records come from.
enum Source {
    Archive(Box<Archive>),
    Lines {
        name: String,
        lines: Box<dyn BufRead>,
        /// Of the line that was read last.
        number: u64,
        /// The first block that has not been read.
        next_block: BlockNumber,
        /// The block that the header says it ends before.
        to: BlockNumber,
    },
}

/// Imports.
///
/// # Errors
/// When something does not verify, does not follow what is there, or the store can't be written.
pub(crate) fn import(args: &ImportArgs) -> Result<Code, NodeError> {
    let (mut source, committee, range) = Source::open(&args.file)?;
    let mut target = if args.dry_run { None } else { Some(Target::open(args, &committee)?) };
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
    let taken = take(&mut source, &mut importer, target.as_mut(), &mut meter, &mut told);
    if let Some(mut target) = target {
        // What came before a failure was verified: it is kept, QCs and blocks together.
        target.sync()?;
        let front = target.blocks.range().start;
        target.close()?;
        taken.map_err(|error| kept(error, &args.dir))?;
        source.wants_its_end()?;
        told.extent = Some(Seen::of(&args.dir)?.sound()?.1);
        told.judge_front(front)?;
    } else {
        taken?;
        source.wants_its_end()?;
    }
    print(args.json, &told, || told.text())?;
    Ok(Code::Clean)
}

/// Takes everything that the source has, batch by batch.
fn take(
    source: &mut Source,
    importer: &mut Importer<'_>,
    mut target: Option<&mut Target>,
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
            importer.add(std::mem::take(&mut batch), target.as_deref_mut(), told)?;
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
    match error {
        NodeError::Refused(why) => NodeError::Refused(format!(
            "{why}. What was taken before is kept in {}, which can be used: give the command again with the whole file",
            dir.display()
        )),
        error => error,
    }
}

impl Report {
    fn text(&self) -> String {
        let Self { qcs_added, blocks_added, skipped, below_front, .. } = self;
        let counts = format!("{qcs_added} QCs and {blocks_added} blocks");
        let dir = self.dir.display();
        match &self.extent {
            None => format!("dry run: {counts} verify; {dir} was not touched"),
            Some(Extent { first, next_block, next_qc }) => format!(
                "{dir}: {counts} verified and added, {skipped} were there, {below_front} below the front \
                 were left out\n  now     blocks {first}..{next_block}, QCs up to {next_qc}"
            ),
        }
    }
}

impl Report {
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

impl Source {
    fn open(path: &Path) -> Result<(Self, Committee, Range<BlockNumber>), NodeError> {
        let failed = |error| NodeError::io(path.display().to_string(), error);
        let mut lines: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            Box::new(BufReader::new(File::open(path).map_err(failed)?))
        };
        let stdin = path == Path::new("-");
        let name = if stdin { "standard input".to_owned() } else { path.display().to_string() };
        let Some(first) = lines.fill_buf().map_err(failed)?.first().copied() else {
            return Err(NodeError::Refused(format!("{name} is empty: give what `roadbed export` wrote")));
        };
        if first != b'{' {
            if stdin {
                return Err(NodeError::Usage(
                    "standard input holds no JSON lines: an archive needs a file, not standard input"
                        .to_owned(),
                ));
            }
            let archive = Archive::open(path)?;
            let (committee, range) =
                (archive.header.committee.clone(), archive.header.from..archive.header.to);
            return Ok((Self::Archive(Box::new(archive)), committee, range));
        }
        let refuse = |why: String| NodeError::Refused(format!("{name} is no export of Roadbed: {why}"));
        match lines::read(&mut lines, 1).map_err(&refuse)? {
            Some(Line::Header { schema, chain, committee, from, to })
                if schema == lines::SCHEMA && committee.chain_id() == chain =>
            {
                Ok((Self::Lines { name, lines, number: 1, next_block: from, to }, committee, from..to))
            }
            _ => Err(refuse(format!("its first line is no header of {}", lines::SCHEMA))),
        }
    }

    fn next(&mut self) -> Result<Option<Raw>, NodeError> {
        match self {
            Self::Archive(archive) => archive.next().transpose(),
            Self::Lines { name, lines, number, next_block, .. } => {
                *number += 1;
                let refuse = |why: String| NodeError::Refused(format!("{name}: {why}"));
                match lines::read(lines, *number).map_err(refuse)? {
                    None => Ok(None),
                    Some(line) => match line.into_raw().map_err(refuse)? {
                        Some(raw) => {
                            if raw.wal == WalKind::Blocks {
                                *next_block = BlockNumber(raw.key);
                            }
                            Ok(Some(raw))
                        }
                        None => Err(refuse(format!("line {number}: a second header"))),
                    },
                }
            }
        }
    }

    /// Both kinds say where they end; what was read before is in the store.
    fn wants_its_end(&self) -> Result<(), NodeError> {
        match self {
            Self::Archive(archive) if !archive.held().complete => Err(NodeError::Damaged(format!(
                "the archive holds only up to offset {} ({} QCs, {} blocks), which were taken: it was cut short or \
                 damaged there; export it again (an export goes on where it was interrupted) and import it again",
                archive.held().bytes,
                archive.held().qcs,
                archive.held().blocks
            ))),
            Self::Lines { name, number, next_block, to, .. } if next_block < to => {
                Err(NodeError::Damaged(format!(
                    "{name} ends after line {}, before block {next_block}, though its header names blocks up to {to}: \
                     it was cut short; what it holds was taken, blocks {next_block}..{to} are missing: export it again \
                     and import it again",
                    number.saturating_sub(1)
                )))
            }
            Self::Archive(_) | Self::Lines { .. } => Ok(()),
        }
    }
}

/// The store that is filled.
struct Target {
    qcs: Log,
    blocks: Log,
    _lock: roadbed::store::StoreLock,
}

impl Target {
    fn open(args: &ImportArgs, committee: &Committee) -> Result<Self, NodeError> {
        let paths = roadbed::store::StorePaths::new(&args.dir);
        let storage: Arc<dyn Storage> = Arc::new(FileSystem);
        let options = |wal| with_segments(log_options(committee, wal), args.segment_bytes);
        let held = prepare(&storage, &paths, committee, options)?;
        let open = |wal| Log::open(storage.clone(), &paths.log(wal), options(wal));
        Ok(Self { qcs: open(WalKind::Qcs)?, blocks: open(WalKind::Blocks)?, _lock: held })
    }

    fn close(self) -> Result<(), NodeError> {
        self.qcs.close()?;
        Ok(self.blocks.close()?)
    }

    /// Makes durable what was appended.
    fn sync(&mut self) -> Result<(), NodeError> {
        // QCs first: blocks that no QC covers would be dropped by the next start.
        self.qcs.sync()?;
        self.blocks.sync()?;
        Ok(())
    }

    fn add_qc(&mut self, index: u64, qc: &VerifiedQc) -> Result<(), NodeError> {
        if self.qcs.range().is_empty() && self.qcs.range().end != index {
            // An empty log whose cursor has moved looks like one that was lost: it does not stay so for a whole batch.
            self.qcs.reset(index)?;
            append_qc(&mut self.qcs, index, qc)?;
            self.qcs.sync()?;
            return Ok(());
        }
        let next = self.qcs.range().end;
        append_qc(&mut self.qcs, next, qc)?;
        Ok(())
    }

    /// Puts the cursor of a block log that holds nothing where the blocks begin.
    fn begin_blocks(&mut self, index: u64) -> Result<(), NodeError> {
        if self.blocks.range().is_empty() && self.blocks.range().end != index {
            // A block log that is ahead of all QCs would look as if they were lost.
            self.qcs.sync()?;
            self.blocks.reset(index)?;
        }
        Ok(())
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
    fn add(
        &mut self,
        batch: Vec<Raw>,
        mut target: Option<&mut Target>,
        told: &mut Report,
    ) -> Result<(), NodeError> {
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
                WalKind::Qcs => self.add_qc(raw.index, target.as_deref_mut(), told)?,
                WalKind::Blocks => self.add_block(&raw, target.as_deref_mut(), told)?,
            }
        }
        target.map_or(Ok(()), Target::sync)
    }

    fn add_qc(
        &mut self,
        index: u64,
        target: Option<&mut Target>,
        told: &mut Report,
    ) -> Result<(), NodeError> {
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
        self.next_qc = Some(range.end);
        if let Some(target) = target {
            let end = target.qcs.last_key().filter(|_| !target.qcs.range().is_empty());
            match end {
                Some(end) if range.end.0 <= end => {
                    let below = range.end.0 <= target.blocks.range().start;
                    *(if below { &mut told.below_front } else { &mut told.skipped }) += 1;
                    self.last = Some(qc);
                    return Ok(());
                }
                Some(end) if range.start.0 != end => {
                    return Err(NodeError::Refused(format!(
                        "QC {index} starts at block {}, but the store's QCs end at {end}: import what lies between first",
                        range.start
                    )));
                }
                _ => {}
            }
            target.add_qc(index, &qc)?;
        }
        told.qcs_added += 1;
        self.last = Some(qc);
        Ok(())
    }

    fn add_block(
        &mut self,
        raw: &Raw,
        target: Option<&mut Target>,
        told: &mut Report,
    ) -> Result<(), NodeError> {
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
        if let Some(target) = target {
            target.begin_blocks(raw.index)?;
            let log = &mut target.blocks;
            let (front, next) = (log.range().start, log.range().end);
            if raw.index < next {
                *(if raw.index < front { &mut told.below_front } else { &mut told.skipped }) += 1;
                return Ok(());
            }
            if raw.index > next {
                return Err(NodeError::Refused(format!(
                    "block {number} comes, but the store's blocks end at {next}: import what lies between first"
                )));
            }
            append_block(log, number, &block)?;
        }
        told.blocks_added += 1;
        Ok(())
    }
}
