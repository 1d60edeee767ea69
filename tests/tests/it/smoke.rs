//! The whole of it, once.

use roadbed_messages::BlockNumber;
use roadbed_tests::{Fixture, Rig, app_hash};

#[tokio::test]
async fn pushes_executes_prunes_and_recovers() {
    let rig = Rig::on_disk(Fixture::new(1, 4, 20)).await;
    let roadbed = rig.roadbed.clone();
    for (qc, blocks) in &rig.fixture.chain {
        roadbed.push_qc(qc.clone(), blocks.clone()).await.unwrap();
    }
    roadbed.push_app_hash(BlockNumber(150), app_hash(BlockNumber(150))).await.unwrap();
    let cursors = roadbed.next_block().await.unwrap();
    assert_eq!((cursors.next_block, cursors.next_app_proposal), (BlockNumber(200), BlockNumber(151)));
    assert_eq!(roadbed.prune_before(BlockNumber(33)).await.unwrap(), BlockNumber(0)..BlockNumber(33));

    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().reconcile_case, "5");
    let mut stream = rig.roadbed.subscribe(BlockNumber(33), true);
    for number in 33..200 {
        let block = stream.next().await.unwrap();
        assert_eq!(block.number, BlockNumber(number));
        assert_eq!(block.payload.block(), rig.fixture.block(BlockNumber(number)));
    }
    rig.ended().await;
}

#[test]
fn works_inside_an_actix_system() {
    let fixture = Fixture::new(2, 4, 3);
    actix::System::new().block_on(async {
        let roadbed = fixture.builder().in_memory().start().await.unwrap();
        for (qc, blocks) in &fixture.chain {
            roadbed.push_qc(qc.clone(), blocks.clone()).await.unwrap();
        }
        assert_eq!(roadbed.next_block().await.unwrap().next_block_to_persist, BlockNumber(30));
        assert!(roadbed.shutdown().await.unwrap().is_clean());
    });
}
