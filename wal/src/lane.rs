//! More writes in flight: the front parts of a large group are written while its rest is still being appended.
//!
//! ```text
//! append append │ append append │ append append │ append append │ sync
//!               └▶ one lane: direct write ──────────┐
//!                               └▶ the other lane: direct write ──────┐
//!                                               └▶ the first ────────┼──┐
//!                                                                    │  ├▶ all durable: acknowledge
//!                                                 rest: direct write ┴──┘
//! ```
//!
//! Only direct writes go this way: each has a result of its own, while of two fdatasyncs on one file only one is told of
//! an error. The parts belong to one group, which is acknowledged when all of it is durable; as long as it is not, any
//! part of it may be torn, like any group.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::storage::{LockGuard, StorageFile, SyncPoint, write_durably};

/// Threads that write parts, beside the rest, which the log's owner writes. A third would gain a little more.
const LANES: usize = 2;
/// Parts that wait for one lane; whoever hands in more waits.
const QUEUE: usize = 2;

/// Whole pages of a group, finished.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) buffer: AlignedBuffer,
    /// In the segment.
    pub(crate) offset: u64,
}

struct Job {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    part: Part,
}

struct Done {
    buffer: AlignedBuffer,
    result: Result<(), WalError>,
}

/// The threads that write front parts, started with the first part.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Parts that were handed in since everything was settled.
    parts: usize,
}

impl Lanes {
    /// Hands a part in, to the lanes by turns; waits while too many wait already.
    pub(crate) fn submit(
        &mut self,
        lock: &Arc<dyn LockGuard>,
        file: Arc<dyn StorageFile>,
        path: PathBuf,
        part: Part,
    ) -> Result<(), WalError> {
        let at = Some(part.offset);
        let nth = self.parts % LANES;
        if nth == self.lanes.len() {
            let started = Lane::start(lock.clone());
            self.lanes.push(started.map_err(|error| WalError::io("start a thread", &path, at, &error))?);
        }
        let lane = &mut self.lanes[nth];
        let job = Job { file, path: path.clone(), part };
        if lane.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            return Err(lane.gone("hand a part of a group to its thread", &path, at));
        }
        lane.outstanding += 1;
        self.parts += 1;
        Ok(())
    }

    /// Waits for everything that was handed in; answers the buffers, and the first failure.
    pub(crate) fn settle(&mut self, path: &Path) -> (Vec<AlignedBuffer>, Result<(), WalError>) {
        let (mut buffers, mut result) = (Vec::new(), Ok(()));
        for lane in &mut self.lanes {
            while lane.outstanding > 0 {
                let written = match lane.done.recv() {
                    Ok(done) => {
                        lane.outstanding -= 1;
                        buffers.push(done.buffer);
                        done.result
                    }
                    Err(_) => Err(lane.gone("write a part of a group", path, None)),
                };
                result = result.and(written);
            }
        }
        self.parts = 0;
        (buffers, result)
    }
}

/// One of them. It keeps the log's lock as long as it lives: a write that hangs can never wake beside another owner.
#[derive(Debug)]
struct Lane {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
}

impl Lane {
    fn start(lock: Arc<dyn LockGuard>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let (finished, done) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("wal-lane".to_owned()).spawn(move || {
            let _lock = lock;
            while let Ok(Job { file, path, part }) = queue.recv() {
                let result = write_durably(&*file, &path, part.buffer.bytes(), part.offset, SyncPoint::Group);
                if finished.send(Done { buffer: part.buffer, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread), outstanding: 0 })
    }

    /// Its thread has ended, which only a panic does to it.
    fn gone(&mut self, op: &'static str, path: &Path, at: Option<u64>) -> WalError {
        self.outstanding = 0;
        WalError::io(op, path, at, &std::io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its failures were answered as results.
            let _ended = thread.join();
        }
    }
}
