//! `roadbed verify`: every checksum of a directory that nobody is using, and with `--deep` every hash and signature.

use std::path::{Path, PathBuf};

use clap::Args;
use roadbed_messages::api::WalKind;
use roadbed_wal::{Report, WalError};
use serde::Serialize;

use super::deep::Deep;
use super::facts::{NextStart, judge, log_facts, oldest_qc_end};
use super::meter::Meter;
use super::read_only::{ReadOnly, lock};
use super::report::{print, told};
use super::store::Store;
use crate::exit::{Code, NodeError};

/// Flags of `roadbed verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Directory of the store
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Also decode everything and check signatures and hashes against committee.json
    #[arg(long)]
    deep: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const STORAGE: ReadOnly = ReadOnly { locks: true };

/// The report.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    schema: &'static str,
    dir: PathBuf,
    /// `clean`, `torn_tail` or `corrupt`.
    result: &'static str,
    chain: String,
    qcs: LogReport,
    blocks: LogReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    deep: Option<Deep>,
    /// What the next start would do; missing where damage hides it.
    next_start: Option<NextStart>,
    /// Everything that is wrong, in words.
    problems: Vec<String>,
}

/// What the checksums of one log say.
#[derive(Debug, Default, Serialize)]
struct LogReport {
    dir: PathBuf,
    first_index: u64,
    next_index: u64,
    entries: u64,
    segments: usize,
    bytes: u64,
    torn_bytes: u64,
    clean_close: bool,
    damage: Vec<String>,
}

/// Verifies a directory and prints the report.
///
/// # Errors
/// When there is nothing to verify, or somebody is using it.
pub(crate) fn verify(args: &VerifyArgs) -> Result<Code, NodeError> {
    let store = Store::open(&args.dir)?;
    let _lock = lock(&store.paths)?;
    let (report, code) = Verified::of(&store, STORAGE, args.deep)?;
    print(args.json, &report, || report.text(&args.dir))?;
    Ok(code)
}

impl Verified {
    /// Verifies a store whose lock is held; `storage` takes the locks of the logs, unless they are held as well.
    pub(crate) fn of(store: &Store, storage: ReadOnly, deep: bool) -> Result<(Self, Code), NodeError> {
        let mut problems = Vec::new();
        let qcs = log_report(store, WalKind::Qcs, &mut problems)?;
        let blocks = log_report(store, WalKind::Blocks, &mut problems)?;
        let (next_start, deep) = cross_check(store, storage, deep, &mut problems)?;
        let torn = qcs.torn_bytes + blocks.torn_bytes > 0;
        let (mut result, mut code) = match (problems.is_empty(), torn) {
            (false, _) => ("corrupt", Code::Corrupt),
            (true, true) => ("torn_tail", Code::TornTail),
            (true, false) => ("clean", Code::Clean),
        };
        if let Err(problem) = &store.committee {
            // A missing file is no damage to the chain; but without it not everything could be looked at.
            if store.paths.committee().exists() {
                (result, code) = ("corrupt", Code::Corrupt);
            } else if code != Code::Corrupt {
                (result, code) = ("incomplete", Code::Failure);
            }
            problems.push(problem.clone());
        }
        let report = Self {
            schema: "roadbed.verify/1",
            dir: store.paths.dir.clone(),
            result,
            chain: store.marker.chain.to_string(),
            qcs,
            blocks,
            deep,
            next_start,
            problems,
        };
        Ok((report, code))
    }

    /// What the checksums of both logs found, in words.
    pub(crate) fn damage(&self) -> impl Iterator<Item = &String> {
        self.qcs.damage.iter().chain(&self.blocks.damage)
    }
}

fn log_report(store: &Store, wal: WalKind, problems: &mut Vec<String>) -> Result<LogReport, NodeError> {
    let dir = store.paths.log(wal);
    let mut meter = Meter::new(if wal == WalKind::Qcs { "verify QCs" } else { "verify blocks" }, 0);
    let report = roadbed_wal::verify_each(&STORAGE, &dir, &store.options(wal), |segment| {
        meter.set_total(segment.bytes_total);
        meter.add(segment.bytes);
    });
    let report = match report {
        // Whether a missing log is a loss, the other one knows.
        Err(WalError::Missing { .. }) => return Ok(LogReport { dir, ..LogReport::default() }),
        report => report?,
    };
    let Report { range, entries, segments, bytes, torn_bytes, clean_close, damage } = report;
    let damage: Vec<String> = damage.iter().map(told).collect();
    problems.extend(damage.iter().cloned());
    let (first_index, next_index) = (range.start, range.end);
    Ok(LogReport { dir, first_index, next_index, entries, segments, bytes, torn_bytes, clean_close, damage })
}

/// What only both logs together show. Where one can't be judged for damage, that is among the problems already.
fn cross_check(
    store: &Store,
    storage: ReadOnly,
    deep: bool,
    problems: &mut Vec<String>,
) -> Result<(Option<NextStart>, Option<Deep>), NodeError> {
    let mut judged = Vec::new();
    for wal in [WalKind::Qcs, WalKind::Blocks] {
        match judge(&store.paths, storage, wal, store.options(wal)) {
            Ok(log) => judged.push(log),
            Err(error) if error.is_corruption() => {
                let problem = told(&error);
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
                return Ok((None, None));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let [qcs, blocks] = judged.as_slice() else { return Ok((None, None)) };
    let committee = store.committee.as_ref().ok();
    let facts = (log_facts(WalKind::Qcs, qcs, committee), log_facts(WalKind::Blocks, blocks, committee));
    let next_start = match facts {
        (Ok(qc_facts), Ok(block_facts)) => {
            let next_start = NextStart::of(store, &block_facts, &qc_facts, oldest_qc_end(qcs));
            if next_start.lost {
                problems.extend(next_start.notes.iter().cloned());
            }
            Some(next_start)
        }
        // Without committee.json, which is among the problems already.
        _ if committee.is_none() => None,
        (Err(problem), _) | (_, Err(problem)) => {
            problems.push(problem);
            None
        }
    };
    let deep = match (deep, committee, qcs.try_reader()) {
        (true, Some(committee), Some(qcs)) => {
            Some(Deep::check(committee, &qcs, blocks.try_reader().as_ref()))
        }
        _ => None,
    };
    if let Some(deep) = &deep {
        problems.extend(deep.findings.iter().cloned());
    }
    Ok((next_start, deep))
}

impl Verified {
    fn text(&self, dir: &Path) -> String {
        let mut lines = vec![format!("{}: {}", dir.display(), self.result)];
        for (name, log) in [("QCs", &self.qcs), ("blocks", &self.blocks)] {
            let LogReport {
                first_index, next_index, entries, segments, bytes, torn_bytes, clean_close, ..
            } = log;
            let closed = if *clean_close { "closed in order" } else { "not closed in order" };
            lines.push(format!(
                "  {name:<7} index {first_index}..{next_index}, {entries} entries, {segments} segments, {bytes} bytes read, {closed}"
            ));
            if *torn_bytes > 0 {
                lines.push(format!(
                    "          {torn_bytes} bytes of a torn tail: the next start cuts them off"
                ));
            }
        }
        if let Some(Deep { qcs, blocks, blocks_without_qc, findings, findings_total }) = &self.deep {
            lines.push(format!(
                "  deep    {qcs} QCs and {blocks} blocks verified, {blocks_without_qc} blocks without a QC"
            ));
            let untold = findings_total - findings.len() as u64;
            if untold > 0 {
                lines.push(format!("          {untold} more findings are not listed"));
            }
        }
        if let Some(NextStart { reconcile_case, first, next_block, next_qc, notes, .. }) = &self.next_start {
            if let (Some(first), Some(next_block), Some(next_qc)) = (first, next_block, next_qc) {
                lines.push(format!(
                    "  start   blocks {first}..{next_block}, QCs up to {next_qc} (reconcile case {reconcile_case})"
                ));
            }
            lines.extend(
                notes
                    .iter()
                    .filter(|note| !self.problems.contains(note))
                    .map(|note| format!("          {note}")),
            );
        }
        lines.extend(self.problems.iter().map(|problem| format!("  problem: {problem}")));
        match self.result {
            "torn_tail" => lines.push(format!("  next: roadbed run --dir {}", dir.display())),
            "incomplete" => lines.push(format!("  next: roadbed run --dir {} --blocks 0", dir.display())),
            "corrupt" => lines.push(match &self.next_start {
                Some(next_start) if next_start.lost => {
                    format!("  next: roadbed repair --dry-run {}", dir.display())
                }
                _ => "  next: keep the directory as it is, and restore it from a backup or from peers"
                    .to_owned(),
            }),
            _ => {}
        }
        lines.join("\n")
    }
}
