//! `NextBlock` and `GetStatus`.

use roadbed_messages::api::{
    ActorKind, Cursors, GetAppProposal, GetBlock, GetQc, PushAppHash, RunState, WorkerState,
};
use roadbed_messages::{BlockNumber, api};
use roadbed_tests::{Fixture, Rig, app_hash, settings};

use super::everywhere;

#[tokio::test]
async fn a_fresh_store_has_all_cursors_at_its_first_block() {
    everywhere(Fixture::new(1, 4, 1), async |rig| {
        assert_eq!(rig.cursors().await, Cursors::all_at(rig.nth(0)));
    })
    .await;
}

#[tokio::test]
async fn the_cursors_keep_their_order_in_every_snapshot_under_load() {
    let rig = Rig::on_disk(Fixture::new(2, 4, 40)).await;
    let end = rig.fixture.end();
    let (pushes, votes) = (rig.send_all_qcs(), rig.send_all_votes());
    loop {
        // Every snapshot's order is checked by whoever asks for it.
        let status = rig.status().await;
        if status.cursors.next_app_proposal == end {
            break;
        }
    }
    for reply in pushes.into_iter().chain(votes) {
        reply.reply().await.unwrap();
    }
}

/// Everything at once, for the load of a test.
trait SendAll {
    fn send_all_qcs(&self) -> Vec<roadbed_tests::Sent<Result<(), api::Error>>>;
    fn send_all_votes(&self) -> Vec<roadbed_tests::Sent<Result<(), api::Error>>>;
}

impl SendAll for Rig {
    fn send_all_qcs(&self) -> Vec<roadbed_tests::Sent<Result<(), api::Error>>> {
        let push =
            |(qc, blocks): &roadbed_tests::Certified| api::PushQc { qc: qc.clone(), blocks: blocks.clone() };
        self.fixture.chain.iter().map(|certified| self.send(push(certified))).collect()
    }

    fn send_all_votes(&self) -> Vec<roadbed_tests::Sent<Result<(), api::Error>>> {
        let numbers = (self.fixture.first().0..self.fixture.end().0).map(BlockNumber);
        numbers.map(|number| self.send(PushAppHash { number, hash: app_hash(number) })).collect()
    }
}

#[tokio::test]
async fn the_status_names_every_worker_and_what_the_start_found() {
    let rig = Rig::on_disk(Fixture::new(3, 4, 1)).await;
    let status = rig.until(|status| status.state == RunState::Running).await;
    let actors: Vec<_> = status.workers.iter().map(|worker| worker.actor).collect();
    assert_eq!(actors, ActorKind::WORKERS);
    for worker in &status.workers {
        assert_eq!((worker.state, worker.generation, worker.restarts), (WorkerState::Up, 1, 0), "{worker:?}");
        assert_eq!(worker.last_error, None);
    }
    assert!(status.reasons.is_empty(), "{:?}", status.reasons);
    assert_eq!(status.recovered.as_ref(), Some(rig.recovered()));
    assert_eq!(rig.recovered().reconcile_case, "1");
    let in_memory = Rig::in_memory(Fixture::new(3, 4, 1)).await;
    let status = in_memory.until(|status| status.state == RunState::Running).await;
    let actors: Vec<_> = status.workers.iter().map(|worker| worker.actor).collect();
    assert_eq!(actors, [ActorKind::Verifier, ActorKind::Pruner]);
}

#[tokio::test]
async fn a_wait_that_its_caller_drops_is_forgotten() {
    everywhere(Fixture::new(4, 4, 3), async |rig| {
        let waits: Vec<_> = (0..100).map(|_| rig.send(GetBlock { number: rig.nth(5) })).collect();
        let kept = rig.send(GetQc { number: rig.nth(5) });
        let proposal = rig.send(GetAppProposal { number: rig.nth(5) });
        let (qc, blocks) = rig.fixture.chain[2].clone();
        let push = rig.send(api::PushQc { qc, blocks });
        let vote = rig.send(PushAppHash { number: rig.nth(5), hash: app_hash(rig.nth(5)) });
        let waiters = rig.status().await.waiters;
        assert_eq!((waiters["get_block"], waiters["get_qc"], waiters["push_qc"]), (100, 1, 1));
        drop((waits, proposal, push, vote));
        let waiters = rig.status().await.waiters;
        let left: Vec<_> = waiters.iter().filter(|(_, count)| **count > 0).collect();
        assert_eq!(left, [(&"get_qc".to_owned(), &1)]);
        // A vote that was taken back is not cast.
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.until_durable().await;
        assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(0));
        kept.reply().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_full_bound_of_gets_refuses_the_highest_number() {
    let mut config = settings();
    config.bounds.get.calls_max = 3;
    super::everywhere_with(Fixture::new(5, 4, 1), config, async |rig| {
        let mut waits: Vec<_> = [20, 21, 22].map(|n| rig.send(GetBlock { number: BlockNumber(n) })).into();
        let refused = rig.ask(GetBlock { number: BlockNumber(23) }).await;
        assert!(matches!(refused, Err(api::Error::Busy { kind: "get_block", .. })), "{refused:?}");
        let mut lower = rig.send(GetBlock { number: BlockNumber(3) });
        let displaced = waits.pop().unwrap().reply().await;
        assert!(matches!(displaced, Err(api::Error::Busy { number: 22, .. })), "{displaced:?}");
        assert!(lower.waits() && waits.iter_mut().all(roadbed_tests::Sent::waits));
        rig.push_all().await;
        lower.reply().await.unwrap();
    })
    .await;
}
