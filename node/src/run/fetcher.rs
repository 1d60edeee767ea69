//! Decides what to ask peers for: blocks that a QC finalizes and that did not come, and a QC that did not come.
//!
//! What was missing when the node started is asked for at once; later on a thing is asked for only when it is still
//! missing after a little while, because most of what is missing is on its way. What was asked for in vain is asked
//! for again, from another peer. Large blocks are on their way for longer, and an answer takes longer as well: asking for
//! what is coming anyway would only slow it down. A QC that was asked for and was still wanted when it came lets the fetcher hurry: the
//! next is asked for soon, until one comes too late or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed::Roadbed;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::Cursors;

use super::frame::Frame;

/// How often the fetcher looks.
pub(crate) const FETCH_EVERY: Duration = Duration::from_millis(25);
/// Blocks above `next_block` that it looks at, in number and in bytes.
const LOOK_AHEAD: u64 = 256;
const LOOK_AHEAD_BYTES: u64 = 64 << 20;
/// Looks before something that is missing is asked for, if it were small.
const PATIENCE_LOOKS: u64 = 2;
/// Looks before it is asked for again, likewise.
const ASK_AGAIN_LOOKS: u64 = 8;
/// What a peer sends between two looks, at the least: 20 MB/s.
const LOOK_BYTES: u64 = 512 << 10;
/// Looks before a QC is asked for: while nothing is finalized none is missing.
const QC_PATIENCE_LOOKS: u64 = 20;
/// The same once asking has helped: where one got lost, others did.
const QC_CATCH_UP_LOOKS: u64 = 1;

/// How long to wait for what, in looks, and how far to look; by the size of the blocks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    look_ahead: u64,
    patience: u64,
    ask_again: u64,
    qc_patience: u64,
}

impl Pace {
    fn new(block_bytes: u64, blocks_per_qc: u64) -> Self {
        let looks = |blocks: u64| block_bytes.saturating_mul(blocks) / LOOK_BYTES;
        Self {
            look_ahead: (LOOK_AHEAD_BYTES / block_bytes.max(1)).clamp(1, LOOK_AHEAD),
            // Everything of its QC may come before it.
            patience: PATIENCE_LOOKS + looks(blocks_per_qc),
            ask_again: ASK_AGAIN_LOOKS + looks(blocks_per_qc),
            qc_patience: QC_PATIENCE_LOOKS + looks(blocks_per_qc),
        }
    }
}

/// What the fetcher remembers.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pace: Pace,
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
    pub(crate) fn new(missing_until: BlockNumber, block_bytes: u64, blocks_per_qc: u64) -> Self {
        Self {
            pace: Pace::new(block_bytes, blocks_per_qc),
            missing_until,
            looks: 0,
            ask_at: BTreeMap::new(),
            qc: (BlockNumber(0), 0),
            catching_up: false,
            turn: 0,
            again: Vec::new(),
        }
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
        let end = cursors.next_qc.min(cursors.next_block.saturating_add(self.pace.look_ahead));
        let missing = (cursors.next_block.0..end.0).map(BlockNumber);
        let candidates: Vec<_> = missing.filter(|number| self.is_due(*number)).collect();
        for number in &candidates {
            self.ask_at.insert(*number, self.looks + self.pace.ask_again);
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
        let patience = if number < self.missing_until { 0 } else { self.pace.patience };
        *self.ask_at.entry(number).or_insert(self.looks + patience) <= self.looks
    }

    fn qc_is_due(&mut self, next_qc: BlockNumber) -> bool {
        if self.qc.0 != next_qc || self.qc.1 == 0 {
            let patience = if self.catching_up { QC_CATCH_UP_LOOKS } else { self.pace.qc_patience };
            self.qc = (next_qc, self.looks + patience);
        }
        let due = self.qc.1 <= self.looks;
        if due {
            // Unless this one helps as well.
            self.catching_up = false;
            self.qc.1 = self.looks + self.pace.qc_patience;
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

    /// Of blocks that take no time.
    fn small(missing_until: u64) -> Fetcher {
        Fetcher::new(BlockNumber(missing_until), 1000, 10)
    }

    #[test]
    fn large_blocks_are_given_the_time_that_they_take_and_few_are_asked_for_at_once() {
        let mut fetcher = Fetcher::new(BlockNumber(0), 4 << 20, 10);
        let cursors = at(0, 1000);
        let mut asked = Vec::new();
        for _ in 0..400 {
            asked.push(fetcher.look(cursors, false).candidates.len());
        }
        // Ten blocks of 4 MiB in 512 KiB a look.
        assert!(asked[..80].iter().all(|asked| *asked == 0), "{asked:?}");
        assert!(asked.iter().all(|asked| *asked <= 16), "{asked:?}");
        // Once each, and again when everything of a QC could have come.
        assert_eq!(asked.iter().sum::<usize>() / 16, 400 / 88, "{asked:?}");
    }

    #[test]
    fn what_was_missing_at_the_start_is_asked_for_at_once_and_the_rest_after_a_while() {
        let mut fetcher = small(5);
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
        let mut fetcher = small(5);
        fetcher.begin(at(3, 10));
        fetcher.ask_at.insert(BlockNumber(4), 100);
        assert!(!fetcher.is_due(BlockNumber(4)));
        fetcher.ask_again(BlockNumber(4));
        fetcher.begin(at(3, 10));
        assert!(fetcher.is_due(BlockNumber(4)));
    }

    #[test]
    fn what_has_arrived_is_forgotten() {
        let mut fetcher = small(5);
        fetcher.begin(at(3, 10));
        assert!(fetcher.is_due(BlockNumber(4)));
        fetcher.begin(at(9, 10));
        assert!(fetcher.ask_at.is_empty());
    }

    #[test]
    fn a_qc_is_asked_for_only_when_none_came_for_a_while() {
        let mut fetcher = small(0);
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
        let mut fetcher = small(0);
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
