//! The threads that read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::CallId;

use super::Source;
use crate::state::core::{Answer, Read, ReadError};
use crate::supervision::panic_message;

/// A read that is over.
pub(crate) type ReadDone = (CallId, Result<Answer, ReadError>);

/// A pool of threads; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ReaderPool {
    /// Unbounded here, because State's bounds on pending gets are its bound.
    reads: Sender<(CallId, Read)>,
}

impl ReaderPool {
    /// Starts `threads` threads, which call `done` for every read.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(crate) fn start(
        threads: usize,
        source: &Arc<Source>,
        done: impl Fn(ReadDone) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (reads, queue) = unbounded::<(CallId, Read)>();
        for index in 0..threads {
            let (queue, source, done) = (queue.clone(), Arc::clone(source), done.clone());
            thread::Builder::new().name(format!("roadbed-read-{index}")).spawn(move || {
                for (call, read) in queue {
                    // A read that panics ends with an error for its caller; the thread goes on.
                    let result = catch_unwind(AssertUnwindSafe(|| source.read(&read)));
                    let panicked = |panic: Box<dyn std::any::Any + Send>| ReadError::Damaged {
                        number: number_of(&read),
                        detail: format!("the reader panicked: {}", panic_message(panic.as_ref())),
                    };
                    done((call, result.map_err(panicked).flatten()));
                }
            })?;
        }
        Ok(Self { reads })
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
