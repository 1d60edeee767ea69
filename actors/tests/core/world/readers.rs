//! Readers and recovery's loader: what they find is what the fake logs hold durably.

use roadbed::state::core::{Answer, Input, Read, ReadError};
use roadbed_messages::api::StartError;
use roadbed_messages::api::workers::{Generation, Loaded};
use roadbed_messages::{BlockNumber, HeaderHash};

use super::disk::Stored;
use super::{Record, World};

impl World {
    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    /// Answers the read at a position.
    pub fn finish_read(&mut self, position: usize) {
        if let Some(answer) = self.find(position) {
            self.input(answer);
        }
    }

    /// What the read at a position finds now; State is not told yet.
    pub fn find(&mut self, position: usize) -> Option<Input> {
        let (call, read) = self.reads.remove(position)?;
        let result = self.read(&read);
        self.forgotten_reads.remove(&call);
        Some(Input::ReadDone { call, result })
    }

    /// What the files hold, checked the way the readers do: every block against its QC.
    fn read(&mut self, read: &Read) -> Result<Answer, ReadError> {
        let global = |number: u64| {
            let Some(Record::Block(block)) = self.blocks.disk.record(number).map(|stored| &stored.record)
            else {
                return Err(ReadError::Missing);
            };
            let Some(Record::Qc(qc)) = self.qcs.disk.record(number).map(|stored| &stored.record) else {
                return Err(ReadError::Missing);
            };
            if self.damaged.contains(&number) {
                let number = BlockNumber(number);
                return Err(ReadError::Damaged { number, detail: "its checksum is wrong".to_owned() });
            }
            Ok((block.clone(), qc.global_block(BlockNumber(number), block).unwrap()))
        };
        match read {
            Read::Qc(number) => match self.qcs.disk.record(number.0).map(|stored| &stored.record) {
                Some(Record::Qc(qc)) => Ok(Answer::Qc(qc.qc().clone())),
                _ => Err(ReadError::Missing),
            },
            Read::Block(number) => Ok(Answer::Block(global(number.0)?.0.block().clone())),
            Read::GlobalBlock(number) => Ok(Answer::GlobalBlock(global(number.0)?.1)),
            Read::GlobalBlocks(range) => {
                let first = global(range.start.0)?.1;
                let rest =
                    (range.start.0 + 1..range.end.0).map_while(|n| global(n).ok().map(|found| found.1));
                let rest: Vec<_> = rest.collect();
                let kept = usize::try_from(self.luck.part_of(rest.len() as u64)).unwrap();
                Ok(Answer::GlobalBlocks([first].into_iter().chain(rest.into_iter().take(kept)).collect()))
            }
            Read::ByHash(hash) => match self.stored_number_of(hash) {
                Some(number) => Ok(Answer::GlobalBlock(global(number)?.1)),
                None => Err(ReadError::Missing),
            },
        }
    }

    fn stored_number_of(&self, hash: &HeaderHash) -> Option<u64> {
        let number = self.source.number_of(hash)?;
        self.blocks.disk.record(number).map(|_| number)
    }

    pub fn loads(&self) -> usize {
        self.loads.len()
    }

    /// What recovery's loader finds: every QC from `verify_from` on, and as many blocks as it likes.
    pub(super) fn load(&mut self, verify_from: u64, next_block: u64, next_qc: u64) -> Loaded {
        let (mut qcs, mut blocks) = (Vec::new(), Vec::new());
        let blocks_from = next_block - self.luck.part_of(next_block - verify_from);
        // The logs are not open yet: what the plan will drop is still there, and is not read.
        let kept = |stored: &&Stored, end: u64| stored.range.end > blocks_from && stored.range.end <= end;
        for stored in self.qcs.disk.durable().filter(|stored| kept(stored, next_qc)) {
            if let Record::Qc(qc) = &stored.record {
                qcs.push((stored.index, qc.clone()));
            }
        }
        for stored in self.blocks.disk.durable().filter(|stored| kept(stored, next_block)) {
            if let Record::Block(block) = &stored.record {
                blocks.push(block.clone());
            }
        }
        Loaded { qcs, blocks }
    }

    /// The lives of the logs that State knows of.
    pub(super) fn log_lives(&self) -> [Option<Generation>; 2] {
        [&self.qcs, &self.blocks].map(|log| log.life.as_ref().map(|life| life.generation))
    }

    /// Lets the oldest load end. One whose log has failed under it may fail as well.
    pub fn finish_load(&mut self) {
        let Some((loaded, lives)) = self.loads.pop_front() else { return };
        assert!(self.loads.is_empty(), "one load at a time: nothing else tells their answers apart");
        let stale = lives != self.log_lives();
        let result = if stale && self.luck.chance(50) { Err(lost_log()) } else { Ok(loaded) };
        self.input(Input::Loaded(result));
    }

    /// Makes the oldest load fail, as it does when a log fails under it.
    pub fn fail_load(&mut self) {
        if self.loads.pop_front().is_some() {
            self.input(Input::Loaded(Err(lost_log())));
        }
    }
}

fn lost_log() -> StartError {
    StartError::Failed { detail: "the log was closed while it was read".to_owned() }
}
