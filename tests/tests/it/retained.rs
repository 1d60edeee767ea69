//! What is retained costs disk, not memory: a start with a long history needs no more than one with a short history.

use std::path::Path;
use std::process::Command;

use roadbed::{Config, Roadbed};
use roadbed_messages::BlockNumber;
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_tests::{app_hash, certified};
use tokio::task::JoinSet;

/// A full verification of the long history takes more than one stretch.
const LONG_BLOCKS: u64 = 70_000;
const SHORT_BLOCKS: u64 = 2_000;
const BLOCKS_PER_QC: u64 = 100;
/// Tells the child process where its store is; without it the child's test is not asked for anything.
const DIR_VARIABLE: &str = "ROADBED_TEST_RETAINED_DIR";

fn members() -> TestCommittee {
    testing::committee(5, 4)
}

fn config() -> Config {
    Config {
        window_blocks: 500,
        memory_bytes_max: 1 << 20,
        read_cache_bytes_max: 1 << 20,
        segment_bytes: 1 << 20,
        ..Config::default()
    }
}

async fn start(dir: &Path, config: Config) -> Roadbed {
    Roadbed::builder(members().committee).data_dir(dir).config(config).start().await.unwrap()
}

async fn fill(dir: &Path, blocks: u64) {
    let shape = ChainShape {
        blocks_per_qc: usize::try_from(BLOCKS_PER_QC).unwrap(),
        txs_per_block: 1,
        tx_bytes: 8,
        even_lanes: true,
        ..ChainShape::default()
    };
    let roadbed = start(dir, Config { window_blocks: u64::MAX / 2, ..config() }).await;
    let mut pushes = JoinSet::new();
    for pushed in testing::chain(5, &members(), shape).take(usize::try_from(blocks / BLOCKS_PER_QC).unwrap())
    {
        let (qc, blocks) = certified(pushed);
        let roadbed = roadbed.clone();
        pushes.spawn(async move { roadbed.push_qc(qc, blocks).await.unwrap() });
        if pushes.len() >= 64 {
            pushes.join_next().await.unwrap().unwrap();
        }
    }
    pushes.join_all().await;
    assert!(roadbed.shutdown().await.unwrap().is_clean());
}

/// The most memory that a fresh process needs to start on the directory, to be told every app hash, and to serve from
/// all over the history.
fn memory_of_a_process_on(dir: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "retained::child_process", "--ignored", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told = text.lines().find_map(|line| line.split("VmHWM:").nth(1)).expect("the child tells its memory");
    told.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "run by the other test, in a process of its own"]
async fn child_process() {
    let dir = std::env::var(DIR_VARIABLE).expect("the other test says where the store is");
    let roadbed = start(Path::new(&dir), config()).await;
    let end = roadbed.recovered().next_block.0;
    for number in 0..end {
        roadbed.push_app_hash(BlockNumber(number), app_hash(BlockNumber(number))).await.unwrap();
    }
    for number in (0..end).step_by(997).map(BlockNumber) {
        let block = roadbed.global_block(number).await.unwrap();
        assert_eq!(block.number, number);
        assert_eq!(roadbed.block_by_hash(block.header.hash()).await.unwrap().number, number);
        assert!(roadbed.app_proposal(number).await.unwrap().number >= number);
    }
    roadbed.shutdown().await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

#[tokio::test]
async fn long_history_takes_no_more_memory_than_a_short_one_and_can_be_verified_in_full() {
    let (short, long) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(short.path(), SHORT_BLOCKS).await;
    fill(long.path(), LONG_BLOCKS).await;
    let memory_kib = [short.path(), long.path()].map(memory_of_a_process_on);
    println!("VmHWM in KiB: {memory_kib:?} with {SHORT_BLOCKS} and {LONG_BLOCKS} blocks");
    assert!(memory_kib[1] * 10 <= memory_kib[0] * 12, "the history takes memory: {memory_kib:?} KiB");

    // In stretches, which must fit together.
    let roadbed = start(long.path(), Config { verify_all_on_start: true, ..config() }).await;
    assert_eq!(roadbed.recovered().next_block, BlockNumber(LONG_BLOCKS));
    roadbed.shutdown().await.unwrap();
}
