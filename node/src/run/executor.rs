//! The executor actor: follows the ordered stream, executes each block and reports the application's hash.
//!
//! A hash counts only when it was answered: then its line is in the ack log already, if there is one. Answers count in
//! the order of their blocks, whichever is noticed first. A bounded number of reports is on its way at once, so
//! execution runs ahead of the disk only so far.

use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, StreamHandler};
use futures_util::stream::{self, Stream, StreamExt};
use roadbed::Roadbed;
use roadbed_messages::api::Error;
use roadbed_messages::{AppHash, BlockNumber, GlobalBlock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::ack_log::AckLog;
use super::plan::App;
use crate::exit::NodeError;

/// Reports on their way at once.
const REPORTS_MAX: usize = 512;

/// The actor.
pub(crate) struct Executor {
    /// The data layer.
    roadbed: Roadbed,
    app: App,
    /// Where answered hashes are written.
    ack_log: Option<AckLog>,
    /// The first block that was not answered for.
    answered: watch::Sender<BlockNumber>,
    /// What it can't go on from.
    failures: mpsc::UnboundedSender<NodeError>,
    /// To the reports that are on their way; `None` until it is started.
    reports: Option<mpsc::UnboundedSender<Report>>,
}

/// A state of the application, and the right to report it.
#[derive(Debug)]
struct Report {
    number: BlockNumber,
    hash: AppHash,
    _permit: OwnedSemaphorePermit,
}

/// What came of a report.
struct Answer {
    report: Report,
    answer: Result<(), Error>,
}

/// Ends it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// The next block, and the right to report it.
type Next = (Result<GlobalBlock, Error>, OwnedSemaphorePermit);

impl Actor for Executor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let permits = Arc::new(Semaphore::new(REPORTS_MAX));
        let (reports, waiting) = mpsc::unbounded_channel();
        self.reports = Some(reports);
        ctx.add_stream(answers(self.roadbed.clone(), waiting));
        // What was executed in an earlier life is known: one report covers it.
        if let Some(last) = self.app.next.checked_sub(1)
            && self.app.next > self.roadbed.recovered().first
            && let Ok(permit) = Arc::clone(&permits).try_acquire_owned()
        {
            self.report(last, self.app.hash, permit);
        }
        ctx.add_stream(follow(self.roadbed.clone(), self.app.next, permits));
    }
}

impl StreamHandler<Next> for Executor {
    fn handle(&mut self, (block, permit): Next, ctx: &mut Self::Context) {
        match block {
            Ok(block) => {
                let hash = self.app.execute(&block.payload);
                self.report(block.number, hash, permit);
            }
            Err(error) => self.fail("follow the stream of blocks", error, ctx),
        }
    }

    // The stream ends when the data layer does; what was reported may still be answered.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<Answer> for Executor {
    fn handle(&mut self, Answer { report, answer }: Answer, ctx: &mut Self::Context) {
        match answer {
            Ok(()) => {
                if let Err(error) = self.count(&report) {
                    self.give_up(error, ctx);
                }
            }
            // A later report was answered first: it covers this one.
            Err(Error::AppHashOutOfOrder { .. }) => {}
            Err(error) => self.fail("report an app hash", error, ctx),
        }
    }
}

impl Handler<Leave> for Executor {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Executor {
    /// An executor that goes on from `app`.
    pub(crate) fn new(
        roadbed: Roadbed,
        app: App,
        ack_log: Option<AckLog>,
        answered: watch::Sender<BlockNumber>,
        failures: mpsc::UnboundedSender<NodeError>,
    ) -> Self {
        Self { roadbed, app, ack_log, answered, failures, reports: None }
    }

    fn report(&self, number: BlockNumber, hash: AppHash, permit: OwnedSemaphorePermit) {
        if let Some(reports) = &self.reports {
            // As many at most as there are permits. Without a receiver the executor is leaving.
            let _ = reports.send(Report { number, hash, _permit: permit });
        }
    }

    /// Counts an answer: first its line, then whoever waits for it.
    fn count(&mut self, report: &Report) -> Result<(), NodeError> {
        if let Some(log) = &mut self.ack_log {
            log.append(report.number, report.hash)?;
        }
        self.answered.send_replace(report.number.saturating_add(1));
        Ok(())
    }

    fn fail(&self, doing: &'static str, error: Error, ctx: &mut Context<Self>) {
        match error {
            // The run waits for that itself.
            Error::Stopped(_) => ctx.stop(),
            error => self.give_up(NodeError::request(doing, error), ctx),
        }
    }

    fn give_up(&self, error: NodeError, ctx: &mut Context<Self>) {
        // Without a receiver the run is ending anyway.
        drop(self.failures.send(error));
        ctx.stop();
    }
}

/// Sends the reports in their order, and gives the answers in that order.
fn answers(
    roadbed: Roadbed,
    waiting: mpsc::UnboundedReceiver<Report>,
) -> impl Stream<Item = Answer> + 'static {
    let reports =
        stream::unfold(waiting, |mut waiting| async move { Some((waiting.recv().await?, waiting)) });
    let send = move |report: Report| {
        let roadbed = roadbed.clone();
        async move {
            let answer = roadbed.push_app_hash(report.number, report.hash).await;
            Answer { report, answer }
        }
    };
    reports.map(send).buffered(REPORTS_MAX)
}

/// The stream of blocks from `from` on; each waits for a permit first. Ends after the first error.
fn follow(
    roadbed: Roadbed,
    from: BlockNumber,
    permits: Arc<Semaphore>,
) -> impl Stream<Item = Next> + 'static {
    let subscription = Some(roadbed.subscribe(from, false));
    stream::unfold((subscription, permits), |(subscription, permits)| async move {
        let mut subscription = subscription?;
        let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
        let next = subscription.next().await;
        let rest = next.is_ok().then_some(subscription);
        Some(((next, permit), (rest, permits)))
    })
}
