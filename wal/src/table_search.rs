//! Searches in the tables of sealed segments, which are on the disk: a page at a time, and as few of them as can be.

use crate::error::{ADVICE_READ, WalError};
use crate::format::PAGE_BYTES;
use crate::format::page::PageFault;
use crate::format::table::{self, DIGESTS_A_PAGE, ENTRIES_A_PAGE, Record};
use crate::segment::{Handles, Sealed, Table, read_failed};
use crate::shared::ask_the_disk;
use crate::storage::read_full;

/// The pages of one table, each checked when it is read. The last one is kept.
struct Pages<'a> {
    handles: &'a Handles,
    table: &'a Table,
    /// Where the page that is kept stands in the file.
    at: Option<u64>,
    page: [u8; PAGE_BYTES],
}

impl<'a> Pages<'a> {
    fn new(handles: &'a Handles, table: &'a Table) -> Self {
        Self { handles, table, at: None, page: [0; PAGE_BYTES] }
    }

    /// The record of the `nth` entry.
    fn record(&mut self, nth: u64) -> Result<Record, WalError> {
        let (offset, at) = self.table.span.entry_page(nth);
        Ok(table::record_at(self.read(offset, table::check_entries)?, at))
    }

    /// The `nth` digest, with its entry's index.
    fn digest(&mut self, nth: u64) -> Result<(u64, u64), WalError> {
        let (offset, at) = self.table.span.digest_page(nth);
        Ok(table::digest_at(self.read(offset, table::check_digests)?, at))
    }

    fn read(
        &mut self,
        offset: u64,
        check: fn(&[u8], u64, u64) -> Result<(), PageFault>,
    ) -> Result<&[u8], WalError> {
        if self.at != Some(offset) {
            self.at = None;
            self.read_anew(offset, check)?;
            self.at = Some(offset);
        }
        Ok(&self.page)
    }

    fn read_anew(
        &mut self,
        offset: u64,
        check: fn(&[u8], u64, u64) -> Result<(), PageFault>,
    ) -> Result<(), WalError> {
        let Table { file, salt, .. } = self.table;
        let open = self.handles.get(file)?;
        let mut again = false;
        loop {
            let whole = read_full(&*open, &mut self.page, offset)
                .map_err(|error| read_failed(&file.path, offset, &error))?;
            let fault = if whole {
                match check(&self.page, *salt, offset) {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault.to_string(),
                }
            } else {
                "the end of the file".to_owned()
            };
            if again {
                let expected = "a page of the segment's table";
                return Err(WalError::corrupt(&file.path, offset, None, expected, fault, ADVICE_READ));
            }
            ask_the_disk(&*open);
            again = true;
        }
    }
}

/// The record of an entry of a sealed segment.
pub(crate) fn record(handles: &Handles, segment: &Sealed, index: u64) -> Result<Record, WalError> {
    let table = table_of(segment, index)?;
    let nth = index - segment.base;
    if nth >= table.span.entries {
        return Err(no_table(segment, index));
    }
    Pages::new(handles, table).record(nth)
}

/// The first entry of a sealed segment whose key satisfies a predicate that, once true, stays true: that of its last
/// entry does. `near` is about how far through the segment it should be, from 0 to 1.
pub(crate) fn first_where(
    handles: &Handles,
    segment: &Sealed,
    near: f64,
    holds: impl Fn(u64) -> bool,
) -> Result<u64, WalError> {
    let table = table_of(segment, segment.base)?;
    let mut pages = Pages::new(handles, table);
    // Where a cut has shortened the segment there are more in it, with keys that are no smaller.
    let nth = first(table.span.entries, ENTRIES_A_PAGE, near, |nth| Ok(holds(pages.record(nth)?.key)))?;
    Ok(segment.base + nth)
}

/// Adds the entries of a sealed segment with a digest to those that were found.
pub(crate) fn find_digest(
    handles: &Handles,
    segment: &Sealed,
    digest: u64,
    found: &mut Vec<u64>,
) -> Result<(), WalError> {
    let Some(table) = &segment.table else {
        return Ok(());
    };
    let mut pages = Pages::new(handles, table);
    // Digests are parts of hashes: how large one is says where it stands.
    let near = digest as f64 / u64::MAX as f64;
    let digests = table.span.digests;
    let mut nth = first(digests, DIGESTS_A_PAGE, near, |nth| Ok(pages.digest(nth)?.0 >= digest))?;
    while nth < digests {
        let (here, index) = pages.digest(nth)?;
        if here != digest {
            break;
        }
        if (segment.base..segment.end_index).contains(&index) {
            found.push(index);
        }
        nth += 1;
    }
    Ok(())
}

/// The first of `records` records, so many a page, for which a predicate holds that, once true, stays true; `records`
/// where it holds for none. Looks `near` first, then beside, and then halves what is left: so it asks for few pages where
/// records are spread evenly, and for no more than two above a plain search by halves otherwise.
fn first(
    records: u64,
    a_page: u64,
    near: f64,
    mut holds: impl FnMut(u64) -> Result<bool, WalError>,
) -> Result<u64, WalError> {
    let (mut low, mut high) = (0, records.div_ceil(a_page));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guess, kept in its bounds"
    )]
    let mut page = (near * high as f64) as u64;
    let mut looked = 0;
    while low < high {
        page = page.clamp(low, high - 1);
        let (first, last) = (page * a_page, ((page + 1) * a_page).min(records) - 1);
        if !holds(last)? {
            low = page + 1;
            page = low;
        } else if holds(first)? {
            high = page;
            page = high.saturating_sub(1);
        } else {
            // Neither the first of the page nor all: it is on this one.
            let (mut below, mut at) = (first, last);
            while below + 1 < at {
                let middle = below + (at - below) / 2;
                if holds(middle)? { at = middle } else { below = middle }
            }
            return Ok(at);
        }
        looked += 1;
        if looked >= 2 {
            page = low + (high - low) / 2;
        }
    }
    Ok((high * a_page).min(records))
}

fn table_of(segment: &Sealed, index: u64) -> Result<&Table, WalError> {
    segment.table.as_ref().ok_or_else(|| no_table(segment, index))
}

fn no_table(segment: &Sealed, index: u64) -> WalError {
    let (expected, found) = ("a table that names the entry", "a table without it");
    WalError::corrupt(&segment.file.path, segment.end_offset, Some(index), expected, found, ADVICE_READ)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_record_is_found_wherever_it_is_looked_for_first() {
        for records in [0, 1, 7, 8, 9, 64, 100] {
            for wanted in 0..=records {
                for near in [-1.0, 0.0, 0.3, 1.0, 2.0, f64::NAN] {
                    let found = first(records, 8, near, |nth| {
                        assert!(nth < records);
                        Ok(nth >= wanted)
                    });
                    assert_eq!(found.unwrap(), wanted, "{near} of {records}");
                }
            }
        }
    }

    #[test]
    fn a_good_guess_asks_for_one_page_or_two_and_a_bad_one_for_little_more_than_halving() {
        let pages_asked = |near: f64, wanted: u64| {
            let mut pages = BTreeSet::new();
            let found = first(256 * 100, 100, near, |nth| {
                pages.insert(nth / 100);
                Ok(nth >= wanted)
            });
            assert_eq!(found.unwrap(), wanted);
            pages.len()
        };
        for wanted in (0..256 * 100).step_by(77) {
            assert!(pages_asked(wanted as f64 / 25_600.0, wanted) <= 2, "{wanted}");
            assert!(pages_asked((wanted as f64 / 25_600.0) + 0.003, wanted) <= 3, "{wanted}");
            assert!(pages_asked(1.0, wanted) <= 10, "{wanted}");
            assert!(pages_asked(0.0, wanted) <= 10, "{wanted}");
        }
    }
}
