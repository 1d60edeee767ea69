//! The threads that read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::CallId;

use super::Source;
use crate::state::core::{Answer, Read, ReadError};
use crate::supervision::{Heartbeat, panic_message};

/// A read that is over.
pub(crate) type ReadDone = (CallId, Result<Answer, ReadError>);

/// A pool of threads; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ReaderPool {
    /// Unbounded here, because State's bounds on pending gets are its bound.
    reads: Sender<(CallId, Read)>,
    heartbeats: Vec<Heartbeat>,
}

impl ReaderPool {
    /// Starts a thread for each heartbeat, which calls `done` for every read.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(crate) fn start(
        heartbeats: Vec<Heartbeat>,
        source: &Arc<Source>,
        done: impl Fn(ReadDone) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (reads, queue) = unbounded::<(CallId, Read)>();
        for (index, heartbeat) in heartbeats.iter().cloned().enumerate() {
            let (queue, source, done) = (queue.clone(), Arc::clone(source), done.clone());
            thread::Builder::new().name(format!("roadbed-read-{index}")).spawn(move || {
                for (call, read) in queue {
                    // A read that panics ends with an error for its caller; the thread goes on.
                    let result =
                        catch_unwind(AssertUnwindSafe(|| heartbeat.during(call, || source.read(&read))));
                    let panicked = |panic: Box<dyn std::any::Any + Send>| ReadError::Damaged {
                        number: number_of(&read),
                        detail: format!("the reader panicked: {}", panic_message(panic.as_ref())),
                    };
                    done((call, result.map_err(panicked).flatten()));
                }
            })?;
        }
        Ok(Self { reads, heartbeats })
    }

    /// How long the oldest read that is under way has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.heartbeats.iter().filter_map(Heartbeat::running_for).map(|(running_for, _)| running_for).max()
    }

    /// Queues a read.
    pub(crate) fn read(&self, call: CallId, read: Read) {
        // The threads end only with the pool.
        self.reads.send((call, read)).expect("the pool's threads live as long as the pool");
    }
}

fn number_of(read: &Read) -> BlockNumber {
    match read {
        Read::Qc(number) | Read::Block(number) | Read::GlobalBlock(number) => *number,
        Read::GlobalBlocks(range) => range.start,
        Read::ByHash(_) => BlockNumber(0),
    }
}
