//! The command: see the library for what it measures.

use std::path::PathBuf;

use clap::Parser as _;
use roadbed_benches::args::Args;

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
    /// Opens the log in this directory and says what that took: what cases of opening start
    #[arg(long, hide = true)]
    open: Option<PathBuf>,
    /// Starts on this directory and says what that took: what cases of starting start
    #[arg(long, hide = true)]
    start: Option<PathBuf>,
    /// Ingests as this says, a round for each line on stdin: what cases of watching start
    #[arg(long, hide = true)]
    ingest: Option<String>,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command { open: Some(dir), .. } => roadbed_benches::open_and_tell(&dir),
        Command { start: Some(dir), .. } => roadbed_benches::start_and_tell(&dir),
        Command { ingest: Some(spec), .. } => roadbed_benches::ingest_and_tell(&spec),
        Command { args, .. } => roadbed_benches::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Command::command().debug_assert();
    }
}
