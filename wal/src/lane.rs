//! A second write in flight: the front part of a large group is written while its rest is still being appended.
//!
//! ```text
//! append append append append │ append append append append │ sync
//!                             └▶ lane: direct write ────────────┐
//!                                                               ├▶ both durable: acknowledge
//!                                           rest: direct write ─┘
//! ```
//!
//! Only direct writes go this way: each has a result of its own, while of two fdatasyncs on one file only one is told of
//! an error. The parts belong to one group, which is acknowledged when all of it is durable; as long as it is not, any
//! part of it may be torn, like any group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::storage::{LockGuard, StorageFile, SyncPoint, write_durably};

/// Parts that wait for the lane; whoever hands in more waits.
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

/// The thread that writes front parts. It keeps the log's lock as long as it lives: a write that hangs can never wake
/// beside another owner.
#[derive(Debug)]
pub(crate) struct Lane {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
}

impl Lane {
    pub(crate) fn start(lock: Arc<dyn LockGuard>) -> std::io::Result<Self> {
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

    /// Hands a part in; waits while too many wait already.
    pub(crate) fn submit(
        &mut self,
        file: Arc<dyn StorageFile>,
        path: PathBuf,
        part: Part,
    ) -> Result<(), WalError> {
        let at = part.offset;
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(Job { file, path: path.clone(), part }));
        if matches!(sent, Some(Ok(()))) {
            self.outstanding += 1;
            return Ok(());
        }
        Err(WalError::io(
            "hand a part of a group to its thread",
            &path,
            Some(at),
            &std::io::ErrorKind::BrokenPipe.into(),
        ))
    }

    /// Waits for everything that was handed in; answers the buffers, and the first failure.
    pub(crate) fn settle(&mut self) -> (Vec<AlignedBuffer>, Result<(), WalError>) {
        let (mut buffers, mut result) = (Vec::new(), Ok(()));
        while self.outstanding > 0 {
            self.outstanding -= 1;
            match self.done.recv() {
                Ok(done) => {
                    buffers.push(done.buffer);
                    result = result.and(done.result);
                }
                Err(_) => {
                    let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
                    self.outstanding = 0;
                    result =
                        result.and(Err(WalError::io("write a part of a group", "".as_ref(), None, &gone)));
                }
            }
        }
        (buffers, result)
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
