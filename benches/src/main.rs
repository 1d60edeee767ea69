//! The command: see the library for what it measures.

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    roadbed_benches::run(&roadbed_benches::args::Args::parse())
}
