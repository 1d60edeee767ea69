//! What the peers do to what they send. All of it is a function of the seed, the QC and the peer.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use roadbed_messages::codec::encode;
use roadbed_messages::hash::CanonicalHasher;
use roadbed_messages::{Block, BlockNumber, testing};

use super::frame::{FRAME_BYTES_MAX, Frame, length_bytes};
use super::history::Road;
use super::plan::Plan;

// Once in so many QCs of each of four peers, on average; more peers do as much together.
const DUPLICATE_QC: u64 = 8;
const DUPLICATE_BLOCK: u64 = 8;
const INVALID: u64 = 16;
const FORGOTTEN_BLOCK: u64 = 500;
const FRAME_TOO_LONG: u64 = 1000;
const INVALID_ANSWER: u64 = 16;

/// Decides, from a seed, what happens.
pub(crate) struct Mischief {
    rng: ChaCha8Rng,
    /// Fours of peers, at least one.
    fours: u64,
}

impl Mischief {
    fn new(what: &'static str, plan: &Plan, numbers: [u64; 2]) -> Self {
        let mut hasher = CanonicalHasher::new("roadbed/demo/mischief");
        hasher.bytes(what.as_bytes()).u64(plan.seed).u64(numbers[0]).u64(numbers[1]);
        let fours = (plan.members.keys.len() as u64 / 4).max(1);
        Self { rng: ChaCha8Rng::from_seed(hasher.finish()), fours }
    }

    /// For the answers of a peer.
    pub(crate) fn of_answer(plan: &Plan, position: usize, answered: u64) -> Self {
        Self::new("answer", plan, [position as u64, answered])
    }

    /// A block as it was asked for, or now and then one that must be refused.
    pub(crate) fn answer(&mut self, number: BlockNumber, block: &Block) -> Frame {
        let bytes = match self.once_in(INVALID_ANSWER) {
            true => encode(&testing::wrong_payload(block)),
            false => encode(block),
        };
        Frame::Block { number, bytes }
    }

    fn once_in(&mut self, count: u64) -> bool {
        self.rng.next_u64().is_multiple_of(count * self.fours)
    }

    /// A position below `len`, which is not 0.
    fn below(&mut self, len: usize) -> usize {
        // The remainder is below a usize.
        usize::try_from(self.rng.next_u64() % len as u64).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// What one peer sends of one QC and its blocks.
pub(crate) struct Script<'a> {
    plan: &'a Plan,
    road: &'a Road,
    position: usize,
    mischief: Mischief,
}

impl<'a> Script<'a> {
    /// For the peer at this position of the committee.
    pub(crate) fn new(plan: &'a Plan, road: &'a Road, position: usize) -> Self {
        let mischief = Mischief::new("sends", plan, [road.qc.road_index().0, position as u64]);
        Self { plan, road, position, mischief }
    }

    /// All frames, in the order in which they are sent.
    ///
    /// Frames of one QC never come before those of an earlier QC of the same peer: so however much a node takes in at
    /// once, what it waits for is never behind what waits for it.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let (members, road) = (&self.plan.members, self.road);
        let numbers = (road.range.start.0..).map(BlockNumber);
        let lane = members.committee.keys()[self.position];
        let mut frames = Vec::new();
        for (number, block) in numbers.zip(&road.blocks) {
            let forgotten = self.mischief.once_in(FORGOTTEN_BLOCK);
            if block.header.lane == lane && !forgotten {
                frames.push(self.block(number, block));
            }
        }
        let leader = road.qc.road_index().0 % members.keys.len() as u64;
        if self.position as u64 == leader || self.mischief.once_in(DUPLICATE_QC) {
            frames.push(Frame::Qc(encode(&road.qc)).to_bytes());
        }
        if self.mischief.once_in(DUPLICATE_BLOCK) {
            let (number, block) = self.any_block();
            frames.push(self.block(number, block));
        }
        if self.mischief.once_in(INVALID) {
            let invalid = self.invalid();
            frames.push(invalid.to_bytes());
        }
        self.mischief.shuffle(&mut frames);
        if self.mischief.once_in(FRAME_TOO_LONG) {
            // The node hangs up on it: it must be the last.
            frames.push(length_bytes(FRAME_BYTES_MAX + 1).to_vec());
        }
        frames.concat()
    }

    fn block(&self, number: BlockNumber, block: &Block) -> Vec<u8> {
        Frame::Block { number, bytes: encode(block) }.to_bytes()
    }

    fn any_block(&mut self) -> (BlockNumber, &'a Block) {
        let at = self.mischief.below(self.road.blocks.len());
        (self.road.range.start.saturating_add(at as u64), &self.road.blocks[at])
    }

    /// Something that must be refused.
    fn invalid(&mut self) -> Frame {
        let (members, qc) = (&self.plan.members, &self.road.qc);
        let (number, block) = self.any_block();
        let cut = |mut bytes: Vec<u8>| {
            bytes.truncate(bytes.len() / 2);
            bytes
        };
        let as_block = |bytes| Frame::Block { number, bytes };
        match self.mischief.below(10) {
            0 => Frame::Qc(encode(&testing::outsider_signed(members, qc))),
            1 => Frame::Qc(encode(&testing::too_few_signatures(members, qc))),
            2 => Frame::Qc(encode(&testing::duplicate_signer(qc))),
            3 => Frame::Qc(encode(&testing::invalid_signature(qc, self.position))),
            4 => Frame::Qc(encode(&testing::tampered_headers(qc, &self.road.blocks).0)),
            5 => Frame::Qc(cut(encode(qc))),
            6 => as_block(encode(&testing::wrong_payload(block))),
            7 => as_block(encode(&testing::tampered_headers(qc, std::slice::from_ref(block)).1[0])),
            8 => as_block([encode(block), vec![0]].concat()),
            _ => as_block(cut(encode(block))),
        }
    }
}
