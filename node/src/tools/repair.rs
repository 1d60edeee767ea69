//! `roadbed repair`: what can be repaired without losing anything that was promised, or with a loss that has to be accepted
//! by name. Nothing is deleted: what goes is moved or copied into `aside/`.
//!
//! | found | done |
//! |---|---|
//! | STORE is missing, committee.json is there | STORE is made again, if every segment is of that committee's chain |
//! | a torn tail | the segment is copied aside, the tail is cut off, as the next start would |
//! | the block log is lost | it is made anew; a node asks for the blocks again |
//! | the QC log is lost | both logs are moved aside and start anew |
//! | damage to what had been durable | refused: only a backup or the peers have it |

use clap::Args;
use roadbed::store::{StorePaths, write_marker};
use roadbed::{Config, Roadbed};
use roadbed_messages::api::{StartError, WalKind};
use roadbed_wal::{FileSystem, Storage};

use super::facts::{NextStart, log_facts, oldest_qc_end};
use super::files::{copy, failed, sync};
use super::mutate::{Extent, MutateArgs, Report, Seen, aside_name};
use super::read_only::{ReadOnly, lock};
use super::store::{Store, read_any_committee};
use crate::exit::{Code, NodeError};
use crate::output;

/// Flags of `roadbed repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) common: MutateArgs,
}

/// Repairs a directory, or says that there is nothing to repair.
///
/// # Errors
/// When it can't be repaired, and what helps instead.
pub(crate) fn repair(args: &RepairArgs) -> Result<Code, NodeError> {
    let args = &args.common;
    let paths = StorePaths::new(&args.dir);
    let mut report = Report::new("roadbed.repair/1", args, None);
    let marker_lost = match Store::open(&args.dir) {
        Err(NodeError::MarkerLost { .. }) => paths.committee().exists(),
        _ => false,
    };
    if marker_lost {
        let committee = read_any_committee(&paths).map_err(NodeError::Damaged)?;
        let _held = lock(&paths)?;
        let chain = committee.chain_id();
        for wal in WalKind::BOTH {
            for segment in roadbed_wal::inspect(&ReadOnly { locks: false }, &paths.log(wal))? {
                let header = segment.header?;
                if header.stream.chain != chain.0 {
                    return Err(NodeError::Refused(format!(
                        "{} is not of the chain of {}: put the files of one store together again",
                        segment.path.display(),
                        paths.committee().display()
                    )));
                }
            }
        }
        report.plan.push(format!("make STORE again, for chain {chain} of committee.json"));
        if report.ends_before(args)? {
            return Ok(Code::Clean);
        }
        write_marker(&FileSystem, &paths, &committee)?;
        output::note(&format!("{} was made again", paths.marker().display()));
        report.plan.clear();
    }
    let seen = Seen::of(&args.dir)?;
    let lost = plan(&seen, &mut report)?;
    if report.plan.is_empty() && marker_lost {
        report.plan.push("make STORE again".to_owned());
        drop(seen);
        return report.finish(args);
    }
    if report.ends_before(args)? {
        return Ok(Code::Clean);
    }
    report.saved = save(&seen)?;
    let committee = seen.committee.clone();
    drop(seen);
    let config = Config {
        accept_lost_qcs: lost,
        segment_bytes: args.segment_bytes.unwrap_or(Config::default().segment_bytes),
        ..Config::default()
    };
    // What repairs is what a start does: it cuts, moves aside, reconciles and verifies what it brings into memory.
    actix::System::new().block_on(async {
        let roadbed = Roadbed::builder(committee).config(config).data_dir(&args.dir).start().await?;
        roadbed.shutdown().await.map_err(|error| NodeError::request("shut down", error))?;
        Ok::<_, NodeError>(())
    })?;
    if report.saved.is_none() && lost {
        report.saved = Some(paths.aside());
    }
    report.finish(args)
}

/// What is to be done; answers whether QCs are lost.
fn plan(seen: &Seen, report: &mut Report) -> Result<bool, NodeError> {
    for (wal, judged) in [(WalKind::Qcs, &seen.qcs), (WalKind::Blocks, &seen.blocks)] {
        let torn = judged.facts().torn_bytes;
        if torn > 0 {
            report.plan.push(format!(
                "{wal}: cut off a torn tail of {torn} bytes behind index {}; the segment is copied aside first",
                judged.facts().next
            ));
        }
    }
    match seen.plan() {
        Ok(plan) => {
            report.before = Some(Extent::from(&plan));
            report.plan.extend(plan.lost);
            Ok(false)
        }
        Err(NodeError::Start(StartError::WouldLose { .. })) => {
            let facts =
                |wal, judged| log_facts(wal, judged, Some(&seen.committee)).map_err(NodeError::Damaged);
            let (qcs, blocks) = (facts(WalKind::Qcs, &seen.qcs)?, facts(WalKind::Blocks, &seen.blocks)?);
            report.plan.extend(NextStart::of(&seen.store, &blocks, &qcs, oldest_qc_end(&seen.qcs)).notes);
            report.plan.push(
                "move both logs aside and start anew; a validator must not vote again on what it voted on"
                    .to_owned(),
            );
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Copies the segments with torn tails aside.
fn save(seen: &Seen) -> Result<Option<std::path::PathBuf>, NodeError> {
    if seen.torn_bytes() == 0 {
        return Ok(None);
    }
    let target = aside_name(&seen.store.paths.aside(), "repair", "")?;
    for (wal, judged) in [(WalKind::Qcs, &seen.qcs), (WalKind::Blocks, &seen.blocks)] {
        let last = judged.try_reader().and_then(|reader| reader.segments().pop());
        if let (Some(last), true) = (last, judged.facts().torn_bytes > 0) {
            let dir = target.join(wal.name());
            FileSystem.create_dir(&dir).map_err(failed(&dir))?;
            copy(&last.path, &dir.join(last.path.file_name().unwrap_or_default()))?;
            sync(&dir)?;
        }
    }
    Ok(Some(target))
}
