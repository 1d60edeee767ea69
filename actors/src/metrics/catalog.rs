//! Every metric: its name, type, labels and help. What is exported and documented comes from this list.

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only goes up, and starts anew with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by bucket, their sum and number.
    Histogram,
}

impl MetricKind {
    /// The name of the type in the text format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its full name.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! catalog {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) const $constant: Definition = Definition {
            name: concat!("roadbed_", $name),
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All metrics of the library.
        pub const CATALOG: &[Definition] = &[$($constant),*];
    };
}

catalog! {
    STATE = Gauge "state" ["state"] "1 for what the data layer is doing, 0 for everything else.";
    CURSOR = Gauge "cursor_block_number" ["cursor"] "The five cursors, of one snapshot: first <= next_app_proposal <= next_block_to_persist <= next_block <= next_qc.";
    STAGE_LATENCY = Histogram "stage_latency_seconds" ["resource", "stage"] "Time from the production of blocks, or of the transactions in them, until they have passed a stage. Recovered blocks are not counted.";
    STAGE_DURATION = Histogram "stage_duration_seconds" ["stage"] "Time spent in a stage: receive and verify by push, persist and execute by block, prune by request.";
    STAGE_BLOCKS = Counter "stage_blocks_total" ["stage"] "Blocks that have passed a stage. Recovered blocks are not counted.";
    STAGE_TXS = Counter "stage_txs_total" ["stage"] "Transactions of the blocks that have passed a stage.";
    STAGE_BYTES = Counter "stage_bytes_total" ["stage"] "Bytes of the transactions of the blocks that have passed a stage.";
    LAST_PROGRESS = Gauge "last_progress_timestamp_seconds" ["stage"] "When a block last passed a stage, as Unix time; 0 before the first.";
    QCS = Counter "qcs_total" ["result"] "QCs that were pushed, by what came of them.";
    BLOCKS = Counter "blocks_total" ["result"] "Blocks that were pushed, by what came of them.";
    MISSING_BLOCKS = Gauge "missing_blocks" [] "Blocks below next_qc that are not there yet.";
    BUFFERED_BLOCKS = Gauge "buffered_blocks" [] "Blocks held above a gap.";
    WAITERS = Gauge "waiters" ["kind"] "Calls that wait, by kind.";
    PUSH_WAIT = Histogram "push_wait_seconds" ["kind"] "Time from the arrival of a push to its answer.";
    RETAINED_BLOCKS = Gauge "retained_blocks" [] "Blocks from first up to next_block.";
    RETAINED_BYTES = Gauge "retained_bytes" [] "Bytes of both logs; without a data directory, of what memory holds.";
    MEMORY_BYTES = Gauge "memory_bytes" [] "Bytes of the blocks and QCs held in memory.";
    RECOVERY_DURATION = Gauge "recovery_duration_seconds" ["phase"] "How long each phase of the last start took.";
    RECOVERY_PROGRESS = Gauge "recovery_progress_ratio" [] "How much of what recovery reads it has read; 1 once it is done.";
    RECOVERY_RECORDS = Gauge "recovery_records" ["wal"] "Records that the last start read and verified.";

    ACTOR_UP = Gauge "actor_up" ["actor"] "1 while an actor has a life that takes orders.";
    ACTOR_START = Gauge "actor_start_timestamp_seconds" ["actor"] "When the present life of an actor began, as Unix time; 0 before the first.";
    ACTOR_HEARTBEAT = Gauge "actor_heartbeat_timestamp_seconds" ["actor"] "When an actor last showed a sign of life, as Unix time; 0 before the first.";
    ACTOR_BACKOFF = Gauge "actor_backoff_seconds" ["actor"] "Time until the next life of a failed actor begins; 0 while none is waited for.";
    ACTOR_RESTARTS = Counter "actor_restarts_total" ["actor", "cause"] "Restarts of an actor, by what ended the life before.";
    ACTOR_ESCALATIONS = Counter "actor_escalations_total" ["actor"] "Ends of the whole data layer because an actor failed for good.";
    ACTOR_MAILBOX = Gauge "actor_mailbox_messages" ["actor"] "Messages that an actor was given and has not finished; for State, the calls in its table.";
    ACTOR_MAILBOX_CAPACITY = Gauge "actor_mailbox_capacity_messages" ["actor"] "The most messages that an actor is given at once.";
    ACTOR_MAILBOX_WAIT = Histogram "actor_mailbox_wait_seconds" ["actor"] "Time that a message waited until an actor, or its thread, took it up; for State and the pruner it is sampled.";
    ACTOR_OLDEST = Gauge "actor_oldest_message_age_seconds" ["actor"] "How long the oldest message that an actor has not finished has been with it; 0 without any.";
    ACTOR_MESSAGES = Counter "actor_messages_total" ["actor", "msg", "result"] "Messages that came to their end.";
    ACTOR_HANDLER = Histogram "actor_handler_duration_seconds" ["actor", "msg"] "Time that a handler ran: of State per message, of a log per order or group, of the verifier per batch.";
    ACTOR_BUSY = Counter "actor_busy_seconds_total" ["actor"] "Time that an actor's handlers ran, all its threads together.";
    ACTOR_CURRENT = Gauge "actor_current_handler_seconds" ["actor"] "How long the operation that an actor is at has been running, at the moment of the scrape; 0 when it is at none.";
    ACTOR_UNDELIVERED = Counter "actor_undelivered_messages_total" ["actor", "reason"] "Messages that reached nobody: their worker's life was over (no_life), they came from a life that no longer counts (stale), or their caller had gone (caller_gone).";

    WAL_FSYNC = Histogram "wal_fsync_duration_seconds" ["wal"] "Time to make a group durable.";
    WAL_APPEND = Histogram "wal_append_duration_seconds" ["wal"] "Time to encode a group into the log's buffer.";
    WAL_BATCH_RECORDS = Histogram "wal_batch_records" ["wal"] "Records in a group.";
    WAL_BATCH_BYTES = Histogram "wal_batch_bytes" ["wal"] "Bytes of the records in a group.";
    WAL_RECORDS = Counter "wal_records_total" ["wal"] "Records made durable.";
    WAL_WRITTEN = Counter "wal_written_bytes_total" ["wal"] "Bytes of the records made durable, without frames and padding.";
    WAL_PENDING = Gauge "wal_pending_records" ["wal"] "Records that are in memory and not durable yet.";
    WAL_INDEX = Gauge "wal_index" ["wal", "edge"] "The index of a log's oldest record (first) and of the one that comes next (next).";
    WAL_SEGMENTS = Gauge "wal_segments" ["wal"] "Segment files that a log consists of.";
    WAL_SIZE = Gauge "wal_size_bytes" ["wal"] "Bytes of a log's segments up to their ends.";
    WAL_TRUNCATIONS = Counter "wal_truncations_total" ["wal", "kind"] "Cuts of a log: at the front by pruning, at the back or whole by recovery.";
    WAL_REPAIRED = Counter "wal_repaired_bytes_total" ["wal", "kind"] "Bytes that were cut off because a crash left them torn.";
    WAL_CORRUPTIONS = Counter "wal_corruptions_total" ["wal", "kind"] "Damage to what had been durable, by where it was found: at the start, at a restart, or while serving.";
    WAL_ERRORS = Counter "wal_errors_total" ["wal", "op", "kind"] "Operations of a log that failed.";
    WAL_POISONED = Gauge "wal_poisoned" ["wal"] "1 from a failed write or sync of a log until the log is open again.";
    SPACE_FREE = Gauge "data_dir_free_bytes" [] "Bytes that are free where the data directory is, sampled every second; 0 without one.";
    SPACE_SIZE = Gauge "data_dir_size_bytes" [] "Bytes of both logs in the data directory, without the segments they keep in reserve; 0 without one.";
}
