//! Peers: QCs and blocks apart, out of order, duplicated, now and then invalid.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use roadbed::Roadbed;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::Error;
use roadbed_messages::testing::{self, ChainShape, TestCommittee, wrong_payload};
use tokio::task::JoinSet;

/// Pushes that are on their way at once.
const IN_FLIGHT: usize = 64;

/// Faults that strike at random can hit one input twice: then the verifier gives it up, and a peer sends it again.
async fn until_verified<F>(push: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    loop {
        match push().await {
            Err(Error::VerifierFailed { .. }) => {}
            answer => return answer,
        }
    }
}

/// Feeds the chain of `seed` until it is aborted, or the store ends.
pub(super) async fn feed(roadbed: Roadbed, seed: u64, members: TestCommittee, dice: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(dice);
    let mut pushes: JoinSet<Result<(), Error>> = JoinSet::new();
    for (qc, blocks) in testing::chain(seed, &members, ChainShape::default()) {
        let first = qc.range(&members.committee).expect("a chain has valid ranges").start;
        let blocks: Vec<_> = blocks.into_iter().map(Arc::new).collect();
        let qc = Arc::new(qc);
        let apart = rng.next_u32() % 2 == 0;
        if rng.next_u32() % 8 == 0 {
            let (roadbed, invalid) = (roadbed.clone(), Arc::new(wrong_payload(&blocks[0])));
            pushes.spawn(async move {
                match until_verified(|| roadbed.push_block(first, Arc::clone(&invalid))).await {
                    Err(Error::InvalidBlock(_) | Error::Stopped(_)) => Ok(()),
                    other => panic!("an invalid block was answered {other:?}"),
                }
            });
        }
        if apart {
            for (offset, block) in blocks.iter().enumerate().rev() {
                let (roadbed, block) = (roadbed.clone(), Arc::clone(block));
                let number = BlockNumber(first.0 + offset as u64);
                pushes.spawn(async move {
                    until_verified(|| roadbed.push_block(number, Arc::clone(&block))).await
                });
            }
        }
        let with_blocks = if apart { Vec::new() } else { blocks };
        for _ in 0..=rng.next_u32() % 2 {
            let (roadbed, qc, blocks) = (roadbed.clone(), Arc::clone(&qc), with_blocks.clone());
            pushes.spawn(
                async move { until_verified(|| roadbed.push_qc(Arc::clone(&qc), blocks.clone())).await },
            );
        }
        while pushes.len() > IN_FLIGHT {
            let done = pushes.join_next().await.expect("some are on their way").expect("no push panics");
            match done {
                Ok(()) => {}
                Err(Error::Stopped(_)) => return,
                Err(error) => panic!("a valid push was answered {error}"),
            }
        }
    }
}
