//! Offline, read-only: every checksum of a directory, and a look at its segments. Neither takes the lock.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{ADVICE_OPEN, WalError};
use crate::format::footer;
use crate::format::frame::FrameKind;
use crate::format::header::{Header, Predecessor, TablePlace};
use crate::format::page::PageFault;
use crate::format::table::{self, Record, TableSpan};
use crate::format::{PAGE, PAGE_BYTES};
use crate::judge::chain::{self, Candidate};
use crate::judge::end;
use crate::judge::tail::{self, Limits};
use crate::judge::{gather, open_to_read};
use crate::options::LogOptions;
use crate::scan::{FileSource, Source, Step, Stop, Terms, Walker};
use crate::segment::read_failed;
use crate::storage::Storage;

/// Bytes that are read at once.
const AHEAD_BYTES: usize = 1 << 20;

/// What [`verify`] found. Damage is part of the report, as far as the log can be read in spite of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The retained indices.
    pub range: Range<u64>,
    /// Entries that were read and are sound.
    pub entries: u64,
    /// Segments that count.
    pub segments: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes of a torn tail that opening would cut off, or of an unfinished footer that it would write over.
    pub torn_bytes: u64,
    /// Whether the log was closed in order, its last footer whole.
    pub clean_close: bool,
    /// What is damaged: [`WalError::Corrupt`] each.
    pub damage: Vec<WalError>,
}

/// Why a segment was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentOrigin {
    /// The first of its log.
    Create,
    /// Its predecessor was full.
    Roll,
    /// A tail was cut off, or a torn one repaired.
    Cut,
    /// The log was emptied.
    Reset,
}

/// One file as [`inspect`] sees it.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// What its header says, or why it says nothing.
    pub header: Result<InspectedHeader, WalError>,
}

/// A segment's header.
#[derive(Clone, Debug)]
pub struct InspectedHeader {
    /// Which log it belongs to.
    pub stream: crate::StreamId,
    /// Its place in the order of segments.
    pub sequence: u64,
    /// Why it was published.
    pub origin: SegmentOrigin,
    /// Index of its first entry.
    pub base: u64,
    /// The front when it was published.
    pub trim: u64,
    /// Sequence, end offset in bytes and end index of the segment before it.
    pub predecessor: Option<(u64, u64, u64)>,
}

/// Lists the segments of a directory with their headers, whatever their state.
///
/// # Errors
/// What the storage says.
pub fn inspect(storage: &dyn Storage, dir: &Path) -> Result<Vec<Inspected>, WalError> {
    let (candidates, _) = gather(storage, dir)?;
    Ok(candidates.into_iter().map(inspected).collect())
}

fn inspected(candidate: Candidate) -> Inspected {
    use crate::format::header::SegmentKind;
    let header = match &candidate.header {
        Ok(header) => candidate.sound(&header.stream).map(|header| InspectedHeader {
            stream: header.stream,
            sequence: header.sequence,
            origin: match header.kind {
                SegmentKind::Create => SegmentOrigin::Create,
                SegmentKind::Roll => SegmentOrigin::Roll,
                SegmentKind::Cut => SegmentOrigin::Cut,
                SegmentKind::Reset => SegmentOrigin::Reset,
            },
            base: header.base_index,
            trim: header.trim_index,
            predecessor: header
                .predecessor
                .map(|before| (before.sequence, before.end_offset, before.end_index)),
        }),
        Err(_) => {
            let nobody = crate::StreamId { chain: [0; 32], kind: [0; 8] };
            Err(candidate.sound(&nobody).err().unwrap_or(WalError::Missing { path: candidate.path.clone() }))
        }
    };
    Inspected { path: candidate.path, bytes: candidate.bytes, header }
}

/// Reads every frame, table and footer that counts and checks them, changing nothing. Meant for a log that nobody has
/// open; beside a writer, the last segment may look torn.
///
/// # Errors
/// [`WalError::Missing`], [`WalError::Foreign`], [`WalError::NewerFormat`], or what the storage says. Damage is no
/// error: it is in the report.
pub fn verify(storage: &dyn Storage, dir: &Path, options: &LogOptions) -> Result<Report, WalError> {
    verify_each(storage, dir, options, |_| {})
}

/// What [`verify_each`] tells of a segment that it has read.
#[derive(Clone, Debug)]
pub struct VerifiedSegment {
    /// Its file.
    pub path: PathBuf,
    /// Bytes of all segment files of the log.
    pub bytes_total: u64,
    /// Bytes of it, up to the end of its file.
    pub bytes: u64,
    /// What is damaged in it, the first of it.
    pub damage: Option<WalError>,
}

/// As [`verify`]; `each` is called with every segment that was read: the last one first, then the others from the oldest
/// on.
///
/// # Errors
/// As [`verify`].
pub fn verify_each(
    storage: &dyn Storage,
    dir: &Path,
    options: &LogOptions,
    mut each: impl FnMut(VerifiedSegment),
) -> Result<Report, WalError> {
    options.check()?;
    let (candidates, found) = gather(storage, dir)?;
    let mut report = Report {
        range: 0..0,
        entries: 0,
        segments: 0,
        bytes: 0,
        torn_bytes: 0,
        clean_close: false,
        damage: Vec::new(),
    };
    let Some(last) = candidates.last() else {
        return Err(WalError::Missing { path: dir.to_path_buf() });
    };
    let Some(header) = report.keep(last.sound(&options.stream).copied())? else {
        return Ok(report);
    };
    let bytes_total = candidates.iter().map(|candidate| candidate.bytes).sum();
    let mut tell = |candidate: &Candidate, damage: Option<WalError>| {
        each(VerifiedSegment { path: candidate.path.clone(), bytes_total, bytes: candidate.bytes, damage });
    };
    let Some(judged) = report.keep(judge_last(storage, last, &header, options))? else {
        tell(last, report.damage.last().cloned());
        return Ok(report);
    };
    report.range = judged.trim..header.base_index + judged.records.len() as u64;
    report.torn_bytes = judged.torn_bytes;
    report.clean_close = judged.closed();
    report.bytes += judged.end_offset;
    report.entries += judged.records.len() as u64;
    if let Some((_, record)) = found.ends.last() {
        report.keep(end::check(record, &options.stream, dir, &last.path, &header, &judged))?;
    }
    if let Some(footer) = judged.footer {
        let table = footer.table;
        match check_table(storage, last, header.salt, table, &judged.records, header.base_index) {
            // A crash or a failed write can leave the summary without its table. Nothing reads it: opening has the frames,
            // and the next group or the next footer is written over it.
            Err(error) if error.is_corruption() => {
                report.torn_bytes = PAGE.saturating_add(table.bytes());
                report.clean_close = false;
            }
            checked => checked?,
        }
    }
    tell(last, report.damage.last().cloned());
    let Some(linked) = report.keep(chain::link(&candidates, &options.stream, judged.trim))? else {
        return Ok(report);
    };
    report.segments = linked.len();
    for pair in linked.windows(2) {
        let (before, after) = (&candidates[pair[0]], &candidates[pair[1]]);
        let checked = check_sealed(storage, before, after, options);
        tell(before, checked.as_ref().err().cloned());
        if let Some((entries, bytes)) = report.keep(checked)? {
            report.entries += entries;
            report.bytes += bytes;
        }
    }
    let retained = report.range.end - report.range.start;
    report.entries = report.entries.min(retained);
    Ok(report)
}

impl Report {
    /// Damage goes into the report; other errors end the verification.
    fn keep<T>(&mut self, result: Result<T, WalError>) -> Result<Option<T>, WalError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_corruption() => {
                self.damage.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

fn judge_last(
    storage: &dyn Storage,
    last: &Candidate,
    header: &Header,
    options: &LogOptions,
) -> Result<tail::Tail, WalError> {
    let file = open_to_read(storage, &last.path)?;
    let source = FileSource::new(&*file).map_err(|error| read_failed(&last.path, 0, &error))?;
    let limits = Limits { entry_bytes_max: options.entry_bytes_max, ahead: AHEAD_BYTES };
    tail::judge(&last.path, header, &source, limits)
}

/// Walks a segment that is not the last; answers its entries and bytes.
fn check_sealed(
    storage: &dyn Storage,
    candidate: &Candidate,
    after: &Candidate,
    options: &LogOptions,
) -> Result<(u64, u64), WalError> {
    let header = candidate.sound(&options.stream)?;
    let after_header = after.sound(&options.stream)?;
    let Some(before) = &after_header.predecessor else {
        return Err(WalError::corrupt(&after.path, 0, None, "a predecessor", "none", ADVICE_OPEN));
    };
    let path = &candidate.path;
    let file = open_to_read(storage, path)?;
    let source = FileSource::new(&*file).map_err(|error| read_failed(path, 0, &error))?;
    let terms = Terms {
        salt: header.salt,
        offset: header.frames_offset,
        index: header.base_index,
        end: Some(before.end_offset),
        entry_bytes_max: options.entry_bytes_max,
        ahead: AHEAD_BYTES,
    };
    let (records, tail) = walk(path, &source, terms)?;
    let found =
        (header.base_index + records.len() as u64, records.last().map_or(0, |record| record.key), tail);
    let wanted = (before.end_index, before.last_key, before.tail);
    if found != wanted {
        let describe =
            |(end, key, tail): (u64, u64, u32)| format!("end {end}, last key {key}, tail {tail:#010x}");
        let (expected, found) = (describe(wanted), describe(found));
        return Err(WalError::corrupt(
            path,
            before.end_offset,
            Some(before.end_index),
            expected,
            found,
            ADVICE_OPEN,
        ));
    }
    check_tables(storage, candidate, after, before, &records)?;
    Ok((records.len() as u64, before.end_offset))
}

fn walk(path: &Path, source: &dyn Source, terms: Terms) -> Result<(Vec<Record>, u32), WalError> {
    let mut walker = Walker::new(source, terms);
    let (mut records, mut tail) = (Vec::new(), 0);
    loop {
        let (due, index) = (walker.offset(), walker.index());
        match walker.step().map_err(|error| read_failed(path, due, &error))? {
            Step::Frame { offset, header, header_crc, .. } => {
                if header.kind == FrameKind::Entry {
                    records.push(Record { offset, key: header.key, digest: header.digest });
                    tail = header_crc;
                }
            }
            Step::Stop(Stop::End) => return Ok((records, tail)),
            Step::Stop(Stop::TooLarge(length)) => {
                let max = u64::from(terms.entry_bytes_max);
                return Err(WalError::TooLarge { index, bytes: u64::from(length), max });
            }
            Step::Stop(stop) => {
                let found = stop.to_string();
                return Err(WalError::corrupt(
                    path,
                    due,
                    Some(index),
                    "the frame that is due",
                    found,
                    ADVICE_OPEN,
                ));
            }
        }
    }
}

/// Compares the table of a sealed segment with what was walked.
fn check_tables(
    storage: &dyn Storage,
    candidate: &Candidate,
    after: &Candidate,
    before: &Predecessor,
    records: &[Record],
) -> Result<(), WalError> {
    let (Ok(header), Ok(after_header)) = (&candidate.header, &after.header) else {
        return Ok(());
    };
    match before.table {
        TablePlace::None => Ok(()),
        TablePlace::Own(span) => {
            let summary_at = span.offset.saturating_sub(PAGE);
            let file = open_to_read(storage, &candidate.path)?;
            let mut page = vec![0; PAGE_BYTES];
            let read = crate::storage::read_full(&*file, &mut page, summary_at);
            read.map_err(|error| read_failed(&candidate.path, summary_at, &error))?;
            if let Err(fault) = footer::decode(&page, header.salt, summary_at) {
                let (path, found) = (&candidate.path, fault.to_string());
                return Err(WalError::corrupt(
                    path,
                    summary_at,
                    None,
                    "the footer's summary",
                    found,
                    ADVICE_OPEN,
                ));
            }
            check_table(storage, candidate, header.salt, span, records, header.base_index)
        }
        TablePlace::Here(span) => {
            check_table(storage, after, after_header.salt, span, records, header.base_index)
        }
    }
}

/// A table must hold exactly what was walked; it may hold more behind it, where a cut shortened the segment.
fn check_table(
    storage: &dyn Storage,
    candidate: &Candidate,
    salt: u64,
    span: TableSpan,
    records: &[Record],
    base: u64,
) -> Result<(), WalError> {
    let path = &candidate.path;
    let file = open_to_read(storage, path)?;
    let source = FileSource::new(&*file).map_err(|error| read_failed(path, span.offset, &error))?;
    let damage = |offset: u64, index: u64, found: String| {
        let expected = "a page of the table as the frames have it";
        WalError::corrupt(path, offset, Some(index), expected, found, ADVICE_OPEN)
    };
    let end = span.offset.saturating_add(span.bytes());
    if source.bytes() < end {
        return Err(damage(source.bytes(), base, format!("the end of the file before {end}")));
    }
    let read = |offset: u64, index: u64, check: fn(&[u8], u64, u64) -> Result<(), PageFault>| {
        let mut page = vec![0; PAGE_BYTES];
        source.read(&mut page, offset).map_err(|error| read_failed(path, offset, &error))?;
        check(&page, salt, offset).map_err(|fault| damage(offset, index, fault.to_string()))?;
        Ok(page)
    };
    let mut held: Option<(u64, Vec<u8>)> = None;
    for (nth, (record, index)) in records.iter().zip(base..).enumerate() {
        let (offset, at) = span.entry_page(nth as u64);
        if held.as_ref().is_none_or(|(of, _)| *of != offset) {
            held = Some((offset, read(offset, index, table::check_entries)?));
        }
        let page = held.as_ref().map_or(&[][..], |(_, page)| page);
        let found = table::record_at(page, at);
        if found != *record {
            return Err(damage(offset, index, format!("{found:?}")));
        }
    }
    if span.entries == records.len() as u64 {
        let digests = records.iter().filter(|record| record.digest != 0).count() as u64;
        if span.digests != digests {
            return Err(damage(span.offset, base, format!("{} digests", span.digests)));
        }
    }
    for nth in 0..span.digests {
        let (offset, at) = span.digest_page(nth);
        if held.as_ref().is_none_or(|(of, _)| *of != offset) {
            held = Some((offset, read(offset, base, table::check_digests)?));
        }
        let page = held.as_ref().map_or(&[][..], |(_, page)| page);
        let (digest, index) = table::digest_at(page, at);
        let record = index.checked_sub(base).and_then(|nth| records.get(usize::try_from(nth).ok()?));
        if record.is_some_and(|record| record.digest != digest) {
            return Err(damage(offset, index, format!("digest {digest:#018x}")));
        }
    }
    Ok(())
}
