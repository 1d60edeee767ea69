//! App hashes in memory: exact where it matters, bounded everywhere.

use roadbed::state::core::app::{AppHashes, REPORTS_MAX};
use roadbed_messages::{AppHash, BlockNumber};

fn hash(number: u64) -> AppHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    AppHash(bytes)
}

fn with_reports(count: u64) -> AppHashes {
    let mut app = AppHashes::default();
    for number in 0..count {
        app.push(BlockNumber(number), hash(number));
    }
    app
}

#[test]
fn newest_reports_are_exact_and_older_ones_are_covered_by_a_later_one() {
    let reported = 10 * REPORTS_MAX as u64 + 7;
    let app = with_reports(reported);
    let mut answers = 0;
    let mut last = None;
    for number in 0..reported {
        let (covering, found) = app.covering(BlockNumber(number)).expect("every reported block is covered");
        assert!(covering.0 >= number && covering.0 < reported);
        assert_eq!(found, hash(covering.0), "a report keeps its own hash");
        if number + REPORTS_MAX as u64 / 2 >= reported {
            assert_eq!(covering.0, number, "the newest half is exact");
        }
        answers += usize::from(last != Some(covering));
        last = Some(covering);
    }
    assert!(answers <= REPORTS_MAX, "{answers} reports are remembered");
    assert!(answers > REPORTS_MAX / 2, "{answers} reports are remembered");
    assert_eq!(app.covering(BlockNumber(reported)), None);
}

#[test]
fn nothing_is_let_go_of_before_the_bound() {
    let app = with_reports(REPORTS_MAX as u64);
    for number in 0..REPORTS_MAX as u64 {
        assert_eq!(app.covering(BlockNumber(number)), Some((BlockNumber(number), hash(number))));
    }
}

#[test]
fn pruning_forgets_what_covers_nothing_retained() {
    let mut app = AppHashes::default();
    app.push(BlockNumber(4), hash(4));
    app.push(BlockNumber(9), hash(9));
    app.prune(BlockNumber(5));
    assert_eq!(app.covering(BlockNumber(0)), Some((BlockNumber(9), hash(9))));
    app.prune(BlockNumber(9));
    assert_eq!(app.covering(BlockNumber(9)), Some((BlockNumber(9), hash(9))), "it still covers block 9");
    app.prune(BlockNumber(10));
    assert_eq!(app.covering(BlockNumber(9)), None);
}

#[test]
fn one_report_beyond_the_bound_costs_every_second_one_of_the_older_half() {
    let max = REPORTS_MAX as u64;
    let app = with_reports(max + 1);
    for number in 0..=max {
        // Of two neighbours the later one stays.
        let covering = if number < max / 2 { number | 1 } else { number };
        assert_eq!(
            app.covering(BlockNumber(number)),
            Some((BlockNumber(covering), hash(covering))),
            "{number}"
        );
    }
}
