//! Where an import's records come from: an archive, or JSON lines from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee};

use crate::exit::NodeError;
use crate::tools::archive::Archive;
use crate::tools::lines::{self, Line};
use crate::tools::records::Raw;

/// Where records come from.
pub(super) enum Source {
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

impl Source {
    /// Opens it. Answers the committee that it names, and which blocks it says it holds.
    ///
    /// # Errors
    /// When it is no export, or what the system says.
    pub(super) fn open(path: &Path) -> Result<(Self, Committee, Range<BlockNumber>), NodeError> {
        let failed = |error| NodeError::io(path.display().to_string(), error);
        let mut lines: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            Box::new(BufReader::new(File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NodeError::Usage(format!(
                    "{} does not exist: give a file that `roadbed export` wrote",
                    path.display()
                )),
                _ => failed(error),
            })?))
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

    /// The next record.
    ///
    /// # Errors
    /// When it can't be read as one.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, NodeError> {
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
    ///
    /// # Errors
    /// When the end is missing.
    pub(super) fn wants_its_end(&self) -> Result<(), NodeError> {
        match self {
            Self::Archive(archive) if !archive.held().complete => Err(NodeError::Damaged(format!(
                "the archive holds only up to offset {} ({} QCs, {} blocks): it was cut short or damaged there; export it \
                 again (an export goes on where it was interrupted) and import it again",
                archive.held().bytes,
                archive.held().qcs,
                archive.held().blocks
            ))),
            Self::Lines { name, number, next_block, to, .. } if next_block < to => {
                Err(NodeError::Damaged(format!(
                    "{name} ends after line {}, before block {next_block}, though its header names blocks up to {to}: \
                     it was cut short, blocks {next_block}..{to} are missing: export it again and import it again",
                    number.saturating_sub(1)
                )))
            }
            Self::Archive(_) | Self::Lines { .. } => Ok(()),
        }
    }
}
