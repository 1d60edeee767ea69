//! Decides what to ask peers for: blocks that a QC finalizes and that did not come, and a QC that did not come.
//!
//! What was missing when the node started is asked for at once; later on a thing is asked for only when it is still
//! missing after a little while, because most of what is missing is on its way. What was asked for in vain is asked
//! for again, from another peer. A QC that was asked for and was still wanted when it came lets the fetcher hurry: the
//! next is asked for soon, until one comes too late or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed::Roadbed;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::Cursors;

use super::frame::Frame;

/// How often the fetcher looks.
pub(crate) const FETCH_EVERY: Duration = Duration::from_millis(25);
/// Blocks above `next_block` that it looks at.
const LOOK_AHEAD: u64 = 256;
/// Looks before something that is missing is asked for.
const PATIENCE_LOOKS: u64 = 2;
/// Looks before it is asked for again.
const ASK_AGAIN_LOOKS: u64 = 8;
/// Looks before a QC is asked for: while nothing is finalized none is missing.
const QC_PATIENCE_LOOKS: u64 = 20;
/// The same once asking has helped: where one got lost, others did.
const QC_CATCH_UP_LOOKS: u64 = 1;

/// What the fetcher remembers.
#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    /// What is below was missing when the node started.
    missing_until: BlockNumber,
    looks: u64,
    /// The look at which a missing block is asked for (again).
    ask_at: BTreeMap<BlockNumber, u64>,
    /// `next_qc`, and the look at which it is asked for.
    qc: (BlockNumber, u64),
    /// QCs got lost: they are asked for soon.
    catching_up: bool,
    turn: usize,
    /// Blocks whose answer was refused, until the next look.
    again: Vec<BlockNumber>,
}

/// What to ask for, as of one look.
#[derive(Debug)]
pub(crate) struct Look {
    questions: Vec<Frame>,
    candidates: Vec<BlockNumber>,
}

impl Fetcher {
    /// Blocks below `missing_until` are known to be missing.
    pub(crate) fn new(missing_until: BlockNumber) -> Self {
        Self { missing_until, ..Self::default() }
    }

    /// A push of this block was refused: the next peer is asked soon, if it is still missing.
    pub(crate) fn ask_again(&mut self, number: BlockNumber) {
        if self.again.len() < usize::try_from(LOOK_AHEAD).unwrap_or(usize::MAX) {
            self.again.push(number);
        }
    }

    /// QCs may have got lost: a connection has ended, or one that was asked for was still wanted when it came.
    pub(crate) fn hurry(&mut self) {
        self.catching_up = true;
    }

    /// A number that is another one each time.
    pub(crate) fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Looks at what is missing: what is in the answer may be asked for, if it is [still needed](still_needed).
    pub(crate) fn look(&mut self, cursors: Cursors, may_ask_qc: bool) -> Look {
        self.begin(cursors);
        let end = cursors.next_qc.min(cursors.next_block.saturating_add(LOOK_AHEAD));
        let missing = (cursors.next_block.0..end.0).map(BlockNumber);
        let candidates: Vec<_> = missing.filter(|number| self.is_due(*number)).collect();
        for number in &candidates {
            self.ask_at.insert(*number, self.looks + ASK_AGAIN_LOOKS);
        }
        let mut questions = Vec::new();
        if may_ask_qc && self.qc_is_due(cursors.next_qc) {
            questions.push(Frame::AskQc(cursors.next_qc));
        }
        Look { questions, candidates }
    }

    fn begin(&mut self, cursors: Cursors) {
        self.looks += 1;
        self.ask_at = self.ask_at.split_off(&cursors.next_block);
        for number in std::mem::take(&mut self.again) {
            if let Some(at) = self.ask_at.get_mut(&number) {
                *at = self.looks;
            }
        }
    }

    fn is_due(&mut self, number: BlockNumber) -> bool {
        let patience = if number < self.missing_until { 0 } else { PATIENCE_LOOKS };
        *self.ask_at.entry(number).or_insert(self.looks + patience) <= self.looks
    }

    fn qc_is_due(&mut self, next_qc: BlockNumber) -> bool {
        if self.qc.0 != next_qc || self.qc.1 == 0 {
            let patience = if self.catching_up { QC_CATCH_UP_LOOKS } else { QC_PATIENCE_LOOKS };
            self.qc = (next_qc, self.looks + patience);
        }
        let due = self.qc.1 <= self.looks;
        if due {
            // Unless this one helps as well.
            self.catching_up = false;
            self.qc.1 = self.looks + QC_PATIENCE_LOOKS;
        }
        due
    }
}

/// The questions of a look, without those for blocks that are held above a gap.
pub(crate) async fn still_needed(roadbed: &Roadbed, look: Look) -> Vec<Frame> {
    let Look { mut questions, candidates } = look;
    for number in candidates {
        if matches!(roadbed.need_block(number).await, Ok(true)) {
            questions.push(Frame::AskBlock(number));
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next_block: u64, next_qc: u64) -> Cursors {
        let mut cursors = Cursors::all_at(BlockNumber(next_block));
        cursors.next_qc = BlockNumber(next_qc);
        cursors
    }

    #[test]
    fn what_was_missing_at_the_start_is_asked_for_at_once_and_the_rest_after_a_while() {
        let mut fetcher = Fetcher::new(BlockNumber(5));
        fetcher.begin(at(3, 10));
        assert!(fetcher.is_due(BlockNumber(4)));
        assert!(!fetcher.is_due(BlockNumber(5)));
        for _ in 0..PATIENCE_LOOKS {
            fetcher.begin(at(3, 10));
        }
        assert!(fetcher.is_due(BlockNumber(5)));
    }

    #[test]
    fn a_refused_answer_is_asked_for_again_at_the_next_look() {
        let mut fetcher = Fetcher::new(BlockNumber(5));
        fetcher.begin(at(3, 10));
        fetcher.ask_at.insert(BlockNumber(4), 100);
        assert!(!fetcher.is_due(BlockNumber(4)));
        fetcher.ask_again(BlockNumber(4));
        fetcher.begin(at(3, 10));
        assert!(fetcher.is_due(BlockNumber(4)));
    }

    #[test]
    fn what_has_arrived_is_forgotten() {
        let mut fetcher = Fetcher::new(BlockNumber(5));
        fetcher.begin(at(3, 10));
        assert!(fetcher.is_due(BlockNumber(4)));
        fetcher.begin(at(9, 10));
        assert!(fetcher.ask_at.is_empty());
    }

    #[test]
    fn a_qc_is_asked_for_only_when_none_came_for_a_while() {
        let mut fetcher = Fetcher::new(BlockNumber(0));
        let due: Vec<bool> = (0..2 * QC_PATIENCE_LOOKS + 2)
            .map(|_| {
                fetcher.begin(at(0, 0));
                fetcher.qc_is_due(BlockNumber(0))
            })
            .collect();
        assert_eq!(due.iter().filter(|due| **due).count(), 2);
        assert!(!fetcher.qc_is_due(BlockNumber(10)));
    }

    #[test]
    fn once_a_qc_was_lost_the_next_is_asked_for_soon_until_that_is_in_vain() {
        let mut fetcher = Fetcher::new(BlockNumber(0));
        let looks_until_due = |fetcher: &mut Fetcher, next_qc| {
            let mut looks = 0;
            loop {
                fetcher.begin(at(next_qc, next_qc));
                looks += 1;
                if fetcher.qc_is_due(BlockNumber(next_qc)) {
                    return looks;
                }
            }
        };
        assert!(looks_until_due(&mut fetcher, 10) > QC_PATIENCE_LOOKS);
        fetcher.hurry();
        assert!(looks_until_due(&mut fetcher, 20) <= 1 + QC_CATCH_UP_LOOKS);
        assert!(looks_until_due(&mut fetcher, 30) > QC_PATIENCE_LOOKS);
    }
}
