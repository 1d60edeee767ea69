//! `roadbed`: a demo validator, and the tools for its directories.

#![forbid(unsafe_code)]

mod cli;
mod duration;
mod exit;
mod http;
mod logging;
mod output;
mod run;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::NodeError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::install(cli.log_format);
    let (outcome, dir) = match &cli.command {
        Command::Run(args) => {
            let system = actix::System::new();
            (system.block_on(run::run(args)), (!args.in_memory).then_some(&args.dir))
        }
        Command::Verify(args) => (tools::verify(args), None),
        Command::Inspect(args) => (tools::inspect(args), Some(&args.dir)),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => {
            tell(&error, error.next_command(dir.map(std::path::PathBuf::as_path)));
            error.code().into()
        }
    }
}

fn tell(error: &NodeError, next_command: Option<String>) {
    output::note(&format!("error: {error}"));
    if let Some(command) = next_command {
        output::note(&format!("next: {command}"));
    }
}
