//! The application: follows the durable stream, executes, reports app hashes, and checks all that it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed::Roadbed;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::Error;
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::app_hash;

/// A running application.
pub(super) struct Application {
    task: JoinHandle<String>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Every block below this has an accepted app hash.
    acknowledged: AtomicU64,
    longest_stall_us: AtomicU64,
    progress: Notify,
}

impl Application {
    pub(super) fn start(roadbed: Roadbed, seed: u64, members: TestCommittee) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(roadbed, seed, members, Arc::clone(&shared)));
        Self { task, shared }
    }

    /// The first block whose app hash was not accepted yet.
    pub(super) fn acknowledged(&self) -> BlockNumber {
        BlockNumber(self.shared.acknowledged.load(Ordering::Acquire))
    }

    /// It ends only with an error.
    pub(super) fn has_failed(&self) -> bool {
        self.task.is_finished()
    }

    /// Why it ended.
    pub(super) async fn end(self) -> String {
        self.task.await.expect("the application does not panic")
    }

    /// Waits until everything below `number` was acknowledged; answers how much, and the longest stall.
    pub(super) async fn catch_up_with(&self, number: BlockNumber) -> (u64, Duration) {
        loop {
            let progress = self.shared.progress.notified();
            if self.acknowledged() >= number {
                let stall_us = self.shared.longest_stall_us.load(Ordering::Acquire);
                return (self.acknowledged().0, Duration::from_micros(stall_us));
            }
            progress.await;
        }
    }
}

async fn run(roadbed: Roadbed, seed: u64, members: TestCommittee, shared: Arc<Shared>) -> String {
    let mut expected = testing::chain(seed, &members, ChainShape::default()).flat_map(|(_, blocks)| blocks);
    let mut stream = roadbed.subscribe(members.committee.first_block(), false);
    let mut last = Instant::now();
    loop {
        let block = match stream.next().await {
            Ok(block) => block,
            Err(Error::Stopped(reason)) => return reason.to_string(),
            Err(error) => return error.to_string(),
        };
        assert_eq!(Some(block.payload.block().as_ref()), expected.next().as_ref(), "block {}", block.number);
        if let Err(error) = roadbed.push_app_hash(block.number, app_hash(block.number)).await {
            return error.to_string();
        }
        let stall_us = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
        last = Instant::now();
        shared.longest_stall_us.fetch_max(stall_us, Ordering::AcqRel);
        shared.acknowledged.store(block.number.0 + 1, Ordering::Release);
        shared.progress.notify_waiters();
    }
}

/// Reads everything that is retained, and compares it with the chain of the seed.
pub(super) async fn check_stream(roadbed: &Roadbed, seed: u64, members: &TestCommittee) {
    let recovered = roadbed.recovered().clone();
    let mut stream = roadbed.subscribe(recovered.first, true);
    let chain = testing::chain(seed, members, ChainShape::default()).flat_map(|(_, blocks)| blocks);
    let retained = usize::try_from(recovered.first.0).expect("a test's chain is short");
    let count = usize::try_from(recovered.next_block.0 - recovered.first.0).expect("a test's chain is short");
    for expected in chain.skip(retained).take(count) {
        let block = stream.next().await.expect("what is retained is served");
        assert_eq!(block.payload.block().as_ref(), &expected, "block {}", block.number);
    }
}
