//! The summary: who it belongs to, what both logs hold, what the next start would do.

use std::fs;
use std::path::PathBuf;

use roadbed_messages::ChainParams;
use roadbed_messages::api::WalKind;
use roadbed_wal::Inspected;
use serde::Serialize;

use super::{Looked, STORAGE};
use crate::exit::{Code, NodeError};
use crate::tools::facts::{NextStart, judge, log_facts, oldest_qc_end};
use crate::tools::read_only::holder_of;
use crate::tools::report::{rendered, told};
use crate::tools::store::Store;

pub(super) const SCHEMA: &str = "roadbed.inspect/1";
/// How far a summary goes: its cost must not grow with what is retained.
const READ: &str = "headers and last segments";

/// The report.
#[derive(Debug, Serialize)]
struct Inspection {
    schema: &'static str,
    dir: PathBuf,
    format: u32,
    chain: String,
    first_block: u64,
    /// The process that has it open.
    in_use_by: Option<u32>,
    committee: Option<CommitteePart>,
    qcs: LogPart,
    blocks: LogPart,
    /// Directories that were set aside.
    aside: Vec<String>,
    /// What the next start would do. Beside a running node: not looked at.
    next_start: Option<NextStart>,
    /// What was read of the logs; `roadbed verify` reads everything.
    read: &'static str,
    /// What could not be read, in words.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CommitteePart {
    members: usize,
    commit_quorum: usize,
    params: ChainParams,
}

#[derive(Debug, Default, Serialize)]
struct LogPart {
    first_index: u64,
    next_index: u64,
    size_bytes: u64,
    torn_bytes: u64,
    clean_close: bool,
    segments: Vec<SegmentPart>,
    /// Whether the numbers above are known.
    #[serde(skip)]
    judged: bool,
}

#[derive(Debug, Serialize)]
struct SegmentPart {
    file: String,
    bytes: u64,
    sequence: Option<u64>,
    origin: Option<&'static str>,
    base_index: Option<u64>,
}

/// The summary.
pub(super) fn look(store: &Store, json: bool) -> Result<Looked, NodeError> {
    let in_use_by = holder_of(&store.paths.lock());
    let mut problems: Vec<String> = store.committee.as_ref().err().cloned().into_iter().collect();
    let committee = store.committee.as_ref().ok();
    let mut next_start = None;
    let mut parts = [LogPart::default(), LogPart::default()];
    let mut facts = Vec::new();
    let mut oldest = None;
    for (part, wal) in parts.iter_mut().zip([WalKind::Qcs, WalKind::Blocks]) {
        let inspected = roadbed_wal::inspect(&STORAGE, &store.paths.log(wal))?;
        part.segments = inspected.iter().map(SegmentPart::of).collect();
        problems.extend(inspected.iter().filter_map(|one| one.header.as_ref().err()).map(told));
        match judge(&store.paths, STORAGE, wal, store.options(wal)) {
            Ok(judged) => {
                let found = judged.facts();
                if wal == WalKind::Qcs {
                    oldest = oldest_qc_end(&judged);
                }
                part.first_index = found.first;
                part.next_index = found.next;
                part.size_bytes = found.size_bytes;
                part.torn_bytes = found.torn_bytes;
                part.clean_close = found.clean_close;
                part.judged = true;
                match log_facts(wal, &judged, committee) {
                    Ok(found) => facts.push(found),
                    Err(problem) if committee.is_some() => problems.push(problem),
                    Err(_) => {}
                }
            }
            Err(error) => problems.push(told(&error)),
        }
    }
    if let ([qcs, blocks], None) = (facts.as_slice(), in_use_by) {
        next_start = Some(NextStart::of(store, blocks, qcs, oldest));
    }
    problems.dedup();
    let [qcs, blocks] = parts;
    let inspection = Inspection {
        schema: SCHEMA,
        dir: store.paths.dir.clone(),
        format: store.marker.format,
        chain: store.marker.chain.to_string(),
        first_block: store.marker.first_block.0,
        in_use_by,
        committee: committee.map(|committee| CommitteePart {
            members: committee.len(),
            commit_quorum: committee.commit_quorum(),
            params: *committee.params(),
        }),
        qcs,
        blocks,
        aside: set_aside(store),
        next_start,
        read: READ,
        problems,
    };
    let text = rendered(json, &inspection, || inspection.text())?;
    let only_committee = inspection.problems.len() == 1 && !store.paths.committee().exists();
    let code = match inspection.problems.is_empty() {
        true => Code::Clean,
        false if only_committee => Code::Failure,
        false => Code::Corrupt,
    };
    Ok((text, code))
}

impl SegmentPart {
    fn of(segment: &Inspected) -> Self {
        let header = segment.header.as_ref().ok();
        Self {
            file: segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: segment.bytes,
            sequence: header.map(|header| header.sequence),
            origin: header.map(|header| super::segments::origin(header.origin)),
            base_index: header.map(|header| header.base),
        }
    }
}

fn set_aside(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.paths.aside()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Inspection {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("{}: a store of format {}", self.dir.display(), self.format),
            format!("  chain     {}, from block {}", self.chain, self.first_block),
        ];
        if let Some(CommitteePart { members, commit_quorum, .. }) = &self.committee {
            lines.push(format!("  committee {members} members, {commit_quorum} of them commit"));
        }
        lines.push(match self.in_use_by {
            Some(process) => format!("  in use    by process {process}: the numbers below are changing"),
            None => "  in use    by nobody".to_owned(),
        });
        for (name, log) in [("QCs", &self.qcs), ("blocks", &self.blocks)] {
            let LogPart { first_index, next_index, size_bytes, torn_bytes, clean_close, segments, judged } =
                log;
            let closed = match (clean_close, torn_bytes) {
                (true, _) => "closed in order".to_owned(),
                (false, 0) => "not closed in order".to_owned(),
                (false, torn) => format!("not closed in order, {torn} torn bytes"),
            };
            let count = segments.len();
            lines.push(match judged {
                true => format!(
                    "  {name:<9} index {first_index}..{next_index}, {count} segments, {size_bytes} bytes, {closed}"
                ),
                false => format!("  {name:<9} can't be judged: see the problem; {count} segments"),
            });
            for SegmentPart { file, bytes, origin, base_index, .. } in segments {
                let header = match (origin, base_index) {
                    (Some(origin), Some(base)) => format!("from index {base} ({origin})"),
                    _ => "its header can't be read".to_owned(),
                };
                lines.push(format!("            {file}  {bytes} bytes  {header}"));
            }
        }
        if !self.aside.is_empty() {
            lines.push(format!("  set aside {}", self.aside.join(", ")));
        }
        if let Some(NextStart { reconcile_case, first, next_block, next_qc, notes, .. }) = &self.next_start {
            if let (Some(first), Some(next_block), Some(next_qc)) = (first, next_block, next_qc) {
                lines.push(format!(
                    "  start     blocks {first}..{next_block}, QCs up to {next_qc} (reconcile case {reconcile_case})"
                ));
            }
            lines.extend(notes.iter().map(|note| format!("            {note}")));
        }
        lines.push(format!("  read      {READ}; `inspect DIR segments` and `verify` read every byte"));
        lines.extend(self.problems.iter().map(|problem| format!("  problem: {problem}")));
        match (self.problems.is_empty(), self.in_use_by) {
            (true, _) => {}
            (false, None) => lines.push(format!("  next: roadbed verify {}", self.dir.display())),
            (false, Some(_)) => {
                lines.push("  next: look again when the node writes less, or stop it and verify".to_owned());
            }
        }
        lines.join("\n")
    }
}
