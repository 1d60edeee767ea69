//! What metrics cost: durable ingest with and without a registry, in alternating pairs, and the time of a scrape while
//! the node is busy.
//!
//! ```sh
//! cargo run --release --package roadbed-benches --example metrics_cost
//! ```

#![allow(clippy::print_stdout, reason = "the figures are the point")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roadbed::Roadbed;
use roadbed::prometheus::{Registry, TextEncoder};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_messages::{AppHash, Block, BlockNumber, FullCommitQc};

const PAIRS: usize = 15;
const QCS: usize = 1500;
const WARM_UP_QCS: usize = 200;

type Input = Vec<(Arc<FullCommitQc>, Vec<Arc<Block>>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let members = testing::committee(1, 4);
    let shape = ChainShape { txs_per_block: 4, tx_bytes: 256, ..ChainShape::default() };
    let input: Input = testing::chain(1, &members, shape)
        .take(WARM_UP_QCS + QCS)
        .map(|(qc, blocks)| (Arc::new(qc), blocks.into_iter().map(Arc::new).collect()))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut ratios, mut scrapes) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let mut took = [Duration::ZERO; 2];
        // Whoever goes first in one pair goes second in the next.
        for turn in 0..2 {
            let with = (pair + turn) % 2 == 0;
            let committee = members.committee.clone();
            took[usize::from(with)] = runtime.block_on(ingest(committee, &input, with, &mut scrapes))?;
        }
        ratios.push(took[1].as_secs_f64() / took[0].as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    scrapes.sort();
    // Of 15 values the median lies between the 4th and the 12th with a probability of 96 %.
    let (low, high) = (ratios[3], ratios[PAIRS - 4]);
    println!("time with metrics / without: median {:.4}, {low:.4} to {high:.4} (96 %)", ratios[PAIRS / 2]);
    let share = |part: usize| scrapes[(scrapes.len() - 1) * part / 100];
    println!("scrape of the busy node: median {:?}, p99 {:?}, of {}", share(50), share(99), scrapes.len());
    Ok(())
}

/// How long it takes until everything behind the warm-up is durable and answered for.
async fn ingest(
    committee: roadbed_messages::Committee,
    input: &Input,
    with: bool,
    scrapes: &mut Vec<Duration>,
) -> Result<Duration, Box<dyn Error>> {
    let (dir, registry) = (tempfile::tempdir()?, Registry::new());
    let builder = Roadbed::builder(committee).data_dir(dir.path());
    let builder = if with { builder.metrics(&registry) } else { builder };
    let roadbed = builder.start().await?;
    let (warm_up, measured) = input.split_at(WARM_UP_QCS);
    push(&roadbed, warm_up, 0).await?;
    let busy = Arc::new(AtomicBool::new(true));
    // One pair in five is scraped, ten times a second; the others measure ingest alone.
    let scraper = (with && scrapes.len() < 40).then(|| {
        let (busy, registry) = (Arc::clone(&busy), registry.clone());
        std::thread::spawn(move || {
            let mut took = Vec::new();
            while busy.load(Ordering::Relaxed) {
                let began = Instant::now();
                let text = TextEncoder::new().encode_to_string(&registry.gather());
                took.push(began.elapsed());
                assert!(text.is_ok_and(|text| !text.is_empty()));
                std::thread::sleep(Duration::from_millis(25));
            }
            took
        })
    });
    let began = Instant::now();
    push(&roadbed, measured, WARM_UP_QCS).await?;
    let took = began.elapsed();
    busy.store(false, Ordering::Relaxed);
    if let Some(scraper) = scraper {
        scrapes.extend(scraper.join().map_err(|_| "the scraper panicked")?);
    }
    roadbed.shutdown().await?;
    Ok(took)
}

/// Pushes QCs, many at once, and waits until the last block may be voted on.
async fn push(
    roadbed: &Roadbed,
    input: &[(Arc<FullCommitQc>, Vec<Arc<Block>>)],
    from: usize,
) -> Result<(), Box<dyn Error>> {
    let mut pushes = tokio::task::JoinSet::new();
    let mut end = 0;
    for (at, (qc, blocks)) in input.iter().enumerate() {
        let (handle, qc, blocks) = (roadbed.clone(), Arc::clone(qc), blocks.clone());
        end = (from + at + 1) as u64 * blocks.len() as u64;
        pushes.spawn(async move { handle.push_qc(qc, blocks).await });
        if pushes.len() >= 128
            && let Some(done) = pushes.join_next().await
        {
            done??;
        }
        // The application keeps up, so that the window does.
        if at % 100 == 99 {
            while let Some(done) = pushes.join_next().await {
                done??;
            }
            roadbed.push_app_hash(BlockNumber(end - 1), AppHash([7; 32])).await?;
        }
    }
    while let Some(done) = pushes.join_next().await {
        done??;
    }
    if !input.len().is_multiple_of(100) {
        roadbed.push_app_hash(BlockNumber(end - 1), AppHash([7; 32])).await?;
    }
    Ok(())
}
