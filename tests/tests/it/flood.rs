//! Floods through State's address: whatever is sent, what waits stays within the bound of its kind, the lowest numbers
//! keep their places, and nothing else is locked out.

use std::sync::Arc;

use roadbed::Config;
use roadbed::state::core::Bounds;
use roadbed::state::core::calls::Bound;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{Error, GetBlock, PushBlock, PushQc, Shutdown};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_tests::{Fixture, Rig, Sent, settings};

/// Far beyond any bound.
const FLOOD: u64 = 5000;
const FAR: u64 = 1_000_000;
const BOUND: Bound = Bound { calls_max: 100, bytes_max: 200_000 };

async fn rig(tx_bytes: usize) -> Rig {
    let shape = ChainShape { tx_bytes, ..ChainShape::default() };
    let fixture = Fixture::of(31, testing::committee(31, 4), shape, 6);
    let bounds = Bounds { push_qc: BOUND, push_block: BOUND, get: BOUND, ..Config::default().bounds };
    Rig::configured(fixture, Config { bounds, ..settings() }).await
}

/// `FLOOD` numbers in no order, each once.
fn numbers() -> impl Iterator<Item = BlockNumber> {
    (0..FLOOD).map(|nth| BlockNumber(FAR + nth * 2753 % FLOOD))
}

/// Waits until all but `waiting` calls are answered, each with Busy, within the bound; answers the numbers that wait.
async fn all_but<T: std::fmt::Debug + Send + 'static>(
    rig: &Rig,
    kind: &str,
    flood: Vec<(BlockNumber, Sent<Result<T, Error>>)>,
) -> Vec<(BlockNumber, Sent<Result<T, Error>>)> {
    rig.settled().await;
    let waiting = rig.status().await.waiters[kind];
    assert!(waiting <= BOUND.calls_max, "{waiting} wait");
    let mut left = Vec::new();
    for (number, mut sent) in flood {
        if sent.waits() {
            left.push((number, sent));
            continue;
        }
        match sent.reply().await {
            Err(Error::Busy { kind: told, waiting, waiting_bytes, .. }) => {
                assert_eq!(told, kind);
                assert!(waiting <= BOUND.calls_max && waiting_bytes <= BOUND.bytes_max, "{waiting_bytes}");
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(left.len(), waiting);
    // The lowest numbers have displaced all others.
    assert!(left.iter().all(|(number, _)| number.0 < FAR + waiting as u64));
    left
}

/// What is needed goes on; then the end answers everybody who still waits.
async fn goes_on_and_ends<T>(rig: Rig, left: Vec<(BlockNumber, Sent<Result<T, Error>>)>) {
    rig.push_all().await;
    rig.execute(rig.nth(59)).await.unwrap();
    rig.serves_what_it_retains().await;
    let report = rig.ask(Shutdown).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    for (number, sent) in left {
        assert!(matches!(sent.reply().await, Err(Error::Stopped(_))), "{number}");
    }
}

#[tokio::test]
async fn scenario_11_a_flood_of_blocks_through_the_address_is_bounded_in_calls() {
    let rig = rig(8).await;
    let block = rig.fixture.block(rig.nth(0)).clone();
    let push = |number| (number, rig.send(PushBlock { number, block: block.clone() }));
    let left = all_but(&rig, "push_block", numbers().map(push).collect()).await;
    assert_eq!(left.len(), BOUND.calls_max);
    goes_on_and_ends(rig, left).await;
}

#[tokio::test]
async fn scenario_11_a_flood_of_blocks_through_the_address_is_bounded_in_bytes() {
    let rig = rig(2000).await;
    let block = rig.fixture.block(rig.nth(0)).clone();
    let push = |number| (number, rig.send(PushBlock { number, block: block.clone() }));
    let left = all_but(&rig, "push_block", numbers().map(push).collect()).await;
    let fit = usize::try_from(BOUND.bytes_max).unwrap() / block.payload.txs.total_bytes();
    assert!((fit / 2..=fit).contains(&left.len()), "{} wait", left.len());
    goes_on_and_ends(rig, left).await;
}

#[tokio::test]
async fn scenario_11_a_flood_of_gets_through_the_address_is_bounded_in_calls() {
    let rig = rig(8).await;
    let get = |number| (number, rig.send(GetBlock { number }));
    let left = all_but(&rig, "get_block", numbers().map(get).collect()).await;
    assert_eq!(left.len(), BOUND.calls_max);
    goes_on_and_ends(rig, left).await;
}

#[tokio::test]
async fn scenario_11_a_flood_of_copies_of_the_next_qc_is_bounded_and_it_gets_in() {
    let rig = rig(8).await;
    let (qc, blocks) = &rig.fixture.chain[0];
    let flood: Vec<Sent<_>> =
        (0..FLOOD).map(|_| rig.send(PushQc { qc: Arc::clone(qc), blocks: blocks.clone() })).collect();
    let mut taken = 0;
    for sent in flood {
        match sent.reply().await {
            Ok(()) => taken += 1,
            Err(Error::Busy { kind, waiting, waiting_bytes, .. }) => {
                // What is needed next has a small reserve beyond the bound.
                assert!(kind == "push_qc" && waiting <= BOUND.calls_max + 16, "{waiting} wait");
                assert!(waiting_bytes <= 2 * BOUND.bytes_max, "{waiting_bytes} bytes wait");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(taken > 0);
    assert_eq!(rig.cursors().await.next_block, rig.nth(10), "once");
    goes_on_and_ends::<()>(rig, Vec::new()).await;
}
