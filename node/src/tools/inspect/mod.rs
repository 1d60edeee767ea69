//! `roadbed inspect`: what a directory holds. It takes no lock, so it works beside a running node; what it shows is then
//! a moment that has passed already.

mod records;
mod segments;
mod summary;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::read_only::{ReadOnly, holder_of};
use super::report::show;
use super::store::Store;
use crate::exit::{Code, NodeError};

const STORAGE: ReadOnly = ReadOnly { locks: false };
/// Looks at a store that changes faster than it can be looked at, before giving up.
const ATTEMPTS_MAX: u32 = 20;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

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

/// What is to be printed, and the code to end with.
type Looked = (String, Code);

/// Inspects a directory and prints the report.
///
/// # Errors
/// When there is no store, or what was asked for is not in it.
pub(crate) fn inspect(args: &InspectArgs) -> Result<Code, NodeError> {
    let store = Store::open(&args.dir)?;
    let in_use = || holder_of(&store.paths.lock()).is_some();
    let (text, code) = settled(in_use, || match &args.what {
        None => summary::look(&store, args.json),
        Some(What::Qcs(page)) => records::qcs(&store, page, args.json),
        Some(What::Blocks(page)) => records::blocks(&store, page, args.json),
        Some(What::Segments) => segments::look(&store, args.json),
        Some(What::Record { number }) => records::record(&store, *number, args.json),
    })?;
    show(&text)?;
    Ok(code)
}

/// Looks again as long as a problem may be a node that writes or recycles what is being read.
fn settled(
    in_use: impl Fn() -> bool,
    mut look: impl FnMut() -> Result<Looked, NodeError>,
) -> Result<Looked, NodeError> {
    let mut attempt = 1;
    loop {
        let looked = look();
        let code = looked.as_ref().map_or_else(NodeError::code, |(_, code)| *code);
        let doubtful = matches!(code, Code::Failure | Code::Corrupt);
        if !doubtful || !in_use() {
            return looked;
        }
        if attempt == ATTEMPTS_MAX {
            // However often it was looked at: only `verify`, without the node, can call it damage.
            return match looked {
                Ok((text, _)) => Ok((text, Code::Failure)),
                Err(error) => Err(NodeError::Failed(format!(
                    "{error}; a node is at work there, and it looked so {attempt} times: look again when it writes less"
                ))),
            };
        }
        attempt += 1;
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code) -> Result<Looked, NodeError> {
        Ok((format!("{code:?}"), code))
    }

    #[test]
    fn beside_a_node_a_problem_that_passes_is_not_told_and_one_that_stays_is() {
        let vanished = || NodeError::io("open a segment", std::io::ErrorKind::NotFound.into());
        let mut looks = vec![told(Code::Clean), told(Code::Corrupt), Err(vanished())];
        let looked = settled(|| true, || looks.pop().unwrap());
        assert_eq!(looked.unwrap().1, Code::Clean);

        let mut looks = 0;
        let looked = settled(
            || true,
            || {
                looks += 1;
                told(Code::Corrupt)
            },
        );
        assert_eq!((looked.unwrap().1, looks), (Code::Failure, ATTEMPTS_MAX));
    }

    #[test]
    fn what_nobody_uses_or_what_is_no_problem_is_looked_at_once() {
        for (in_use, code) in [(false, Code::Corrupt), (true, Code::Clean), (true, Code::Usage)] {
            let mut looks = 0;
            let looked = settled(
                || in_use,
                || {
                    looks += 1;
                    told(code)
                },
            );
            assert_eq!((looked.unwrap().1, looks), (code, 1));
        }
    }
}
