//! The peers: each owns a lane and signs, sends what is finalized over a socket, and serves what it is asked for.
//!
//! ```text
//! Consensus ──Finalized──▶ Peer ──frames──▶ outbox ──▶ "sends" socket  ──▶ node
//!                          Peer ◀──asks──── "serves" socket ◀────────────── node
//! ```
//!
//! What they send is what a node must live with: a QC apart from its blocks, the blocks of each lane from its own
//! peer, out of order inside the QC's range, some of it twice, now and then something invalid or nothing at all. Which
//! of it happens is a function of the seed, the QC and the peer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message};
use actix::{ResponseFuture, WrapFuture};
use roadbed_messages::BlockNumber;
use roadbed_messages::codec::encode;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::connection::SOCKET_BUFFER_BYTES;
use super::frame::{Frame, Role, read_frame};
use super::history::{History, Road};
use super::mischief::{Mischief, Script};
use super::plan::Plan;

/// QCs that wait for a peer's socket.
const OUTBOX_ROADS: usize = 4;
/// Answers that wait for a peer's socket.
const OUTBOX_ANSWERS: usize = 64;
/// How many peers can be asked: sockets are not free, and a few answer as well as many.
pub(crate) const SERVING_PEERS_MAX: usize = 4;
/// Before a peer dials again.
const REDIAL_AFTER: Duration = Duration::from_millis(20);

/// The actor.
pub(crate) struct Peer {
    plan: Arc<Plan>,
    /// Position in the committee.
    position: usize,
    node: SocketAddr,
    history: Arc<Mutex<History>>,
    /// To the socket; `None` until it is started.
    outbox: Option<mpsc::Sender<Vec<u8>>>,
}

/// What consensus has finalized. Answered once there is room for it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Finalized(pub(crate) Arc<Road>);

/// Ends a peer and its sockets.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

impl Peer {
    /// The peer at a position of the committee; it dials the node once it is started.
    pub(crate) fn new(
        plan: Arc<Plan>,
        position: usize,
        node: SocketAddr,
        history: Arc<Mutex<History>>,
    ) -> Self {
        Self { plan, position, node, history, outbox: None }
    }

    fn hello(&self, role: Role) -> Vec<u8> {
        Frame::Hello { peer: u32::try_from(self.position).unwrap_or(u32::MAX), role }.to_bytes()
    }
}

impl Actor for Peer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (outbox, waiting) = mpsc::channel(OUTBOX_ROADS);
        self.outbox = Some(outbox);
        let sending = send_all(self.node, self.hello(Role::Sends), waiting);
        // The socket ends when nobody can fill the outbox any more, and the peer with it.
        ctx.spawn(sending.into_actor(self).map(|(), _, ctx| ctx.stop()));
        if self.position < SERVING_PEERS_MAX {
            let shelf = Shelf {
                plan: Arc::clone(&self.plan),
                position: self.position,
                history: Arc::clone(&self.history),
                answered: 0,
            };
            ctx.spawn(serve_all(self.node, self.hello(Role::Serves), shelf).into_actor(self));
        }
    }
}

impl Handler<Finalized> for Peer {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Finalized(road): Finalized, _: &mut Self::Context) -> Self::Result {
        let bytes = Script::new(&self.plan, &road, self.position).bytes();
        let outbox = self.outbox.clone();
        Box::pin(async move {
            if let Some(outbox) = outbox {
                // Without a receiver the peer is leaving.
                drop(outbox.send(bytes).await);
            }
        })
    }
}

impl Handler<Leave> for Peer {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Sends whatever waits, over one connection after the other. What a connection took with it when it broke is lost,
/// as it is with real peers: the node asks for it.
async fn send_all(node: SocketAddr, hello: Vec<u8>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    loop {
        let mut socket = dial(node, &hello).await;
        loop {
            let Some(bytes) = waiting.recv().await else { return };
            if socket.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
}

/// Answers what the node asks, over one connection after the other.
async fn serve_all(node: SocketAddr, hello: Vec<u8>, mut shelf: Shelf) {
    loop {
        let (reader, mut writer) = dial(node, &hello).await.into_split();
        let (answers, mut waiting) = mpsc::channel::<Vec<u8>>(OUTBOX_ANSWERS);
        let write = async move {
            while let Some(bytes) = waiting.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let read = async {
            let (mut reader, answers) = (BufReader::new(reader), answers);
            while let Ok(Some(frame)) = read_frame(&mut reader).await {
                if let Some(answer) = shelf.answer(&frame)
                    && answers.send(answer).await.is_err()
                {
                    break;
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    }
}

/// A connection that has said hello; tried until there is one.
async fn dial(node: SocketAddr, hello: &[u8]) -> TcpStream {
    loop {
        if let Ok(mut socket) = connect(node).await
            && socket.set_nodelay(true).is_ok()
            && socket.write_all(hello).await.is_ok()
        {
            return socket;
        }
        tokio::time::sleep(REDIAL_AFTER).await;
    }
}

async fn connect(node: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.connect(node).await
}

/// What a peer answers from.
struct Shelf {
    plan: Arc<Plan>,
    position: usize,
    history: Arc<Mutex<History>>,
    answered: u64,
}

impl Shelf {
    fn road_of(&self, number: BlockNumber) -> Option<Arc<Road>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).road_of(number)
    }

    /// The answer, unless the peer has none.
    fn answer(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        match *frame {
            Frame::AskQc(number) => Some(Frame::Qc(encode(&self.road_of(number)?.qc)).to_bytes()),
            Frame::AskBlock(number) => {
                let road = self.road_of(number)?;
                let block = road.block(number)?;
                self.answered += 1;
                let mut mischief = Mischief::of_answer(&self.plan, self.position, self.answered);
                Some(mischief.answer(number, block).to_bytes())
            }
            _ => None,
        }
    }
}
