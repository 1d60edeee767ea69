//! Metrics and rules as Prometheus' own tools see them, and every name against what a running node exports.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::node::Node;
use crate::tools::{has, read, root, succeeds};

const ALERTS: [&str; 16] = [
    "Down",
    "NotRunning",
    "WalPoisoned",
    "WalError",
    "WalRepaired",
    "WalCorrupt",
    "PersistStalled",
    "BlocksMissing",
    "FsyncSlow",
    "ActorDown",
    "ActorRestartLoop",
    "ActorStuck",
    "MailboxSaturated",
    "DeadLetters",
    "DiskLow",
    "DiskFullSoon",
];

#[test]
fn promtool_finds_no_fault_with_the_metrics() {
    if !has("promtool") {
        return;
    }
    let node = Node::start();
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(node.get("/metrics").1.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn every_alert_fires_when_it_must_and_is_quiet_else() {
    if !has("promtool") {
        return;
    }
    let dashboards = root().join("dashboards");
    let promtool = || {
        let mut command = Command::new("promtool");
        command.current_dir(&dashboards);
        command
    };
    succeeds(promtool().args(["check", "config", "prometheus.yml"]));
    succeeds(promtool().args(["check", "rules", "alerts.yml"]));
    succeeds(promtool().args(["test", "rules", "alerts.test.yml"]));
}

#[test]
fn every_alert_has_its_tests_and_its_runbook() {
    let (rules, tests, runbook) =
        (read("dashboards/alerts.yml"), read("dashboards/alerts.test.yml"), read("docs/operations.md"));
    assert_eq!(rules.matches("- alert: ").count(), ALERTS.len());
    for alert in ALERTS {
        let name = format!("Roadbed{alert}");
        assert!(rules.contains(&format!("- alert: {name}\n")), "no rule {name}");
        assert!(
            rules.contains(&format!("docs/operations.md#{}\n", name.to_lowercase())),
            "{name} has no link"
        );
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name} has no runbook");
        for case in ["fires", "is quiet"] {
            assert!(tests.contains(&format!("- name: {name} {case}\n")), "{name}: no test that it {case}");
        }
    }
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics = words.filter(|word| word.starts_with("roadbed_") || word.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

/// Every query of the dashboard.
pub(crate) fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("dashboards/grafana.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

#[test]
fn panels_and_rules_name_what_a_node_exports_and_panels_show_all_of_it() {
    let node = Node::start();
    let text = node.get("/metrics").1;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeSet<String> = types.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let base = |name: &String| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        histogram.filter(|base| exported.contains(*base)).map_or(name.clone(), str::to_owned)
    };
    let shown: BTreeSet<String> =
        queries().iter().flat_map(|(_, query)| named(query)).map(|name| base(&name)).collect();
    let ruled: BTreeSet<String> = named(&read("dashboards/alerts.yml")).iter().map(base).collect();
    let unknown: Vec<&String> = shown.union(&ruled).filter(|name| !exported.contains(*name)).collect();
    assert!(unknown.is_empty(), "no node exports {unknown:?}");
    let missing: Vec<&String> = exported.difference(&shown).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}
