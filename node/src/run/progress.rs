//! A line of progress a second, on stderr: a table on a terminal, `name=value` for programs.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use roadbed::{Roadbed, Stats};
use roadbed_messages::api::Status;

use super::network::{GetRejected, Network};
use super::summary::Restarts;
use crate::output;

const EVERY: Duration = Duration::from_secs(1);
/// How long the first line waits for the first block: before it there is no rate to tell.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// Lines between two headings on a terminal.
const HEADING_EVERY: u64 = 20;
const HEADING: &str = "  time       block   blk/s  durable MB    MB/s   lag   qcs fsync p50/p99   blocks fsync p50/p99  restarts  rejected  state";

/// The actor.
pub(crate) struct Progress {
    roadbed: Roadbed,
    network: Addr<Network>,
    terminal: bool,
    started: Instant,
    lines: u64,
    before: Option<Sample>,
}

/// Ends it; answers the newest snapshot that it has seen.
#[derive(Debug, Message)]
#[rtype(result = "Option<Status>")]
pub(crate) struct Leave;

/// What is known at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    status: Status,
    stats: Stats,
    rejected: u64,
}

impl Sample {
    /// Whether a block has come since the start.
    fn has_moved(&self) -> bool {
        let recovered = self.status.recovered.as_ref();
        recovered.is_some_and(|recovered| self.status.cursors.next_block > recovered.next_block)
    }
}

impl Progress {
    /// Watches both.
    pub(crate) fn new(roadbed: Roadbed, network: Addr<Network>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { roadbed, network, terminal, started: Instant::now(), lines: 0, before: None }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let (roadbed, network) = (self.roadbed.clone(), self.network.clone());
        let look = async move {
            let status = roadbed.status().await.ok()?;
            let rejected = network.send(GetRejected).await.ok()?;
            let rejected = rejected.values().sum();
            Some(Sample { at: Instant::now(), stats: roadbed.stats(), status, rejected })
        };
        ctx.spawn(look.into_actor(self).map(|sample, progress, ctx| {
            let first = progress.before.is_none() && progress.started.elapsed() < FIRST_WITHIN;
            match sample {
                Some(sample) if first && !sample.has_moved() => {
                    ctx.run_later(EVERY / 10, Self::look);
                    return;
                }
                Some(sample) => progress.print(sample),
                None => {}
            }
            ctx.run_later(EVERY, Self::look);
        }));
    }

    fn print(&mut self, sample: Sample) {
        if self.terminal && self.lines.is_multiple_of(HEADING_EVERY) {
            output::note(HEADING);
        }
        self.lines += 1;
        tracing::debug!(status = ?sample.status, "progress");
        let line = Line::new(&sample, self.before.as_ref(), self.started);
        output::note(&if self.terminal { line.table() } else { line.plain() });
        self.before = Some(sample);
    }
}

impl Actor for Progress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(EVERY / 4, Self::look);
    }
}

impl Handler<Leave> for Progress {
    type Result = actix::MessageResult<Leave>;

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) -> Self::Result {
        ctx.stop();
        actix::MessageResult(self.before.take().map(|sample| sample.status))
    }
}

/// The numbers of one line.
#[derive(Debug)]
struct Line {
    seconds: f64,
    block: u64,
    blocks_per_s: f64,
    durable_mb: f64,
    mb_per_s: f64,
    /// Blocks that are there and not durable.
    lag: u64,
    stats: Stats,
    restarts: u64,
    rejected: u64,
    state: String,
}

impl Line {
    fn new(now: &Sample, before: Option<&Sample>, started: Instant) -> Self {
        let bytes = |sample: &Sample| (sample.stats.qcs.bytes + sample.stats.blocks.bytes) as f64 / 1e6;
        let blocks = |sample: &Sample| sample.status.cursors.next_block.0 as f64;
        let recovered = now.status.recovered.as_ref().map_or(0.0, |recovered| recovered.next_block.0 as f64);
        let since = before.map_or(started, |before| before.at);
        let seconds = now.at.duration_since(since).as_secs_f64().max(1e-3);
        let per_s = |count: fn(&Sample) -> f64, at_start: f64| {
            (count(now) - before.map_or(at_start, count)) / seconds
        };
        let cursors = &now.status.cursors;
        let state = match now.status.reasons.as_slice() {
            [] => now.status.state.name().to_owned(),
            reasons => format!("{} ({})", now.status.state.name(), reasons.join("; ")),
        };
        Self {
            seconds: now.at.duration_since(started).as_secs_f64(),
            block: cursors.next_block.0,
            blocks_per_s: per_s(blocks, recovered),
            durable_mb: bytes(now),
            mb_per_s: per_s(bytes, 0.0),
            lag: cursors.next_block.0 - cursors.next_block_to_persist.0,
            stats: now.stats,
            restarts: Restarts::of(&now.status.workers).sum(),
            rejected: now.rejected,
            state,
        }
    }

    fn table(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        let fsync = |p50, p99| format!("{:.2}/{:.2} ms", ms(p50), ms(p99));
        format!(
            "{:>6} {:>11} {:>7.0} {:>11.1} {:>7.1} {:>5} {:>19} {:>22} {:>9} {:>9}  {}",
            format!("{:.0}s", self.seconds),
            self.block,
            self.blocks_per_s,
            self.durable_mb,
            self.mb_per_s,
            self.lag,
            fsync(self.stats.qcs.sync_p50_us, self.stats.qcs.sync_p99_us),
            fsync(self.stats.blocks.sync_p50_us, self.stats.blocks.sync_p99_us),
            self.restarts,
            self.rejected,
            self.state
        )
    }

    fn plain(&self) -> String {
        let Stats { qcs, blocks } = self.stats;
        format!(
            "progress seconds={:.1} block={} blocks_per_s={:.0} durable_mb={:.1} mb_per_s={:.1} lag_blocks={} \
             qcs_fsync_p50_us={} qcs_fsync_p99_us={} blocks_fsync_p50_us={} blocks_fsync_p99_us={} restarts={} \
             rejected={} state={}",
            self.seconds,
            self.block,
            self.blocks_per_s,
            self.durable_mb,
            self.mb_per_s,
            self.lag,
            qcs.sync_p50_us,
            qcs.sync_p99_us,
            blocks.sync_p50_us,
            blocks.sync_p99_us,
            self.restarts,
            self.rejected,
            self.state
        )
    }
}
