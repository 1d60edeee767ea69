//! The examples of embedding run as they stand.

#[path = "../../../actors/examples/embed_actix.rs"]
mod embed_actix;
#[path = "../../../actors/examples/embed_tokio.rs"]
mod embed_tokio;
#[allow(dead_code, reason = "its main reads the command line, the test names a directory")]
#[path = "../../../actors/examples/validator.rs"]
mod validator;

use roadbed_messages::BlockNumber;
use roadbed_tests::Fixture;

#[test]
fn example_in_a_tokio_program_runs() {
    embed_tokio::main().unwrap();
}

#[test]
fn example_in_an_actix_system_runs() {
    embed_actix::main().unwrap();
}

#[test]
fn example_validator_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for run in 1..=3 {
        let next = actix::System::new().block_on(validator::run(dir.path())).unwrap();
        assert_eq!(next, BlockNumber(200 * run));
    }
}

#[tokio::test]
async fn two_instances_in_one_process_keep_apart() {
    let (one, other) = (Fixture::new(1, 4, 3), Fixture::new(2, 3, 5));
    let first = one.builder().in_memory().start().await.unwrap();
    let second = other.builder().in_memory().start().await.unwrap();
    for (roadbed, fixture) in [(&first, &one), (&second, &other)] {
        for (qc, blocks) in &fixture.chain {
            roadbed.push_qc(qc.clone(), blocks.clone()).await.unwrap();
        }
    }
    first.shutdown().await.unwrap();
    assert_eq!(second.next_block().await.unwrap().next_block, BlockNumber(50));
    second.shutdown().await.unwrap();
}
