//! The validator's actors: started together, stopped in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use roadbed::Roadbed;
use roadbed::supervision::Faults;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Status};
use tokio::sync::{mpsc, watch};

use super::ack_log::AckLog;
use super::chain_check::Checked;
use super::chaos::{Calm, Chaos};
use super::clock::ChainClock;
use super::connection;
use super::consensus::{Consensus, Stop};
use super::executor::{self, Executor};
use super::history::History;
use super::network::{GetRejected, HangUp, Network};
use super::peers::{self, Peer};
use super::plan::Plan;
use super::progress::{self, Progress};
use crate::cli::RunArgs;
use crate::exit::NodeError;

/// Between two looks at what is left to do.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// Everything around the data layer.
///
/// ```text
/// Consensus ─▶ Peer × N ══sockets══▶ Network ─▶ data layer ─▶ Executor ─▶ ack log
///   (on an arbiter of their own)                    ▲            │
///                                       Chaos ──────┘            └─▶ Progress
/// ```
pub(crate) struct Validator {
    roadbed: Roadbed,
    /// The peers and consensus live here, so that they take nothing from the node's own thread.
    world: Arbiter,
    consensus: Addr<Consensus>,
    peers: Vec<Addr<Peer>>,
    network: Addr<Network>,
    executor: Addr<Executor>,
    progress: Addr<Progress>,
    chaos: Option<Addr<Chaos>>,
    /// The first block that no app hash was answered for.
    pub(crate) answered: watch::Receiver<BlockNumber>,
    /// What an actor could not go on from.
    pub(crate) failures: mpsc::UnboundedReceiver<NodeError>,
}

/// What is left when the actors have ended.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The newest snapshot that progress was told from.
    pub(crate) status: Option<Status>,
    /// Rejections by reason.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Faults that were injected, by kind; `None` without chaos.
    pub(crate) chaos: Option<BTreeMap<&'static str, u64>>,
}

impl Validator {
    /// Starts all actors. `until`: where consensus stops by itself.
    ///
    /// # Errors
    /// When there is no socket to be had.
    #[expect(clippy::too_many_arguments, reason = "one of everything that the actors need")]
    pub(crate) async fn start(
        args: &RunArgs,
        plan: &Arc<Plan>,
        roadbed: &Roadbed,
        faults: Faults,
        clock: &ChainClock,
        ack_log: Option<AckLog>,
        checked: Checked,
        until: Option<BlockNumber>,
    ) -> Result<Self, NodeError> {
        let no_socket = |error| NodeError::io("listen on 127.0.0.1 for the peers", error);
        let listener = connection::listen().map_err(no_socket)?;
        let node = listener.local_addr().map_err(no_socket)?;
        let recovered = roadbed.recovered();

        let network = Network::new(plan, roadbed.clone(), listener).start();
        let (answered_sender, answered) = watch::channel(recovered.first);
        let (failures_sender, failures) = mpsc::unbounded_channel();
        let executor = Executor::new(roadbed.clone(), checked.app, ack_log, answered_sender, failures_sender);
        let executor = executor.start();
        let progress = Progress::new(roadbed.clone(), network.clone()).start();
        let chaos = args.chaos.map(|seed| Chaos::new(seed, faults, args.in_memory).start());

        let world = Arbiter::new();
        let history = History::new(Plan::clone(plan), checked.checkpoints, recovered.next_qc);
        let history = Arc::new(Mutex::new(history));
        let peers: Vec<_> = (0..plan.members.keys.len())
            .map(|position| {
                let peer = Peer::new(Arc::clone(plan), position, node, Arc::clone(&history));
                Peer::start_in_arbiter(&world.handle(), |_| peer)
            })
            .collect();
        let consensus = Consensus {
            chain: plan.chain_after(checked.last_qc.as_ref()),
            until,
            rate: args.rate,
            clock: clock.clone(),
            history,
            peers: peers.clone(),
        };
        let consensus = Consensus::start_in_arbiter(&world.handle(), |_| consensus);
        let roadbed = roadbed.clone();
        Ok(Self { roadbed, world, consensus, peers, network, executor, progress, chaos, answered, failures })
    }

    /// Ends everything that brings something new: faults, finalizing, sockets. What is there is still executed.
    pub(crate) async fn stop_input(&mut self) -> Remains {
        let chaos = match self.chaos.take() {
            Some(chaos) => chaos.send(Calm).await.ok(),
            None => None,
        };
        // An actor that is gone already has nothing left to end.
        let _ = self.consensus.send(Stop).await;
        for peer in self.peers.drain(..) {
            peer.do_send(peers::Leave);
        }
        let rejected = self.network.send(GetRejected).await.unwrap_or_default();
        let _ = self.network.send(HangUp).await;
        let status = self.progress.send(progress::Leave).await.ok().flatten();
        Remains { status, rejected, chaos }
    }

    /// Waits until what was pushed is there, and every block that is there was executed and answered for.
    ///
    /// # Errors
    /// When an actor or the data layer has ended.
    pub(crate) async fn drain(&mut self) -> Result<(), NodeError> {
        loop {
            let status = self.roadbed.status().await;
            let status = status.map_err(|error| NodeError::request("look where the node is", error))?;
            let end = status.cursors.next_block;
            let verifying =
                status.workers.iter().any(|worker| worker.actor == ActorKind::Verifier && worker.mailbox > 0);
            if !verifying && *self.answered.borrow() >= end {
                return Ok(());
            }
            tokio::select! {
                biased;
                // The sender is gone when the executor is, and then it has failed or the data layer has ended.
                Ok(_) = self.answered.wait_for(|answered| *answered >= end) => {}
                Some(error) = self.failures.recv() => return Err(error),
                reason = self.roadbed.stopped() => return Err(NodeError::Stopped(reason)),
            }
            // What is being verified comes without further notice.
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Ends the rest.
    pub(crate) async fn leave(self) {
        let _ = self.executor.send(executor::Leave).await;
        self.world.stop();
        // It only fails when the thread panicked, and then it has ended as well.
        drop(tokio::task::spawn_blocking(move || self.world.join()).await);
    }
}
