//! A running data layer with everything that a test needs beside it.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use roadbed::supervision::{Fault, Faults, Gate};
use roadbed::{Builder, Config, Roadbed};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, GetGlobalBlock, GetQc, Recovered, StartError};
use roadbed_wal::sim::SimStorage;
use tempfile::TempDir;

use crate::{Client, Craft, Fixture};

/// Settings for tests: small segments, so that they roll and retire, and one thread to verify, so that
/// [`Client::settled`] holds.
pub fn settings() -> Config {
    Config { segment_bytes: 64 << 10, verify_threads: 1, ..Config::default() }
}

/// A running data layer, the chain that it is fed, and faults to inject. Derefs to its [`Client`].
pub struct Rig {
    /// The chain.
    pub fixture: Fixture,
    /// The settings.
    pub config: Config,
    /// The handle; a test that drops it shuts down.
    pub roadbed: Roadbed,
    /// Faults to inject.
    pub faults: Faults,
    client: Client,
    dir: Option<TempDir>,
}

impl Deref for Rig {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Rig {
    /// Starts on a new directory.
    pub async fn on_disk(fixture: Fixture) -> Self {
        Self::configured(fixture, settings()).await
    }

    /// Starts on a new directory with these settings.
    ///
    /// # Panics
    /// When the start is refused.
    pub async fn configured(fixture: Fixture, config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::in_dir(fixture, config, dir).await.expect("the start is not refused")
    }

    /// Starts on this directory.
    ///
    /// # Errors
    /// When the start is refused; the directory is given back.
    pub async fn in_dir(
        fixture: Fixture,
        config: Config,
        dir: TempDir,
    ) -> Result<Self, (StartError, TempDir)> {
        Self::in_dir_with(fixture, config, dir, Faults::default()).await
    }

    /// Starts on this directory with faults that may strike during the start.
    ///
    /// # Errors
    /// When the start is refused; the directory is given back.
    pub async fn in_dir_with(
        fixture: Fixture,
        config: Config,
        dir: TempDir,
        faults: Faults,
    ) -> Result<Self, (StartError, TempDir)> {
        let builder = fixture.builder().data_dir(dir.path());
        match Self::started(builder, fixture, config, faults).await {
            Ok(rig) => Ok(Self { dir: Some(dir), ..rig }),
            Err(error) => Err((error, dir)),
        }
    }

    /// Starts on a simulated disk.
    ///
    /// # Errors
    /// When the start is refused.
    pub async fn on_simulated(
        fixture: Fixture,
        config: Config,
        disk: &SimStorage,
    ) -> Result<Self, StartError> {
        let builder = fixture.builder().data_dir("/store").storage(Arc::new(disk.clone()));
        Self::started(builder, fixture, config, Faults::default()).await
    }

    /// Starts what this builder makes, where its directory is not the rig's to give back.
    ///
    /// # Errors
    /// When the start is refused.
    pub async fn started(
        builder: Builder,
        fixture: Fixture,
        config: Config,
        faults: Faults,
    ) -> Result<Self, StartError> {
        let roadbed = builder.config(config.clone()).faults(faults.clone()).start().await?;
        let client = Client::new(roadbed.addr());
        Ok(Self { fixture, config, roadbed, faults, client, dir: None })
    }

    /// Starts without a directory.
    pub async fn in_memory(fixture: Fixture) -> Self {
        Self::in_memory_configured(fixture, settings()).await
    }

    /// Starts without a directory, with these settings.
    ///
    /// # Panics
    /// When the start is refused.
    pub async fn in_memory_configured(fixture: Fixture, config: Config) -> Self {
        let builder = fixture.builder().in_memory();
        let started = Self::started(builder, fixture, config, Faults::default()).await;
        started.expect("the start is not refused")
    }

    /// Shuts down in order, and starts again on the same directory.
    pub async fn restarted(self) -> Self {
        let config = self.config.clone();
        self.restarted_with(config).await
    }

    /// Shuts down in order, and starts again on the same directory with other settings.
    ///
    /// # Panics
    /// When the shutdown is not clean, or the start is refused.
    pub async fn restarted_with(self, config: Config) -> Self {
        let (fixture, dir) = self.ended().await;
        Self::in_dir(fixture, config, dir).await.expect("the start is not refused")
    }

    /// Shuts down in order; answers the chain and the directory, which nobody holds then.
    ///
    /// # Panics
    /// When the shutdown is not clean, or there is no directory.
    pub async fn ended(self) -> (Fixture, TempDir) {
        let report = self.roadbed.shutdown().await.expect("it can be shut down");
        assert!(report.is_clean(), "{report:?}");
        self.left()
    }

    /// The chain and the directory of one that ended.
    ///
    /// # Panics
    /// When there is no directory.
    pub fn left(self) -> (Fixture, TempDir) {
        (self.fixture, self.dir.expect("this one has a directory"))
    }

    /// Everything that is retained is what was finalized, whichever way it is asked for.
    ///
    /// # Panics
    /// When it is not.
    pub async fn serves_what_it_retains(&self) {
        let cursors = self.cursors().await;
        for number in (cursors.first.0..cursors.next_block.0).map(BlockNumber) {
            let block = self.ask(GetGlobalBlock { number }).await.expect("a retained block");
            assert_eq!((block.number, block.payload.block()), (number, self.fixture.block(number)));
        }
        for number in (cursors.first.0..cursors.next_qc.0).map(BlockNumber) {
            let qc = self.ask(GetQc { number }).await.expect("a retained QC");
            assert_eq!(&qc, self.fixture.qc_of(number));
        }
    }

    /// The directory.
    ///
    /// # Panics
    /// When there is none.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("this one has a directory").path()
    }

    /// Hands to tamper with the directory once nothing runs on it.
    pub fn craft(&self) -> Craft {
        Craft::new(self.dir(), &self.fixture)
    }

    /// What the start found and did.
    pub fn recovered(&self) -> &Recovered {
        self.roadbed.recovered()
    }

    /// Pushes the whole chain.
    ///
    /// # Panics
    /// When a push is refused.
    pub async fn push_all(&self) {
        self.push_qcs(0..self.fixture.chain.len()).await;
    }

    /// Pushes these QCs of the chain with their blocks.
    ///
    /// # Panics
    /// When a push is refused.
    pub async fn push_qcs(&self, indices: std::ops::Range<usize>) {
        for certified in &self.fixture.chain[indices] {
            self.push(certified).await.expect("a valid QC");
        }
    }

    /// Resolves once everything that was sent so far was seen, and verified if need be.
    pub async fn settled(&self) {
        self.client.settled(&self.fixture).await;
    }

    /// Holds the next operation of a worker until the gate is opened.
    pub fn hold(&self, actor: ActorKind) -> Gate {
        let gate = Gate::default();
        self.faults.inject(actor, Fault::Hang(gate.clone()));
        gate
    }

    /// Holds the next operation of each log until the gate is opened.
    pub fn hold_logs(&self) -> Gate {
        let gate = self.hold(ActorKind::QcWal);
        self.faults.inject(ActorKind::BlockWal, Fault::Hang(gate.clone()));
        gate
    }

    /// The block `distance` after the first one.
    pub fn nth(&self, distance: u64) -> BlockNumber {
        self.fixture.nth(distance)
    }
}
