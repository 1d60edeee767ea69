//! A real Prometheus scrapes a running node, and answers every panel's query.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::alerts::queries;
use crate::node::{Node, get};
use crate::tools::{has, read, until};

struct Prometheus {
    child: Child,
    addr: String,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(target: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = read("dashboards/prometheus.yml")
            .replace("127.0.0.1:9464", target)
            .replace("scrape_interval: 5s", "scrape_interval: 1s")
            .replace("rule_files:\n  - alerts.yml\n", "");
        let path = dir.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        // A port that is free now.
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { child, addr, _dir: dir };
        until("Prometheus", || std::net::TcpStream::connect(&prometheus.addr).ok());
        prometheus
    }

    /// How many series a query gives.
    fn series(&self, query: &str) -> Result<usize, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get(&self.addr, &format!("/api/v1/query?query={encoded}")).1;
        // While it starts it answers in words.
        let answer: Value = serde_json::from_str(&answer).map_err(|_| answer)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"]["result"].as_array().unwrap().len()),
            _ => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_panel_has_data_from_a_running_node() {
    if !has("prometheus") {
        return;
    }
    let node = Node::start();
    let prometheus = Prometheus::scraping(&node.addr);
    let scraped =
        || prometheus.series("count_over_time(roadbed_state[1m]) > 3").is_ok_and(|series| series > 0);
    until("a scrape", || scraped().then_some(()));
    let queries = queries();
    assert!(queries.len() > 50);
    for (title, query) in queries {
        for actor in ["state", "block_wal"] {
            let query = query
                .replace("$job", "roadbed")
                .replace("$instance", ".+")
                .replace("$actor", actor)
                .replace("$__rate_interval", "1m");
            until(&format!("data for {title}: {query}"), || match prometheus.series(&query) {
                Ok(0) => None,
                Ok(series) => Some(series),
                Err(error) => panic!("{title}: {query}: {error}"),
            });
        }
    }
}
