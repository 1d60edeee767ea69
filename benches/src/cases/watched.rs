//! A process that ingests, watched or not, in rounds that another one calls.
//!
//! Its own process, because it is the processor time of a whole process that is compared, and because a program has one
//! subscriber.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use roadbed::prometheus::Registry;
use roadbed::{Config, RetentionPolicy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::input::{SMALL, Source, blocks_in};
use crate::store::{Store, runtime, wait_until_quiet_for};
use crate::threads::Spent;

const IN_FLIGHT: usize = 390;
/// The pruner looks so often, so a round's housekeeping is over when nothing was written for a little longer.
const PRUNER_INTERVAL: Duration = Duration::from_millis(50);
const QUIET_FOR: Duration = Duration::from_millis(60);

/// What a process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) dir: PathBuf,
    pub(super) committee: usize,
    pub(super) qcs: usize,
    pub(super) segment_bytes: u64,
    /// Whether what it does is counted.
    pub(super) registry: bool,
    /// The level of its subscriber, which writes its lines into nothing; without one no span has any.
    pub(super) level: Option<String>,
}

/// What came of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ingested {
    pub(super) blocks: f64,
    pub(super) seconds: f64,
    /// Of the whole process.
    pub(super) spent: Spent,
}

/// The process has its next input, and is quiet.
#[derive(Debug, Serialize, Deserialize)]
struct Ready;

/// A store that has pruning to do, as a validator in its steady state.
pub(super) fn config(segment_bytes: u64) -> Config {
    let retention =
        RetentionPolicy { blocks_max: Some(20_000), interval: PRUNER_INTERVAL, ..RetentionPolicy::default() };
    Config { segment_bytes, retention, ..Config::default() }
}

/// What the process does: a round for each line that it is given.
///
/// # Errors
/// When it can't be done.
pub fn ingest_and_tell(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec).context("read what to ingest")?;
    if let Some(level) = &spec.level {
        let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_writer(io::sink);
        builder.try_init().map_err(|error| anyhow!("{error}"))?;
    }
    let (runtime, mut source) = (runtime()?, Source::new(spec.committee, SMALL));
    let registry = spec.registry.then(Registry::new);
    let config = config(spec.segment_bytes);
    let started = Store::start_warm_watched(&spec.dir, &mut source, config, registry.as_ref());
    let store = runtime.block_on(started)?;
    loop {
        let input = source.take(spec.qcs);
        runtime.block_on(wait_until_quiet_for(QUIET_FOR))?;
        tell(&Ready)?;
        if io::stdin().lock().read_line(&mut String::new())? == 0 {
            return runtime.block_on(store.stop());
        }
        let before = Spent::now();
        let took = runtime.block_on(store.ingest(&input, IN_FLIGHT))?;
        let spent = Spent::now().since(&before);
        tell(&Ingested { blocks: blocks_in(&input) as f64, seconds: took.as_secs_f64(), spent })?;
    }
}

fn tell<T: Serialize>(told: &T) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, told)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Such a process, seen from the one that calls the rounds.
pub(super) struct Watched {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Whether it waits for its round.
    is_ready: bool,
}

impl Watched {
    /// Starts it.
    pub(super) fn start(spec: &Spec) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.arg("--ingest").arg(serde_json::to_string(spec)?);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run it again")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.context("the pipes to the other process")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), is_ready: false })
    }

    /// Waits until it has its next input, and is quiet.
    pub(super) fn wait(&mut self) -> Result<()> {
        if !self.is_ready {
            self.read::<Ready>()?;
            self.is_ready = true;
        }
        Ok(())
    }

    /// Its round begins, once it is ready.
    pub(super) fn go(&mut self) -> Result<()> {
        self.wait()?;
        self.is_ready = false;
        Ok(writeln!(self.stdin)?)
    }

    /// Waits until its round is over.
    pub(super) fn ingested(&mut self) -> Result<Ingested> {
        self.read()
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        ensure!(
            self.stdout.read_line(&mut line)? > 0,
            "the other process has ended: {:?}",
            self.child.wait()
        );
        serde_json::from_str(&line).with_context(|| format!("the other process said {line:?}"))
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        let status = child.wait()?;
        ensure!(status.success(), "the other process ended with {status}");
        Ok(())
    }
}
