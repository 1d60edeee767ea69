//! SIGINT and SIGTERM stop in order; a reader that goes away is no failure.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::*;

#[test]
fn both_signals_stop_in_order_and_the_next_run_goes_on() {
    let place = Place::new();
    let mut before = 0;
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let acked = place.acked();
        let mut node = Running::start(&mut place.run_acked());
        place.wait_for_acks(acked + 100, &mut node);
        node.signal(signal);
        let (status, stdout, stderr) = node.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(stderr.contains(&format!("{name}: stopping in order")));
        let report = last_line(&stdout);
        assert_eq!(text(&report, "stop_reason"), name);
        assert_eq!(number(&report, "recovered.next_block"), before);
        // What was there was executed, made durable and checked before it stopped.
        before = number(&report, "next_block");
        assert_eq!(number(&report, "next_app_proposal"), before);
        assert_eq!(number(&report, "next_block_to_persist"), before);
        assert_eq!(number(&report, "chain_check.checked_blocks"), before);
    }
    let report = summary(roadbed().args(["verify", "--json"]).arg(place.dir()), 0);
    assert_eq!(at(&report, "blocks.clean_close"), true);
}

#[test]
fn progress_is_plain_lines_when_it_is_piped() {
    let place = Place::new();
    let mut node = Running::start(place.run().args(["--rate", "200"]));
    let first = node.wait_for_line("progress ");
    assert!(!first.contains(" blocks_per_s=0 "), "{first}");
    let second = node.wait_for_line("progress ");
    for name in
        ["seconds=", "block=", "durable_mb=", "lag_blocks=", "qcs_fsync_p50_us=", "restarts=", "state="]
    {
        assert!(second.contains(name), "{name} is not in {second}");
    }
    assert_ne!(first, second);
    assert!(!second.contains('\x1b'));
    node.signal(Signal::INT);
    assert_eq!(node.end().0.code(), Some(0));
}

#[test]
fn a_reader_of_the_results_that_went_away_is_no_failure() {
    let place = Place::new();
    let mut child = place.run().args(["--blocks", "20"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
