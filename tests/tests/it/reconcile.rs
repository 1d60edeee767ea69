//! Every row of the reconcile table, on disk. The chain starts at block 100; a QC covers ten blocks.

use roadbed::Config;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{StartError, WalKind};
use roadbed_tests::{Craft, Files, Fixture, Rig, settings};
use tempfile::TempDir;

const FIRST: u64 = 100;
const QCS: usize = 16;
const END: u64 = FIRST + 10 * QCS as u64;

/// What a start makes of a crafted directory.
struct Outcome {
    case: &'static str,
    first: u64,
    next_block: u64,
    next_qc: u64,
    /// Whether it says that durable data had vanished.
    lost: bool,
    /// What the logs hold afterwards: QCs by their index in the log.
    qcs: std::ops::Range<u64>,
}

fn crafted(craft: impl FnOnce(&Craft) -> &Craft) -> (Fixture, TempDir) {
    let fixture = Fixture::starting_at(FIRST, QCS);
    let dir = tempfile::tempdir().unwrap();
    craft(&Craft::new_store(dir.path(), &fixture));
    (fixture, dir)
}

/// Starts on a crafted directory, checks what came of it, and that it comes to the same three times in a row; then
/// brings the rest of the chain, and checks that again.
async fn starts(
    config: Config,
    craft: impl FnOnce(&Craft) -> &Craft,
    expected: Outcome,
) -> (Fixture, TempDir) {
    let (fixture, dir) = crafted(craft);
    let mut rig = Rig::in_dir(fixture, config.clone(), dir).await.unwrap();
    let Outcome { case, first, next_block, next_qc, lost, qcs } = expected;
    assert_eq!(rig.recovered().reconcile_case, case);
    assert_eq!(rig.recovered().lost.is_some(), lost, "{:?}", rig.recovered().lost);
    assert_eq!(rig.status().await.recovered.as_ref(), Some(rig.recovered()));
    for attempt in 1..=3 {
        let recovered = rig.recovered();
        let cursors = (recovered.first.0, recovered.next_block.0, recovered.next_qc.0);
        assert_eq!(cursors, (first, next_block, next_qc), "start {attempt}");
        let cursors = rig.cursors().await;
        assert_eq!((cursors.first.0, cursors.next_app_proposal.0), (first, first));
        assert_eq!((cursors.next_block_to_persist.0, cursors.next_qc.0), (next_block, next_qc));
        rig.serves_what_it_retains().await;
        let (fixture, dir) = rig.ended().await;
        let craft = Craft::new(dir.path(), &fixture);
        assert_eq!(
            (craft.range(WalKind::Blocks), craft.range(WalKind::Qcs)),
            (first..next_block, qcs.clone())
        );
        rig = Rig::in_dir(fixture, settings(), dir).await.unwrap();
    }
    // Peers send everything again: what is there is stale, what is missing gets in.
    rig.push_all().await;
    rig.execute(BlockNumber(END - 1)).await.unwrap();
    for _ in 0..3 {
        let cursors = rig.cursors().await;
        assert_eq!((cursors.first.0, cursors.next_block.0, cursors.next_qc.0), (first, END, END));
        rig.serves_what_it_retains().await;
        rig = rig.restarted().await;
    }
    rig.ended().await
}

/// A start on a crafted directory is refused, three times in a row, and every file stays as it was.
async fn refuses(
    craft: impl FnOnce(&Craft) -> &Craft,
    is_expected: impl Fn(&StartError) -> bool,
) -> (Fixture, TempDir) {
    let (fixture, dir) = crafted(craft);
    let before = Files::of(dir.path());
    for _ in 0..3 {
        let kept = dir.path().to_path_buf();
        let refused = fixture.builder().data_dir(&kept).config(settings()).start().await.map(|_| ());
        let error = refused.unwrap_err();
        assert!(is_expected(&error), "{error:?}");
        assert_eq!(Files::of(&kept), before);
    }
    (fixture, dir)
}

/// The refusal of rows 2b and 10: it names the directory, the row and the setting that is the way out.
fn would_lose(case: &str) -> impl Fn(&StartError) -> bool {
    let case = format!("case {case}");
    move |error| match error {
        StartError::WouldLose { detail } => {
            detail.contains(&case) && detail.contains("/tmp") && detail.contains("accept_lost_qcs")
        }
        _ => false,
    }
}

/// Under the setting both logs start anew, and the blocks are kept aside, byte for byte.
async fn starts_over(craft: impl FnOnce(&Craft) -> &Craft, case: &'static str) {
    let (fixture, dir) = crafted(craft);
    let block_files: Vec<Vec<u8>> = Craft::new(dir.path(), &fixture)
        .segments(WalKind::Blocks)
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let config = Config { accept_lost_qcs: true, ..settings() };
    let rig = Rig::in_dir(fixture, config, dir).await.unwrap();
    assert_eq!(rig.recovered().reconcile_case, case);
    assert!(rig.recovered().lost.is_some());
    let cursors = rig.cursors().await;
    assert_eq!((cursors.first.0, cursors.next_block.0, cursors.next_qc.0), (FIRST, FIRST, FIRST));
    let mut aside = Files::of(&rig.dir().join("aside")).contents();
    for file in block_files {
        let at = aside.iter().position(|kept| *kept == file).expect("every file of blocks is kept");
        aside.swap_remove(at);
    }
    rig.push_all().await;
    rig.execute(BlockNumber(END - 1)).await.unwrap();
    // The setting changes nothing where nothing is lost.
    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().reconcile_case, "4");
    assert_eq!(rig.recovered().next_block.0, END);
    rig.serves_what_it_retains().await;
    rig.ended().await;
}

#[tokio::test]
async fn case_1_a_fresh_store_starts_empty() {
    let outcome =
        Outcome { case: "1", first: FIRST, next_block: FIRST, next_qc: FIRST, lost: false, qcs: 0..0 };
    starts(settings(), |craft| craft, outcome).await;
}

#[tokio::test]
async fn case_2a_blocks_of_the_very_first_write_are_dropped() {
    let outcome =
        Outcome { case: "2a", first: FIRST, next_block: FIRST, next_qc: FIRST, lost: false, qcs: 0..0 };
    starts(settings(), |craft| craft.blocks(100..107), outcome).await;
}

fn qcs_missing(craft: &Craft) -> &Craft {
    craft.blocks(100..130).qcs(0..3).remove(WalKind::Qcs)
}

fn qcs_missing_beside_no_blocks(craft: &Craft) -> &Craft {
    craft.remove(WalKind::Qcs)
}

fn qcs_emptied(craft: &Craft) -> &Craft {
    craft.blocks(100..130).qcs(0..3).with_log(WalKind::Qcs, |log| log.truncate_before(3).unwrap())
}

fn qcs_new_beside_pruned_blocks(craft: &Craft) -> &Craft {
    craft.blocks(105..130)
}

fn qcs_new_beside_an_emptied_block_log(craft: &Craft) -> &Craft {
    craft.blocks(120..120)
}

const LOST_QCS: [fn(&Craft) -> &Craft; 5] = [
    qcs_missing,
    qcs_missing_beside_no_blocks,
    qcs_emptied,
    qcs_new_beside_pruned_blocks,
    qcs_new_beside_an_emptied_block_log,
];

#[tokio::test]
async fn case_2b_a_lost_qc_log_is_refused_and_nothing_is_changed() {
    for craft in LOST_QCS {
        refuses(craft, would_lose("2b")).await;
    }
}

#[tokio::test]
async fn case_2b_under_its_setting_keeps_the_blocks_aside_and_starts_over() {
    for craft in LOST_QCS {
        starts_over(craft, "2b").await;
    }
}

#[tokio::test]
async fn case_3_a_missing_block_log_is_asked_for_again_and_told() {
    let outcome = Outcome { case: "3", first: 110, next_block: 110, next_qc: 140, lost: true, qcs: 1..4 };
    starts(settings(), |craft| craft.qcs(1..4).remove(WalKind::Blocks), outcome).await;
    let outcome = Outcome { case: "3", first: 100, next_block: 100, next_qc: 140, lost: true, qcs: 0..4 };
    starts(settings(), |craft| craft.qcs(0..4).remove(WalKind::Blocks), outcome).await;
}

#[tokio::test]
async fn case_3_qcs_before_any_block_lose_nothing() {
    let outcome = Outcome { case: "3", first: 100, next_block: 100, next_qc: 140, lost: false, qcs: 0..4 };
    starts(settings(), |craft| craft.qcs(0..4), outcome).await;
}

#[tokio::test]
async fn case_3_an_emptied_block_log_goes_on_at_the_later_of_both_starts() {
    // Its own cursor is the later one: the QC that straddles it stays.
    let outcome = Outcome { case: "3", first: 125, next_block: 125, next_qc: 140, lost: true, qcs: 0..4 };
    starts(settings(), |craft| craft.qcs(0..4).blocks(125..125), outcome).await;
    let outcome = Outcome { case: "3", first: 120, next_block: 120, next_qc: 140, lost: true, qcs: 2..4 };
    starts(settings(), |craft| craft.qcs(2..4).blocks(105..105), outcome).await;
}

#[tokio::test]
async fn case_4_equal_logs_start_as_they_are() {
    let outcome = Outcome { case: "4", first: 100, next_block: 130, next_qc: 130, lost: false, qcs: 0..3 };
    starts(settings(), |craft| craft.qcs(0..3).blocks(100..130), outcome).await;
}

#[tokio::test]
async fn case_5_qcs_wholly_below_the_blocks_go_and_a_straddling_one_stays() {
    let outcome = Outcome { case: "5", first: 115, next_block: 150, next_qc: 150, lost: false, qcs: 1..5 };
    starts(settings(), |craft| craft.qcs(0..5).blocks(115..150), outcome).await;
    let outcome = Outcome { case: "5", first: 120, next_block: 150, next_qc: 150, lost: false, qcs: 2..5 };
    starts(settings(), |craft| craft.qcs(0..5).blocks(120..150), outcome).await;
}

#[tokio::test]
async fn case_6_blocks_below_the_qcs_go() {
    let outcome = Outcome { case: "6", first: 120, next_block: 150, next_qc: 150, lost: false, qcs: 2..5 };
    starts(settings(), |craft| craft.qcs(2..5).blocks(104..150), outcome).await;
}

#[tokio::test]
async fn case_7_blocks_beyond_the_qcs_go() {
    let outcome = Outcome { case: "7", first: 100, next_block: 130, next_qc: 130, lost: false, qcs: 0..3 };
    starts(settings(), |craft| craft.qcs(0..3).blocks(100..145), outcome).await;
}

#[tokio::test]
async fn case_8_blocks_that_are_missing_are_asked_for_again() {
    let outcome = Outcome { case: "8", first: 100, next_block: 125, next_qc: 150, lost: false, qcs: 0..5 };
    starts(settings(), |craft| craft.qcs(0..5).blocks(100..125), outcome).await;
}

#[tokio::test]
async fn cases_of_front_and_tail_hold_together() {
    let outcome = Outcome { case: "7+5", first: 105, next_block: 130, next_qc: 130, lost: false, qcs: 0..3 };
    starts(settings(), |craft| craft.qcs(0..3).blocks(105..142), outcome).await;
    let outcome = Outcome { case: "7+6", first: 110, next_block: 130, next_qc: 130, lost: false, qcs: 1..3 };
    starts(settings(), |craft| craft.qcs(1..3).blocks(101..142), outcome).await;
    let outcome = Outcome { case: "8+5", first: 111, next_block: 133, next_qc: 140, lost: false, qcs: 1..4 };
    starts(settings(), |craft| craft.qcs(0..4).blocks(111..133), outcome).await;
    let outcome = Outcome { case: "8+6", first: 110, next_block: 133, next_qc: 140, lost: false, qcs: 1..4 };
    starts(settings(), |craft| craft.qcs(1..4).blocks(102..133), outcome).await;
}

#[tokio::test]
async fn case_9_blocks_wholly_behind_the_qcs_go_and_it_is_told() {
    for blocks in [100..120, 103..130] {
        let outcome = Outcome { case: "9", first: 130, next_block: 130, next_qc: 150, lost: true, qcs: 3..5 };
        starts(settings(), |craft| craft.qcs(3..5).blocks(blocks), outcome).await;
    }
}

const QCS_BEHIND: [fn(&Craft) -> &Craft; 3] = [
    |craft| craft.qcs(0..3).blocks(140..150),
    |craft| craft.qcs(0..3).blocks(130..150),
    // As case 3, but the cursor of the empty log lies beyond the QCs.
    |craft| craft.qcs(0..3).blocks(131..131),
];

#[tokio::test]
async fn case_10_qcs_wholly_behind_the_blocks_are_refused_and_nothing_is_changed() {
    for craft in QCS_BEHIND {
        refuses(craft, would_lose("10")).await;
    }
}

#[tokio::test]
async fn case_10_under_the_setting_keeps_the_blocks_aside_and_starts_over() {
    for craft in QCS_BEHIND {
        starts_over(craft, "10").await;
    }
}

/// Damage that names both of these.
fn corrupt(names: [&'static str; 2]) -> impl Fn(&StartError) -> bool {
    move |error| match error {
        StartError::Corrupt { detail } => names.iter().all(|name| detail.contains(name)),
        _ => false,
    }
}

#[tokio::test]
async fn case_11_a_gap_between_qcs_is_refused_and_nothing_is_changed() {
    /// Row 5 holds as well: QCs would be cut at the front, if the gap did not refuse.
    fn gap(craft: &Craft) -> &Craft {
        craft.blocks(115..120).with_log(WalKind::Qcs, |log| craft.append_qcs(log, [0, 1, 3]))
    }
    /// As a crash in the middle of a write leaves it: there is a torn tail to repair, too.
    fn torn_gap(craft: &Craft) -> &Craft {
        craft.append_qcs(&mut craft.blocks(115..120).log(WalKind::Qcs), [0, 1, 3, 4]);
        craft.tear(WalKind::Qcs)
    }
    refuses(gap, corrupt(["120", "130"])).await;
    refuses(torn_gap, corrupt(["120", "130"])).await;
}

#[tokio::test]
async fn a_torn_tail_is_repaired_and_counted() {
    fn torn(craft: &Craft) -> &Craft {
        craft.append_qcs(&mut craft.blocks(100..140).log(WalKind::Qcs), 0..4);
        craft.tear(WalKind::Qcs)
    }
    let outcome = Outcome { case: "7", first: 100, next_block: 130, next_qc: 130, lost: false, qcs: 0..3 };
    let (fixture, dir) = crafted(torn);
    let rig = Rig::in_dir(fixture, settings(), dir).await.unwrap();
    assert!(rig.recovered().torn_bytes > 0);
    drop(rig.ended().await);
    starts(settings(), torn, outcome).await;
}

#[tokio::test]
async fn case_11_a_missing_segment_is_refused_and_nothing_is_changed() {
    fn gap(craft: &Craft, wal: WalKind) -> &Craft {
        let segments = craft.blocks(100..END).qcs(0..QCS).segments(wal);
        assert!(segments.len() >= 3, "{segments:?}");
        std::fs::remove_file(&segments[segments.len() / 2]).unwrap();
        craft
    }
    refuses(|craft| gap(craft, WalKind::Qcs), |error| matches!(error, StartError::Corrupt { .. })).await;
    refuses(|craft| gap(craft, WalKind::Blocks), |error| matches!(error, StartError::Corrupt { .. })).await;
}
