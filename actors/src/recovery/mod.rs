//! What recovery brings into memory: read from both logs as a stream, verified on all cores as untrusted input.
//!
//! It reads what the plan will leave of the logs, before anything is written: where it finds damage, every file is as
//! it was.
//!
//! By default only the window is verified here, and of it only what memory may hold is kept; what is older is
//! verified when it is first read. Reading is one thread's work, verifying the others'; chunks keep their order.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;
use roadbed_messages::api::workers::Loaded;
use roadbed_messages::api::{StartError, WalKind};
use roadbed_messages::{BlockNumber, Committee, VerifiedBlock, VerifiedQc, verify_qcs};
use roadbed_wal::{Reader, StoredEntry, WalError};

use crate::metrics::Metrics;
use crate::reader::{checked_block, decoded_qc};
use crate::supervision::panic_message;

/// Records that one thread verifies at a time: enough QCs for a batch, few enough that chunks spread over all cores.
const CHUNK_RECORDS: usize = 64;

/// Everything that loading needs.
pub(crate) struct Load {
    pub(crate) committee: Committee,
    pub(crate) qcs: Option<Reader>,
    pub(crate) blocks: Option<Reader>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) threads: usize,
    pub(crate) memory_bytes_max: u64,
    pub(crate) first: BlockNumber,
    pub(crate) verify_from: BlockNumber,
    pub(crate) next_block: BlockNumber,
    pub(crate) next_qc: BlockNumber,
}

type LoadResult = Result<Loaded, StartError>;

impl Load {
    /// Loads on a thread of its own, and calls `done` with what came of it.
    pub(crate) fn spawn(self, done: impl FnOnce(LoadResult) + Send + 'static) {
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| self.load())).unwrap_or_else(|panic| {
                Err(StartError::Failed {
                    detail: format!("recovery panicked: {}", panic_message(panic.as_ref())),
                })
            });
            done(result);
        };
        if let Err(error) = thread::Builder::new().name("roadbed-recovery".to_owned()).spawn(body) {
            // The closure is gone with its thread: a start that gets no answer must not look alive.
            panic!("can't start the recovery thread: {error}");
        }
    }

    /// Loads here and now.
    pub(crate) fn load(self) -> LoadResult {
        let qcs = self.load_qcs()?;
        let blocks = self.load_blocks(&qcs)?;
        // QCs stay in memory from the one of the oldest block that does; those above next_block always do.
        let oldest = BlockNumber(self.next_block.0 - blocks.len() as u64);
        let qcs = qcs.into_iter().filter(|(_, qc)| qc.range().end > oldest).collect();
        Ok(Loaded { qcs, blocks })
    }

    /// The QCs from the one of `verify_from` to the end, each next to the one before it.
    fn load_qcs(&self) -> Result<Vec<(u64, VerifiedQc)>, StartError> {
        if self.first == self.next_qc {
            return Ok(Vec::new());
        }
        let log = log(&self.qcs)?;
        let from = self.verify_from.min(self.next_qc.saturating_sub(1));
        let start = log.get_by_key(from.0).map_err(unreadable)?.map_or(log.range().end, |entry| entry.index);
        let blocks = self.next_block.0.saturating_sub(self.verify_from.max(self.first).0);
        self.metrics.recovery_wants(log.range().end.saturating_sub(start) + blocks);
        let mut loaded: Vec<(u64, VerifiedQc)> = Vec::new();
        self.in_parallel(
            log,
            start..log.range().end,
            |entries| {
                let qcs = entries
                    .iter()
                    .map(|entry| decoded_qc(entry).map(Arc::new).map_err(|error| damaged("QC", entry, &error)))
                    .collect::<Result<Vec<_>, _>>()?;
                let verified = verify_qcs(&self.committee, qcs).into_iter().zip(entries);
                verified
                    .map(|(qc, entry)| match qc {
                        Ok(qc) => Ok((entry.index, qc)),
                        Err(error) => Err(damaged("QC", entry, &error.to_string())),
                    })
                    .collect()
            },
            |(index, qc): (u64, VerifiedQc)| {
                if let Some((_, last)) = loaded.last()
                    && last.range().end != qc.range().start
                {
                    let (end, start) = (last.range().end, qc.range().start);
                    let detail = format!(
                        "the QC log has a gap: a QC that ends at block {end} is followed by one that starts at {start} \
                         (entry {index}); run `roadbed verify` on the directory, and restore it from a backup"
                    );
                    return Err(StartError::Corrupt { detail });
                }
                self.metrics.recovery_read(WalKind::Qcs);
                loaded.push((index, qc));
                Ok(())
            },
        )?;
        match loaded.last() {
            Some((_, last)) if last.range().end == self.next_qc => Ok(loaded),
            last => {
                let found = last.map_or(self.first, |(_, last)| last.range().end);
                let detail = format!("the QC log ends at block {found}, its last key says {}", self.next_qc);
                Err(StartError::Corrupt { detail })
            }
        }
    }

    /// The newest blocks that memory may hold; all from `verify_from` on are verified against their QCs.
    fn load_blocks(&self, qcs: &[(u64, VerifiedQc)]) -> Result<Vec<VerifiedBlock>, StartError> {
        let from = self.verify_from.max(self.first).min(self.next_block);
        if from == self.next_block {
            return Ok(Vec::new());
        }
        let log = log(&self.blocks)?;
        let mut kept = std::collections::VecDeque::new();
        let mut kept_bytes = 0_u64;
        self.in_parallel(
            log,
            from.0..self.next_block.0,
            |entries| {
                entries
                    .iter()
                    .map(|entry| {
                        let number = BlockNumber(entry.index);
                        let block = checked_block(&self.committee, entry)
                            .map_err(|error| damaged("block", entry, &error))?;
                        let at = qcs.partition_point(|(_, qc)| qc.range().end <= number);
                        let matched = qcs.get(at).map(|(_, qc)| qc.match_block(number, &block));
                        match matched {
                            Some(Ok(())) => Ok(block),
                            Some(Err(error)) => Err(damaged("block", entry, &error.to_string())),
                            None => Err(damaged("block", entry, "no QC covers it")),
                        }
                    })
                    .collect()
            },
            |block: VerifiedBlock| {
                self.metrics.recovery_read(WalKind::Blocks);
                kept_bytes += block.size_bytes() as u64;
                kept.push_back(block);
                while kept_bytes > self.memory_bytes_max
                    && let Some(oldest) = kept.pop_front()
                {
                    kept_bytes -= oldest.size_bytes() as u64;
                }
                Ok(())
            },
        )?;
        Ok(kept.into())
    }

    /// Reads the entries of `range`, has `check` look at chunks of them on all cores, and gives `take` the results
    /// in order. Memory holds a few chunks for each thread. Where there is one thread only, it is the caller's.
    fn in_parallel<T: Send>(
        &self,
        log: &Reader,
        range: Range<u64>,
        check: impl Fn(&[StoredEntry]) -> Result<Vec<T>, StartError> + Sync,
        mut take: impl FnMut(T) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let wanted = range.end.saturating_sub(range.start);
        let mut seen = 0_u64;
        let mut take = |checked: Vec<T>| {
            seen += checked.len() as u64;
            checked.into_iter().try_for_each(&mut take)
        };
        let mut replay = log.replay(range);
        let chunks = std::iter::from_fn(move || {
            let chunk: Result<Vec<_>, WalError> = replay.by_ref().take(CHUNK_RECORDS).collect();
            match chunk {
                Ok(entries) if entries.is_empty() => None,
                chunk => Some(chunk.map_err(unreadable)),
            }
        });
        if self.threads == 1 {
            for chunk in chunks {
                take(check(&chunk?)?)?;
            }
        } else {
            self.on_threads(chunks, check, take)?;
        }
        if seen == wanted {
            return Ok(());
        }
        Err(StartError::Corrupt {
            detail: format!("a log gave {seen} of {wanted} entries that it should hold"),
        })
    }

    /// The same on threads: one reads, the others check, and this one takes.
    fn on_threads<T: Send>(
        &self,
        chunks: impl Iterator<Item = Result<Vec<StoredEntry>, StartError>> + Send,
        check: impl Fn(&[StoredEntry]) -> Result<Vec<T>, StartError> + Sync,
        mut take: impl FnMut(Vec<T>) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        thread::scope(|scope| {
            // Each chunk brings the channel on which its own result comes: so results are taken in the order of
            // reading, whichever thread is done first.
            let (jobs, queue) = bounded::<(Vec<StoredEntry>, crossbeam_channel::Sender<_>)>(self.threads);
            let (order, results) = bounded(2 * self.threads);
            for _ in 0..self.threads {
                let (queue, check) = (queue.clone(), &check);
                scope.spawn(move || {
                    for (entries, result) in queue {
                        // Nobody takes it any more after an error: then the rest is left undone.
                        if result.send(check(&entries)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(queue);
            scope.spawn(move || {
                for chunk in chunks {
                    let (answer, result) = bounded(1);
                    let sent = match chunk {
                        Ok(entries) => order.send(Ok(result)).is_ok() && jobs.send((entries, answer)).is_ok(),
                        Err(error) => {
                            drop(order.send(Err(error)));
                            false
                        }
                    };
                    if !sent {
                        break;
                    }
                }
            });
            for result in results {
                let checked = result?.recv().map_err(|_| StartError::Failed {
                    detail: "a thread that verifies what was recovered has ended early".to_owned(),
                })?;
                take(checked?)?;
            }
            Ok(())
        })
    }
}

/// A log that must be there, for the plan says that something of it stays.
fn log(reader: &Option<Reader>) -> Result<&Reader, StartError> {
    let missing = || StartError::Failed { detail: "recovery began before both logs were judged".to_owned() };
    reader.as_ref().ok_or_else(missing)
}

fn unreadable(error: WalError) -> StartError {
    match error.is_corruption() {
        true => StartError::Corrupt { detail: error.to_string() },
        false => StartError::Failed { detail: error.to_string() },
    }
}

fn damaged(what: &str, entry: &StoredEntry, error: &str) -> StartError {
    StartError::Corrupt {
        detail: format!(
            "the {what} log's entry {} (key {}) does not verify: {error}; run `roadbed verify --deep` on the \
             directory, and restore it from a backup",
            entry.index, entry.key
        ),
    }
}
