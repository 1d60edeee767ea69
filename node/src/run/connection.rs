//! One connection: frames in, decoded messages to the network actor, questions out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use roadbed_messages::codec::{self, DecodeError};
use roadbed_messages::{Block, BlockNumber, FullCommitQc};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::frame::{Frame, FrameError, Role, read_frame};
use super::network::Network;
use super::plan::Plan;

/// Pushes of all connections at once, beside those of one QC's blocks for each.
const SLOTS: usize = 2048;
/// What a peer sends of one QC beside the blocks of its lane: the QC, and something twice or invalid.
const SLOTS_BESIDE_BLOCKS: usize = 8;
/// Bytes of all connections' pushes at once, beside those of one QC's blocks for each.
const SLOT_BYTES: usize = 256 << 20;
/// Bytes that wait in the socket, at either end.
pub(crate) const SOCKET_BUFFER_BYTES: u32 = 64 << 10;
/// Connections that wait to be taken.
const LISTEN_BACKLOG: u32 = 1024;
/// Questions that wait for a peer's socket.
const QUESTIONS_MAX: usize = 256;
/// Before a connection is taken again after that failed.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How much one connection may have in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    count: usize,
    bytes: usize,
}

impl Slots {
    /// More than what one peer sends of one QC: so what is needed next always gets in.
    pub(crate) fn new(plan: &Plan) -> Self {
        let lane_max = plan.members.committee.params().lane_blocks_per_qc_max;
        let blocks = plan.shape.blocks_per_qc.min(usize::try_from(lane_max).unwrap_or(usize::MAX));
        let peers = plan.members.keys.len();
        Self {
            count: SLOTS / peers + blocks + SLOTS_BESIDE_BLOCKS,
            bytes: SLOT_BYTES / peers + (blocks + SLOTS_BESIDE_BLOCKS) * plan.block_bytes(),
        }
    }
}

/// What a connection tells the network actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum FromPeer {
    /// It can be asked.
    Serves {
        /// Position of the peer in the committee.
        peer: u32,
        /// To its socket.
        questions: mpsc::Sender<Vec<u8>>,
    },
    /// Something decoded.
    Arrived {
        /// What.
        item: Item,
        /// Over which kind of connection.
        role: Role,
        /// To hold until its push was answered.
        slot: Slot,
    },
    /// Something refused.
    Refused {
        /// Why.
        reason: &'static str,
        /// To hold until it was counted.
        slot: Option<Slot>,
    },
    /// It has ended, and what was in it is lost.
    Gone,
}

/// A decoded message.
pub(crate) enum Item {
    /// A QC.
    Qc(Arc<FullCommitQc>),
    /// A block under its global number.
    Block(BlockNumber, Arc<Block>),
}

/// A part of what a connection may have in flight, free again when this is dropped.
pub(crate) struct Slot {
    _one: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
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

/// Takes connections until it is dropped, and them with it.
pub(crate) async fn accept(listener: TcpListener, network: Addr<Network>, slots: Slots) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                connections.spawn_local(serve(socket, network.clone(), slots));
                while connections.try_join_next().is_some() {}
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                tracing::warn!(%error, "can't take a connection");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// Reads one connection to its end.
async fn serve(socket: TcpStream, network: Addr<Network>, slots: Slots) {
    if let Err(error) = read_connection(socket, &network, slots).await
        && let Some(reason) = error.reason()
    {
        network.do_send(FromPeer::Refused { reason, slot: None });
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
            Err(error) => FromPeer::Refused { reason: error.reason(), slot: Some(slot) },
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
