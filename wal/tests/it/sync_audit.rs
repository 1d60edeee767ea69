//! Scenario 21: each sync point of the protocol, left out, makes a crash script fail.
//!
//! `cargo test -p roadbed-wal --all-features sync_audit -- --nocapture` lists which one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use roadbed_wal::SyncPoint;

use crate::crashes::{Case, SCRIPTS};

/// The first script, step and way of writing that shows that a sync point is left out.
fn shown_by(point: SyncPoint, first: &str) -> Option<String> {
    // The script that is likely to show it goes first, then all others.
    let likely = SCRIPTS.iter().filter(|(name, _)| *name == first);
    for (name, script) in likely.chain(SCRIPTS) {
        for direct in [false, true] {
            let case = Case { name, script, direct, omit: Some(point), images: 4 };
            let steps = match catch_unwind(AssertUnwindSafe(|| case.steps())) {
                Ok(steps) => steps,
                Err(_) => return Some(format!("{name}, without a crash")),
            };
            for step in 0..steps {
                if catch_unwind(AssertUnwindSafe(|| case.crash_at(step))).is_err() {
                    return Some(format!("\"{name}\" (direct {direct}), crashed at step {step}"));
                }
            }
        }
    }
    None
}

fn audit(point: SyncPoint, first: &str) {
    let shown = shown_by(point, first);
    println!("{point:?}: {}: shown by {shown:?}", point.name());
    assert!(shown.is_some(), "nothing fails without \"{}\"", point.name());
}

#[test]
fn scenario_21_without_group_syncs() {
    audit(SyncPoint::Group, "append one");
}

#[test]
fn scenario_21_without_footer_syncs() {
    audit(SyncPoint::Footer, "roll inside a batch");
}

#[test]
fn scenario_21_without_header_syncs() {
    audit(SyncPoint::Header, "roll once");
}

#[test]
fn scenario_21_without_publish_syncs() {
    audit(SyncPoint::Publish, "roll once");
}

#[test]
fn scenario_21_without_retire_syncs() {
    audit(SyncPoint::Retire, "recycled segments");
}

#[test]
fn scenario_21_without_parent_syncs() {
    audit(SyncPoint::Parent, "create");
}

#[test]
fn scenario_21_without_directory_syncs_on_opening() {
    audit(SyncPoint::OpenDirectory, "roll inside a batch");
}

#[test]
fn scenario_21_without_tail_syncs_on_opening() {
    audit(SyncPoint::OpenTail, "append one");
}

#[test]
fn scenario_21_without_syncs_of_the_record_of_the_end() {
    println!("{:?}: {}: shown by a closed log that was cut short", SyncPoint::End, SyncPoint::End.name());
    assert!(crate::cut_short::the_record_is_lost_without_its_sync());
}

#[test]
fn scenario_21_lists_every_sync_point() {
    use SyncPoint::*;
    let audited = [Group, Footer, Header, Publish, Retire, Parent, OpenDirectory, OpenTail, End];
    assert_eq!(audited, SyncPoint::ALL);
}
