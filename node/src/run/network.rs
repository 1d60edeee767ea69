//! The network actor: takes bytes from peers, decodes them strictly, and pushes what they mean.
//!
//! ```text
//! peer ══socket══▶ connection: frame ─▶ decode ─▶ a slot ──Arrived──▶ Network ──push──▶ data layer
//!                                       └─ refused: counted by reason ◀──────────────────┘
//! peer ◀═socket══ "ask for block n" ◀── Fetcher: what is missing
//! ```
//!
//! # Bounds
//! A connection has so many slots and so many bytes; a push holds its slot until it was answered, and while there is
//! none the socket is not read. So a node that is behind slows its peers down, whatever they send. The slots are more
//! than what a peer sends of one QC needs, and answers to what was asked have connections of their own: what is needed
//! next always gets in. Each push is a task of its own, because an actor polls all of its own futures whenever one of
//! them is ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use roadbed::Roadbed;
use roadbed_messages::api::Error;
use roadbed_messages::{BlockNumber, Committee};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection::{FromPeer, Item, Slot, Slots, accept};
use super::fetcher::{FETCH_EVERY, Fetcher, still_needed};
use super::frame::{Frame, Role};
use super::plan::Plan;

/// Before a push that was answered Busy is tried again: doubled each time.
const BUSY_WAIT_MIN: Duration = Duration::from_millis(2);
const BUSY_WAIT_MAX: Duration = Duration::from_millis(64);
/// How often a push is tried that ended with the verifier, not with a verdict.
const VERIFIER_TRIES: u32 = 5;

/// The actor.
pub(crate) struct Network {
    roadbed: Roadbed,
    committee: Committee,
    listener: Option<TcpListener>,
    slots: Slots,
    rejected: BTreeMap<&'static str, u64>,
    /// Peers that can be asked, by their position.
    serving: BTreeMap<u32, mpsc::Sender<Vec<u8>>>,
    fetcher: Fetcher,
    /// Ended with the actor.
    pushes: JoinSet<()>,
    /// QCs that were asked for and came, whose push was not answered yet.
    fetched_qcs: usize,
}

/// Rejections by reason.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<String, u64>")]
pub(crate) struct GetRejected;

/// Ends it, with every connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HangUp;

/// A push was answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Pushed {
    outcome: Result<(), Error>,
    number: Option<BlockNumber>,
    /// It was asked for.
    fetched_qc: bool,
    /// It was asked for, and nobody else had brought it meanwhile.
    helped: bool,
}

impl Network {
    /// A network that takes connections from `listener`; what was missing at the start is asked for at once.
    pub(crate) fn new(plan: &Plan, roadbed: Roadbed, listener: TcpListener) -> Self {
        let missing_until = roadbed.recovered().next_qc;
        Self {
            roadbed,
            committee: plan.members.committee.clone(),
            listener: Some(listener),
            slots: Slots::new(plan),
            rejected: BTreeMap::new(),
            serving: BTreeMap::new(),
            fetcher: Fetcher::new(missing_until, plan.block_bytes() as u64, plan.blocks_per_qc()),
            pushes: JoinSet::new(),
            fetched_qcs: 0,
        }
    }

    fn reject(&mut self, reason: &'static str) {
        *self.rejected.entry(reason).or_default() += 1;
    }

    /// Starts a push; its answer comes as [`Pushed`].
    fn start_push(&mut self, item: Item, role: Role, slot: Slot, ctx: &Context<Self>) {
        let (roadbed, network) = (self.roadbed.clone(), ctx.address());
        let (number, wanted) = match &item {
            Item::Block(number, _) => (Some(*number), None),
            Item::Qc(qc) if role == Role::Serves => (None, qc.range(&self.committee).ok()),
            Item::Qc(_) => (None, None),
        };
        let fetched_qc = role == Role::Serves && number.is_none();
        self.fetched_qcs += usize::from(fetched_qc);
        self.pushes.spawn_local(async move {
            let helps = match wanted {
                Some(range) => roadbed.next_block().await.is_ok_and(|cursors| cursors.next_qc == range.start),
                None => false,
            };
            let outcome = push(roadbed, item).await;
            drop(slot);
            let helped = helps && outcome.is_ok();
            network.do_send(Pushed { outcome, number, fetched_qc, helped });
        });
        while self.pushes.try_join_next().is_some() {}
    }

    /// Looks at what is missing, and asks for some of it; comes back after a while.
    fn fetch(&mut self, ctx: &mut Context<Self>) {
        let roadbed = self.roadbed.clone();
        let cursors = async move { roadbed.next_block().await };
        let look = cursors.into_actor(self).then(|cursors, network, _| {
            // After the end there is nothing to ask for.
            let look = cursors.ok().map(|cursors| network.fetcher.look(cursors, network.fetched_qcs == 0));
            let roadbed = network.roadbed.clone();
            let questions = async move {
                match look {
                    Some(look) => still_needed(&roadbed, look).await,
                    None => Vec::new(),
                }
            };
            questions.into_actor(network)
        });
        ctx.spawn(look.map(|questions, network, ctx| {
            for question in questions {
                tracing::trace!(?question, "asking");
                network.ask(&question);
            }
            ctx.run_later(FETCH_EVERY, Self::fetch);
        }));
    }

    /// Asks the next peer that has room.
    fn ask(&mut self, question: &Frame) {
        self.serving.retain(|_, questions| !questions.is_closed());
        let turn = self.fetcher.next_turn();
        let peers = self.serving.len();
        for questions in self.serving.values().cycle().skip(turn % peers.max(1)).take(peers) {
            if questions.try_send(question.to_bytes()).is_ok() {
                return;
            }
        }
    }
}

impl Actor for Network {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(listener) = self.listener.take() {
            ctx.spawn(accept(listener, ctx.address(), self.slots).into_actor(self));
        }
        self.fetch(ctx);
    }
}

impl Handler<FromPeer> for Network {
    type Result = ();

    fn handle(&mut self, message: FromPeer, ctx: &mut Self::Context) {
        match message {
            FromPeer::Serves { peer, questions } => {
                self.serving.insert(peer, questions);
            }
            FromPeer::Refused { reason, slot } => {
                self.reject(reason);
                drop(slot);
            }
            FromPeer::Gone => self.fetcher.hurry(),
            FromPeer::Arrived { item, role, slot } => self.start_push(item, role, slot, ctx),
        }
    }
}

impl Handler<Pushed> for Network {
    type Result = ();

    fn handle(&mut self, pushed: Pushed, _: &mut Self::Context) {
        let Pushed { outcome, number, fetched_qc, helped } = pushed;
        self.fetched_qcs -= usize::from(fetched_qc);
        if helped {
            self.fetcher.hurry();
        }
        match outcome {
            // The end of the data layer is the run's to tell.
            Ok(()) | Err(Error::Stopped(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "rejected");
                self.reject(error.reason());
                if let Some(number) = number {
                    self.fetcher.ask_again(number);
                }
            }
        }
    }
}

impl Handler<GetRejected> for Network {
    type Result = actix::MessageResult<GetRejected>;

    fn handle(&mut self, _: GetRejected, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(
            self.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
        )
    }
}

impl Handler<HangUp> for Network {
    type Result = ();

    fn handle(&mut self, _: HangUp, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Pushes until there is a verdict.
async fn push(roadbed: Roadbed, item: Item) -> Result<(), Error> {
    let (mut wait, mut tries) = (BUSY_WAIT_MIN, 1);
    loop {
        let outcome = match &item {
            Item::Qc(qc) => roadbed.push_qc(Arc::clone(qc), Vec::new()).await,
            Item::Block(number, block) => roadbed.push_block(*number, Arc::clone(block)).await,
        };
        match outcome {
            Err(Error::Busy { .. }) => {}
            // It says nothing about the input: the verifier may have been killed by anything.
            Err(Error::VerifierFailed { .. }) if tries < VERIFIER_TRIES => tries += 1,
            verdict => return verdict,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BUSY_WAIT_MAX);
    }
}
