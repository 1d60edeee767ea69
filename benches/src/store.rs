//! A whole data layer, started, warmed up and fed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use roadbed::prometheus::Registry;
use roadbed::supervision::{Fault, Faults};
use roadbed::{Config, Roadbed};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Error};
use roadbed_messages::testing::{TestCommittee, app_hash};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::input::{Certified, Source, in_flight_of};

/// Housekeeping is over when nothing was written for so long.
const QUIET_FOR: Duration = Duration::from_millis(150);
/// Housekeeping takes no longer than this.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// A data layer that runs, with its faults.
pub(crate) struct Store {
    /// Its handle.
    pub(crate) roadbed: Roadbed,
    /// What can be injected.
    pub(crate) faults: Faults,
}

/// A runtime for whoever feeds a store: one thread, this one.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

impl Store {
    /// Starts on a directory.
    pub(crate) async fn start(dir: &Path, members: &TestCommittee, config: Config) -> Result<Self> {
        Self::start_watched(dir, members, config, None).await
    }

    /// Starts on a directory; what it does is counted where there is a registry.
    async fn start_watched(
        dir: &Path,
        members: &TestCommittee,
        config: Config,
        registry: Option<&Registry>,
    ) -> Result<Self> {
        let faults = Faults::default();
        let mut builder = Roadbed::builder(members.committee.clone()).data_dir(dir).config(config);
        if let Some(registry) = registry {
            builder = builder.metrics(registry);
        }
        let roadbed = builder.faults(faults.clone()).start().await?;
        Ok(Self { roadbed, faults })
    }

    /// Starts on an empty directory and brings both logs where those of a validator are that has run for a while: in
    /// space that was written before. The housekeeping fills spare segments; a worker that fails goes on in one of them.
    pub(crate) async fn start_warm(dir: &Path, source: &mut Source, config: Config) -> Result<Self> {
        Self::start_warm_watched(dir, source, config, None).await
    }

    /// The same; what it does is counted where there is a registry.
    pub(crate) async fn start_warm_watched(
        dir: &Path,
        source: &mut Source,
        config: Config,
        registry: Option<&Registry>,
    ) -> Result<Self> {
        let store = Self::start_watched(dir, &source.members, config, registry).await?;
        wait_until_quiet().await?;
        for actor in [ActorKind::QcWal, ActorKind::BlockWal] {
            store.faults.inject(actor, Fault::Panic);
        }
        // Enough to strike both, and to grow the buffers on the way.
        let input = source.take(20);
        store.ingest(&input, in_flight_of(&input).min(20)).await?;
        if store.faults.outstanding() > 0 {
            bail!("the logs were not restarted");
        }
        wait_until_quiet().await?;
        Ok(store)
    }

    /// Pushes all of it, so many QCs at once, and their last blocks' app hashes; answers how long it took until the
    /// last block was durable with its QC.
    pub(crate) async fn ingest(&self, input: &[Certified], in_flight: usize) -> Result<Duration> {
        let began = Instant::now();
        let mut pushes = JoinSet::new();
        for certified in input {
            if pushes.len() >= in_flight
                && let Some(pushed) = pushes.join_next().await
            {
                pushed??;
            }
            pushes.spawn(push(self.roadbed.clone(), certified.clone()));
        }
        while let Some(pushed) = pushes.join_next().await {
            pushed??;
        }
        Ok(began.elapsed())
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let report = self.roadbed.shutdown().await?;
        if report.is_clean() { Ok(()) } else { bail!("not everything became durable: {report:?}") }
    }
}

/// Pushes a QC with its blocks, then the app hash of its last block: when this is answered, a vote is safe.
pub(crate) async fn push(roadbed: Roadbed, (qc, blocks): Certified) -> Result<()> {
    let lanes = &qc.qc.proposal.lane_ranges;
    // Chains here start at block 0.
    let last = BlockNumber(lanes.iter().map(|lane| lane.next.0).sum::<u64>().saturating_sub(1));
    roadbed.push_qc(qc, blocks).await?;
    match roadbed.push_app_hash(last, app_hash(0, last)).await {
        // A later one came first and covers it, so it is durable.
        Ok(()) | Err(Error::AppHashOutOfOrder { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until this process writes nothing more.
pub(crate) async fn wait_until_quiet() -> Result<()> {
    wait_until_quiet_for(QUIET_FOR).await
}

/// Waits until this process has written nothing for so long.
pub(crate) async fn wait_until_quiet_for(quiet_for: Duration) -> Result<()> {
    let began = Instant::now();
    let mut last = (written_bytes()?, Instant::now());
    while last.1.elapsed() < quiet_for {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let written = written_bytes()?;
        if written != last.0 {
            last = (written, Instant::now());
        }
        if began.elapsed() > QUIET_WITHIN {
            bail!("the logs' housekeeping does not end");
        }
    }
    Ok(())
}

/// Bytes that this process has sent to disks.
fn written_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("/proc/self/io does not say what was written")?.trim().parse()?)
}
