//! `roadbed status`: what a running node says of itself over HTTP.

use std::io::Read;
use std::time::Duration;

use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::report::print;
use crate::exit::{Code, NodeError};

/// A status is a few kilobytes; nothing longer is read.
const BODY_BYTES_MAX: u64 = 4 << 20;
const SCHEMA: &str = "roadbed.status/1";

/// Flags of `roadbed status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Where the node listens (`run --listen`), such as 127.0.0.1:9464 or http://127.0.0.1:9464
    #[arg(value_name = "URL")]
    url: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::duration::parse)]
    timeout: Duration,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Asks a node and prints its answer. Clean when the node is healthy.
///
/// # Errors
/// When nobody answers, or not with a status.
pub(crate) fn status(args: &StatusArgs) -> Result<Code, NodeError> {
    let url = address(&args.url);
    let status = ask(&url, args.timeout)?;
    print(args.json, &status, || text(&url, &status))?;
    Ok(if is_healthy(&status) { Code::Clean } else { Code::Failure })
}

/// The address of the status, whatever part of it was given.
fn address(given: &str) -> String {
    let url = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
    let url = url.trim_end_matches('/');
    if url.ends_with("/api/v1/status") { url.to_owned() } else { format!("{url}/api/v1/status") }
}

fn ask(url: &str, timeout: Duration) -> Result<Value, NodeError> {
    let failed = |error: &dyn std::fmt::Display| {
        NodeError::Failed(format!(
            "{url}: {error}; is the node running with --listen on that address? `roadbed inspect DIR` needs no node"
        ))
    };
    let agent =
        ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
    let mut answer = ureq::Agent::new_with_config(agent).get(url).call().map_err(|error| failed(&error))?;
    let mut body = String::new();
    let reader = answer.body_mut().as_reader();
    reader.take(BODY_BYTES_MAX).read_to_string(&mut body).map_err(|error| failed(&error))?;
    let status: Value = serde_json::from_str(&body)
        .map_err(|_| failed(&format!("HTTP {} without a status in it", answer.status().as_u16())))?;
    match status.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => Ok(status),
        Some(other) => Err(failed(&format!("it answers with {other}, this program reads {SCHEMA}"))),
        None => Err(failed(&format!("HTTP {} without a status in it", answer.status().as_u16()))),
    }
}

/// Whether nothing is wrong: no reasons, and every worker up.
fn is_healthy(status: &Value) -> bool {
    let none = |name: &str| status.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let state = status.get("state").and_then(Value::as_str);
    let workers = status.get("workers").and_then(Value::as_array);
    let up = |worker: &Value| worker.get("state").and_then(Value::as_str).is_none_or(|state| state == "up");
    none("reasons")
        && state.is_none_or(|state| state == "running")
        && workers.is_none_or(|all| all.iter().all(up))
}

fn text(url: &str, status: &Value) -> String {
    let told = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let of = |name: &str| told(status.get(name));
    let mut lines = vec![
        format!("{url}: {}", of("state")),
        format!("  blocks   {}..{}, QCs up to {}", of("first"), of("next_block"), of("next_qc")),
        format!(
            "  durable  up to {}, executed up to {}",
            of("next_block_to_persist"),
            of("next_app_proposal")
        ),
    ];
    let reasons = status.get("reasons").and_then(Value::as_array).into_iter().flatten();
    lines.extend(reasons.map(|reason| format!("  PROBLEM  {}", told(Some(reason)))));
    let mut table = Table::new();
    let columns = ["actor", "state", "generation", "restarts", "mailbox", "last_error"];
    table.load_preset(presets::NOTHING).set_header([
        "worker",
        "state",
        "life",
        "restarts",
        "orders",
        "last error",
    ]);
    for worker in status.get("workers").and_then(Value::as_array).into_iter().flatten() {
        table.add_row(columns.map(|column| told(worker.get(column))));
    }
    lines.extend(table.lines().map(|line| format!(" {}", line.trim_end())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn any_part_of_the_address_will_do() {
        let whole = "http://127.0.0.1:9100/api/v1/status";
        for given in ["127.0.0.1:9100", "http://127.0.0.1:9100", "http://127.0.0.1:9100/", whole] {
            assert_eq!(address(given), whole);
        }
    }
}
