//! The chain that the simulated network knows, and lies about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_messages::{Block, BlockNumber, FullCommitQc, GlobalBlock, VerifiedQc, verify_block, verify_qc};

/// Chains are shared by all seeds of a class: signing and checking them anew for each run would be most of the work.
const CLASSES: u64 = 12;
/// The chain ends here: a run that gets so far pushes nothing new.
const LINKS_MAX: usize = 600;

/// One QC with its blocks.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) qc: Arc<FullCommitQc>,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) blocks: Vec<Arc<Block>>,
    /// What must be served.
    pub(super) globals: Vec<GlobalBlock>,
    /// Encoded, of the QC and of each block.
    pub(super) qc_bytes: u64,
    pub(super) block_bytes: Vec<u64>,
}

/// The chain of a class of seeds.
pub(super) struct Chain {
    pub(super) seed: u64,
    pub(super) members: TestCommittee,
    pub(super) first_block: u64,
    per_qc: u64,
    made: Mutex<(testing::Chain, Vec<Arc<Link>>)>,
    /// Another chain of the same committee: what equivocation brings.
    fork: Mutex<(testing::Chain, Vec<Arc<Link>>)>,
}

impl Chain {
    pub(super) fn of(seed: u64) -> Arc<Self> {
        static CHAINS: Mutex<BTreeMap<u64, Arc<Chain>>> = Mutex::new(BTreeMap::new());
        let class = seed % CLASSES;
        let mut chains = CHAINS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(chains.entry(class).or_insert_with(|| Arc::new(Self::new(class))))
    }

    fn new(class: u64) -> Self {
        let members = [1, 4, 3, 4, 1, 7, 3, 4, 1, 4, 3, 22][usize::try_from(class).unwrap_or(0)];
        let first_block = [0, 1, 1_000_000, u64::MAX - 1_000_000, 0][usize::try_from(class % 5).unwrap_or(0)];
        let members = testing::committee_from(class, members, BlockNumber(first_block));
        let shape = ChainShape {
            blocks_per_qc: 1 + usize::try_from(class % 5).unwrap_or(0),
            txs_per_block: 1 + usize::try_from(class % 3).unwrap_or(0),
            tx_bytes: [40, 900, 200, 3000][usize::try_from(class / 3).unwrap_or(0) % 4],
            ..ChainShape::default()
        };
        let made = Mutex::new((testing::chain(class, &members, shape), Vec::new()));
        let fork = Mutex::new((testing::chain(class + 1000, &members, shape), Vec::new()));
        Self { seed: class, first_block, per_qc: shape.blocks_per_qc as u64, members, made, fork }
    }

    fn nth(&self, from: &Mutex<(testing::Chain, Vec<Arc<Link>>)>, index: usize) -> Arc<Link> {
        let mut guard = from.lock().unwrap_or_else(PoisonError::into_inner);
        let (chain, links) = &mut *guard;
        while links.len() <= index {
            let (qc, blocks) = chain.next().expect("the chain goes on");
            let verified = verify_qc(&self.members.committee, Arc::new(qc)).expect("the chain is valid");
            links.push(Arc::new(self.checked(&verified, blocks)));
        }
        Arc::clone(&links[index])
    }

    fn checked(&self, qc: &VerifiedQc, blocks: Vec<Block>) -> Link {
        let range = qc.range();
        let blocks: Vec<_> = blocks.into_iter().map(Arc::new).collect();
        let verified = blocks.iter().map(|block| {
            verify_block(&self.members.committee, Arc::clone(block)).expect("the chain is valid")
        });
        let verified: Vec<_> = verified.collect();
        let globals = verified
            .iter()
            .zip(range.start.0..)
            .map(|(block, number)| qc.global_block(BlockNumber(number), block).expect("the chain is valid"));
        Link {
            first: range.start.0,
            end: range.end.0,
            globals: globals.collect(),
            qc_bytes: qc.size_bytes() as u64,
            block_bytes: verified.iter().map(|block| block.size_bytes() as u64).collect(),
            qc: Arc::clone(qc.qc()),
            blocks,
        }
    }

    /// Where the chain ends.
    pub(super) fn end(&self) -> u64 {
        self.first_block + self.per_qc * LINKS_MAX as u64
    }

    /// The QC of a block, if the chain goes so far.
    pub(super) fn link(&self, number: u64) -> Option<Arc<Link>> {
        self.position(number).map(|index| self.nth(&self.made, index))
    }

    /// The same place of the other chain.
    pub(super) fn fork_link(&self, number: u64) -> Option<Arc<Link>> {
        self.position(number).map(|index| self.nth(&self.fork, index))
    }

    fn position(&self, number: u64) -> Option<usize> {
        if number < self.first_block || number >= self.end() {
            return None;
        }
        usize::try_from((number - self.first_block) / self.per_qc).ok()
    }

    pub(super) fn block(&self, number: u64) -> Option<Arc<Block>> {
        let link = self.link(number)?;
        link.blocks.get(usize::try_from(number - link.first).ok()?).cloned()
    }

    /// Whether this is what must be served under its number.
    pub(super) fn has(&self, block: &GlobalBlock) -> bool {
        let Some(link) = self.link(block.number.0) else { return false };
        usize::try_from(block.number.0 - link.first).is_ok_and(|at| link.globals.get(at) == Some(block))
    }

    /// The bytes of all blocks in the range, and of every QC that covers one of them.
    pub(super) fn bytes_between(&self, from: u64, end: u64) -> u64 {
        let mut bytes = 0;
        let mut at = from;
        while at < end
            && let Some(link) = self.link(at)
        {
            bytes += link.qc_bytes + link.block_bytes.iter().sum::<u64>();
            at = link.end;
        }
        bytes
    }
}
