//! Watching a node from outside: endpoints, metrics, alerts, dashboards, the live page.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a panic is the report, in its helpers as well; a skip is told"
)]

mod alerts;
mod browser;
mod dashboards;
mod endpoints;
mod node;
mod page;
mod tools;
