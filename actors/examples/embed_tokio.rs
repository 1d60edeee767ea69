//! Roadbed in a plain tokio program: a consensus task pushes, an application task executes and votes.
//!
//! `cargo run --package roadbed --example embed_tokio`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::sync::Arc;

use roadbed::{Config, RetentionPolicy, Roadbed};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::Error;
use roadbed_messages::testing::{self, ChainShape};

/// Blocks that this program runs for.
const BLOCKS: u64 = 200;

/// Consensus has finalized the chain; here a seed stands in for it.
async fn consensus(roadbed: Roadbed, members: testing::TestCommittee) -> Result<(), Error> {
    let qcs = usize::try_from(BLOCKS / 10).expect("a small number");
    for (qc, blocks) in testing::chain(7, &members, ChainShape::default()).take(qcs) {
        // Waits while the application is too far behind: this is the back-pressure.
        roadbed.push_qc(Arc::new(qc), blocks.into_iter().map(Arc::new).collect()).await?;
    }
    Ok(())
}

/// The application: executes in order, reports its hash, and votes once the report was accepted.
async fn application(roadbed: Roadbed) -> Result<(), Error> {
    let mut finalized = roadbed.subscribe(BlockNumber(0), false);
    loop {
        let block = finalized.next().await?;
        let transactions = block.payload.txs.iter().count();
        let hash = testing::app_hash(7, block.number);
        roadbed.push_app_hash(block.number, hash).await?;
        if block.number.0 + 1 == BLOCKS {
            println!("executed and voted on {BLOCKS} blocks; the last had {transactions} transactions");
            return Ok(());
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let members = testing::committee(7, 4);
    let dir = tempfile::tempdir()?;
    let retention = RetentionPolicy { blocks_max: Some(100), ..RetentionPolicy::default() };
    let config = Config { retention, segment_bytes: 1 << 20, ..Config::default() };
    let roadbed =
        Roadbed::builder(members.committee.clone()).data_dir(dir.path()).config(config).start().await?;
    println!("recovered: {:?}", roadbed.recovered());

    let pushing = tokio::spawn(consensus(roadbed.clone(), members));
    let executing = tokio::spawn(application(roadbed.clone()));
    tokio::select! {
        // The data layer heals what it can; if it ends all the same, the reason says why.
        reason = roadbed.stopped() => return Err(reason.into()),
        executed = executing => executed??,
    }
    pushing.await??;

    let report = roadbed.shutdown().await?;
    println!("ended at {:?}, everything durable: {}", report.cursors, report.is_clean());
    Ok(())
}
