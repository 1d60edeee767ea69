//! Where the last segment ends, and whether what follows is a torn tail or damage. A pure decision over its bytes.
//!
//! Unsynced groups reach the disk in any order, so that a valid frame after a bad one proves nothing by itself. What
//! proves something is what a later frame (or footer) says of *durability*: take the first place X where a frame is due
//! and none is valid. If anything valid after X says that everything below some offset beyond X had been durable when it
//! was written, then X had been durable too, and is damaged. If nothing does, the tail starts at X.

use std::io;
use std::path::Path;

use crate::error::{ADVICE_OPEN, WalError};
use crate::format::footer::{Footer, FooterKind};
use crate::format::frame::FrameKind;
use crate::format::header::Header;
use crate::format::table::Record;
use crate::format::{get_u64, page_ceil};
use crate::scan::{Beyond, Source, Step, Stop, Terms, Walker, beyond};
use crate::segment::read_failed;

/// The last segment, judged.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// Where the next frame is due: nothing from here on counts.
    pub(crate) end_offset: u64,
    /// The end of the last whole group: a frame behind it is of a group that is not all there.
    pub(crate) group_end: u64,
    /// Of the entries before it.
    pub(crate) records: Vec<Record>,
    /// Header checksum of the last entry's frame; 0 without one.
    pub(crate) tail: u32,
    /// The front that is in force after the segment's trim marks.
    pub(crate) trim: u64,
    /// Bytes that are cut off as torn.
    pub(crate) torn_bytes: u64,
    /// Whether the log can go on in this segment: nothing of this life of the file follows.
    pub(crate) clean: bool,
    /// The footer that stands at the end.
    pub(crate) footer: Option<Footer>,
}

impl Tail {
    pub(crate) fn closed(&self) -> bool {
        self.footer.is_some_and(|footer| footer.kind == FooterKind::Close)
    }
}

/// What stands at the end of the valid frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the log goes on here.
    Clean,
    /// A tail that never was durable, of so many bytes.
    Torn(u64),
    /// Something at `at` proves that the place had been durable up to `durable_upto`.
    Damaged { at: u64, durable_upto: u64 },
}

/// Decides about a place `x` where a frame is due and none is valid. `boundary`: a new group is due there.
pub(crate) fn verdict(x: u64, boundary: bool, beyond: &Beyond) -> Verdict {
    match (beyond.claim, beyond.last_end) {
        (Some((at, durable_upto)), _) if durable_upto > x => Verdict::Damaged { at, durable_upto },
        (_, Some(end)) => Verdict::Torn(end.max(page_ceil(x)).saturating_sub(x)),
        (_, None) if boundary => Verdict::Clean,
        (_, None) => Verdict::Torn(page_ceil(x + 1) - x),
    }
}

/// How to walk and judge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entry_bytes_max: u32,
    /// Bytes to read at once.
    pub(crate) ahead: usize,
}

/// Walks the last segment and judges its end.
pub(crate) fn judge(
    path: &Path,
    header: &Header,
    source: &dyn Source,
    limits: Limits,
) -> Result<Tail, WalError> {
    let failed = |offset: u64, error: io::Error| read_failed(path, offset, &error);
    let terms = Terms {
        salt: header.salt,
        offset: header.frames_offset,
        index: header.base_index,
        end: None,
        entry_bytes_max: limits.entry_bytes_max,
        ahead: limits.ahead,
    };
    let mut walker = Walker::new(source, terms);
    let mut tail = Tail {
        end_offset: 0,
        group_end: header.frames_offset,
        records: Vec::new(),
        tail: 0,
        trim: header.trim_index,
        torn_bytes: 0,
        clean: false,
        footer: None,
    };
    let (stop, boundary) = loop {
        let (due, boundary, index) = (walker.offset(), walker.at_boundary(), walker.index());
        if boundary {
            tail.group_end = due;
        }
        match walker.step().map_err(|error| failed(due, error))? {
            Step::Frame { offset, header, header_crc, payload } => match header.kind {
                FrameKind::Entry => {
                    tail.records.push(Record { offset, key: header.key, digest: header.digest });
                    tail.tail = header_crc;
                }
                FrameKind::Mark => {}
                FrameKind::Trim => tail.trim = trim_of(path, offset, index, &payload)?.max(tail.trim),
            },
            Step::Stop(stop) => break (stop, boundary),
        }
    };
    let (x, next) = (walker.offset(), walker.index());
    tail.end_offset = x;
    let damage = |expected: String, found: String| {
        WalError::corrupt(path, x, Some(next), expected, found, ADVICE_OPEN)
    };
    match stop {
        Stop::TooLarge(length) => {
            let max = u64::from(limits.entry_bytes_max);
            return Err(WalError::TooLarge { index: next, bytes: u64::from(length), max });
        }
        Stop::Disorder { .. } => return Err(damage("the frame that is due".to_owned(), stop.to_string())),
        Stop::Footer(footer) => {
            check_footer(&footer, &tail, next).map_err(|(expected, found)| damage(expected, found))?;
            tail.footer = Some(footer);
        }
        Stop::End | Stop::Fault(_) => {}
    }
    if source.bytes() < header.prepared_bytes {
        let expected = format!("a file of at least {} bytes, as it was made with", header.prepared_bytes);
        let found = format!("{} bytes: it was cut short from outside", source.bytes());
        return Err(WalError::corrupt(path, source.bytes(), Some(next), expected, found, ADVICE_OPEN));
    }
    let beyond = beyond(source, header.salt, x, limits.ahead).map_err(|error| failed(x, error))?;
    match verdict(x, boundary, &beyond) {
        Verdict::Damaged { at, durable_upto } => {
            let why = format!("(offset {at} says that everything below {durable_upto} had been durable)");
            return Err(damage(format!("the frame of entry {next} {why}"), stop.to_string()));
        }
        Verdict::Torn(bytes) => {
            tail.torn_bytes = bytes;
            // The group that was torn lies over it.
            tail.footer = None;
        }
        Verdict::Clean => tail.clean = true,
    }
    Ok(tail)
}

fn trim_of(path: &Path, offset: u64, index: u64, payload: &[u8]) -> Result<u64, WalError> {
    let damage = |found: String| {
        let expected = format!("a trim mark of 8 bytes, at most {index}");
        Err(WalError::corrupt(path, offset, Some(index), expected, found, ADVICE_OPEN))
    };
    if payload.len() != 8 {
        return damage(format!("one of {} bytes", payload.len()));
    }
    let trim = get_u64(payload, 0);
    if trim > index { damage(format!("a trim mark at {trim}")) } else { Ok(trim) }
}

fn check_footer(footer: &Footer, tail: &Tail, next: u64) -> Result<(), (String, String)> {
    let counted = (next, tail.records.last().map_or(0, |record| record.key), tail.tail);
    let written = (footer.end_index, footer.last_key, footer.tail);
    if counted == written && footer.table.entries == tail.records.len() as u64 {
        return Ok(());
    }
    let describe =
        |(end, key, tail): (u64, u64, u32)| format!("end {end}, last key {key}, tail checksum {tail:#010x}");
    Err((format!("a footer that says {}", describe(counted)), describe(written)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::table::TableSpan;

    #[test]
    fn a_group_that_is_not_all_there_is_never_torn_by_nothing() {
        let nothing = Beyond::default();
        assert_eq!(verdict(8192, true, &nothing), Verdict::Clean);
        assert_eq!(verdict(8200, false, &nothing), Verdict::Torn(4096 - 8));
        // Its next frame is due at the start of a page: that page is missing at least.
        assert_eq!(verdict(8192, false, &nothing), Verdict::Torn(4096));
    }

    #[test]
    fn a_footer_that_sums_up_other_frames_than_those_before_it_is_refused() {
        let record = Record { offset: 4096, key: 40, digest: 0 };
        let tail = Tail {
            end_offset: 4096 * 2,
            group_end: 4096 * 2,
            records: vec![record],
            tail: 0xabc,
            trim: 0,
            torn_bytes: 0,
            clean: false,
            footer: None,
        };
        let table = TableSpan { offset: 4096 * 3, entries: 1, digests: 0 };
        let footer = Footer { kind: FooterKind::Close, tail: 0xabc, end_index: 7, last_key: 40, table };
        check_footer(&footer, &tail, 7).unwrap();
        for other in [
            Footer { end_index: 8, ..footer },
            Footer { end_index: 6, ..footer },
            Footer { last_key: 41, ..footer },
            Footer { tail: 0xabd, ..footer },
            Footer { table: TableSpan { entries: 0, ..table }, ..footer },
            Footer { table: TableSpan { entries: 2, ..table }, ..footer },
        ] {
            check_footer(&other, &tail, 7).unwrap_err();
        }
        let empty = Tail { records: Vec::new(), tail: 0, ..tail };
        let table = TableSpan { entries: 0, ..table };
        check_footer(&Footer { tail: 0, end_index: 6, last_key: 0, table, ..footer }, &empty, 6).unwrap();
    }
}
