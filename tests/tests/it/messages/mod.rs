//! Every row of the table of messages, through State's address.

mod gets;
mod prune;
mod push_app_hash;
mod push_block;
mod push_qc;
mod shutdown;
mod status;
mod subscribe;

use roadbed::Config;
use roadbed_tests::{Fixture, Rig, settings};

/// Runs a test on a directory and in memory: the behaviour is the same.
async fn everywhere(fixture: Fixture, test: impl AsyncFn(Rig)) {
    everywhere_with(fixture, settings(), test).await;
}

/// As [`everywhere`], with other settings.
async fn everywhere_with(fixture: Fixture, config: Config, test: impl AsyncFn(Rig)) {
    println!("on a directory");
    test(Rig::configured(fixture.clone(), config.clone()).await).await;
    println!("in memory");
    test(Rig::in_memory_configured(fixture, config).await).await;
}
