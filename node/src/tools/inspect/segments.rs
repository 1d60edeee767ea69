//! Every segment, read to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use roadbed_messages::api::WalKind;
use roadbed_wal::{SegmentOrigin, WalError};
use serde::Serialize;

use super::{Looked, STORAGE};
use crate::exit::{Code, NodeError};
use crate::tools::meter::Meter;
use crate::tools::report::{bytes, rendered, told};
use crate::tools::store::Store;

pub(super) const SCHEMA: &str = "roadbed.inspect.segments/1";

#[derive(Debug, Serialize)]
struct Segments {
    schema: &'static str,
    dir: PathBuf,
    segments: Vec<Segment>,
}

#[derive(Debug, Serialize)]
struct Segment {
    log: WalKind,
    file: String,
    bytes: u64,
    sequence: Option<u64>,
    origin: Option<&'static str>,
    base_index: Option<u64>,
    /// `sound`, `unused` (cut off or retired, so that nothing reads it) or `damaged`.
    state: &'static str,
    damage: Option<String>,
}

/// The list.
pub(super) fn look(store: &Store, json: bool) -> Result<Looked, NodeError> {
    let mut report = Segments { schema: SCHEMA, dir: store.paths.dir.clone(), segments: Vec::new() };
    for wal in WalKind::BOTH {
        let dir = store.paths.log(wal);
        let mut meter = Meter::new("read segments", 0);
        let mut read = BTreeMap::new();
        let verified = roadbed_wal::verify_each(&STORAGE, &dir, &store.options(wal), |segment| {
            meter.set_total(segment.bytes_total);
            meter.add(segment.bytes);
            read.insert(segment.path, segment.damage);
        });
        match verified {
            Err(WalError::Missing { .. }) => continue,
            verified => verified?,
        };
        for found in roadbed_wal::inspect(&STORAGE, &dir)? {
            let header = found.header.as_ref().ok();
            let damage = match (found.header.as_ref().err(), read.get(&found.path)) {
                (Some(damage), _) | (None, Some(Some(damage))) => Some(told(damage)),
                (None, _) => None,
            };
            report.segments.push(Segment {
                log: wal,
                file: found.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                bytes: found.bytes,
                sequence: header.map(|header| header.sequence),
                origin: header.map(|header| origin(header.origin)),
                base_index: header.map(|header| header.base),
                state: match (&damage, read.contains_key(&found.path)) {
                    (Some(_), _) => "damaged",
                    (None, true) => "sound",
                    (None, false) => "unused",
                },
                damage,
            });
        }
    }
    let damaged = report.segments.iter().any(|segment| segment.damage.is_some());
    let text = rendered(json, &report, || report.text())?;
    Ok((text, if damaged { Code::Corrupt } else { Code::Clean }))
}

pub(super) fn origin(origin: SegmentOrigin) -> &'static str {
    match origin {
        SegmentOrigin::Create => "create",
        SegmentOrigin::Roll => "roll",
        SegmentOrigin::Cut => "cut",
        SegmentOrigin::Reset => "reset",
        _ => "other",
    }
}

impl Segments {
    fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header([
            "log",
            "file",
            "size",
            "origin",
            "from index",
            "state",
        ]);
        for segment in &self.segments {
            let base = segment.base_index.map_or_else(|| "?".to_owned(), |base| base.to_string());
            let (log, origin) = (segment.log.name(), segment.origin.unwrap_or("?"));
            table.add_row([log, &segment.file, &bytes(segment.bytes), origin, &base, segment.state]);
        }
        let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.extend(
            self.segments
                .iter()
                .filter_map(|segment| segment.damage.as_ref())
                .map(|damage| format!("problem: {damage}")),
        );
        lines.join("\n")
    }
}
