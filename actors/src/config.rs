//! Every setting, with its meaning, its default and its bounds. Wrong values are refused, never corrected.

use std::time::Duration;

use roadbed_messages::api::StartError;

use crate::state::core::Bounds;
use crate::state::core::calls::Bound;
use crate::supervision::RestartPolicy;

/// Settings of one instance. [`Config::default`] suits a validator; change single fields.
///
/// ```
/// use roadbed::Config;
///
/// let config = Config { window_blocks: 1000, ..Config::default() };
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How far beyond the last executed block QCs are taken in: bounds what memory must hold, and is the
    /// back-pressure on pushes. At least 1; default 4000 blocks.
    pub window_blocks: u64,
    /// Durable blocks and QCs are kept in memory up to this many bytes, newest first; what is not durable yet is
    /// kept beyond it. Default 256 MiB.
    pub memory_bytes_max: u64,
    /// Bounds of pending calls. Each in calls and bytes; calls at least 1.
    pub bounds: Bounds,
    /// Jobs with the verifier at once. At least 1; default 512.
    pub verify_jobs_max: usize,
    /// Threads of the verifier. At least 1; default: the number of processors.
    pub verify_threads: usize,
    /// Threads that read older blocks from the logs. At least 1; default 4.
    pub read_threads: usize,
    /// Bytes of older blocks and QCs that the readers keep, once checked. Default 64 MiB.
    pub read_cache_bytes_max: u64,
    /// Size of a log's segment file. At least 64 KiB, at most 1 TiB, a multiple of 4 KiB; default 64 MiB.
    pub segment_bytes: u64,
    /// A log's group is synced once it has this many bytes, even if more is waiting. At least 1; default 8 MiB.
    pub group_bytes_max: u64,
    /// Bytes that the logs leave free on the disk for everybody else: a log takes no new segment that would leave less,
    /// and the disk counts as full before it is. Default 64 MiB; 0 to use it up.
    pub disk_reserve_bytes: u64,
    /// How failed workers are restarted.
    pub restart: RestartPolicy,
    /// An operation that runs for longer is reported as hung; a hung verifier is replaced. Default 5 s.
    pub hung_after: Duration,
    /// A log's operation that runs for longer ends the subsystem. At least `hung_after`; default 60 s.
    pub give_up_after: Duration,
    /// How often the age of running operations is looked at. Default 250 ms.
    pub beat_interval: Duration,
    /// How long a shutdown waits for the contiguous run to become durable. Default 10 s.
    pub shutdown_deadline: Duration,
    /// Verify everything that is retained at the start, not only the window. Default false.
    pub verify_all_on_start: bool,
    /// Start although the QC log is lost: the blocks are moved aside and both logs start anew. Default false.
    pub accept_lost_qcs: bool,
    /// What the pruner lets go by itself.
    pub retention: RetentionPolicy,
}

/// What the pruner lets go by itself. Policies add up: a block goes when any of them says so, but only once it was
/// executed, and never the last durable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Blocks go this long after they were executed. `None`: never for their age.
    pub age_after_execution: Option<Duration>,
    /// This many blocks stay. `None`: no limit. At least 1.
    pub blocks_max: Option<u64>,
    /// The block log stays below this many bytes, give or take a segment. `None`: no limit.
    pub bytes_max: Option<u64>,
    /// How often the policies are applied. Default 1 s.
    pub interval: Duration,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            age_after_execution: None,
            blocks_max: None,
            bytes_max: None,
            interval: Duration::from_secs(1),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let mib = |count: u64| count << 20;
        Self {
            window_blocks: 4000,
            memory_bytes_max: mib(256),
            bounds: Bounds {
                push_qc: Bound { calls_max: 1024, bytes_max: mib(256) },
                push_block: Bound { calls_max: 4096, bytes_max: mib(256) },
                push_app_hash: Bound { calls_max: 4096, bytes_max: u64::MAX },
                get: Bound { calls_max: 4096, bytes_max: u64::MAX },
                prune: Bound { calls_max: 64, bytes_max: u64::MAX },
            },
            verify_jobs_max: 512,
            verify_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            read_threads: 4,
            read_cache_bytes_max: mib(64),
            segment_bytes: mib(64),
            group_bytes_max: mib(8),
            disk_reserve_bytes: mib(64),
            restart: RestartPolicy::default(),
            hung_after: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
            beat_interval: Duration::from_millis(250),
            shutdown_deadline: Duration::from_secs(10),
            verify_all_on_start: false,
            accept_lost_qcs: false,
            retention: RetentionPolicy::default(),
        }
    }
}

impl Config {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`StartError::Config`] names the first setting that is out of its bounds, and what they are.
    pub fn check(&self) -> Result<(), StartError> {
        let Bounds { push_qc, push_block, push_app_hash, get, prune } = &self.bounds;
        let bounds = [push_qc, push_block, push_app_hash, get, prune];
        let rules = [
            (self.window_blocks >= 1, "window_blocks must be at least 1"),
            (bounds.iter().all(|bound| bound.calls_max >= 1), "every bound must allow at least one call"),
            (self.verify_jobs_max >= 1, "verify_jobs_max must be at least 1"),
            (self.verify_threads >= 1, "verify_threads must be at least 1"),
            (self.read_threads >= 1, "read_threads must be at least 1"),
            (
                (64 << 10..=1 << 40).contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(4096),
                "segment_bytes must be a multiple of 4096 from 65536 up to 1 TiB",
            ),
            (self.group_bytes_max >= 1, "group_bytes_max must be at least 1"),
            (
                self.restart.backoff_min <= self.restart.backoff_max,
                "backoff_min must not be above backoff_max",
            ),
            (self.hung_after <= self.give_up_after, "hung_after must not be above give_up_after"),
            (!self.beat_interval.is_zero(), "beat_interval must not be zero"),
            (!self.retention.interval.is_zero(), "retention.interval must not be zero"),
            (self.retention.blocks_max != Some(0), "retention.blocks_max must be at least 1"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(StartError::Config(rule.to_owned())),
            None => Ok(()),
        }
    }
}
