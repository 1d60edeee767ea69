//! The chain that went in, what a verifier says of it, and lies about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use roadbed_messages::api::Error;
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_messages::{
    Block, BlockNumber, FullCommitQc, GlobalBlock, HeaderHash, QcError, Signature, VerifiedBlock, VerifiedQc,
    verify_block,
};

/// The signature that the fake verifier takes for a forged one.
const FORGED: Signature = Signature([0xbb; 64]);

/// One QC of the chain, with its blocks.
#[derive(Debug)]
pub struct Link {
    pub qc: Arc<FullCommitQc>,
    pub verified: VerifiedQc,
    pub blocks: Vec<VerifiedBlock>,
}

impl Link {
    pub fn first(&self) -> u64 {
        self.verified.range().start.0
    }

    pub fn end(&self) -> u64 {
        self.verified.range().end.0
    }

    pub fn pushed_blocks(&self) -> Vec<Arc<Block>> {
        self.blocks.iter().map(|block| block.block().clone()).collect()
    }
}

/// A finite chain, all of it known beforehand.
#[derive(Debug)]
pub struct Source {
    pub members: TestCommittee,
    pub links: Vec<Link>,
    by_hash: BTreeMap<HeaderHash, u64>,
    /// The bytes of all QCs and blocks up to and including each link.
    bytes_upto: Vec<u64>,
}

impl Source {
    pub fn new(seed: u64, members: &TestCommittee, shape: ChainShape, qcs: usize) -> Self {
        let links: Vec<Link> = testing::chain(seed, members, shape)
            .unsigned()
            .take(qcs)
            .map(|(qc, blocks)| {
                let qc = Arc::new(qc);
                let verified = VerifiedQc::assume_verified(&members.committee, qc.clone()).unwrap();
                let blocks = blocks
                    .into_iter()
                    .map(|block| verify_block(&members.committee, Arc::new(block)).unwrap())
                    .collect();
                Link { qc, verified, blocks }
            })
            .collect();
        assert_eq!(links.len(), qcs, "the numbers of the chain's blocks do not fit u64");
        let mut by_hash = BTreeMap::new();
        for link in &links {
            by_hash.extend(link.blocks.iter().map(VerifiedBlock::header_hash).zip(link.first()..));
        }
        let bytes_upto = links
            .iter()
            .scan(0, |bytes, link| {
                let blocks: usize = link.blocks.iter().map(|block| block.size_bytes()).sum();
                *bytes += (blocks + link.verified.size_bytes()) as u64;
                Some(*bytes)
            })
            .collect();
        Self { members: members.clone(), links, by_hash, bytes_upto }
    }

    pub fn first(&self) -> u64 {
        self.members.committee.first_block().0
    }

    /// The first number beyond the chain.
    pub fn end(&self) -> u64 {
        self.links.last().map_or(self.first(), Link::end)
    }

    /// Where among the links block `number` is.
    pub fn position(&self, number: u64) -> usize {
        self.links.partition_point(|link| link.end() <= number)
    }

    /// The QC of block `number`.
    pub fn link(&self, number: u64) -> &Link {
        &self.links[self.position(number)]
    }

    pub fn block(&self, number: u64) -> &VerifiedBlock {
        let link = self.link(number);
        &link.blocks[usize::try_from(number - link.first()).unwrap()]
    }

    pub fn global_block(&self, number: u64) -> GlobalBlock {
        self.link(number).verified.global_block(BlockNumber(number), self.block(number)).unwrap()
    }

    /// The bytes of the QCs that cover any number from `from` to `to`, with all their blocks.
    pub fn bytes_between(&self, from: u64, to: u64) -> u64 {
        let upto = |links: usize| links.checked_sub(1).map_or(0, |last| self.bytes_upto[last]);
        let end = if to <= self.first() { 0 } else { self.position(to - 1) + 1 };
        upto(end.max(self.position(from))) - upto(self.position(from))
    }

    pub fn number_of(&self, hash: &HeaderHash) -> Option<u64> {
        self.by_hash.get(hash).copied()
    }

    /// What a verifier says of a QC: all of it is checked, except that signatures are only told from forged ones.
    pub fn verify_qc(&self, qc: &Arc<FullCommitQc>) -> Result<VerifiedQc, Error> {
        if let Some(link) = self.links.iter().find(|link| Arc::ptr_eq(&link.qc, qc)) {
            return Ok(link.verified.clone());
        }
        let (found, needed) = (qc.qc.signatures.len(), self.members.committee.commit_quorum());
        if found < needed {
            return Err(QcError::NoQuorum { found, needed }.into());
        }
        if let Some(forged) = qc.qc.signatures.iter().find(|one| one.signature == FORGED) {
            return Err(QcError::InvalidSignature { signer: forged.signer }.into());
        }
        Ok(VerifiedQc::assume_verified(&self.members.committee, qc.clone())?)
    }

    pub fn verify_block(&self, block: &Arc<Block>) -> Result<VerifiedBlock, Error> {
        match self.number_of(&block.header.hash()).map(|number| self.block(number)) {
            Some(known) if Arc::ptr_eq(known.block(), block) => Ok(known.clone()),
            _ => Ok(verify_block(&self.members.committee, block.clone())?),
        }
    }

    /// One certificate over the blocks of several consecutive links, as outsiders would make it: nothing of it is
    /// wrong but the signatures.
    pub fn forged(&self, links: std::ops::RangeInclusive<usize>) -> (Arc<FullCommitQc>, Vec<Arc<Block>>) {
        let links = &self.links[links];
        let (front, back) = (&links[0].qc, &links[links.len() - 1].qc);
        let mut qc = FullCommitQc::clone(back);
        for (lane, from) in qc.qc.proposal.lane_ranges.iter_mut().zip(&front.qc.proposal.lane_ranges) {
            lane.first = from.first;
        }
        for one in &mut qc.qc.signatures {
            one.signature = FORGED;
        }
        let mut blocks: Vec<_> = links.iter().flat_map(Link::pushed_blocks).collect();
        let lane = |block: &Arc<Block>| self.members.committee.index_of(&block.header.lane);
        blocks.sort_by_key(|block| (lane(block), block.header.number));
        qc.headers = blocks.iter().map(|block| block.header).collect();
        (Arc::new(qc), blocks)
    }

    /// The certificate of a link over other headers, with blocks that are valid by themselves and match these.
    pub fn tampered(&self, link: usize) -> (Arc<FullCommitQc>, Vec<Arc<Block>>) {
        let link = &self.links[link];
        let blocks: Vec<Block> = link.blocks.iter().map(|block| Block::clone(block.block())).collect();
        let (qc, blocks) = testing::tampered_headers(&link.qc, &blocks);
        (Arc::new(qc), blocks.into_iter().map(Arc::new).collect())
    }

    /// A block whose payload is not the one that its header names.
    pub fn wrong_payload(&self, number: u64) -> Arc<Block> {
        Arc::new(testing::wrong_payload(self.block(number).block()))
    }
}
