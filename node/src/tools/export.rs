//! `roadbed export`: QCs and blocks as JSON lines, or as an archive that goes on after an interruption.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use roadbed_messages::BlockNumber;
use roadbed_wal::Reader;
use serde::Serialize;

use super::archive::{Archive, Header, Writer};
use super::lines::{self, Line};
use super::meter::Meter;
use super::mutate::{Extent, Seen};
use super::records::Records;
use super::report::print;
use crate::exit::{Code, NodeError};

/// Flags of `roadbed export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Directory of the store; no node may be using it
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// First block [default: the oldest]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// The block to end before [default: all that is there]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Write an archive instead of JSON lines; one that was interrupted goes on where it ended
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// With --archive: print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    result: &'static str,
    archive: PathBuf,
    from: BlockNumber,
    to: BlockNumber,
    qcs: u64,
    blocks: u64,
    /// Whether an earlier export was gone on with.
    resumed: bool,
}

/// Exports.
///
/// # Errors
/// When the range is not there, the store is in use or damaged, or the output can't be written.
pub(crate) fn export(args: &ExportArgs) -> Result<Code, NodeError> {
    let seen = Seen::of(&args.dir)?;
    let extent = Extent::from(&seen.plan()?);
    let (from, to) = (args.from.unwrap_or(extent.first.0), args.to.unwrap_or(extent.next_block.0));
    if from < extent.first.0 || to > extent.next_block.0 || from >= to {
        let Extent { first, next_block, .. } = extent;
        return Err(NodeError::Usage(format!(
            "--from {from} --to {to}: {} holds blocks {first}..{next_block}; name a part of them",
            args.dir.display()
        )));
    }
    let header = Header::new(&seen.committee, BlockNumber(from), BlockNumber(to));
    let (qcs, blocks) = (seen.qcs.reader(), seen.blocks.try_reader());
    match &args.archive {
        Some(path) => {
            let (qcs, blocks, resumed) = write_archive(path, &header, &qcs, blocks.as_ref())?;
            let (from, to) = (header.from, header.to);
            let report = Report {
                schema: "roadbed.export/1",
                result: "ok",
                archive: path.clone(),
                from,
                to,
                qcs,
                blocks,
                resumed,
            };
            print(args.json, &report, || {
                let how = if resumed { ", gone on with" } else { "" };
                format!("{}: blocks {from}..{to}, {qcs} QCs and {blocks} blocks{how}", path.display())
            })?;
        }
        None => match write_lines(&seen, &header, &qcs, blocks.as_ref()) {
            Err(NodeError::Io { error, .. }) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written?,
        },
    }
    Ok(Code::Clean)
}

/// Writes what an archive is about into a file, or the rest of it. Answers QCs, blocks, and whether it went on.
///
/// # Errors
/// When the file is another one, or can't be written.
pub(crate) fn write_archive(
    path: &std::path::Path,
    header: &Header,
    qcs: &Reader,
    blocks: Option<&Reader>,
) -> Result<(u64, u64, bool), NodeError> {
    let resumed = path.exists();
    let (mut writer, from, qcs_above) = if resumed {
        let mut archive = Archive::open(path)?;
        let name = path.display();
        if archive.header != *header {
            let Header { from, to, .. } = &archive.header;
            return Err(NodeError::Refused(format!(
                "{name} is an archive of blocks {from}..{to} of chain {}: choose another file, or export that range",
                archive.header.chain
            )));
        }
        archive.by_ref().try_for_each(|record| record.map(drop))?;
        let held = *archive.held();
        if held.complete {
            return Err(NodeError::Refused(format!("{name} is complete already: choose another file")));
        }
        (Writer::resume(path, &held)?, held.next_block.unwrap_or(header.from.0), held.covered)
    } else {
        (Writer::create(path, header)?, header.from.0, 0)
    };
    let mut meter = Meter::new("export", header.to.0 - from);
    for record in Records::new(qcs, blocks, from..header.to.0, qcs_above)? {
        let record = record?;
        meter.add(u64::from(record.wal == roadbed_messages::api::WalKind::Blocks));
        writer.add(&record)?;
    }
    let (qcs, blocks) = writer.finish()?;
    Ok((qcs, blocks, resumed))
}

fn write_lines(seen: &Seen, header: &Header, qcs: &Reader, blocks: Option<&Reader>) -> Result<(), NodeError> {
    let failed = |error| NodeError::io("write to stdout", error);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let Header { chain, committee, from, to, .. } = header.clone();
    let first = Line::Header { schema: lines::SCHEMA.to_owned(), chain, committee, from, to };
    first.write(&mut out).map_err(failed)?;
    for record in Records::new(qcs, blocks, from.0..to.0, 0)? {
        let line = Line::of(&seen.committee, &record?).map_err(NodeError::Damaged)?;
        line.write(&mut out).map_err(failed)?;
    }
    out.flush().map_err(failed)
}
