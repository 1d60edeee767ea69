//! Rolling to the next segment.

use std::sync::Arc;

use super::{Log, cursor, salt};
use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::format::PAGE;
use crate::format::footer::{self, Footer, FooterKind, Summary};
use crate::format::header::{Header, Predecessor, SegmentKind, TablePlace};
use crate::publish::{Failure, publish};
use crate::segment::{Sealed, Table};
use crate::shared::Active;
use crate::storage::{SyncPoint, write_durably};

/// How the last segment is ended when the next one is published.
pub(super) struct Ending {
    pub(super) sealed: Sealed,
    /// Where the sealed segment's table is, as the next header will say.
    pub(super) place: TablePlace,
    /// The pages of that table, where they go into the next segment.
    pub(super) pages: AlignedBuffer,
}

/// What the next segment is.
pub(super) struct Next {
    pub(super) kind: SegmentKind,
    pub(super) base_index: u64,
    pub(super) trim_index: u64,
    pub(super) salt: u64,
    pub(super) sequence: u64,
    /// Whether the reserve may be taken for it.
    pub(super) urgent: bool,
}

impl Log {
    /// Writes the footer of the active segment where its next group would go.
    pub(super) fn write_footer(&mut self, kind: FooterKind) -> Result<Footer, WalError> {
        self.check_poison()?;
        let mut bytes = self.pending.largest_buffer();
        let (path, offset, footer) = {
            let view = self.shared.view();
            let active = &view.active;
            let last_key = active.records.last().map_or(0, |record| record.key);
            let summary = Summary { kind, tail: active.tail, base_index: active.base, last_key };
            let (records, offset) = (&active.records, active.end_offset);
            let footer = footer::build(summary, records, active.salt, offset, &mut self.tables, &mut bytes);
            (active.file.path.clone(), offset, footer)
        };
        let written = write_durably(&*self.file, &path, bytes.bytes(), offset, SyncPoint::Footer);
        self.pending.keep_buffer(bytes);
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        self.footer = Some(footer);
        self.covered = true;
        Ok(footer)
    }

    /// Seals the active segment and publishes the next one.
    pub(super) fn roll(&mut self, trim_index: u64, urgent: bool) -> Result<(), WalError> {
        let footer = match self.footer {
            Some(footer) => footer,
            None => self.write_footer(FooterKind::Roll)?,
        };
        let sealed = {
            let view = self.shared.view();
            let active = &view.active;
            let table = Table { file: active.file.clone(), salt: active.salt, span: footer.table };
            Sealed { table: Some(table), ..sealed(active) }
        };
        let base_index = sealed.end_index;
        let ending = Ending { sealed, place: TablePlace::Own(footer.table), pages: AlignedBuffer::default() };
        let next = self.next_segment(SegmentKind::Roll, base_index, trim_index, urgent)?;
        let active = self.publish_after(next, &ending)?;
        let mut view = self.shared.view_mut();
        // Its memory serves the next segment.
        let mut records = std::mem::take(&mut view.active.records);
        records.clear();
        view.active = Active { records, ..active };
        view.sealed.push(Arc::new(ending.sealed));
        view.first = trim_index;
        drop(view);
        self.replan();
        self.bound_retired();
        Ok(())
    }

    /// What the next segment will be, with a salt and a sequence of its own.
    pub(super) fn next_segment(
        &mut self,
        kind: SegmentKind,
        base_index: u64,
        trim_index: u64,
        urgent: bool,
    ) -> Result<Next, WalError> {
        if !self.pool.has(urgent) {
            // What readers have let go of meanwhile may be the only space there is.
            self.recycle();
        }
        self.sequence += 1;
        let salt = salt(&*self.storage, &self.dir)?;
        Ok(Next { kind, base_index, trim_index, salt, sequence: self.sequence, urgent })
    }

    /// Publishes a segment; the log's own state is changed only by its success.
    pub(super) fn publish_after(&mut self, next: Next, ending: &Ending) -> Result<Active, WalError> {
        let sealed = &ending.sealed;
        let used = self.header.used || sealed.end_index > sealed.base || next.kind == SegmentKind::Reset;
        let header = Header {
            stream: self.options.stream,
            salt: next.salt,
            sequence: next.sequence,
            kind: next.kind,
            used,
            base_index: next.base_index,
            trim_index: next.trim_index,
            frames_offset: PAGE + ending.pages.len() as u64,
            predecessor: Some(Predecessor {
                sequence: sealed.file.sequence,
                salt: sealed.salt,
                end_offset: sealed.end_offset,
                end_index: sealed.end_index,
                last_key: sealed.last_key,
                tail: sealed.tail,
                table: ending.place,
            }),
            prepared_bytes: 0,
        };
        // One sync of the directory is for the names of both: the new segment and those that are retired.
        self.rename_retired();
        let site = super::site(&*self.storage, &self.dir, &self.options);
        let published = match publish(site, &mut self.pool, &header, ending.pages.bytes(), next.urgent) {
            Ok(published) => published,
            Err(Failure::Before(error)) => return Err(error),
            Err(Failure::After(error)) => return Err(self.poison(error)),
        };
        self.renamed_are_durable();
        self.header = header;
        self.file = published.file;
        self.unwritten_from = published.fresh.then_some(header.frames_offset);
        self.footer = None;
        self.covered = true;
        Ok(Active {
            file: self.shared.handles.file(published.path, next.sequence),
            salt: next.salt,
            base: next.base_index,
            frames_offset: header.frames_offset,
            records: Vec::new(),
            end_offset: header.frames_offset,
            tail: 0,
        })
    }

    /// Plans the groups that wait anew, from the end of the active segment on.
    pub(super) fn replan(&mut self) {
        let at = cursor(&self.shared.view().active);
        self.pending.moved(at);
    }
}

/// The active segment as a sealed one, without a table.
pub(super) fn sealed(active: &Active) -> Sealed {
    Sealed {
        file: active.file.clone(),
        salt: active.salt,
        base: active.base,
        frames_offset: active.frames_offset,
        end_offset: active.end_offset,
        end_index: active.next(),
        last_key: active.last_key().unwrap_or(0),
        tail: active.tail,
        table: None,
    }
}
