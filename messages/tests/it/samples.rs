//! Small fixed values of every type. None of them is valid; all of them have an encoding.

use roadbed_messages::{
    AppHash, AppProposal, Block, BlockHeader, BlockNumber, ChainId, CommitQc, FullCommitQc, HeaderHash,
    LaneBlockNumber, LaneRange, Payload, PayloadHash, Proposal, PublicKey, RoadIndex, Signature, SignatureOf,
    Timestamp, Txs, View, ViewNumber,
};

/// 32 bytes that count up from `start`.
pub(crate) fn bytes32(start: u8) -> [u8; 32] {
    std::array::from_fn(|at| start.wrapping_add(u8::try_from(at).unwrap()))
}

pub(crate) fn chain_id() -> ChainId {
    ChainId(bytes32(0xc0))
}

pub(crate) fn header(lane: u8) -> BlockHeader {
    BlockHeader {
        lane: PublicKey(bytes32(lane)),
        number: LaneBlockNumber(0x0102_0304_0506_0708),
        parent: HeaderHash(bytes32(0x20)),
        payload: PayloadHash(bytes32(0x40)),
    }
}

pub(crate) fn payload() -> Payload {
    Payload {
        created_at: Timestamp::from_unix_us(0x1112_1314_1516_1718),
        gas: 0x2122_2324_2526_2728,
        txs: Txs::from_iter([b"first".as_slice(), b"", b"third"]),
    }
}

pub(crate) fn empty_payload() -> Payload {
    Payload::default()
}

pub(crate) fn block() -> Block {
    Block { header: header(1), payload: payload() }
}

pub(crate) fn view() -> View {
    View { road_index: RoadIndex(7), number: ViewNumber(2) }
}

pub(crate) fn lane_range(lane: u8) -> LaneRange {
    LaneRange {
        lane: PublicKey(bytes32(lane)),
        first: LaneBlockNumber(5),
        next: LaneBlockNumber(9),
        last_hash: HeaderHash(bytes32(0x60)),
    }
}

pub(crate) fn app_proposal() -> AppProposal {
    AppProposal { number: BlockNumber(41), road_index: RoadIndex(6), hash: AppHash(bytes32(0x80)) }
}

pub(crate) fn proposal() -> Proposal {
    Proposal {
        view: view(),
        timestamp: Timestamp::from_unix_us(1_767_225_600_000_001),
        lane_ranges: vec![lane_range(1), lane_range(2), lane_range(3)],
        app_proposal: Some(app_proposal()),
    }
}

pub(crate) fn bare_proposal() -> Proposal {
    Proposal { lane_ranges: Vec::new(), app_proposal: None, ..proposal() }
}

pub(crate) fn signature_of(signer: u8) -> SignatureOf {
    let mut signature = [0xa5; 64];
    signature[0] = signer;
    SignatureOf { signer: PublicKey(bytes32(signer)), signature: Signature(signature) }
}

pub(crate) fn commit_qc() -> CommitQc {
    CommitQc { proposal: proposal(), signatures: vec![signature_of(1), signature_of(3)] }
}

pub(crate) fn full_commit_qc() -> FullCommitQc {
    FullCommitQc { qc: commit_qc(), headers: vec![header(1), header(1), header(2)] }
}
