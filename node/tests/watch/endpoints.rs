//! The endpoints, read as a probe or a scraper would.

use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::node::{Node, ask, command};
use crate::tools::until;

fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_healthy_node_says_so_everywhere() {
    let node = Node::start();
    until("readiness", || (node.get("/readyz") == (200, json!({ "reasons": [] }).to_string())).then_some(()));
    assert_eq!(node.get("/livez").0, 200);
    let status = node.json("/api/v1/status");
    assert_eq!((&status["schema"], &status["state"]), (&json!("roadbed.status/1"), &json!("running")));
    for name in
        ["first", "next_app_proposal", "next_block_to_persist", "next_block", "next_qc", "bytes_durable"]
    {
        assert!(status[name].is_u64(), "{name} in {status}");
    }
    let workers = status["workers"].as_array().unwrap();
    let actors: Vec<&str> = workers.iter().map(|worker| worker["actor"].as_str().unwrap()).collect();
    assert_eq!(actors, ["qc_wal", "block_wal", "verifier", "pruner"]);
    for name in
        ["state", "generation", "restarts", "last_error", "mailbox", "capacity", "running_for_seconds"]
    {
        assert!(workers[0].get(name).is_some(), "{name} in {status}");
    }
    assert!(node.get("/metrics").1.contains("roadbed_state{state=\"running\"} 1"));
    let names: Vec<String> = node.events().take(3).map(|(name, _)| name).collect();
    assert_eq!(names, ["history", "now", "now"]);
}

#[test]
fn a_head_is_answered_as_a_get_without_the_body() {
    let node = Node::start();
    until("readiness", || (node.get("/readyz").0 == 200).then_some(()));
    for path in ["/", "/page.js", "/metrics", "/livez", "/readyz", "/api/v1/status", "/events"] {
        assert_eq!(ask(&node.addr, "HEAD", path), (200, String::new()), "{path}");
    }
    assert_eq!(ask(&node.addr, "HEAD", "/nowhere").0, 404);
}

#[test]
fn a_wedged_log_is_not_ready_and_a_wedged_state_takes_no_endpoint_with_it() {
    let mut node = Node::start();
    until("readiness", || (node.get("/readyz").0 == 200).then_some(()));
    for (actor, reason) in [("block_wal", "block_wal "), ("state", "state ")] {
        node.rehearse(&format!("hang {actor}"));
        let answer = until(actor, || Some(node.get("/readyz")).filter(|(code, _)| *code == 503)).1;
        let reasons: Value = serde_json::from_str(&answer).unwrap();
        let reasons = reasons["reasons"].as_array().unwrap();
        assert!(reasons.iter().any(|text| text.as_str().unwrap().starts_with(reason)), "{reasons:?}");
        for path in ["/", "/livez", "/metrics", "/api/v1/status"] {
            assert_eq!(node.get(path).0, 200, "{path} while {actor} hangs");
        }
        assert_eq!(node.events().nth(2).unwrap().0, "now");
        node.rehearse("resume");
        until("readiness again", || (node.get("/readyz").0 == 200).then_some(()));
    }
}

#[test]
fn restart_is_in_the_next_event() {
    let mut node = Node::start();
    let mut events = node.events().filter(|(name, _)| name == "now").map(|(_, event)| event);
    events.next().unwrap();
    node.rehearse("panic block_wal");
    until("the restart", || (node.json("/api/v1/status")["restarts"]["block_wal"] == 1).then_some(()));
    // One event may have been on its way already.
    let next = events.by_ref().take(2).last().unwrap();
    assert_eq!(next["status"]["restarts"]["block_wal"], 1);
    let log = node.events().next().unwrap().1["entries"].to_string();
    assert!(log.contains("block_wal failed") && log.contains("injected panic"), "{log}");
}

#[test]
fn an_address_in_use_is_refused_by_name_and_nothing_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, error) = refused(command().args(["run", "--listen", &addr, "--dir"]).arg(&data));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&format!("listen on {addr}")) && error.contains("--listen"), "{error}");
    assert!(!data.exists());
}

#[test]
fn logs_can_be_json_with_one_span_for_each_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command();
    command.env("RUST_LOG", "roadbed=debug");
    command
        .args(["--log-format", "json", "run", "--listen", "off", "--blocks", "20", "--dir"])
        .arg(dir.path().join("d"));
    let (code, text) = refused(&mut command);
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let steps = |call: &Value| -> Vec<String> {
        let of_call = lines.iter().filter(|line| line["span"]["call"] == *call);
        of_call.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let push = lines.iter().find(|line| line["span"]["msg"] == "push_qc" && line["result"] == "ok").unwrap();
    assert_eq!(steps(&push["span"]["call"]), ["verifying", "verified", "answered"]);
    assert!(push["span"]["road_index"].is_u64() && push["span"]["blocks"].is_u64(), "{push}");
    assert!(lines.iter().any(|line| line["message"] == "durable" && line["wal"] == "blocks"));
}
