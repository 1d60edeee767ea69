//! `roadbed rollback` and `roadbed truncate`: cutting the end or the front of a store that nobody uses. What goes is saved
//! as an archive in `aside/` first.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use roadbed::store::StorePaths;
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, VerifiedQc, codec, verify_block, verify_qc};

use super::archive::Header;
use super::export::write_archive;
use super::files::{real, remove};
use super::mutate::{Extent, MutateArgs, Report, Seen, aside_name};
use crate::exit::{Code, NodeError};

/// Flags of `roadbed rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The block to end before: it becomes the first one missing
    #[arg(long, value_name = "N")]
    to: u64,
    /// Where what goes is saved, such as a directory on another disk [default: DIR/aside]
    #[arg(long, value_name = "PATH")]
    aside: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: MutateArgs,
}

/// Flags of `roadbed truncate`.
#[derive(Debug, Args)]
pub(crate) struct TruncateArgs {
    /// The oldest block to keep
    #[arg(long, value_name = "N")]
    before: u64,
    /// Where what goes is saved, such as a directory on another disk [default: DIR/aside]
    #[arg(long, value_name = "PATH")]
    aside: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: MutateArgs,
}

/// Drops the blocks from `--to` on, and the QCs that start there or later.
///
/// # Errors
/// When the target can't be reached, or the store is in use or not sound.
pub(crate) fn rollback(args: &RollbackArgs) -> Result<Code, NodeError> {
    let (seen, extent) = Seen::of(&args.common.dir)?.sound()?;
    let Extent { first, next_block, next_qc } = extent;
    let to = args.to;
    wants_blocks(&args.common, &extent)?;
    if to <= first.0 || to > next_block.0 {
        return Err(NodeError::Usage(format!(
            "--to {to}: {} holds blocks {first}..{next_block}; it must be from {} to {next_block}, for one block stays",
            args.common.dir.display(),
            first.0 + 1
        )));
    }
    // The store must be whole where it is to end.
    let kept = prove(&seen, BlockNumber(to - 1))?;
    let qcs = seen.qcs.reader();
    let dropped_qcs =
        qcs.get_by_key(kept.range().end.0)?.map_or(qcs.range().end, |entry| entry.index)..qcs.range().end;
    let mut report = Report::new("roadbed.rollback/1", &args.common, Some(extent));
    if to < next_block.0 || !dropped_qcs.is_empty() {
        if to < next_block.0 {
            report.plan.push(format!("drop {} blocks from {to} on", next_block.0 - to));
        }
        if !dropped_qcs.is_empty() {
            report.plan.push(format!(
                "drop {} QCs above block {}; QCs go on at {}",
                dropped_qcs.end - dropped_qcs.start,
                kept.range().end.0.saturating_sub(1),
                kept.range().end
            ));
        }
        report.plan.push("a validator that voted on these blocks must not vote on them again".to_owned());
    }
    if report.ends_before(&args.common)? {
        return Ok(Code::Clean);
    }
    let gone = if to < next_block.0 { to..next_block.0 } else { kept.range().end.0..next_qc.0 };
    report.saved = Some(save(&seen, args.aside.as_deref(), "rollback", gone)?);
    let mut owned = seen.into_owned(&args.common)?;
    // QCs first: should this end in between, no start goes on with what was to be dropped.
    owned.qcs.truncate_after(dropped_qcs.start)?;
    owned.blocks.truncate_after(to)?;
    owned.close()?;
    report.finish(&args.common)
}

/// Drops the blocks below `--before`, and the QCs that end there or earlier.
///
/// # Errors
/// As [`rollback`].
pub(crate) fn truncate(args: &TruncateArgs) -> Result<Code, NodeError> {
    let (seen, extent) = Seen::of(&args.common.dir)?.sound()?;
    let Extent { first, next_block, .. } = extent;
    let before = args.before;
    wants_blocks(&args.common, &extent)?;
    if before > next_block.0.saturating_sub(1) {
        return Err(NodeError::Usage(format!(
            "--before {before}: {} holds blocks {first}..{next_block}; it must be at most {}, for one block stays",
            args.common.dir.display(),
            next_block.0.saturating_sub(1)
        )));
    }
    let mut report = Report::new("roadbed.truncate/1", &args.common, Some(extent));
    if before > first.0 {
        prove(&seen, BlockNumber(before))?;
        report.plan.push(format!(
            "drop {} blocks below {before}, and the QCs that cover no other",
            before - first.0
        ));
    }
    if report.ends_before(&args.common)? {
        return Ok(Code::Clean);
    }
    report.saved = Some(save(&seen, args.aside.as_deref(), "truncate", first.0..before)?);
    let mut owned = seen.into_owned(&args.common)?;
    owned.blocks.truncate_before(before)?;
    owned.qcs.truncate_while(|end| end <= before)?;
    owned.close()?;
    report.finish(&args.common)
}

/// Wants at least one block, for one stays.
fn wants_blocks(args: &MutateArgs, extent: &Extent) -> Result<(), NodeError> {
    if extent.first < extent.next_block {
        return Ok(());
    }
    Err(NodeError::Refused(format!("{} holds no block, so there is nothing to cut", args.dir.display())))
}

/// Verifies a block and its QC in full: the store is usable there. Answers the QC.
fn prove(seen: &Seen, number: BlockNumber) -> Result<VerifiedQc, NodeError> {
    let damaged = |error: &dyn std::fmt::Display| {
        NodeError::Damaged(format!(
            "block {number}, where the store would end or begin, does not verify: {error}"
        ))
    };
    let missing = || damaged(&"it is missing");
    let block = seen.blocks.reader().get(number.0)?.ok_or_else(missing)?;
    let qc = seen.qcs.reader().get_by_key(number.0)?.ok_or_else(missing)?;
    let qc = codec::decode(&qc.payload).map_err(|error| damaged(&error))?;
    let qc = verify_qc(&seen.committee, Arc::new(qc)).map_err(|error| damaged(&error))?;
    let block = codec::decode(&block.payload).map_err(|error| damaged(&error))?;
    let block = verify_block(&seen.committee, Arc::new(block)).map_err(|error| damaged(&error))?;
    qc.match_block(number, &block).map_err(|error| damaged(&error))?;
    Ok(qc)
}

/// A log's directory is the log's own: what is saved there would be in its way.
fn outside_logs(paths: &StorePaths, aside: &Path) -> Result<(), NodeError> {
    let in_a_log = |wal| real(aside).starts_with(real(&paths.log(wal)));
    if WalKind::BOTH.into_iter().any(in_a_log) {
        return Err(NodeError::Usage(format!(
            "{} is in a log's own directory; name another one by --aside (nothing was changed)",
            aside.display()
        )));
    }
    Ok(())
}

/// Saves a range of blocks with their QCs in `aside/`, or in the directory that was named instead.
fn save(seen: &Seen, aside: Option<&Path>, name: &str, range: Range<u64>) -> Result<PathBuf, NodeError> {
    let aside = aside.map_or_else(|| seen.store.paths.aside(), Path::to_path_buf);
    outside_logs(&seen.store.paths, &aside)?;
    let path = aside_name(&aside, name, ".archive")?;
    let header = Header::new(&seen.committee, BlockNumber(range.start), BlockNumber(range.end));
    match write_archive(&path, &header, &seen.qcs.reader(), seen.blocks.try_reader().as_ref()) {
        Ok(_) => Ok(path),
        Err(NodeError::Io { doing, error }) => {
            // A part of it is of no use, and takes room.
            remove(&path)?;
            Err(NodeError::Failed(format!(
                "{doing}: {error}; what goes is saved first, so nothing was changed: name a directory with more room \
                 by --aside"
            )))
        }
        Err(error) => Err(error),
    }
}
