//! Reconcile: what two logs that were written without promises to each other become after a crash.
//!
//! The QC log is the truth for the tail, the later start wins at the front, and the tail is repaired before the
//! front. `[a, b)` are the blocks, `[X, Y)` the QCs, by global number; `c` is the cursor of an empty block log. A
//! log is *never used* when it is empty with its cursor at the very start.
//!
//! | case | blocks | QCs | action |
//! |---|---|---|---|
//! | 1 | empty | empty, both never used | none |
//! | 2a | `[first_block, b)` | empty, never used | drop the blocks |
//! | 2b | any | missing, or empty though used, or never used while the blocks are not at the start | refuse, or set the blocks aside |
//! | 3 | empty or missing | `[X, Y)` | block cursor to `max(X, c)` |
//! | 4 | `[a, b)` | `a = X`, `b <= Y` | none |
//! | 5 | `[a, b)` | `X < a < Y` | drop QCs wholly below `a` |
//! | 6 | `[a, b)` | `a < X < b` | drop blocks below `X` |
//! | 7 | `[a, b)` | `a < Y < b` | drop blocks from `Y` on |
//! | 8 | `[a, b)` | `b < Y` | none |
//! | 9 | `[a, b)` | `b <= X` | drop all blocks, cursor to `X` |
//! | 10 | `[a, b)` | `a >= Y` | refuse, as 2b |
//!
//! Case 11, a gap inside one log, is found by whoever reads the log, not here.

use roadbed_messages::BlockNumber;
use roadbed_messages::api::StartError;
use roadbed_messages::api::workers::{LogFacts, LogPlan};

/// What must be done before anything is appended, and what the logs hold then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The rows of the table that applied, tail before front.
    pub cases: Vec<&'static str>,
    /// For the block log.
    pub blocks: LogPlan,
    /// For the QC log.
    pub qcs: LogPlan,
    /// The oldest block retained once the plan is carried out.
    pub first: BlockNumber,
    /// The first block missing from the contiguous run then.
    pub next_block: BlockNumber,
    /// The first block without a QC then.
    pub next_qc: BlockNumber,
    /// Durable data that had vanished, in one sentence; it must never be passed over in silence.
    pub lost: Option<String>,
}

/// Why the logs can't be reconciled without losing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the table.
    pub case: &'static str,
    /// What is missing.
    pub detail: String,
}

impl Refusal {
    /// The refusal as a start tells it, with the ways out.
    pub fn into_start_error(self) -> StartError {
        let Self { case, detail } = self;
        StartError::WouldLose {
            detail: format!(
                "{detail}; starting would vote again on blocks that were voted on. Restore the QC log from a backup, or \
                 accept the loss (setting accept_lost_qcs, `roadbed run --accept-lost-qcs`, `roadbed repair`): the \
                 blocks are then moved aside, kept, and both logs are filled anew (reconcile case {case})"
            ),
        }
    }
}

/// Plans how to reconcile the two logs. Pure: reads nothing, writes nothing.
///
/// `accept_lost_qcs` is the explicit setting under which rows 2b and 10 set the blocks aside and start anew.
///
/// # Errors
/// [`Refusal`] for rows 2b and 10, unless `accept_lost_qcs` is set.
pub fn reconcile(
    first_block: BlockNumber,
    blocks: &LogFacts,
    qcs: &LogFacts,
    accept_lost_qcs: bool,
) -> Result<Plan, Refusal> {
    // A missing block log has lost its cursor: nothing is known but that it can't lie below the start.
    let block_cursor = if blocks.exists { BlockNumber(blocks.next_index) } else { first_block };
    let start_over = |refusal: Refusal| {
        if accept_lost_qcs { Ok(set_aside(first_block, blocks, qcs, &refusal)) } else { Err(refusal) }
    };
    match (&blocks.range, &qcs.range) {
        (block_range, None) => {
            let blocks_at_start =
                block_range.as_ref().map_or(block_cursor, |range| range.start) == first_block;
            if !qcs.exists || qcs.next_index != 0 || !blocks_at_start {
                let no_block = block_range.is_none() && blocks_at_start;
                let what = match (qcs.exists, no_block) {
                    (false, _) => "is missing",
                    (true, false) => "is empty though it was used",
                    (true, true) => {
                        "is empty though it was used, and no block was ever stored (an import that was killed at its \
                         beginning leaves it so: then give the import again with the whole file)"
                    }
                };
                return start_over(Refusal { case: "2b", detail: format!("the QC log {what}") });
            }
            Ok(never_used(first_block, blocks))
        }
        (None, Some(qc_range)) => {
            if block_cursor > qc_range.end {
                return start_over(behind(block_cursor, qc_range.end));
            }
            let cursor = block_cursor.max(qc_range.start);
            let mut plan = Plan::keep("3", cursor, cursor, qc_range.end);
            if !blocks.exists {
                plan.blocks.create_at = Some(cursor.0);
                plan.lost = Some(format!(
                    "the block log is missing: blocks {cursor} to {} are asked for again",
                    qc_range.end
                ));
            } else if cursor > first_block {
                // A log that was never used stands at the start, and pruning leaves one block: this one lost some.
                plan.blocks.reset_to = (cursor != block_cursor).then_some(cursor.0);
                plan.lost = Some(format!(
                    "the block log is empty at {block_cursor} though it was used: what it held is gone, blocks from \
                     {cursor} on are asked for again"
                ));
            }
            Ok(plan)
        }
        (Some(block_range), Some(qc_range)) => {
            let (a, b) = (block_range.start, block_range.end);
            let (x, y) = (qc_range.start, qc_range.end);
            if a >= y {
                return start_over(behind(a, y));
            }
            if b <= x {
                let mut plan = Plan::keep("9", x, x, y);
                plan.blocks.reset_to = Some(x.0);
                plan.lost = Some(format!(
                    "the block log ends at {b} though the QCs start at {x}: blocks {x} to {y} are asked for again"
                ));
                return Ok(plan);
            }
            let mut plan = Plan::keep("4", a.max(x), b.min(y), y);
            plan.cases.clear();
            if b > y {
                plan.cases.push("7");
                plan.blocks.drop_from = Some(y.0);
            } else if b < y {
                plan.cases.push("8");
            }
            if x < a {
                plan.cases.push("5");
                plan.qcs.drop_below = Some(a);
            } else if a < x {
                plan.cases.push("6");
                plan.blocks.drop_below = Some(x);
            }
            if plan.cases.is_empty() {
                plan.cases.push("4");
            }
            Ok(plan)
        }
    }
}

impl Plan {
    fn keep(case: &'static str, first: BlockNumber, next_block: BlockNumber, next_qc: BlockNumber) -> Self {
        Self {
            cases: vec![case],
            blocks: LogPlan::default(),
            qcs: LogPlan::default(),
            first,
            next_block,
            next_qc,
            lost: None,
        }
    }

    /// The rows that applied, as they are reported: `"4"`, `"7+5"`.
    pub fn case_label(&self) -> String {
        self.cases.join("+")
    }
}

/// No QC was ever durable, so nothing was ever promised: rows 1, 2a, and a block log that is missing beside it.
fn never_used(first_block: BlockNumber, blocks: &LogFacts) -> Plan {
    let mut plan = Plan::keep("1", first_block, first_block, first_block);
    if blocks.range.is_some() {
        plan.cases = vec!["2a"];
        plan.blocks.drop_from = Some(first_block.0);
    } else if !blocks.exists {
        plan.cases = vec!["3"];
        plan.blocks.create_at = Some(first_block.0);
        plan.lost =
            Some("the block log is missing; no QC was ever durable, so nothing had been promised".to_owned());
    }
    plan
}

/// Rows 2b and 10 under their setting: the blocks are kept, but aside, and both logs start anew.
fn set_aside(first_block: BlockNumber, blocks: &LogFacts, qcs: &LogFacts, refusal: &Refusal) -> Plan {
    let mut plan = Plan::keep(refusal.case, first_block, first_block, first_block);
    plan.blocks.set_aside = blocks.exists;
    plan.blocks.create_at = Some(first_block.0);
    plan.qcs.set_aside = qcs.exists;
    plan.qcs.create_at = Some(0);
    plan.lost = Some(format!("{}: both logs were set aside and start anew at {first_block}", refusal.detail));
    plan
}

fn behind(block: BlockNumber, qc_end: BlockNumber) -> Refusal {
    Refusal {
        case: "10",
        detail: format!("the QC log ends at {qc_end}, wholly behind the blocks, which start at {block}"),
    }
}
