//! A replay on several threads: pieces of the range are read, checked and mapped beside each other, and come out in
//! order. What is read ahead is bounded.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::entry::StoredEntry;
use crate::error::WalError;
use crate::replay::Replay;
use crate::segment::SegmentInfo;
use crate::shared::Shared;

/// Bytes of a piece, about.
const PIECE_BYTES: u64 = 2 << 20;
/// Pieces that are read or wait to be taken, for each thread.
const PIECES_A_THREAD: usize = 2;

type Piece<T> = Vec<Result<T, WalError>>;
type Job<T> = (Range<u64>, SyncSender<Piece<T>>);

/// Iterator over the mapped entries of a range; see [`crate::Reader::replay_parallel`]. Dropping it ends its threads.
pub struct ParallelReplay<T> {
    jobs: Option<SyncSender<Job<T>>>,
    threads: Vec<JoinHandle<()>>,
    pieces: VecDeque<Range<u64>>,
    waiting: VecDeque<Receiver<Piece<T>>>,
    ready: std::vec::IntoIter<Result<T, WalError>>,
    remaining: Range<u64>,
    ahead: usize,
    failed: bool,
}

impl<T> fmt::Debug for ParallelReplay<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelReplay").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> ParallelReplay<T> {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        range: Range<u64>,
        threads: usize,
        map: impl Fn(StoredEntry) -> T + Send + Sync + 'static,
    ) -> Self {
        let have = shared.range();
        let range = range.start.max(have.start)..range.end.min(have.end);
        let threads = threads.max(1);
        let ahead = threads * PIECES_A_THREAD;
        let (jobs, queue) = sync_channel::<Job<T>>(ahead);
        let (queue, map) = (Arc::new(Mutex::new(queue)), Arc::new(map));
        let worker = |_| {
            let (shared, queue, map) = (shared.clone(), queue.clone(), map.clone());
            std::thread::Builder::new()
                .name("wal-replay".to_owned())
                .spawn(move || work(&shared, &queue, &*map))
        };
        // With fewer threads than asked for it only takes longer; with none, the first piece ends it with an error.
        let threads = (0..threads).map_while(|nth| worker(nth).ok()).collect();
        Self {
            jobs: Some(jobs),
            threads,
            pieces: pieces(&shared.segments(), range.clone()),
            waiting: VecDeque::new(),
            ready: Vec::new().into_iter(),
            remaining: range,
            ahead,
            failed: false,
        }
    }
}

impl<T> ParallelReplay<T> {
    /// The entries that are still to come: progress, beside the range that was asked for.
    #[must_use]
    pub fn remaining(&self) -> Range<u64> {
        self.remaining.clone()
    }

    fn hand_out(&mut self) {
        while self.waiting.len() < self.ahead {
            let (Some(piece), Some(jobs)) = (self.pieces.pop_front(), &self.jobs) else {
                return;
            };
            let (sender, receiver) = sync_channel(1);
            if jobs.send((piece, sender)).is_err() {
                return;
            }
            self.waiting.push_back(receiver);
        }
    }

    fn next_piece(&mut self) -> Option<Result<(), WalError>> {
        if self.threads.is_empty() && !self.pieces.is_empty() {
            let reason = "no thread could be started for it".to_owned();
            return Some(Err(WalError::Options { name: "replay threads", reason }));
        }
        self.hand_out();
        let piece = self.waiting.pop_front()?;
        match piece.recv() {
            Ok(piece) => {
                self.ready = piece.into_iter();
                Some(Ok(()))
            }
            // Only a panic of the caller's own function ends a worker early.
            Err(_) => panic!("a replay worker panicked while it mapped an entry"),
        }
    }
}

impl<T> Iterator for ParallelReplay<T> {
    type Item = Result<T, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(item) = self.ready.next() {
                self.failed = item.is_err();
                self.remaining.start += 1;
                return Some(item);
            }
            if let Err(error) = self.next_piece()? {
                self.failed = true;
                return Some(Err(error));
            }
        }
    }
}

impl<T> Drop for ParallelReplay<T> {
    fn drop(&mut self) {
        self.jobs = None;
        self.waiting.clear();
        self.pieces.clear();
        for thread in self.threads.drain(..) {
            // A worker that panicked has been told of by `next`.
            let _ended = thread.join();
        }
    }
}

fn work<T>(
    shared: &Arc<Shared>,
    queue: &Mutex<Receiver<Job<T>>>,
    map: &(impl Fn(StoredEntry) -> T + ?Sized),
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((range, sender)) = job else {
            return;
        };
        let piece = Replay::exactly(shared.clone(), range).map(|entry| entry.map(map)).collect();
        // Nobody waits for it any more when the replay was dropped.
        let _taken = sender.send(piece);
    }
}

/// Cuts a range into pieces of about [`PIECE_BYTES`], none across segments.
fn pieces(segments: &[SegmentInfo], range: Range<u64>) -> VecDeque<Range<u64>> {
    let mut pieces = VecDeque::new();
    for segment in segments {
        let (start, end) = (range.start.max(segment.base), range.end.min(segment.end));
        let entries = segment.end - segment.base;
        let step = (entries * PIECE_BYTES / segment.bytes.max(1)).max(1);
        let mut at = start;
        while at < end {
            let next = end.min(at.saturating_add(step));
            pieces.push_back(at..next);
            at = next;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_of_one_segment_and_of_about_their_size() {
        let segment = |entries: Range<u64>, bytes: u64| SegmentInfo {
            sequence: 1,
            base: entries.start,
            end: entries.end,
            bytes,
            path: "1.seg".into(),
        };
        let segments =
            [segment(100..1124, 8 << 20), segment(1124..1124, 4096), segment(1124..1127, 64 << 20)];
        let all: Vec<_> = pieces(&segments, 0..u64::MAX).into();
        assert_eq!(
            all,
            [100..356, 356..612, 612..868, 868..1124, 1124..1125, 1125..1126, 1126..1127],
            "2 MiB each, or one entry"
        );
        assert_eq!(pieces(&segments, 300..600), [300..556, 556..600]);
        assert_eq!(pieces(&segments, 1100..1125), [1100..1124, 1124..1125]);
        assert!(pieces(&segments, 1127..2000).is_empty());
    }

    /// A replay of five pieces that no thread works on.
    fn unattended(jobs: SyncSender<Job<u64>>) -> ParallelReplay<u64> {
        ParallelReplay {
            jobs: Some(jobs),
            threads: Vec::new(),
            pieces: (0..5).map(|piece| piece * 10..(piece + 1) * 10).collect(),
            waiting: VecDeque::new(),
            ready: Vec::new().into_iter(),
            remaining: 0..50,
            ahead: 3,
            failed: false,
        }
    }

    #[test]
    fn so_many_pieces_are_handed_out_and_no_more() {
        let (jobs, queue) = sync_channel(8);
        let mut replay = unattended(jobs);
        replay.hand_out();
        let handed: Vec<_> = queue.try_iter().map(|(range, _)| range).collect();
        assert_eq!(handed, [0..10, 10..20, 20..30]);
    }

    #[test]
    fn without_any_thread_it_ends_with_an_error_and_not_early() {
        let (jobs, _) = sync_channel(8);
        let mut replay = unattended(jobs);
        assert!(matches!(replay.next(), Some(Err(WalError::Options { name: "replay threads", .. }))));
        assert!(replay.next().is_none());
    }
}
