//! Which segments count. A pure decision over the headers.

use std::path::PathBuf;

use crate::error::{ADVICE_OPEN, WalError};
use crate::format::header::{Header, HeaderFault, SegmentKind, StreamId};
use crate::format::{FORMAT_VERSION, PAGE};

/// A file with a segment's name.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// As its name says.
    pub(crate) sequence: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) header: Result<Header, HeaderFault>,
}

impl Candidate {
    /// The header, if the file is a segment of this stream under its own name.
    pub(crate) fn sound(&self, stream: &StreamId) -> Result<&Header, WalError> {
        let header = match &self.header {
            Ok(header) => header,
            Err(HeaderFault::Newer { reader_min, features }) => {
                return Err(WalError::NewerFormat {
                    path: self.path.clone(),
                    found: *reader_min,
                    supported: FORMAT_VERSION,
                    features: *features,
                });
            }
            Err(fault) => return Err(self.damage(None, "a segment header", fault.to_string())),
        };
        if header.stream != *stream {
            return Err(WalError::Foreign {
                path: self.path.clone(),
                expected: stream.to_string(),
                found: header.stream.to_string(),
            });
        }
        if header.sequence != self.sequence {
            let expected = format!("the header of segment {}", self.sequence);
            return Err(self.damage(None, expected, format!("that of segment {}", header.sequence)));
        }
        // A file that is shorter than it was made is refused with its frames.
        let made = if header.prepared_bytes == 0 { self.bytes } else { header.prepared_bytes };
        if header.frames_offset > made {
            let expected = format!("frames that begin within the {made} bytes that the file was made with");
            return Err(self.damage(
                None,
                expected,
                format!("frames from offset {} on", header.frames_offset),
            ));
        }
        Ok(header)
    }

    fn damage(&self, index: Option<u64>, expected: impl Into<String>, found: impl Into<String>) -> WalError {
        WalError::corrupt(&self.path, 0, index, expected, found, ADVICE_OPEN)
    }
}

/// The places in the list of candidates of those that count, oldest first. All others are dead: cut off, or retired.
///
/// `candidates` are sorted by sequence and not empty; `trim` is the front in force, from the last segment.
pub(crate) fn link(candidates: &[Candidate], stream: &StreamId, trim: u64) -> Result<Vec<usize>, WalError> {
    let mut chain = Vec::new();
    let mut at = candidates.len() - 1;
    loop {
        let candidate = &candidates[at];
        let header = candidate.sound(stream)?;
        chain.push(at);
        let starts = matches!(header.kind, SegmentKind::Create | SegmentKind::Reset);
        if starts && header.base_index > trim {
            let expected = format!("a front at or above the log's start {}", header.base_index);
            return Err(candidate.damage(Some(trim), expected, format!("a front at {trim}")));
        }
        if starts || header.base_index <= trim {
            break;
        }
        at = predecessor(candidates, candidate, header, stream)?;
    }
    chain.reverse();
    Ok(chain)
}

fn predecessor(
    candidates: &[Candidate],
    candidate: &Candidate,
    header: &Header,
    stream: &StreamId,
) -> Result<usize, WalError> {
    let Some(wanted) = &header.predecessor else {
        let expected = "a predecessor: the segment does not start the log";
        return Err(candidate.damage(Some(header.base_index), expected, "none"));
    };
    let Ok(at) = candidates.binary_search_by_key(&wanted.sequence, |other| other.sequence) else {
        let dir = candidate.path.parent().unwrap_or(&candidate.path);
        let expected = format!("segment {}, the predecessor of {}", wanted.sequence, header.sequence);
        let index = wanted.end_index.checked_sub(1);
        return Err(WalError::corrupt(dir, 0, index, expected, "no such file", ADVICE_OPEN));
    };
    let before = &candidates[at];
    let found = before.sound(stream)?;
    let damage =
        |expected: String, found: String| Err(before.damage(Some(wanted.end_index), expected, found));
    if found.salt != wanted.salt {
        return damage(format!("salt {:#018x}", wanted.salt), format!("salt {:#018x}", found.salt));
    }
    if found.base_index > wanted.end_index || found.frames_offset > wanted.end_offset {
        return damage(
            format!(
                "a segment that starts at or below entry {} and offset {}",
                wanted.end_index, wanted.end_offset
            ),
            format!("one that starts at entry {} and offset {}", found.base_index, found.frames_offset),
        );
    }
    // A crash can leave out a part of the padding that fills the last page.
    let least = wanted.end_offset.saturating_sub(PAGE);
    if before.bytes <= least {
        return damage(format!("a file of more than {least} bytes"), format!("{} bytes", before.bytes));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::{Predecessor, TablePlace};
    use crate::format::table::TableSpan;
    use crate::segment::SegmentFile;

    const STREAM: StreamId = StreamId { chain: [1; 32], kind: *b"test\0\0\0\0" };

    fn create(sequence: u64, base: u64) -> Header {
        Header {
            stream: STREAM,
            salt: 100 + sequence,
            sequence,
            kind: SegmentKind::Create,
            used: false,
            base_index: base,
            trim_index: base,
            frames_offset: PAGE,
            predecessor: None,
            prepared_bytes: 0,
        }
    }

    fn after(before: &Header, sequence: u64, kind: SegmentKind, base: u64) -> Header {
        let predecessor = Predecessor {
            sequence: before.sequence,
            salt: before.salt,
            end_offset: 2 * PAGE,
            end_index: base,
            last_key: 0,
            tail: 0,
            table: TablePlace::None,
        };
        Header {
            sequence,
            kind,
            base_index: base,
            predecessor: Some(predecessor),
            salt: 100 + sequence,
            ..*before
        }
    }

    fn files(headers: &[Header]) -> Vec<Candidate> {
        let candidate = |header: &Header| Candidate {
            sequence: header.sequence,
            path: PathBuf::from(format!("dir/{}", header.sequence)),
            bytes: 4 * PAGE,
            header: Ok(*header),
        };
        headers.iter().map(candidate).collect()
    }

    fn sequences(candidates: &[Candidate], trim: u64) -> Result<Vec<u64>, WalError> {
        Ok(link(candidates, &STREAM, trim)?.into_iter().map(|at| candidates[at].sequence).collect())
    }

    #[test]
    fn follows_the_links_and_leaves_out_what_was_cut_off() {
        let first = create(1, 0);
        let second = after(&first, 2, SegmentKind::Roll, 10);
        let third = after(&second, 3, SegmentKind::Roll, 20);
        let cut = after(&first, 4, SegmentKind::Cut, 5);
        assert_eq!(sequences(&files(&[first, second, third]), 0).unwrap(), [1, 2, 3]);
        assert_eq!(sequences(&files(&[first, second, third, cut]), 0).unwrap(), [1, 4]);
        let reset = after(&third, 4, SegmentKind::Reset, 7);
        let reset = Header { trim_index: 7, ..reset };
        assert_eq!(sequences(&files(&[first, third, reset]), 7).unwrap(), [4]);
    }

    #[test]
    fn a_missing_segment_is_fine_below_the_front_and_refused_above() {
        let first = create(1, 0);
        let second = after(&first, 2, SegmentKind::Roll, 10);
        let third = after(&second, 3, SegmentKind::Roll, 20);
        assert_eq!(sequences(&files(&[second, third]), 10).unwrap(), [2, 3]);
        assert_eq!(sequences(&files(&[first, third]), 20).unwrap(), [3]);
        for (left, trim) in [(vec![second, third], 9), (vec![first, third], 0), (vec![third], 19)] {
            assert!(sequences(&files(&left), trim).unwrap_err().is_corruption());
        }
    }

    #[test]
    fn a_wrong_predecessor_is_refused() {
        let first = create(1, 0);
        let second = after(&first, 2, SegmentKind::Roll, 10);
        let refused = |first: Header, bytes: u64, sequence: u64| {
            let mut files = files(&[first, second]);
            files[0].bytes = bytes;
            files[0].sequence = sequence;
            sequences(&files, 0).unwrap_err().is_corruption()
        };
        assert!(refused(Header { salt: 5, ..first }, 4 * PAGE, 1));
        assert!(refused(first, PAGE, 1));
        let mut shorter = files(&[first, second]);
        shorter[0].bytes = PAGE + 512;
        assert_eq!(sequences(&shorter, 0).unwrap(), [1, 2], "without all of its padding");
        assert!(refused(Header { sequence: 9, ..first }, 4 * PAGE, 1));
    }

    #[test]
    fn a_predecessor_that_begins_behind_its_own_end_is_refused() {
        let first = create(1, 0);
        let second = after(&first, 2, SegmentKind::Roll, 10);
        let begins = |base_index: u64, frames_offset: u64| {
            let second = Header { trim_index: 10, ..second };
            let first = Header { kind: SegmentKind::Roll, base_index, frames_offset, ..first };
            predecessor(&files(&[first, second]), &files(&[second])[0], &second, &STREAM)
        };
        // Its end, as its successor tells it, is entry 10 at the second page.
        for (base_index, frames_offset) in [(0, PAGE), (10, PAGE), (0, 2 * PAGE), (10, 2 * PAGE)] {
            assert_eq!(begins(base_index, frames_offset).unwrap(), 0);
        }
        for (base_index, frames_offset) in [(11, PAGE), (0, 3 * PAGE), (11, 3 * PAGE)] {
            match begins(base_index, frames_offset) {
                Err(WalError::Corrupt { path, found, .. }) => {
                    assert_eq!(path, PathBuf::from("dir/1"));
                    assert!(
                        found.contains(&format!("entry {base_index} and offset {frames_offset}")),
                        "{found}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_table_that_lacks_entries_or_ends_behind_its_file_is_refused() {
        let first = create(1, 0);
        let second = after(&first, 2, SegmentKind::Roll, 10);
        let sealed = |table: TablePlace| {
            let predecessor = second.predecessor.map(|before| Predecessor { table, ..before });
            let second = Header { predecessor, frames_offset: 2 * PAGE, ..second };
            let files = files(&[first, second]);
            let file = |at: usize| SegmentFile::new(files[at].path.clone(), files[at].sequence);
            super::super::seal(&files[0], &file(0), &first, &second, &file(1))
        };
        let span = |offset: u64, entries: u64| TableSpan { offset, entries, digests: 0 };
        // Ten entries; a file of four pages, and one page before the frames of the next.
        for table in [
            TablePlace::Own(span(3 * PAGE, 10)),
            TablePlace::Own(span(3 * PAGE, 11)),
            TablePlace::Here(span(PAGE, 10)),
        ] {
            assert_eq!(sealed(table).unwrap().table.unwrap().span.offset % PAGE, 0);
        }
        for table in [
            TablePlace::None,
            TablePlace::Own(span(3 * PAGE, 9)),
            TablePlace::Own(span(4 * PAGE, 10)),
            TablePlace::Own(span(u64::MAX - 1, 10)),
            TablePlace::Here(span(PAGE, 9)),
            TablePlace::Here(span(2 * PAGE, 10)),
        ] {
            match sealed(table) {
                Err(WalError::Corrupt { path, expected, .. }) => {
                    assert_eq!(path, PathBuf::from("dir/2"), "the header that says so");
                    assert!(expected.contains("at least 10 entries"), "{expected}");
                }
                other => panic!("{table:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn frames_that_begin_behind_the_file_are_refused() {
        let starts = |frames_offset: u64, prepared_bytes: u64| {
            sequences(&files(&[Header { frames_offset, prepared_bytes, ..create(1, 0) }]), 0)
        };
        assert_eq!(starts(4 * PAGE, 0).unwrap(), [1], "the file ends with its table");
        assert_eq!(starts(2 * PAGE, 2 * PAGE).unwrap(), [1]);
        for (frames_offset, prepared_bytes, within) in
            [(5 * PAGE, 0, 4 * PAGE), (1 << 62, 0, 4 * PAGE), (3 * PAGE, 2 * PAGE, 2 * PAGE)]
        {
            match starts(frames_offset, prepared_bytes) {
                Err(WalError::Corrupt { path, expected, found, .. }) => {
                    assert_eq!(path, PathBuf::from("dir/1"));
                    assert!(expected.contains(&format!("within the {within} bytes")), "{expected}");
                    assert!(found.contains(&format!("offset {frames_offset} ")), "{found}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn another_stream_is_foreign_and_a_newer_format_is_newer() {
        let mut files = files(&[create(1, 0)]);
        let other = StreamId { chain: [2; 32], ..STREAM };
        assert!(matches!(link(&files, &other, 0), Err(WalError::Foreign { .. })));
        files[0].header = Err(HeaderFault::Newer { reader_min: 9, features: 0 });
        assert!(matches!(link(&files, &STREAM, 0), Err(WalError::NewerFormat { found: 9, .. })));
    }
}
