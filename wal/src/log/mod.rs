//! The log: one owner, one writer.
//!
//! ```text
//! append ──▶ pending groups ──submit, sync──▶ writer ──▶ active segment ──full──▶ footer, publish the next
//!                                                          │
//! truncate_before ──▶ trim mark ───────────────────────────┘──▶ retire whole segments ──▶ limbo (readers) ──▶ pool
//! truncate_after, reset, repair ──▶ publish a segment that ends its predecessor earlier
//! ```

mod end;
mod idle;
mod retire;
mod roll;
mod sync;
mod truncate;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::{Appended, Entry};
use crate::error::WalError;
use crate::format::frame::FrameKind;
use crate::format::header::{Header, SegmentKind};
use crate::format::table::TableBuilder;
use crate::format::{PAGE, copy_crc32c, crc32c};
use crate::judge::{Facts, Judged, State};
use crate::options::LogOptions;
use crate::pending::{Cursor, Frame, Pending};
use crate::pool::Pool;
use crate::publish::{Prepared, Site, prepare};
use crate::reader::Reader;
use crate::segment::Handles;
use crate::shared::{Active, Shared, View};
use crate::storage::{LockGuard, Storage, StorageFile, open_for_groups};
use crate::writer::Writer;

/// A write-ahead log, open for appending. It has one owner; readers are made with [`Log::reader`].
///
/// After any failed write or sync the instance is poisoned: every later call that would write answers
/// [`WalError::Poisoned`]. Dropping it does not sync what was appended since the last [`Log::sync`]; some of it may be
/// there all the same.
#[derive(Debug)]
pub struct Log {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    options: LogOptions,
    shared: Arc<Shared>,
    /// Of the segment that is written to: the active one, or the next one while the roll to it is on its way.
    header: Header,
    /// That segment, open for durable writes.
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
    pending: Pending,
    /// What was handed to the writer and is not known to be durable, oldest first.
    in_flight: VecDeque<sync::InFlight>,
    writer: Writer,
    /// Whether something after the last group says that it is durable.
    covered: bool,
    next: u64,
    pool: Pool,
    tables: TableBuilder,
    /// Retired files that readers may still hold.
    limbo: VecDeque<retire::Retired>,
    /// Retired files that have names of spares; not durable yet.
    renamed: Vec<PathBuf>,
    /// A spare that is being filled with zeros, and how far.
    filling: Option<idle::Filling>,
    /// Where that segment's space was only reserved, never written: from here on.
    unwritten_from: Option<u64>,
    /// What the record of the end says.
    noted: end::Noted,
    /// The highest sequence in use.
    sequence: u64,
    poison: Option<Arc<WalError>>,
    /// Set while an entry is copied in: still set afterwards, the caller's function has panicked.
    filling_entry: bool,
    /// Last, so that everything else is closed before another owner can come.
    lock: Arc<dyn LockGuard>,
}

impl Log {
    /// Makes the first segment of a log in an empty or missing directory, at `first_index`.
    ///
    /// # Errors
    /// [`WalError::Exists`], [`WalError::InUse`], [`WalError::Options`], or what the storage says.
    pub fn create(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: LogOptions,
        first_index: u64,
    ) -> Result<Self, WalError> {
        let options_for_new = LogOptions { require_at_least: None, ..options };
        Judged::new(storage, dir, options_for_new)?.create(first_index)
    }

    /// Takes the lock and judges the files; writes nothing but the lock.
    ///
    /// # Errors
    /// Damage, a foreign or newer log, a directory in use, or what the storage says.
    pub fn judge(storage: Arc<dyn Storage>, dir: &Path, options: LogOptions) -> Result<Judged, WalError> {
        Judged::new(storage, dir, options)
    }

    /// Judges and opens in one.
    ///
    /// # Errors
    /// As [`Log::judge`] and [`Judged::open`].
    pub fn open(storage: Arc<dyn Storage>, dir: &Path, options: LogOptions) -> Result<Self, WalError> {
        Self::judge(storage, dir, options)?.open()
    }

    /// Retained entries, those that wait for a sync included.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.shared.view().first..self.next
    }

    /// The index after the last durable entry, as far as [`Log::submit`], [`Log::settle`] or [`Log::sync`] have learned.
    #[must_use]
    pub fn durable_next(&self) -> u64 {
        self.shared.view().next()
    }

    /// The key of the last entry, durable or not.
    #[must_use]
    pub fn last_key(&self) -> Option<u64> {
        self.unsynced_key().or_else(|| self.shared.view().last_key())
    }

    /// The key of the last entry that is not known to be durable.
    fn unsynced_key(&self) -> Option<u64> {
        let in_flight = || self.in_flight.iter().rev().find_map(sync::InFlight::last_key);
        self.pending.last_key().or_else(in_flight)
    }

    /// Bytes of all segments up to their ends.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.view().size_bytes()
    }

    /// Segments that count.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.shared.view().sealed.len() + 1
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether groups are written past the page cache.
    #[must_use]
    pub fn writes_directly(&self) -> bool {
        self.file.writes_are_durable()
    }

    /// The failure that poisoned this instance.
    #[must_use]
    pub fn poisoned(&self) -> Option<&WalError> {
        self.poison.as_deref()
    }

    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Adds an entry; durable after the next [`Log::sync`], or [`Log::submit`] and [`Log::settle`]. Below the next index
    /// it is ignored.
    ///
    /// Buffers, unless more than `pending_bytes_max` waits: then it syncs first. Of a group of more than `ahead_bytes` it
    /// hands parts to threads that write them, where one starts a segment all that comes before it, and waits for the disk
    /// where too many of them wait already.
    ///
    /// # Errors
    /// [`WalError::Gap`], [`WalError::KeyOrder`], [`WalError::TooLarge`], [`WalError::Poisoned`], or those of a sync.
    pub fn append(&mut self, index: u64, entry: Entry<'_>) -> Result<Appended, WalError> {
        let Entry { key, digest, payload } = entry;
        self.push(index, key, digest, payload.len(), |bytes| copy_crc32c(bytes, payload))
    }

    /// Like [`Log::append`], with the payload written straight into the group's buffer: `fill` gets exactly `len` bytes
    /// of unspecified content.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_with(
        &mut self,
        index: u64,
        key: u64,
        digest: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Appended, WalError> {
        self.push(index, key, digest, len, |bytes| {
            fill(bytes);
            crc32c(bytes)
        })
    }

    /// Adds an entry; `fill` writes its payload and answers the checksum.
    fn push(
        &mut self,
        index: u64,
        key: u64,
        digest: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> u32,
    ) -> Result<Appended, WalError> {
        self.check_poison()?;
        if index < self.next {
            return Ok(Appended::Duplicate);
        }
        if index > self.next {
            return Err(WalError::Gap { index, next: self.next });
        }
        let max = self.options.entry_bytes_max;
        let length = match u32::try_from(len) {
            Ok(length) if length <= max && index < u64::MAX => length,
            _ => return Err(WalError::TooLarge { index, bytes: len as u64, max: u64::from(max) }),
        };
        let floor = self.unsynced_key().or_else(|| self.shared.view().key_floor());
        if let Some(last) = floor.filter(|last| key < *last) {
            return Err(WalError::KeyOrder { index, key, last });
        }
        if self.pending.bytes() > 0 && self.pending.bytes() + len as u64 > self.options.pending_bytes_max {
            self.sync()?;
        }
        self.roll_ahead()?;
        let frame = Frame { kind: FrameKind::Entry, index, key, digest, length };
        self.filling_entry = true;
        let part = self.pending.push(frame, self.ahead(), fill);
        self.filling_entry = false;
        self.next += 1;
        if let Some(part) = part {
            self.write_ahead(part)?;
        }
        Ok(Appended::New)
    }

    /// Syncs, and writes a footer that says so: the next opening knows that nothing is missing. If it fails, nothing is
    /// lost that was acknowledged.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.sync()?;
        self.write_close_footer()?;
        self.note_end()?;
        self.recycle();
        while self.remove_retired() {}
        Ok(())
    }

    fn check_poison(&self) -> Result<(), WalError> {
        if self.filling_entry {
            let reason = "it panicked, and left an entry half-written".to_owned();
            let cause = Arc::new(WalError::Options { name: "the fill of append_with", reason });
            return Err(WalError::Poisoned { cause });
        }
        match &self.poison {
            Some(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Takes note of the first failure; answers it.
    fn poison(&mut self, error: WalError) -> WalError {
        self.poison.get_or_insert_with(|| Arc::new(error.clone()));
        error
    }

    fn site(&self) -> Site<'_> {
        site(&self.storage, &self.dir, &self.options)
    }

    /// Makes the first segment.
    pub(crate) fn first(judged: Judged, first_index: u64) -> Result<Self, WalError> {
        let Judged { storage, dir, options, lock, found, .. } = judged;
        let Some(lock) = lock else {
            return Err(WalError::Missing { path: dir });
        };
        let sequence = found.sequence + 1;
        for path in &found.prepared {
            let removed = storage.remove(path);
            removed
                .map_err(|error| WalError::io("remove what an earlier attempt left", path, None, &error))?;
        }
        let salt = salt(&*storage, &dir)?;
        let header = Header {
            stream: options.stream,
            salt,
            sequence,
            kind: SegmentKind::Create,
            used: false,
            base_index: first_index,
            trim_index: first_index,
            frames_offset: PAGE,
            predecessor: None,
            prepared_bytes: 0,
        };
        let mut pool = Pool::new(&dir, found.spares, options.pool_segments);
        let prepared = prepare(site(&storage, &dir, &options), &mut pool, &header, &[], true)?;
        let Prepared { naming, file, fresh } = prepared;
        naming.carry_out()?;
        let handles = Handles::new(storage.clone(), options.open_files_max);
        let active = Active {
            file: handles.file(naming.segment, sequence),
            salt,
            base: first_index,
            frames_offset: PAGE,
            records: Vec::new(),
            end_offset: PAGE,
            tail: 0,
        };
        let view = View { sealed: Vec::new(), active, first: first_index };
        let shared = Arc::new(Shared::new(handles, options.entry_bytes_max, view));
        let mut log = Self::assemble(
            Parts {
                storage,
                dir,
                options,
                lock,
                shared,
                header,
                pool,
                noted: found.ends.last().copied(),
                sequence,
            },
            file,
        );
        log.unwritten_from = fresh.then_some(PAGE);
        log.make_reserve();
        Ok(log)
    }

    /// Becomes the owner of a judged log; `at`: drop everything from that index on.
    pub(crate) fn take_over(judged: Judged, at: Option<u64>) -> Result<Self, WalError> {
        let Judged { storage, dir, options, lock, found, state, .. } = judged;
        let (Some(lock), Some(State { header, tail, shared })) = (lock, state) else {
            return Err(WalError::Missing { path: dir });
        };
        let range = shared.range();
        let next = at.unwrap_or(range.end);
        if next > range.end {
            return Err(WalError::Shorter { path: dir, expected: next, found: range.end });
        }
        if next < range.start {
            let Range { start: first, end: next_found } = range;
            return Err(WalError::OutOfRange { op: "open_at", index: next, first, next: next_found });
        }
        let path = shared.view().active.file.path.clone();
        let file = open_for_groups(&*storage, &path, options.direct_io)?;
        let pool = Pool::new(&dir, found.spares, options.pool_segments);
        let (noted, sequence) = (found.ends.last().copied(), found.sequence);
        let parts = Parts { storage, dir, options, lock, shared, header, pool, noted, sequence };
        let mut log = Self::assemble(parts, file);
        log.next = next;
        // First of all, for a cut may need the space on a full disk. None of it counts, whatever becomes of the cut.
        log.clean_up(&found.prepared, &found.dead);
        if at.is_some() || !tail.clean {
            log.cut(next)?;
        }
        log.make_reserve();
        Ok(log)
    }

    fn assemble(parts: Parts, file: Arc<dyn StorageFile>) -> Self {
        let Parts { storage, dir, options, lock, shared, header, pool, noted, sequence } = parts;
        let (cursor, next, path) = {
            let view = shared.view();
            (cursor(&view.active), view.next(), view.active.file.path.as_path().into())
        };
        Self {
            pending: Pending::new(options.segment_bytes, options.group_bytes_max, cursor),
            storage,
            dir,
            options,
            shared,
            header,
            file,
            path,
            in_flight: VecDeque::new(),
            writer: Writer::default(),
            covered: true,
            next,
            pool,
            tables: TableBuilder::default(),
            limbo: VecDeque::new(),
            renamed: Vec::new(),
            filling: None,
            unwritten_from: None,
            noted: end::Noted::new(noted),
            sequence,
            poison: None,
            filling_entry: false,
            lock: lock.into(),
        }
    }
}

/// What an owner starts with.
struct Parts {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    options: LogOptions,
    lock: Box<dyn LockGuard>,
    shared: Arc<Shared>,
    header: Header,
    pool: Pool,
    noted: Option<(u64, crate::format::end::EndRecord)>,
    sequence: u64,
}

fn site<'a>(storage: &'a Arc<dyn Storage>, dir: &'a Path, options: &LogOptions) -> Site<'a> {
    Site {
        storage,
        dir,
        segment_bytes: options.segment_bytes,
        direct: options.direct_io,
        keep_free_bytes: options.keep_free_bytes,
    }
}

fn salt(storage: &dyn Storage, dir: &Path) -> Result<u64, WalError> {
    storage.salt().map_err(|error| WalError::io("ask for a random salt", dir, None, &error))
}

/// Where the next group of a segment goes.
fn cursor(active: &Active) -> Cursor {
    Cursor {
        offset: active.end_offset,
        entries: active.records.len() as u64,
        frames_offset: active.frames_offset,
    }
}

impl Facts {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }
}
