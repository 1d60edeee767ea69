//! What travels between a peer and the node: frames of bytes, each with its length in front.
//!
//! ```text
//! length of the rest: u32 le │ kind: u8 │ body
//!                            │ hello    │ peer: u32 le, role: u8 (0 sends, 1 serves)
//!                            │ qc       │ encoded FullCommitQc
//!                            │ block    │ number: u64 le, encoded Block
//!                            │ ask qc   │ a number that it covers: u64 le
//!                            │ ask block│ number: u64 le
//! ```
//!
//! A length above the cap is refused before anything is allocated, and memory grows with the bytes that really come.
//! The bodies of QCs and blocks stay bytes here: decoding them strictly is the receiver's.

use std::io;

use roadbed_messages::BlockNumber;
use roadbed_messages::limits::MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Kind and number in front of an encoded message.
const FRAME_HEAD_BYTES_MAX: usize = 1 + 8;
/// Bytes of a frame behind its length.
pub(crate) const FRAME_BYTES_MAX: usize = FRAME_HEAD_BYTES_MAX + MESSAGE_BYTES_MAX;
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);

const HELLO: u8 = 0;
const QC: u8 = 1;
const BLOCK: u8 = 2;
const ASK_QC: u8 = 3;
const ASK_BLOCK: u8 = 4;

/// What a connection is for. Answers come apart from what is sent unasked, so that they never queue behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The peer sends what is finalized.
    Sends,
    /// The peer answers what it is asked.
    Serves,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first frame of a connection.
    Hello {
        /// Position of the peer in the committee.
        peer: u32,
        /// What the connection is for.
        role: Role,
    },
    /// A QC.
    Qc(Vec<u8>),
    /// A block under its global number.
    Block {
        /// The number.
        number: BlockNumber,
        /// The block.
        bytes: Vec<u8>,
    },
    /// Asks for the QC that covers a block.
    AskQc(BlockNumber),
    /// Asks for a block.
    AskBlock(BlockNumber),
}

/// A frame that is none: the connection can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Longer than any message.
    #[error("a frame of {found} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not a known kind, or a body that does not fit it.
    #[error("a frame of kind {kind} with {bytes} bytes makes no sense")]
    Malformed {
        /// The kind.
        kind: u8,
        /// Bytes of the body.
        bytes: usize,
    },
    /// A frame of a kind that has no place there.
    #[error("a frame that was not asked for")]
    Unexpected,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl FrameError {
    /// A short stable name, for the counts of what was rejected; `None` when the connection merely ended.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::TooLong { .. } => Some("frame_too_long"),
            Self::Malformed { .. } => Some("frame_malformed"),
            Self::Unexpected => Some("frame_unexpected"),
            Self::Io(_) => None,
        }
    }
}

impl Frame {
    /// Its bytes, the length in front.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let number_and = |kind, number: &BlockNumber, bytes: &[u8]| {
            [&[kind], number.0.to_le_bytes().as_slice(), bytes].concat()
        };
        let body = match self {
            Self::Hello { peer, role } => {
                [&[HELLO], peer.to_le_bytes().as_slice(), &[u8::from(*role == Role::Serves)]].concat()
            }
            Self::Qc(bytes) => [&[QC], bytes.as_slice()].concat(),
            Self::Block { number, bytes } => number_and(BLOCK, number, bytes),
            Self::AskQc(number) => number_and(ASK_QC, number, &[]),
            Self::AskBlock(number) => number_and(ASK_BLOCK, number, &[]),
        };
        [length_bytes(body.len()).as_slice(), &body].concat()
    }

    fn parse(mut body: Vec<u8>) -> Result<Self, FrameError> {
        let (kind, bytes) = (body.first().copied().unwrap_or(u8::MAX), body.len().saturating_sub(1));
        let number = || {
            let number = body.get(1..9)?.try_into().ok()?;
            Some(BlockNumber(u64::from_le_bytes(number)))
        };
        let frame = match (kind, number()) {
            (HELLO, _) if bytes == 5 && body[5] <= 1 => {
                let role = if body[5] == 1 { Role::Serves } else { Role::Sends };
                Some(Self::Hello { peer: u32::from_le_bytes([body[1], body[2], body[3], body[4]]), role })
            }
            (QC, _) => Some(Self::Qc(body.split_off(1))),
            (BLOCK, Some(number)) => Some(Self::Block { number, bytes: body.split_off(9) }),
            (ASK_QC, Some(number)) if bytes == 8 => Some(Self::AskQc(number)),
            (ASK_BLOCK, Some(number)) if bytes == 8 => Some(Self::AskBlock(number)),
            _ => None,
        };
        frame.ok_or(FrameError::Malformed { kind, bytes })
    }
}

/// The length that stands in front of so many bytes.
pub(crate) fn length_bytes(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// The next frame; `None` when the connection was closed between two frames.
///
/// # Errors
/// When the bytes are no frame, or the connection failed.
pub(crate) async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = u32::from_le_bytes(length);
    let found = usize::try_from(length).unwrap_or(usize::MAX);
    if found > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { found });
    }
    let mut body = Vec::new();
    if reader.take(u64::from(length)).read_to_end(&mut body).await? < found {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Frame::parse(body).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[actix::test]
    async fn every_kind_survives_its_bytes() {
        let frames = vec![
            Frame::Hello { peer: 7, role: Role::Serves },
            Frame::Hello { peer: 0, role: Role::Sends },
            Frame::Qc(vec![1, 2, 3]),
            Frame::Qc(vec![]),
            Frame::Block { number: BlockNumber(1 << 40), bytes: vec![9; 100_000] },
            Frame::AskQc(BlockNumber(5)),
            Frame::AskBlock(BlockNumber(u64::MAX)),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        assert_eq!(read_all(&bytes).await.unwrap(), frames);
    }

    #[actix::test]
    async fn a_length_above_the_cap_is_refused_before_a_byte_of_it_came() {
        let bytes = length_bytes(FRAME_BYTES_MAX + 1);
        let error = read_all(&bytes).await.unwrap_err();
        assert_eq!(error.reason(), Some("frame_too_long"));
    }

    #[actix::test]
    async fn bodies_that_do_not_fit_their_kind_are_refused() {
        for body in
            [&[][..], &[9], &[HELLO, 0, 0, 0, 0], &[HELLO, 0, 0, 0, 0, 2], &[BLOCK, 1, 2], &[ASK_QC; 10]]
        {
            let bytes = [&length_bytes(body.len()), body].concat();
            let error = read_all(&bytes).await.unwrap_err();
            assert_eq!(error.reason(), Some("frame_malformed"), "{body:?}");
        }
    }

    #[actix::test]
    async fn an_end_inside_a_frame_is_an_error() {
        let bytes = Frame::AskQc(BlockNumber(5)).to_bytes();
        for end in 4..bytes.len() {
            assert!(matches!(read_all(&bytes[..end]).await, Err(FrameError::Io(_))), "{end}");
        }
    }
}
