//! Rolling to the next segment.

use std::path::PathBuf;
use std::sync::Arc;

use super::sync::InFlight;
use super::{Log, cursor, salt};
use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::format::PAGE;
use crate::format::footer::{self, Footer, FooterKind, Summary};
use crate::format::header::{Header, Predecessor, SegmentKind, TablePlace};
use crate::publish::{Prepared, prepare};
use crate::segment::{Sealed, Table};
use crate::shared::Active;
use crate::storage::{StorageFile, SyncPoint, write_durably};
use crate::writer::{Job, Part};

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

/// A roll that was handed over: what becomes true with it.
#[derive(Debug)]
pub(super) struct Roll {
    sealed: Sealed,
    active: Active,
    first: u64,
    /// Retired files whose new names become durable with the segment's.
    renamed: Vec<PathBuf>,
}

impl Roll {
    /// Where the first group of the next segment goes.
    pub(super) fn frames_offset(&self) -> u64 {
        self.active.frames_offset
    }
}

impl Log {
    /// Writes the footer of the active segment where its next group would go; everything before it has landed.
    pub(super) fn write_close_footer(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        let mut bytes = self.pending.largest_buffer();
        let sealed = sealed(&self.shared.view().active);
        self.build_footer(FooterKind::Close, &sealed, &mut bytes);
        let point = SyncPoint::Footer;
        let written = write_durably(&*self.file, &self.path, bytes.bytes(), sealed.end_offset, point);
        written.map_err(|error| self.poison(error))
    }

    /// The footer of a segment that consists of the active one and of what is on its way there.
    fn build_footer(&mut self, kind: FooterKind, sealed: &Sealed, bytes: &mut AlignedBuffer) -> Footer {
        let view = self.shared.view();
        let records = view.active.records.iter().copied();
        let records = records.chain(self.in_flight.iter().flat_map(InFlight::records));
        let summary = Summary { kind, tail: sealed.tail, base_index: sealed.base, last_key: sealed.last_key };
        footer::build(summary, records, sealed.salt, sealed.end_offset, &mut self.tables, bytes)
    }

    /// Ends the segment that is written to after all that was handed over, and begins the next one. Its header is written
    /// at once, while what was handed over is on its way; footer and name wait for that to be durable.
    ///
    /// A failure changes nothing that counts; what fails later, fails like a group.
    pub(super) fn hand_over_roll(
        &mut self,
        trim_index: u64,
        urgent: bool,
        now: bool,
    ) -> Result<(), WalError> {
        if self.in_flight.iter().any(InFlight::is_roll) {
            self.settle()?;
        }
        let mut sealed = sealed(&self.shared.view().active);
        self.in_flight.iter().for_each(|group| group.extend(&mut sealed));
        let mut bytes = self.pending.largest_buffer();
        let footer = self.build_footer(FooterKind::Roll, &sealed, &mut bytes);
        let (base_index, offset) = (sealed.end_index, sealed.end_offset);
        let span = footer.table;
        sealed.table = Some(Table { file: sealed.file.clone(), salt: sealed.salt, span });
        let ending = Ending { sealed, place: TablePlace::Own(span), pages: AlignedBuffer::default() };
        let prepared = self
            .next_segment(SegmentKind::Roll, base_index, trim_index, urgent)
            .and_then(|next| self.prepare_after(&next, &ending));
        let (header, Prepared { naming, file, fresh }) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.pending.keep_buffer(bytes);
                return Err(error);
            }
        };
        let segment = naming.segment.clone();
        let part = Part { buffer: bytes, offset, last: true };
        let job = Job { file: self.file.clone(), path: self.path.clone(), part, roll: Some(naming) };
        self.writer.hand_over(job, now, &*self.storage, &self.lock);
        let active = self.begin(header, file, segment, fresh);
        let renamed = std::mem::take(&mut self.renamed);
        let roll = Roll { sealed: ending.sealed, active, first: trim_index, renamed };
        self.in_flight.push_back(InFlight::Roll(Box::new(roll)));
        Ok(())
    }

    /// Takes note that a roll is durable.
    pub(super) fn rolled(&mut self, roll: Roll) {
        let Roll { sealed, active, first, renamed } = roll;
        let mut view = self.shared.view_mut();
        // Its memory serves the next segment.
        let mut records = std::mem::take(&mut view.active.records);
        records.clear();
        view.active = Active { records, ..active };
        view.sealed.push(Arc::new(sealed));
        view.first = first;
        drop(view);
        renamed.into_iter().for_each(|spare| self.pool.put(spare));
        self.covered = true;
        self.bound_retired();
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
            self.check_poison()?;
        }
        self.sequence += 1;
        let salt = salt(&*self.storage, &self.dir)?;
        Ok(Next { kind, base_index, trim_index, salt, sequence: self.sequence, urgent })
    }

    /// Publishes a segment; the log's own state is changed only by its success. Everything has landed.
    pub(super) fn publish_after(&mut self, next: &Next, ending: &Ending) -> Result<Active, WalError> {
        let (header, Prepared { naming, file, fresh }) = self.prepare_after(next, ending)?;
        naming.carry_out().map_err(|error| self.poison(error))?;
        self.renamed_are_durable();
        self.covered = true;
        Ok(self.begin(header, file, naming.segment, fresh))
    }

    /// Prepares the segment that is to follow.
    fn prepare_after(&mut self, next: &Next, ending: &Ending) -> Result<(Header, Prepared), WalError> {
        let sealed = &ending.sealed;
        // What is cut off was there all the same.
        let filled = sealed.end_index > sealed.base || !self.shared.view().active.records.is_empty();
        let used = self.header.used || filled || next.kind == SegmentKind::Reset;
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
        let site = super::site(&self.storage, &self.dir, &self.options);
        let prepared = prepare(site, &mut self.pool, &header, ending.pages.bytes(), next.urgent)?;
        Ok((header, prepared))
    }

    /// Whatever is handed over from now on goes into the next segment.
    fn begin(&mut self, header: Header, file: Arc<dyn StorageFile>, path: PathBuf, fresh: bool) -> Active {
        self.header = header;
        self.file = file;
        self.path = path.as_path().into();
        self.unwritten_from = fresh.then_some(header.frames_offset);
        Active {
            file: self.shared.handles.file(path, header.sequence),
            salt: header.salt,
            base: header.base_index,
            frames_offset: header.frames_offset,
            records: Vec::new(),
            end_offset: header.frames_offset,
            tail: 0,
        }
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
