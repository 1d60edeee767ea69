//! Reconcile against a second, plain statement of its table, for every combination over a small range; then the
//! plans are carried out on plain logs, with a crash after every part of them.

use std::ops::Range;

use roadbed::state::core::reconcile::{Plan, reconcile};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{LogFacts, LogPlan};

/// Blocks that the range of the enumeration spans.
const SPAN: u64 = 6;

/// A log as plain as can be: which records, and where the next one goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Log {
    exists: bool,
    records: Vec<Range<u64>>,
    next_index: u64,
}

impl Log {
    const MISSING: Self = Self { exists: false, records: Vec::new(), next_index: 0 };

    fn empty_at(next_index: u64) -> Self {
        Self { exists: true, records: Vec::new(), next_index }
    }

    fn blocks(range: Range<u64>) -> Self {
        let next_index = range.end;
        Self { exists: true, records: range.map(|n| n..n + 1).collect(), next_index }
    }

    fn range(&self) -> Option<Range<u64>> {
        Some(self.records.first()?.start..self.records.last()?.end)
    }

    fn first_index(&self) -> u64 {
        self.next_index - self.records.len() as u64
    }

    fn facts(&self) -> LogFacts {
        LogFacts {
            exists: self.exists,
            range: self.range().map(|range| BlockNumber(range.start)..BlockNumber(range.end)),
            next_index: self.next_index,
            torn_bytes: 0,
        }
    }
}

/// Both logs of one start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logs {
    first_block: u64,
    blocks: Log,
    qcs: Log,
}

impl Logs {
    fn reconcile(&self, accept_lost_qcs: bool) -> Result<Plan, &'static str> {
        reconcile(BlockNumber(self.first_block), &self.blocks.facts(), &self.qcs.facts(), accept_lost_qcs)
            .map_err(|refusal| refusal.case)
    }
}

/// Every combination: blocks missing, empty at any cursor or `[a, b)`; QCs missing, empty at any index or `[X, Y)`
/// on the boundaries of several ways to cut the range, so that fronts and ends fall on a boundary or inside a QC.
fn every_combination() -> Vec<Logs> {
    let cuts: [&[u64]; 5] = [&[1, 1, 1, 1, 1, 1], &[2, 2, 2], &[3, 3], &[1, 3, 2], &[6]];
    let mut all = Vec::new();
    for first_block in [0, 1, 3, 1_000_000, u64::MAX - SPAN] {
        let end = first_block + SPAN;
        let mut block_logs = vec![Log::MISSING];
        block_logs.extend((first_block..=end).map(Log::empty_at));
        for a in first_block..end {
            block_logs.extend((a + 1..=end).map(|b| Log::blocks(a..b)));
        }
        for cut in cuts {
            let mut start = first_block;
            let records: Vec<Range<u64>> = cut
                .iter()
                .map(|len| {
                    let record = start..start + len;
                    start = record.end;
                    record
                })
                .collect();
            let mut qc_logs = vec![Log::MISSING];
            for x in 0..=records.len() {
                qc_logs.push(Log::empty_at(x as u64));
                qc_logs.extend((x + 1..=records.len()).map(|y| Log {
                    exists: true,
                    records: records[x..y].to_vec(),
                    next_index: y as u64,
                }));
            }
            for blocks in &block_logs {
                for qcs in &qc_logs {
                    all.push(Logs { first_block, blocks: blocks.clone(), qcs: qcs.clone() });
                }
            }
        }
    }
    all
}

/// The table's words about one combination.
struct Facts {
    first_block: u64,
    /// `[a, b)`
    blocks: Option<Range<u64>>,
    /// `[X, Y)`
    qcs: Option<Range<u64>>,
    blocks_missing: bool,
    qcs_missing: bool,
    /// The cursor of an empty block log.
    c: u64,
    qcs_never_used: bool,
}

impl Facts {
    fn of(logs: &Logs) -> Self {
        Self {
            first_block: logs.first_block,
            blocks: logs.blocks.range(),
            qcs: logs.qcs.range(),
            blocks_missing: !logs.blocks.exists,
            qcs_missing: !logs.qcs.exists,
            c: if logs.blocks.exists { logs.blocks.next_index } else { logs.first_block },
            qcs_never_used: logs.qcs == Log::empty_at(0),
        }
    }

    /// Where the blocks start, or would.
    fn a_or_c(&self) -> u64 {
        self.blocks.as_ref().map_or(self.c, |blocks| blocks.start)
    }

    /// Whether both logs hold something, and `holds` of a, b, X, Y.
    fn both(&self, holds: impl Fn(u64, u64, u64, u64) -> bool) -> bool {
        match (&self.blocks, &self.qcs) {
            (Some(blocks), Some(qcs)) => holds(blocks.start, blocks.end, qcs.start, qcs.end),
            _ => false,
        }
    }

    /// Whether the block log is empty or missing beside QCs, and `holds` of X, Y.
    fn only_qcs(&self, holds: impl Fn(u64, u64) -> bool) -> bool {
        self.blocks.is_none() && self.qcs.as_ref().is_some_and(|qcs| holds(qcs.start, qcs.end))
    }
}

/// The table, row by row: its name, when it applies.
type Row = (&'static str, fn(&Facts) -> bool);

const TABLE: [Row; 12] = [
    ("1", |f| f.blocks.is_none() && !f.blocks_missing && f.c == f.first_block && f.qcs_never_used),
    ("2a", |f| f.blocks.as_ref().is_some_and(|blocks| blocks.start == f.first_block) && f.qcs_never_used),
    ("2b", |f| {
        let empty_though_used = f.qcs.is_none() && !f.qcs_missing && !f.qcs_never_used;
        f.qcs_missing || empty_though_used || f.qcs_never_used && f.a_or_c() > f.first_block
    }),
    // The table has no word for a missing block log beside QCs that were never used; nothing was ever promised.
    ("3", |f| f.only_qcs(|_, y| f.c <= y) || f.blocks_missing && f.qcs_never_used),
    ("10", |f| f.only_qcs(|_, y| f.c > y)),
    ("7", |f| f.both(|a, b, x, y| b > x && a < y && y < b)),
    ("8", |f| f.both(|a, b, x, y| b > x && a < y && b < y)),
    ("4", |f| f.both(|a, b, x, y| a == x && b == y)),
    ("5", |f| f.both(|a, _, x, y| x < a && a < y)),
    ("6", |f| f.both(|a, b, x, _| a < x && x < b)),
    ("9", |f| f.both(|_, b, x, _| b <= x)),
    ("10", |f| f.both(|a, _, _, y| a >= y)),
];

/// What the table's actions make of the logs, or the row that refuses.
fn expected(logs: &Logs, accept_lost_qcs: bool) -> (Vec<&'static str>, Result<Logs, ()>) {
    let facts = Facts::of(logs);
    let rows: Vec<_> = TABLE.iter().filter(|(_, holds)| holds(&facts)).map(|(row, _)| *row).collect();
    let mut after = logs.clone();
    for row in &rows {
        let (x, y) = logs.qcs.range().map_or((0, 0), |qcs| (qcs.start, qcs.end));
        let a = facts.a_or_c();
        match *row {
            "1" | "4" | "8" => {}
            "2a" => after.blocks = Log::empty_at(logs.first_block),
            "2b" | "10" => {
                if !accept_lost_qcs {
                    return (rows, Err(()));
                }
                after.blocks = Log::empty_at(logs.first_block);
                after.qcs = Log::empty_at(0);
            }
            "3" => after.blocks = Log::empty_at(facts.c.max(x)),
            "5" => after.qcs.records.retain(|qc| qc.end > a),
            "6" => after.blocks.records.retain(|block| block.start >= x),
            "7" => {
                after.blocks.records.retain(|block| block.start < y);
                after.blocks.next_index = y;
            }
            "9" => after.blocks = Log::empty_at(x),
            row => unreachable!("no such row: {row}"),
        }
    }
    (rows, Ok(after))
}

/// One action on one log. Each lands as a whole or not at all.
#[derive(Clone, Copy, Debug)]
enum Action {
    SetAside,
    Create(u64),
    Reset(u64),
    DropFrom(u64),
    DropBelow(u64),
}

/// A plan's actions on one log, in the order in which the plan says that they happen.
fn actions(plan: &LogPlan) -> Vec<Action> {
    let mut actions = Vec::new();
    actions.extend(plan.set_aside.then_some(Action::SetAside));
    actions.extend(plan.create_at.map(Action::Create));
    actions.extend(plan.reset_to.map(Action::Reset));
    actions.extend(plan.drop_from.map(Action::DropFrom));
    actions.extend(plan.drop_below.map(|first| Action::DropBelow(first.0)));
    actions
}

impl Log {
    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SetAside => *self = Self::MISSING,
            Action::Create(index) => {
                assert!(!self.exists, "a log is made only where there is none");
                *self = Self::empty_at(index);
            }
            Action::Reset(index) => *self = Self::empty_at(index),
            Action::DropFrom(index) => {
                assert!(self.exists);
                if index <= self.first_index() {
                    *self = Self::empty_at(index);
                } else if index < self.next_index {
                    let kept = usize::try_from(index - self.first_index()).unwrap();
                    self.records.truncate(kept);
                    self.next_index = index;
                }
            }
            Action::DropBelow(first) => {
                assert!(self.exists);
                self.records.retain(|record| record.end > first);
            }
        }
    }
}

/// Carries out the first so many actions on each log.
fn carried_out(logs: &Logs, plan: &Plan, on_blocks: usize, on_qcs: usize) -> Logs {
    let mut after = logs.clone();
    actions(&plan.blocks)[..on_blocks].iter().for_each(|action| after.blocks.carry_out(*action));
    actions(&plan.qcs)[..on_qcs].iter().for_each(|action| after.qcs.carry_out(*action));
    after
}

fn carried_out_whole(logs: &Logs, plan: &Plan) -> Logs {
    carried_out(logs, plan, actions(&plan.blocks).len(), actions(&plan.qcs).len())
}

/// What must hold before anything is served: the logs are what the plan says, and every block has its QC.
fn assert_consistent(logs: &Logs, plan: &Plan, what: &str) {
    assert!(logs.blocks.exists && logs.qcs.exists, "{what}");
    assert!(logs.first_block <= plan.first.0, "{what}");
    assert!(plan.first <= plan.next_block && plan.next_block <= plan.next_qc, "{what}");
    assert_eq!(logs.blocks.next_index, plan.next_block.0, "{what}");
    assert_eq!(logs.blocks.first_index(), plan.first.0, "{what}");
    match logs.qcs.range() {
        Some(qcs) => {
            assert_eq!(qcs.end, plan.next_qc.0, "{what}");
            assert!(qcs.start <= plan.first.0, "a retained block without a QC: {what}");
        }
        None => {
            assert_eq!(plan.first, plan.next_qc, "{what}");
            assert_eq!((plan.first.0, logs.qcs.next_index), (logs.first_block, 0), "{what}");
        }
    }
}

#[test]
fn table_covers_every_combination_and_rows_that_exclude_each_other_never_meet() {
    for logs in every_combination() {
        let facts = Facts::of(&logs);
        let rows: Vec<_> = TABLE.iter().filter(|(_, holds)| holds(&facts)).map(|(row, _)| *row).collect();
        let tails = rows.iter().filter(|row| ["7", "8"].contains(row)).count();
        let fronts = rows.iter().filter(|row| ["5", "6"].contains(row)).count();
        // a = X with b < Y is row 8 alone, a = X with b = Y is row 4.
        let alone = rows.len() - tails - fronts;
        assert!(!rows.is_empty(), "{logs:?}");
        assert!(tails <= 1 && fronts <= 1 && alone <= 1, "{rows:?}: {logs:?}");
        assert!(alone == 0 || tails + fronts == 0, "{rows:?}: {logs:?}");
    }
}

#[test]
fn plans_do_what_the_table_says() {
    let mut seen = std::collections::BTreeMap::new();
    for logs in every_combination() {
        for accept_lost_qcs in [false, true] {
            let what = format!("accept_lost_qcs {accept_lost_qcs}, {logs:?}");
            let (rows, outcome) = expected(&logs, accept_lost_qcs);
            *seen.entry(rows.join("+")).or_insert(0_u32) += 1;
            match (logs.reconcile(accept_lost_qcs), outcome) {
                (Ok(plan), Ok(after)) => {
                    assert_eq!(plan.case_label(), rows.join("+"), "{what}");
                    assert_eq!(carried_out_whole(&logs, &plan), after, "{plan:?}: {what}");
                    assert_consistent(&after, &plan, &what);
                }
                (Err(case), Err(())) => assert_eq!(vec![case], rows, "{what}"),
                (plan, outcome) => panic!("{plan:?}, but the table says {outcome:?}: {what}"),
            }
        }
    }
    let labels: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(
        labels,
        ["1", "10", "2a", "2b", "3", "4", "5", "6", "7", "7+5", "7+6", "8", "8+5", "8+6", "9"],
        "every row is met, alone and with those that it can hold with"
    );
}

#[test]
fn blocks_are_deleted_only_where_nothing_was_promised_for_them() {
    for logs in every_combination() {
        let Ok(plan) = logs.reconcile(true) else { panic!("refused: {logs:?}") };
        if plan.blocks.set_aside {
            continue;
        }
        // A promise needs both a block and its QC, and lasts until both are pruned, the QC not before the block.
        let after = carried_out_whole(&logs, &plan);
        let qcs = logs.qcs.range().unwrap_or(0..0);
        for block in logs.blocks.records.iter().filter(|block| !after.blocks.records.contains(block)) {
            assert!(!qcs.contains(&block.start), "block {} is dropped under {plan:?}: {logs:?}", block.start);
        }
        for qc in logs.qcs.records.iter().filter(|qc| !after.qcs.records.contains(qc)) {
            assert!(qc.end <= plan.first.0, "QC {qc:?} is dropped under {plan:?}: {logs:?}");
        }
    }
}

#[test]
fn vanished_blocks_are_never_passed_over_in_silence() {
    for logs in every_combination() {
        let Ok(plan) = logs.reconcile(false) else { continue };
        let facts = Facts::of(&logs);
        // Pruning leaves one block, and an empty log that was never used stands at the start: whatever else is empty
        // beside QCs has lost something.
        let blocks_lost = facts.blocks_missing
            || facts.both(|_, b, x, _| b <= x)
            || facts.only_qcs(|x, _| x > logs.first_block || facts.c > logs.first_block);
        assert_eq!(plan.lost.is_some(), blocks_lost, "{plan:?}: {logs:?}");
    }
}

/// Only where no block was ever stored may a killed import be the reason: elsewhere the advice would cost blocks.
#[test]
fn a_killed_import_is_suspected_only_where_no_block_was_stored() {
    let start = 2;
    let used = Log::empty_at(3);
    for (blocks, suspected) in [
        (Log::MISSING, true),
        (Log::empty_at(start), true),
        (Log::empty_at(start + 1), false),
        (Log::blocks(start..start + 2), false),
        (Log::blocks(start + 1..start + 2), false),
    ] {
        let refusal =
            reconcile(BlockNumber(start), &blocks.facts(), &used.facts(), false).expect_err("row 2b");
        assert_eq!(refusal.case, "2b");
        assert_eq!(refusal.detail.contains("give the import again"), suspected, "{blocks:?}: {refusal:?}");
    }
}

#[test]
fn what_is_set_aside_is_told_and_both_logs_start_anew() {
    for logs in every_combination() {
        if logs.reconcile(false).is_ok() {
            assert_eq!(logs.reconcile(false), logs.reconcile(true), "the setting changes nothing: {logs:?}");
            continue;
        }
        let plan = logs.reconcile(true).unwrap();
        assert!(plan.lost.is_some(), "{plan:?}");
        assert_eq!((plan.blocks.set_aside, plan.qcs.set_aside), (logs.blocks.exists, logs.qcs.exists));
        assert_eq!((plan.blocks.create_at, plan.qcs.create_at), (Some(logs.first_block), Some(0)));
    }
}

#[test]
fn reconcile_twice_in_a_row_does_nothing_the_second_time() {
    for logs in every_combination() {
        for accept_lost_qcs in [false, true] {
            let Ok(plan) = logs.reconcile(accept_lost_qcs) else { continue };
            let after = carried_out_whole(&logs, &plan);
            let what = format!("{plan:?}: {logs:?}");
            let again =
                after.reconcile(false).unwrap_or_else(|case| panic!("then case {case} refuses: {what}"));
            assert_eq!(carried_out_whole(&after, &again), after, "{again:?} after {what}");
            assert_eq!(
                (again.first, again.next_block, again.next_qc),
                (plan.first, plan.next_block, plan.next_qc),
                "{what}"
            );
        }
    }
}

#[test]
fn a_crash_anywhere_inside_a_plan_is_again_one_of_its_cases() {
    for logs in every_combination() {
        for accept_lost_qcs in [false, true] {
            let Ok(plan) = logs.reconcile(accept_lost_qcs) else { continue };
            let whole = carried_out_whole(&logs, &plan);
            let (on_blocks_max, on_qcs_max) = (actions(&plan.blocks).len(), actions(&plan.qcs).len());
            for on_blocks in 0..=on_blocks_max {
                for on_qcs in 0..=on_qcs_max {
                    // Both logs are repaired at once, except that blocks are safe aside before the QC log is touched.
                    if plan.blocks.set_aside && on_qcs > 0 && on_blocks < on_blocks_max {
                        continue;
                    }
                    let crashed = carried_out(&logs, &plan, on_blocks, on_qcs);
                    let what = format!("{crashed:?} on the way to {plan:?} of {logs:?}");
                    let again = match crashed.reconcile(accept_lost_qcs) {
                        Ok(again) => again,
                        Err(case) => panic!("case {case} refuses {what}"),
                    };
                    let after = carried_out_whole(&crashed, &again);
                    assert_consistent(&after, &again, &what);
                    assert!(
                        after == whole || is_start_with_old_qcs(&logs, &plan, &after),
                        "{after:?} from {what}"
                    );
                    assert!(
                        !deletes_what_was_to_be_kept(&logs, &plan, &crashed, &again),
                        "{again:?} deletes blocks: {what}"
                    );
                }
            }
        }
    }
}

/// A crash after the blocks were set aside, with the QC log as it was: that is a block log that was lost (row 3).
fn is_start_with_old_qcs(logs: &Logs, plan: &Plan, after: &Logs) -> bool {
    plan.blocks.set_aside && after.qcs == logs.qcs && after.blocks.records.is_empty()
}

/// Blocks that a plan meant to set aside, and that are still there, must be set aside by the next plan too.
fn deletes_what_was_to_be_kept(logs: &Logs, plan: &Plan, crashed: &Logs, again: &Plan) -> bool {
    let still_there = crashed.blocks == logs.blocks && !logs.blocks.records.is_empty();
    plan.blocks.set_aside && still_there && !again.blocks.set_aside
}
