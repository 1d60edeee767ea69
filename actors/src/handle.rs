//! The handle that embedders hold: an async method for each message.

use std::ops::Range;
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use roadbed_messages::api::{
    Cursors, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, GetStatus, NeedBlock,
    NextBlock, PruneBefore, PushAppHash, PushBlock, PushQc, Recovered, Shutdown, ShutdownReport, Status,
    StopReason, TryGetBlock, WalKind,
};
use roadbed_messages::{
    AppHash, AppProposal, Block, BlockNumber, Committee, FullCommitQc, GlobalBlock, HeaderHash,
};

use crate::builder::Builder;
use crate::metrics::{Health, Metrics, Registration, Stats};
use crate::state::{State, StopCell};
use crate::subscription::Subscription;

/// A running data layer. Clones share it; when the last one is dropped, it is shut down in order.
///
/// Every method sends the message of the same name to State and waits for its reply. A future that is dropped takes
/// its request back, unless it was carried out already.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use roadbed::Roadbed;
/// use roadbed_messages::testing;
///
/// let members = testing::committee(7, 4);
/// let roadbed = Roadbed::builder(members.committee.clone()).in_memory().start().await?;
/// let (qc, blocks) = testing::chain(7, &members, testing::ChainShape::default()).next().unwrap();
/// roadbed.push_qc(Arc::new(qc), blocks.into_iter().map(Arc::new).collect()).await?;
/// assert_eq!(roadbed.next_block().await?.next_block.0, 10);
/// assert!(roadbed.shutdown().await?.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Roadbed {
    inner: Arc<Inner>,
}

struct Inner {
    addr: Addr<State>,
    stop: StopCell,
    recovered: Recovered,
    metrics: Arc<Metrics>,
    /// Ends the export with the last handle.
    _registration: Option<Registration>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.addr.do_send(Shutdown);
    }
}

impl Roadbed {
    /// Begins to configure a data layer for a committee.
    pub fn builder(committee: Committee) -> Builder {
        Builder::new(committee)
    }

    pub(crate) fn new(
        addr: Addr<State>,
        stop: StopCell,
        recovered: Recovered,
        metrics: Arc<Metrics>,
        registration: Option<Registration>,
    ) -> Self {
        let _registration = registration;
        Self { inner: Arc::new(Inner { addr, stop, recovered, metrics, _registration }) }
    }

    /// State's address, for the typed messages of [`roadbed_messages::api`].
    pub fn addr(&self) -> Addr<State> {
        self.inner.addr.clone()
    }

    /// What the start found and did.
    pub fn recovered(&self) -> &Recovered {
        &self.inner.recovered
    }

    /// What both logs have done since the start; asks no actor.
    pub fn stats(&self) -> Stats {
        let metrics = &self.inner.metrics;
        Stats { qcs: metrics.wal(WalKind::Qcs).snapshot(), blocks: metrics.wal(WalKind::Blocks).snapshot() }
    }

    /// The newest snapshot that State has published: at every change of a worker's life, and a few times a second. Asks
    /// no actor, so it is answered even when all of them hang; [`Roadbed::status`] is exact.
    pub fn snapshot(&self) -> Status {
        self.inner.metrics.published().observed.status.clone()
    }

    /// Whether it is fit to serve, for a readiness probe. Asks no actor: one that hangs, State included, is a reason
    /// not to be ready.
    pub fn health(&self) -> Health {
        self.inner.metrics.health()
    }

    /// Resolves when the data layer has ended, with the reason. Everything that it held is free then, except what a
    /// thread holds that hangs.
    pub async fn stopped(&self) -> StopReason {
        self.inner.stop.wait().await
    }

    /// See [`PushQc`].
    ///
    /// # Errors
    /// When the QC or a block is invalid, when the bound is full, or when the data layer has stopped.
    pub async fn push_qc(&self, qc: Arc<FullCommitQc>, blocks: Vec<Arc<Block>>) -> Result<(), Error> {
        self.send(PushQc { qc, blocks }).await
    }

    /// See [`PushBlock`].
    ///
    /// # Errors
    /// When the block is invalid or not the finalized one, when the bound is full, or after the end.
    pub async fn push_block(&self, number: BlockNumber, block: Arc<Block>) -> Result<(), Error> {
        self.send(PushBlock { number, block }).await
    }

    /// See [`PushAppHash`]: once this returns, a vote on the block is safe.
    ///
    /// # Errors
    /// When the block has an app hash already, when the bound is full, or after the end.
    pub async fn push_app_hash(&self, number: BlockNumber, hash: AppHash) -> Result<(), Error> {
        self.send(PushAppHash { number, hash }).await
    }

    /// See [`GetQc`].
    ///
    /// # Errors
    /// When the block was pruned, when what is stored is damaged, or after the end.
    pub async fn qc(&self, number: BlockNumber) -> Result<Arc<FullCommitQc>, Error> {
        self.send(GetQc { number }).await
    }

    /// See [`GetBlock`].
    ///
    /// # Errors
    /// As [`Roadbed::qc`].
    pub async fn block(&self, number: BlockNumber) -> Result<Arc<Block>, Error> {
        self.send(GetBlock { number }).await
    }

    /// See [`TryGetBlock`].
    ///
    /// # Errors
    /// As [`Roadbed::qc`], and [`Error::NotFound`] for what has not arrived.
    pub async fn try_block(&self, number: BlockNumber) -> Result<Arc<Block>, Error> {
        self.send(TryGetBlock { number }).await
    }

    /// See [`GetBlockByHash`].
    ///
    /// # Errors
    /// As [`Roadbed::try_block`].
    pub async fn block_by_hash(&self, hash: HeaderHash) -> Result<GlobalBlock, Error> {
        self.send(GetBlockByHash { hash }).await
    }

    /// See [`GetGlobalBlock`].
    ///
    /// # Errors
    /// As [`Roadbed::qc`].
    pub async fn global_block(&self, number: BlockNumber) -> Result<GlobalBlock, Error> {
        self.send(GetGlobalBlock { number }).await
    }

    /// See [`GetAppProposal`].
    ///
    /// # Errors
    /// As [`Roadbed::qc`].
    pub async fn app_proposal(&self, number: BlockNumber) -> Result<AppProposal, Error> {
        self.send(GetAppProposal { number }).await
    }

    /// See [`NeedBlock`].
    ///
    /// # Errors
    /// After the end.
    pub async fn need_block(&self, number: BlockNumber) -> Result<bool, Error> {
        self.send(NeedBlock { number }).await
    }

    /// See [`NextBlock`].
    ///
    /// # Errors
    /// After the end.
    pub async fn next_block(&self) -> Result<Cursors, Error> {
        self.send(NextBlock).await
    }

    /// See [`GetStatus`].
    ///
    /// # Errors
    /// After the end.
    pub async fn status(&self) -> Result<Status, Error> {
        self.send(GetStatus).await
    }

    /// Every finalized block from `from` on, in order, each once; with `only_durable` once it survives a crash.
    ///
    /// A slow subscriber slows only itself. It does not hold back pruning.
    pub fn subscribe(&self, from: BlockNumber, only_durable: bool) -> Subscription {
        Subscription::new(self.clone(), from, only_durable)
    }

    /// See [`PruneBefore`].
    ///
    /// # Errors
    /// When the bound is full, or after the end.
    pub async fn prune_before(&self, retain_from: BlockNumber) -> Result<Range<BlockNumber>, Error> {
        self.send(PruneBefore { retain_from }).await
    }

    /// See [`Shutdown`]. Resolves when everything has ended, so that the directory can be opened again.
    ///
    /// # Errors
    /// When it had ended already, for another reason.
    pub async fn shutdown(&self) -> Result<ShutdownReport, Error> {
        let report = self.send(Shutdown).await?;
        self.stopped().await;
        Ok(report)
    }

    pub(crate) async fn send<M, R>(&self, message: M) -> Result<R, Error>
    where
        M: Message<Result = Result<R, Error>> + Send + 'static,
        R: Send + 'static,
        State: Handler<M>,
        <State as Actor>::Context: ToEnvelope<State, M>,
    {
        match self.inner.addr.send(message).await {
            Ok(reply) => reply,
            // State is gone: why is set before it goes.
            Err(_) => Err(Error::Stopped(self.inner.stop.wait().await)),
        }
    }
}
