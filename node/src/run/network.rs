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
//! than one QC with its blocks needs, and answers to what was asked have connections of their own: what is needed next
//! always gets in.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use roadbed::Roadbed;
use roadbed_messages::api::Error;
use roadbed_messages::codec::{self, DecodeError};
use roadbed_messages::{Block, BlockNumber, Committee, FullCommitQc};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::fetcher::{FETCH_EVERY, Fetcher, still_needed};
use super::frame::{Frame, FrameError, Role, read_frame};
use super::plan::Plan;

/// Pushes of one connection at once, beside those of one QC's blocks.
const SLOTS: usize = 512;
/// Bytes of all connections' pushes at once, beside those of one QC's blocks for each.
const SLOT_BYTES: usize = 256 << 20;
/// Bytes that wait in the socket, at either end.
pub(crate) const SOCKET_BUFFER_BYTES: u32 = 64 << 10;
/// Connections that wait to be taken.
const LISTEN_BACKLOG: u32 = 1024;
/// Questions that wait for a peer's socket.
const QUESTIONS_MAX: usize = 256;
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
    /// QCs that were asked for and came, whose push was not answered yet.
    fetched_qcs: usize,
}

/// How much one connection may have in flight.
#[derive(Clone, Copy)]
struct Slots {
    count: usize,
    bytes: usize,
}

/// Rejections by reason.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<String, u64>")]
pub(crate) struct GetRejected;

/// Ends it, with every connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HangUp;

#[derive(Message)]
#[rtype(result = "()")]
enum FromPeer {
    /// It can be asked.
    Serves { peer: u32, questions: mpsc::Sender<Vec<u8>> },
    /// Something decoded.
    Arrived { item: Item, role: Role, slot: Slot },
    /// A connection has ended, and what was in it is lost.
    Gone,
    /// Something refused.
    Refused { reason: &'static str },
}

enum Item {
    Qc(Arc<FullCommitQc>),
    Block(BlockNumber, Arc<Block>),
}

/// Held until a push was answered.
struct Slot {
    _one: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Network {
    /// A network that takes connections from `listener`; what was missing at the start is asked for at once.
    pub(crate) fn new(plan: &Plan, roadbed: Roadbed, listener: TcpListener) -> Self {
        let blocks = plan.shape.blocks_per_qc;
        // Header, lengths and offsets beside the transactions.
        let block_bytes = plan.shape.txs_per_block * (plan.shape.tx_bytes + 4) + 256;
        let bytes = SLOT_BYTES / plan.members.keys.len() + 2 * blocks * block_bytes;
        let slots = Slots { count: SLOTS + 2 * blocks, bytes };
        let missing_until = roadbed.recovered().next_qc;
        Self {
            roadbed,
            committee: plan.members.committee.clone(),
            listener: Some(listener),
            slots,
            rejected: BTreeMap::new(),
            serving: BTreeMap::new(),
            fetcher: Fetcher::new(missing_until),
            fetched_qcs: 0,
        }
    }

    fn reject(&mut self, reason: &'static str) {
        *self.rejected.entry(reason).or_default() += 1;
    }

    fn pushed(&mut self, outcome: Result<(), Error>, number: Option<BlockNumber>) {
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

    /// Pushes a QC that was asked for, and notes whether anybody else had brought it meanwhile.
    fn push_fetched(&mut self, qc: Arc<FullCommitQc>, slot: Slot, ctx: &mut Context<Self>) {
        self.fetched_qcs += 1;
        let (roadbed, committee) = (self.roadbed.clone(), self.committee.clone());
        let push = async move {
            let next_qc = roadbed.next_block().await.map(|cursors| cursors.next_qc);
            let start = qc.range(&committee).map(|range| range.start);
            let helps = matches!((next_qc, start), (Ok(next_qc), Ok(start)) if next_qc == start);
            (push(roadbed, Item::Qc(qc)).await, helps)
        };
        ctx.spawn(push.into_actor(self).map(|(outcome, helps), network, _| {
            network.fetched_qcs -= 1;
            if helps && outcome.is_ok() {
                network.fetcher.hurry();
            }
            network.pushed(outcome, None);
            drop(slot);
        }));
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
            FromPeer::Refused { reason } => self.reject(reason),
            FromPeer::Gone => self.fetcher.hurry(),
            FromPeer::Arrived { item, role, slot } => {
                let number = match &item {
                    Item::Qc(_) => None,
                    Item::Block(number, _) => Some(*number),
                };
                if role == Role::Serves
                    && let Item::Qc(qc) = &item
                {
                    self.push_fetched(Arc::clone(qc), slot, ctx);
                    return;
                }
                let push = push(self.roadbed.clone(), item).into_actor(self);
                ctx.spawn(push.map(move |outcome, network, _| {
                    network.pushed(outcome, number);
                    drop(slot);
                }));
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

/// Where peers dial: a free port of this host.
///
/// # Errors
/// What the system says.
pub(crate) fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections inherit it. What waits in it is lost with a connection, and is memory that no slot counts.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(LISTEN_BACKLOG)
}

/// Takes connections as long as the actor lives: its address keeps no future alive, and no future keeps it.
async fn accept(listener: TcpListener, network: Addr<Network>, slots: Slots) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                connections.spawn_local(serve(socket, network.clone(), slots));
                while connections.try_join_next().is_some() {}
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                tracing::warn!(%error, "can't take a connection");
                tokio::time::sleep(BUSY_WAIT_MAX).await;
            }
        }
    }
}

/// Reads one connection to its end.
async fn serve(socket: TcpStream, network: Addr<Network>, slots: Slots) {
    if let Err(error) = read_connection(socket, &network, slots).await
        && let Some(reason) = error.reason()
    {
        network.do_send(FromPeer::Refused { reason });
    }
    network.do_send(FromPeer::Gone);
}

async fn read_connection(socket: TcpStream, network: &Addr<Network>, slots: Slots) -> Result<(), FrameError> {
    let (reader, writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    let Some(Frame::Hello { peer, role }) = read_frame(&mut reader).await? else {
        return Err(FrameError::Unexpected);
    };
    // Dropping this half would tell the peer that it is over.
    let _sending_half = match role {
        Role::Sends => Some(writer),
        Role::Serves => {
            network.do_send(FromPeer::Serves { peer, questions: spawn_questions(writer) });
            None
        }
    };
    let count = Arc::new(Semaphore::new(slots.count));
    let bytes = Arc::new(Semaphore::new(slots.bytes));
    while let Some(frame) = read_frame(&mut reader).await? {
        if !matches!(frame, Frame::Qc(_) | Frame::Block { .. }) {
            return Err(FrameError::Unexpected);
        }
        let Some(slot) = take_slot(&count, &bytes, slots.bytes, &frame).await else { break };
        // At most as many of these are on their way as there are slots.
        network.do_send(match decode(frame) {
            Ok(item) => FromPeer::Arrived { item, role, slot },
            Err(error) => FromPeer::Refused { reason: error.reason() },
        });
    }
    Ok(())
}

/// Waits until there is room for a frame; `None` never happens, the semaphores are not closed.
async fn take_slot(
    count: &Arc<Semaphore>,
    bytes: &Arc<Semaphore>,
    bytes_max: usize,
    frame: &Frame,
) -> Option<Slot> {
    let size = match frame {
        Frame::Qc(bytes) | Frame::Block { bytes, .. } => bytes.len(),
        _ => 0,
    };
    // What is larger than all of the room waits until it is alone.
    let size = u32::try_from(size.min(bytes_max)).ok()?;
    let one = Arc::clone(count).acquire_owned().await.ok()?;
    let bytes = Arc::clone(bytes).acquire_many_owned(size).await.ok()?;
    Some(Slot { _one: one, _bytes: bytes })
}

fn decode(frame: Frame) -> Result<Item, DecodeError> {
    match frame {
        Frame::Block { number, bytes } => Ok(Item::Block(number, Arc::new(codec::decode(&bytes)?))),
        Frame::Qc(bytes) => Ok(Item::Qc(Arc::new(codec::decode(&bytes)?))),
        _ => Err(DecodeError::Malformed("not a message".to_owned())),
    }
}

/// Writes questions to a socket until either end is gone.
fn spawn_questions(mut writer: OwnedWriteHalf) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut waiting) = mpsc::channel::<Vec<u8>>(QUESTIONS_MAX);
    actix::spawn(async move {
        while let Some(bytes) = waiting.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    sender
}
