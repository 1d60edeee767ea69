//! `roadbed inspect`: what a directory holds. It takes no lock, so it works beside a running node; what it shows is then
//! a moment that has passed already.

mod records;
mod segments;
mod summary;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::read_only::ReadOnly;
use super::store::Store;
use crate::exit::{Code, NodeError};

const STORAGE: ReadOnly = ReadOnly { locks: false };

/// Flags of `roadbed inspect`.
#[derive(Debug, Args)]
#[command(subcommand_value_name = "WHAT", subcommand_help_heading = "What")]
pub(crate) struct InspectArgs {
    /// Directory of the store
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
    /// Print the report as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A closer look.
#[derive(Debug, Subcommand)]
enum What {
    /// The QCs, oldest first
    Qcs(Page),
    /// The blocks, oldest first
    Blocks(Page),
    /// Every segment file of both logs, each read to its end
    Segments,
    /// One block and the QC that finalizes it, in full
    Record {
        /// Number of the block
        #[arg(value_name = "N")]
        number: u64,
    },
}

/// Which part of a list.
#[derive(Debug, Args)]
struct Page {
    /// First block to show [default: the oldest]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: u64,
}

impl InspectArgs {
    /// The schema of the report.
    pub(crate) fn schema(&self) -> &'static str {
        match &self.what {
            None => summary::SCHEMA,
            Some(What::Qcs(_)) => records::QCS_SCHEMA,
            Some(What::Blocks(_)) => records::BLOCKS_SCHEMA,
            Some(What::Segments) => segments::SCHEMA,
            Some(What::Record { .. }) => records::RECORD_SCHEMA,
        }
    }
}

/// Inspects a directory and prints the report.
///
/// # Errors
/// When there is no store, or what was asked for is not in it.
pub(crate) fn inspect(args: &InspectArgs) -> Result<Code, NodeError> {
    let store = Store::open(&args.dir)?;
    match &args.what {
        None => summary::show(&store, args.json),
        Some(What::Qcs(page)) => records::qcs(&store, page, args.json),
        Some(What::Blocks(page)) => records::blocks(&store, page, args.json),
        Some(What::Segments) => segments::show(&store, args.json),
        Some(What::Record { number }) => records::record(&store, *number, args.json),
    }
}
