//! Random faults under load, from a seed: what comes out must be the chain that went in.
//!
//! One round feeds a store on a simulated disk, follows its durable stream as an application would, and prunes, while
//! faults strike its workers and its disk. At random moments the disk as a power loss would leave it is forked and
//! recovered beside: whatever had been acknowledged by then must be in it. When the faults end, everything must make
//! progress again.

mod application;
mod faults;
mod peers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use roadbed::prometheus::Registry;
use roadbed::supervision::{Faults, RestartPolicy};
use roadbed::{Builder, Config, RetentionPolicy, Roadbed};
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_messages::{BlockNumber, codec};
use roadbed_wal::sim::SimStorage;

use crate::Scrape;
use application::Application;
use faults::Strikes;

/// Where the simulated disk has the store.
const DIR: &str = "/chaos";

/// What a round was like, or several.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seeds of the rounds.
    pub seeds: Vec<u64>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Restarts by worker and cause.
    pub restarts: BTreeMap<String, u64>,
    /// Blocks that went in and came out.
    pub blocks: u64,
    /// App hashes that were accepted.
    pub acknowledged: u64,
    /// Forks of the disk that were recovered.
    pub forks: u64,
    /// The longest time between two app hashes that were accepted.
    pub longest_stall: Duration,
    /// The most bytes of blocks and QCs that were in memory.
    pub memory_bytes_max: u64,
    /// The process' resident memory at its highest so far, the simulated disk and its forks included.
    pub resident_bytes_max: u64,
    /// The same when the last round had ended, with its disks gone.
    pub resident_bytes_after: u64,
}

impl Report {
    /// Takes another one in.
    pub fn add(&mut self, other: Self) {
        self.seeds.extend(other.seeds);
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (worker_and_cause, count) in other.restarts {
            *self.restarts.entry(worker_and_cause).or_default() += count;
        }
        self.blocks += other.blocks;
        self.acknowledged += other.acknowledged;
        self.forks += other.forks;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.memory_bytes_max = self.memory_bytes_max.max(other.memory_bytes_max);
        self.resident_bytes_max = self.resident_bytes_max.max(other.resident_bytes_max);
        self.resident_bytes_after = other.resident_bytes_after;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, faults, restarts, blocks, acknowledged, forks, .. } = self;
        let Self { longest_stall, memory_bytes_max, resident_bytes_max, resident_bytes_after, .. } = self;
        match seeds.as_slice() {
            [seed] => write!(f, "seed {seed}: ")?,
            seeds => write!(f, "{} seeds: ", seeds.len())?,
        }
        write!(
            f,
            "{blocks} blocks, {acknowledged} acknowledged, {forks} forks recovered, nothing lost, longest stall {} ms, at \
             most {memory_bytes_max} bytes in memory, the process at most {} MiB and {} MiB afterwards; restarts: {}; faults: {}",
            longest_stall.as_millis(),
            resident_bytes_max >> 20,
            resident_bytes_after >> 20,
            counts(restarts),
            counts(faults)
        )
    }
}

fn counts(by_kind: &BTreeMap<impl fmt::Display, u64>) -> String {
    let counts: Vec<String> = by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{} ({})", by_kind.values().sum::<u64>(), counts.join(", "))
}

/// This process' resident memory, as the kernel tells it: `VmHWM`, the highest so far, or `VmRSS`, now; 0 where it does
/// not.
fn resident_bytes(what: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix(what)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok()
    });
    kib.unwrap_or(0_u64) << 10
}

/// What may be in memory: what is kept of what is durable, and the window, with the QC that reaches beyond it and what
/// is pushed at the same time.
fn memory_bound(seed: u64, members: &TestCommittee) -> u64 {
    const QCS: usize = 50;
    let (mut bytes, mut blocks) = (0, 0);
    for (qc, chain_blocks) in testing::chain(seed, members, ChainShape::default()).take(QCS) {
        // In memory there is more to each than its bytes on the wire.
        bytes += 2 * codec::encode(&qc).len() as u64;
        for block in &chain_blocks {
            blocks += 1;
            bytes += 2 * codec::encode(block).len() as u64;
        }
    }
    let Config { window_blocks, memory_bytes_max, .. } = config();
    memory_bytes_max + bytes.div_ceil(blocks) * (window_blocks + 2 * blocks / QCS as u64)
}

/// Settings under which faults are met often and quickly, and never escalate: chaos is about healing.
fn config() -> Config {
    Config {
        segment_bytes: 64 << 10,
        memory_bytes_max: 64 << 10,
        window_blocks: 400,
        hung_after: Duration::from_millis(50),
        give_up_after: Duration::from_secs(600),
        beat_interval: Duration::from_millis(10),
        restart: RestartPolicy {
            restarts_max: u32::MAX,
            failures_without_progress_max: u32::MAX,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(50),
            ..RestartPolicy::default()
        },
        retention: RetentionPolicy {
            blocks_max: Some(1000),
            interval: Duration::from_millis(20),
            ..RetentionPolicy::default()
        },
        ..Config::default()
    }
}

fn builder(members: &TestCommittee, disk: &SimStorage) -> Builder {
    Roadbed::builder(members.committee.clone())
        .data_dir(Path::new(DIR))
        .storage(Arc::new(disk.clone()))
        .config(config())
}

/// One round: faults for `duration`, then calm until everything has come through.
///
/// # Panics
/// When anything is lost, invented, out of order or stuck: the message says what.
pub async fn round(seed: u64, duration: Duration) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let members = testing::committee(seed, 4);
    let disk = SimStorage::new(rng.next_u64());
    let faults = Faults::default();
    let registry = Registry::new();
    let started = builder(&members, &disk).faults(faults.clone()).metrics(&registry).start().await;
    let roadbed = started.expect("a new store starts");

    let peers = tokio::spawn(peers::feed(roadbed.clone(), seed, members.clone(), rng.next_u64()));
    let application = Application::start(roadbed.clone(), seed, members.clone());
    let mut strikes = Strikes::new(faults, disk.clone());
    let (mut forks, mut memory_bytes_max) = (0, 0);
    let memory_bound = memory_bound(seed, &members);
    let began = Instant::now();
    // However slow the machine is: a round without a fork shows less than it should.
    while began.elapsed() < duration || forks == 0 {
        let status = roadbed.status().await.expect("it still runs");
        memory_bytes_max = memory_bytes_max.max(status.memory_bytes);
        assert!(
            memory_bytes_max <= memory_bound,
            "{memory_bytes_max} bytes in memory, more than {memory_bound}"
        );
        assert!(!application.has_failed(), "the application met an error: {:?}", application.end().await);
        strikes.strike(&mut rng).await;
        if rng.next_u32() % 16 == 0 {
            recover_fork(&members, &disk, &application, rng.next_u64()).await;
            forks += 1;
        }
    }
    let by_kind = strikes.end();

    // Calm: what was pushed last must come through, and be executed.
    peers.abort();
    let pushed = roadbed.next_block().await.expect("it still runs").next_block;
    let (acknowledged, longest_stall) = application.catch_up_with(pushed).await;
    healthy(&roadbed).await;
    let restarts = restarts(&registry);
    let report = roadbed.shutdown().await.expect("it still runs");
    assert!(report.is_clean(), "not durable after a calm shutdown: {:?}", report.not_durable);

    // Once more from the disk.
    let roadbed = builder(&members, &disk).start().await.expect("what was closed opens");
    // A push that was on its way when the peers ended may have come in after the question.
    let recovered = roadbed.recovered().next_block;
    assert!(recovered >= pushed, "{recovered} after {pushed}");
    application::check_stream(&roadbed, seed, &members).await;
    roadbed.shutdown().await.expect("it still runs");
    let resident_bytes_max = resident_bytes("VmHWM");
    drop(disk);
    Report {
        seeds: vec![seed],
        faults: by_kind,
        restarts,
        blocks: recovered.0,
        acknowledged,
        forks,
        longest_stall,
        memory_bytes_max,
        resident_bytes_max,
        resident_bytes_after: resident_bytes("VmRSS"),
    }
}

/// Restarts by worker and cause, as the metrics count them.
#[expect(clippy::cast_possible_truncation, reason = "counts that are far below 2^53")]
fn restarts(registry: &Registry) -> BTreeMap<String, u64> {
    const NAME: &str = "actor_restarts_total";
    let scrape = Scrape::of(registry);
    let restarts = scrape.series().into_iter().filter(|(name, _)| name.ends_with(NAME)).map(|(_, labels)| {
        let (actor, cause) = (labels["actor"].as_str(), labels["cause"].as_str());
        let count = scrape.value(NAME, &[("actor", actor), ("cause", cause)]);
        (format!("{actor}/{cause}"), count as u64)
    });
    restarts.filter(|(_, count)| *count > 0).collect()
}

/// Resolves once every worker is up: the last faults may still be healing. A worker that never heals hangs the test.
async fn healthy(roadbed: &Roadbed) {
    loop {
        let status = roadbed.status().await.expect("it still runs");
        if status.reasons.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Recovers what a power loss now would leave: all that was acknowledged before must be there.
async fn recover_fork(members: &TestCommittee, disk: &SimStorage, application: &Application, seed: u64) {
    let acknowledged: BlockNumber = application.acknowledged();
    let fork = disk.crash(seed);
    let roadbed = match builder(members, &fork).start().await {
        Ok(roadbed) => roadbed,
        Err(error) => panic!("a power loss (crash seed {seed}) left what does not open: {error}"),
    };
    let recovered = roadbed.recovered();
    assert!(
        recovered.next_block >= acknowledged,
        "a power loss (crash seed {seed}) would lose what was acknowledged up to {acknowledged}: {recovered:?}"
    );
    roadbed.shutdown().await.expect("it still runs");
}
