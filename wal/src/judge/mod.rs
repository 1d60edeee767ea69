//! Opening a log: first judge, writing nothing; then, if nothing refuses, repair and take over.

pub(crate) mod chain;
pub(crate) mod end;
pub(crate) mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ADVICE_OPEN, WalError};
use crate::format::end::EndRecord;
use crate::format::header::{Header, HeaderFault, TablePlace};
use crate::format::page::PageFault;
use crate::format::{PAGE, PAGE_BYTES};
use crate::log::Log;
use crate::names::{self, Named};
use crate::options::LogOptions;
use crate::reader::Reader;
use crate::scan::FileSource;
use crate::segment::{Handles, Sealed, SegmentFile, Table, read_failed};
use crate::shared::{Active, Shared, View};
use crate::storage::{
    Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint, child, read_full,
};
use chain::Candidate;
use tail::{Limits, Tail};

/// Bytes that are read at once when a segment is judged.
const AHEAD_BYTES: usize = 1 << 20;
/// Segments whose headers are asked of the storage before the first of them is waited for.
const HEADERS_AT_ONCE: usize = 32;

/// What judging found, before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether there are segments at all.
    pub exists: bool,
    /// The oldest index retained.
    pub first: u64,
    /// The index after the last entry.
    pub next: u64,
    /// The key of the oldest entry.
    pub first_key: Option<u64>,
    /// The key of the last entry.
    pub last_key: Option<u64>,
    /// Whether the log is empty, and nothing was ever appended or reset.
    pub never_used: bool,
    /// Bytes of the torn tail that opening will cut off.
    pub torn_bytes: u64,
    /// Segments that count.
    pub segments: usize,
    /// Bytes of those segments up to their ends.
    pub size_bytes: u64,
    /// Whether the log was closed in order.
    pub clean_close: bool,
}

/// A log that was judged: its lock is held, its files are as they were.
#[derive(Debug)]
pub struct Judged {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    /// None where the directory itself is missing.
    pub(crate) lock: Option<Box<dyn LockGuard>>,
    pub(crate) found: Found,
    pub(crate) state: Option<State>,
    facts: Facts,
}

/// The chain of segments of an existing log.
#[derive(Debug)]
pub(crate) struct State {
    /// Of the last segment.
    pub(crate) header: Header,
    pub(crate) tail: Tail,
    pub(crate) shared: Arc<Shared>,
}

/// Files that don't count.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) dead: Vec<(u64, PathBuf)>,
    pub(crate) prepared: Vec<PathBuf>,
    pub(crate) spares: Vec<(u64, PathBuf)>,
    /// Where the log had ended, by slot; what says the most comes last.
    pub(crate) ends: Vec<(u64, EndRecord)>,
    /// The highest sequence of any segment, preparation or record.
    pub(crate) sequence: u64,
}

impl Judged {
    pub(crate) fn new(storage: Arc<dyn Storage>, dir: &Path, options: LogOptions) -> Result<Self, WalError> {
        options.check()?;
        let mut judged = Self {
            storage,
            dir: dir.to_path_buf(),
            options,
            lock: None,
            found: Found::default(),
            state: None,
            facts: Facts::missing(),
        };
        if list(&*judged.storage, dir)?.is_some() {
            judged.lock = Some(take_lock(&*judged.storage, dir)?);
            judged.look()?;
        }
        judged.require()?;
        Ok(judged)
    }

    /// What was found.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads what was judged valid; `None` where there is no log. Stays usable after [`Judged::open`].
    #[must_use]
    pub fn try_reader(&self) -> Option<Reader> {
        self.state.as_ref().map(|state| Reader::new(state.shared.clone()))
    }

    /// Reads what was judged valid.
    ///
    /// # Panics
    /// When there is no log ([`Facts::exists`] says so; [`Judged::try_reader`] asks first).
    #[must_use]
    #[track_caller]
    pub fn reader(&self) -> Reader {
        self.try_reader().expect("a log that exists")
    }

    /// Follows an owner in this process whose life is over, but whose readers may still be at work: until the last of
    /// them has let go of a file, it is neither recycled nor removed.
    #[must_use]
    pub fn after(self, before: &Reader) -> Self {
        if let Some(state) = &self.state {
            state.shared.handles.follow(before.handles());
        }
        self
    }

    /// Takes the log over: a torn tail is cut off by publishing a segment.
    ///
    /// # Errors
    /// [`WalError::Missing`], or what the storage says.
    pub fn open(self) -> Result<Log, WalError> {
        Log::take_over(self, None)
    }

    /// Recovery inside the process after a failed write: everything at or beyond `next` is dropped, whatever the page
    /// cache shows of it, by publishing a segment that ends its predecessor exactly there.
    ///
    /// # Errors
    /// [`WalError::Shorter`] if the log ends before `next`: durable entries are gone. Otherwise like [`Judged::open`].
    pub fn open_at(self, next: u64) -> Result<Log, WalError> {
        Log::take_over(self, Some(next))
    }

    /// Makes the first segment where there is none.
    ///
    /// # Errors
    /// [`WalError::Exists`], or what the storage says.
    pub fn create(mut self, first_index: u64) -> Result<Log, WalError> {
        if self.state.is_some() {
            return Err(WalError::Exists { path: self.dir });
        }
        let dir = self.dir.clone();
        let made = self.storage.create_dir(&dir);
        made.map_err(|error| WalError::io("make the log's directory", &dir, None, &error))?;
        if self.lock.is_none() {
            self.lock = Some(take_lock(&*self.storage, &dir)?);
            self.look()?;
            if self.state.is_some() {
                return Err(WalError::Exists { path: dir });
            }
        }
        Log::first(self, first_index)
    }

    fn require(&self) -> Result<(), WalError> {
        match self.options.require_at_least {
            Some(expected) if expected > self.facts.next => {
                Err(WalError::Shorter { path: self.dir.clone(), expected, found: self.facts.next })
            }
            _ => Ok(()),
        }
    }

    /// Looks at the directory under the lock.
    fn look(&mut self) -> Result<(), WalError> {
        let (storage, dir) = (&*self.storage, self.dir.as_path());
        sync_dir(storage, dir, SyncPoint::OpenDirectory)?;
        if let Some(parent) = dir.parent() {
            sync_dir(storage, parent, SyncPoint::Parent)?;
        }
        let (candidates, mut found) = gather(storage, dir)?;
        if let Some(last) = candidates.last() {
            let header = *last.sound(&self.options.stream)?;
            let tail = judge_last(storage, last, &header, &self.options)?;
            if let Some((_, record)) = found.ends.last() {
                end::check(record, &self.options.stream, dir, &last.path, &header, &tail)?;
            }
            let linked = chain::link(&candidates, &self.options.stream, tail.trim)?;
            let dead = (0..candidates.len()).filter(|at| !linked.contains(at)).map(|at| &candidates[at]);
            found.dead = dead.map(|candidate| (candidate.sequence, candidate.path.clone())).collect();
            let handles = Handles::new(self.storage.clone(), self.options.open_files_max);
            let view = view(&handles, &candidates, &linked, &header, &tail)?;
            let shared = Arc::new(Shared::new(handles, self.options.entry_bytes_max, view));
            self.facts = Facts::of(&header, &tail, &shared)?;
            self.state = Some(State { header, tail, shared });
        }
        self.found = found;
        Ok(())
    }
}

impl Facts {
    fn missing() -> Self {
        Self {
            exists: false,
            first: 0,
            next: 0,
            first_key: None,
            last_key: None,
            never_used: true,
            torn_bytes: 0,
            segments: 0,
            size_bytes: 0,
            clean_close: false,
        }
    }

    fn of(header: &Header, tail: &Tail, shared: &Arc<Shared>) -> Result<Self, WalError> {
        let range = shared.range();
        let first_key = shared.key_of(range.start)?;
        let view = shared.view();
        Ok(Self {
            exists: true,
            first: range.start,
            next: range.end,
            first_key,
            last_key: view.last_key(),
            never_used: !header.used && tail.records.is_empty() && view.sealed.is_empty(),
            torn_bytes: tail.torn_bytes,
            segments: view.sealed.len() + 1,
            size_bytes: view.size_bytes(),
            clean_close: tail.closed(),
        })
    }
}

/// The files in a directory; nothing else in it is a log's.
pub(crate) fn list(storage: &dyn Storage, dir: &Path) -> Result<Option<Vec<Listed>>, WalError> {
    let listed = storage.list(dir).map_err(|error| WalError::io("list the directory", dir, None, &error))?;
    Ok(listed.map(|found| found.into_iter().filter(|one| one.is_file).collect()))
}

pub(crate) fn sync_dir(storage: &dyn Storage, dir: &Path, point: SyncPoint) -> Result<(), WalError> {
    storage.sync_dir(dir, point).map_err(|error| WalError::io(point.name(), dir, None, &error))
}

fn take_lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn LockGuard>, WalError> {
    let path = child(dir, names::LOCK);
    storage.lock(&path).map_err(|fault| match fault {
        LockFault::Held(holder) => WalError::InUse { path, holder },
        LockFault::Io(error) => WalError::io("lock the directory", &path, None, &error),
    })
}

/// Sorts a directory's files by what they are, and reads the headers of the segments.
pub(crate) fn gather(storage: &dyn Storage, dir: &Path) -> Result<(Vec<Candidate>, Found), WalError> {
    let (mut segments, mut found) = (Vec::new(), Found::default());
    for file in list(storage, dir)?.unwrap_or_default() {
        let path = child(dir, &file.name);
        match names::parse(&file.name) {
            Named::Segment(sequence) => {
                segments.push((sequence, path, file.bytes));
                found.sequence = found.sequence.max(sequence);
            }
            Named::Prepared(sequence) => {
                found.prepared.push(path);
                found.sequence = found.sequence.max(sequence);
            }
            Named::Spare(number) => found.spares.push((number, path)),
            Named::End => {
                found.ends = end::read(storage, &path)?;
                let sequences = found.ends.iter().map(|(_, record)| record.sequence);
                found.sequence = sequences.chain([found.sequence]).max().unwrap_or(0);
            }
            Named::Other => {}
        }
    }
    segments.sort_unstable();
    let mut candidates = Vec::with_capacity(segments.len());
    for some in segments.chunks(HEADERS_AT_ONCE) {
        let files: Vec<_> =
            some.iter().map(|(_, path, _)| open_to_read(storage, path)).collect::<Result<_, _>>()?;
        files.iter().for_each(|file| file.expect_reads(0..PAGE));
        for ((sequence, path, bytes), file) in some.iter().zip(files) {
            let header = header_of(&*file, path)?;
            candidates.push(Candidate { sequence: *sequence, path: path.clone(), bytes: *bytes, header });
        }
    }
    found.spares.sort_unstable();
    Ok((candidates, found))
}

pub(crate) fn read_header(
    storage: &dyn Storage,
    path: &Path,
) -> Result<Result<Header, HeaderFault>, WalError> {
    header_of(&*open_to_read(storage, path)?, path)
}

fn header_of(file: &dyn StorageFile, path: &Path) -> Result<Result<Header, HeaderFault>, WalError> {
    let mut page = [0; PAGE_BYTES];
    let whole = read_full(file, &mut page, 0).map_err(|error| read_failed(path, 0, &error))?;
    if !whole {
        return Ok(Err(HeaderFault::Page(PageFault::Magic(0))));
    }
    Ok(Header::decode(&page))
}

pub(crate) fn open_to_read(storage: &dyn Storage, path: &Path) -> Result<Arc<dyn StorageFile>, WalError> {
    storage
        .open(path, OpenMode::Read)
        .map_err(|error| WalError::io("open a segment to read", path, None, &error))
}

/// What a killed process left dirty in the page cache must not be taken for durable: it is made so first, then dropped,
/// and only then judged.
fn judge_last(
    storage: &dyn Storage,
    last: &Candidate,
    header: &Header,
    options: &LogOptions,
) -> Result<Tail, WalError> {
    let file = open_to_read(storage, &last.path)?;
    let point = SyncPoint::OpenTail;
    file.sync_data(point).map_err(|error| WalError::io(point.name(), &last.path, None, &error))?;
    file.drop_cache().map_err(|error| WalError::io("drop the page cache", &last.path, None, &error))?;
    let source = FileSource::in_order(&*file, header.frames_offset)
        .map_err(|error| read_failed(&last.path, 0, &error))?;
    let limits = Limits { entry_bytes_max: options.entry_bytes_max, ahead: AHEAD_BYTES };
    tail::judge(&last.path, header, &source, limits)
}

/// The view of a chain whose last segment was judged.
fn view(
    handles: &Handles,
    candidates: &[Candidate],
    linked: &[usize],
    last: &Header,
    tail: &Tail,
) -> Result<View, WalError> {
    let file = |at: usize| handles.file(candidates[at].path.clone(), candidates[at].sequence);
    let files: Vec<Arc<SegmentFile>> = linked.iter().map(|at| file(*at)).collect();
    let mut sealed = Vec::new();
    for (nth, pair) in linked.windows(2).enumerate() {
        let (Ok(header), Ok(after)) = (&candidates[pair[0]].header, &candidates[pair[1]].header) else {
            continue; // `link` has refused these
        };
        sealed.push(Arc::new(seal(&candidates[pair[0]], &files[nth], header, after, &files[nth + 1])?));
    }
    let active = Active {
        file: files[files.len() - 1].clone(),
        salt: last.salt,
        base: last.base_index,
        frames_offset: last.frames_offset,
        records: tail.records.clone(),
        end_offset: tail.end_offset,
        tail: tail.tail,
    };
    Ok(View { sealed, active, first: tail.trim })
}

fn seal(
    candidate: &Candidate,
    file: &Arc<SegmentFile>,
    header: &Header,
    after: &Header,
    after_file: &Arc<SegmentFile>,
) -> Result<Sealed, WalError> {
    let damage = |expected: &str, found: String| {
        Err(WalError::corrupt(&after_file.path, 0, Some(after.base_index), expected, found, ADVICE_OPEN))
    };
    let Some(before) = &after.predecessor else {
        return damage("a predecessor", "none".to_owned());
    };
    let (table, room) = match before.table {
        TablePlace::None => (None, u64::MAX),
        TablePlace::Own(span) => (Some((file, header.salt, span)), candidate.bytes),
        TablePlace::Here(span) => (Some((after_file, after.salt, span)), after.frames_offset),
    };
    let entries = before.end_index - header.base_index;
    let (named, end) =
        table.map_or((0, 0), |(_, _, span)| (span.entries, span.offset.saturating_add(span.bytes())));
    if named < entries || end > room {
        let found = format!("one of {named} entries that ends at offset {end}");
        return damage(&format!("a table of at least {entries} entries within {room} bytes"), found);
    }
    Ok(Sealed {
        file: file.clone(),
        salt: header.salt,
        base: header.base_index,
        frames_offset: header.frames_offset,
        end_offset: before.end_offset,
        end_index: before.end_index,
        last_key: before.last_key,
        tail: before.tail,
        table: table.map(|(file, salt, span)| Table { file: file.clone(), salt, span }),
    })
}
