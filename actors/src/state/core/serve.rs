//! Gets and streams: from memory where it is there, else by a reader.

use roadbed_messages::api::Error;
use roadbed_messages::api::workers::CallId;
use roadbed_messages::{AppProposal, BlockNumber, GlobalBlock, HeaderHash};

use super::calls::{Kind, Pending, Stage};
use super::{Answer, Core, Effect, Read, ReadError, Retention};

/// The most blocks in one reply of a stream.
const STREAM_BLOCKS_MAX: usize = 256;
/// A stream's reply ends with the block that reaches this many bytes.
const STREAM_BYTES_TARGET: u64 = 4 << 20;

impl Core {
    pub(super) fn on_try_get(&mut self, call: CallId, number: BlockNumber) {
        let cursors = self.cursors();
        if number < cursors.first {
            self.answer(call, Err(Error::Pruned { number, first: cursors.first }));
        } else if number >= cursors.next_block {
            self.answer(call, Err(Error::NotFound));
        } else if let Some(block) = self.chain.block(number) {
            let answer = Answer::Block(block.block().clone());
            self.answer(call, Ok(answer));
        } else {
            self.admit(call, Kind::TryGet, number.0, 0, Stage::Finishing, Pending::TryGet);
            self.read(call, Read::Block(number));
        }
    }

    pub(super) fn on_get_by_hash(&mut self, call: CallId, hash: HeaderHash) {
        match self.chain.number_of(&hash) {
            Some(number) if number >= self.cursors().next_block => self.answer(call, Err(Error::NotFound)),
            Some(number) if let Some(block) = self.chain.global_block(number) => {
                self.answer(call, Ok(Answer::GlobalBlock(block)));
            }
            _ if self.logs.is_none() => self.answer(call, Err(Error::NotFound)),
            _ => {
                self.admit(call, Kind::TryGet, 0, 0, Stage::Finishing, Pending::ByHash);
                self.read(call, Read::ByHash(hash));
            }
        }
    }

    /// Answers a get at once where that needs no place in the table; whoever waits there keeps its own.
    pub(super) fn on_get(&mut self, call: CallId, kind: Kind, number: BlockNumber, pending: Pending) {
        let first = self.cursors().first;
        let cursor = self.reached(kind);
        if number < first {
            return self.answer(call, Err(Error::Pruned { number, first }));
        }
        if number < cursor
            && let Ok(answer) = self.find(&pending, number, cursor)
        {
            return self.answer(call, Ok(answer));
        }
        self.wait(call, kind, number, pending);
    }

    /// Answers the gets whose wait is over.
    pub(super) fn settle_gets(&mut self) {
        let kinds =
            [Kind::GetQc, Kind::GetBlock, Kind::GetAppProposal, Kind::Subscribe, Kind::SubscribeDurable];
        for kind in kinds {
            let cursor = self.reached(kind);
            while let Some(id) = self.calls.next_below(kind, cursor.0) {
                self.serve(id, cursor);
            }
        }
    }

    /// The first number that a get of this kind has to wait for.
    fn reached(&self, kind: Kind) -> BlockNumber {
        let cursors = self.cursors();
        match kind {
            Kind::GetQc => cursors.next_qc,
            Kind::GetBlock | Kind::Subscribe => cursors.next_block,
            Kind::GetAppProposal => cursors.next_app_proposal,
            Kind::SubscribeDurable => cursors.next_block_to_persist,
            kind => unreachable!("{} waits for no cursor", kind.name()),
        }
    }

    fn serve(&mut self, id: CallId, cursor: BlockNumber) {
        let Some(call) = self.calls.get(id) else { return };
        let number = BlockNumber(call.number);
        let first = self.cursors().first;
        if number < first {
            return self.answer(id, Err(Error::Pruned { number, first }));
        }
        match self.find(&call.pending, number, cursor) {
            Ok(answer) => self.answer(id, Ok(answer)),
            Err(read) => {
                if let Some(Pending::GetAppProposal(found)) = self.calls.pending_mut(id) {
                    *found = self.app.covering(number);
                }
                self.read(id, read);
            }
        }
    }

    /// What answers a get for a retained number below its cursor, or what must be read for it.
    fn find(&self, pending: &Pending, number: BlockNumber, cursor: BlockNumber) -> Result<Answer, Read> {
        let (held, read) = match pending {
            Pending::GetQc => {
                (self.chain.qc(number).map(|found| Answer::Qc(found.qc.qc().clone())), Read::Qc(number))
            }
            Pending::GetBlock => (
                self.chain.block(number).map(|block| Answer::Block(block.block().clone())),
                Read::Block(number),
            ),
            Pending::GetGlobalBlock => {
                (self.chain.global_block(number).map(Answer::GlobalBlock), Read::GlobalBlock(number))
            }
            Pending::Subscribe(blocks_max) => {
                let blocks_max = (*blocks_max).clamp(1, STREAM_BLOCKS_MAX) as u64;
                let range = number..BlockNumber(cursor.0.min(number.0.saturating_add(blocks_max)));
                let held = self.held_stretch(range.clone());
                ((!held.is_empty()).then_some(Answer::GlobalBlocks(held)), Read::GlobalBlocks(range))
            }
            Pending::GetAppProposal(_) => {
                let Some((covering, hash)) = self.app.covering(number) else {
                    unreachable!("every block below next_app_proposal is covered by a report")
                };
                let held = self.chain.qc(covering).map(|found| {
                    let road_index = found.qc.qc().road_index();
                    Answer::AppProposal(AppProposal { number: covering, road_index, hash })
                });
                (held, Read::Qc(covering))
            }
            pending => unreachable!("a get, not {pending:?}"),
        };
        held.ok_or(read)
    }

    /// The consecutive blocks from the start of `range` that are in memory, up to a reply's size.
    fn held_stretch(&self, range: std::ops::Range<BlockNumber>) -> Vec<GlobalBlock> {
        let mut stretch = Vec::new();
        let mut bytes = 0;
        for number in range.start.0..range.end.0 {
            let number = BlockNumber(number);
            let Some(block) = self.chain.global_block(number) else { break };
            bytes += self.chain.block(number).map_or(0, |block| block.size_bytes() as u64);
            stretch.push(block);
            if bytes >= STREAM_BYTES_TARGET {
                break;
            }
        }
        stretch
    }

    fn read(&mut self, call: CallId, read: Read) {
        if self.calls.get(call).is_none() {
            return;
        }
        assert!(
            self.logs.is_some(),
            "without a directory everything that is retained is in memory: {read:?}"
        );
        self.calls.set_stage(call, Stage::Reading);
        self.effects.push(Effect::Read { call, read });
    }

    /// A reader has answered: what it found is served unless it was pruned meanwhile.
    pub(super) fn on_read(&mut self, id: CallId, result: Result<Answer, ReadError>) {
        let Some(call) = self.calls.get(id) else { return };
        let first = self.cursors().first;
        let answer = match (&call.pending, result) {
            (Pending::ByHash, Ok(Answer::GlobalBlock(block))) if block.number < first => {
                Err(Error::Pruned { number: block.number, first })
            }
            (Pending::ByHash, Err(ReadError::Missing)) => Err(Error::NotFound),
            (Pending::ByHash, Err(ReadError::Damaged { number, .. })) if number < first => {
                Err(Error::NotFound)
            }
            (pending, _) if !matches!(pending, Pending::ByHash) && call.number < first.0 => {
                Err(Error::Pruned { number: BlockNumber(call.number), first })
            }
            (_, Err(ReadError::Damaged { number, detail })) => Err(Error::Damaged { number, detail }),
            (_, Err(ReadError::Missing)) => Err(Error::Damaged {
                number: BlockNumber(call.number),
                detail: "it is retained, but its log does not hold it".to_owned(),
            }),
            (Pending::GetAppProposal(Some((number, hash))), Ok(Answer::Qc(qc))) => {
                let (number, hash, road_index) = (*number, *hash, qc.road_index());
                Ok(Answer::AppProposal(AppProposal { number, road_index, hash }))
            }
            (_, Ok(answer)) => Ok(answer),
        };
        self.answer(id, answer);
    }

    /// What the retention policies need to know.
    pub fn retention(&self) -> Retention {
        let cursors = self.cursors();
        let sizes_bytes = match self.logs {
            Some(_) => Vec::new(),
            None => self
                .chain
                .blocks_from(cursors.first)
                .map(|(n, block)| (n, block.size_bytes() as u64))
                .collect(),
        };
        Retention { cursors, sizes_bytes }
    }
}
