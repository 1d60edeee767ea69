//! `roadbed`: a demo validator, and the tools for its directories.

#![forbid(unsafe_code)]

mod cli;
mod duration;
mod exit;
mod http;
mod logging;
mod output;
mod run;
mod settings;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::exit::{Code, NodeError};
use crate::settings::Fault;

fn main() -> ExitCode {
    let (cli, settings) = match settings::parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(Fault::Flags(error)) => return refuse_flags(&error),
        Err(Fault::File(error)) => {
            if wants_json() {
                tell_json(&command_name(), error.code(), &error.to_string(), None);
            }
            tell(&error, None);
            return error.code().into();
        }
    };
    logging::install(cli.log_format);
    let (name, json) = (cli.command.name(), cli.command.json());
    let (outcome, dir) = match &cli.command {
        Command::Run(args) => {
            let system = actix::System::new();
            (system.block_on(run::run(args)), (!args.in_memory).then_some(&args.dir))
        }
        Command::Verify(args) => (tools::verify::verify(args), None),
        Command::Inspect(args) => (tools::inspect::inspect(args), Some(&args.dir)),
        Command::Repair(args) => (tools::repair::repair(args), Some(&args.common.dir)),
        Command::Rollback(args) => (tools::rollback::rollback(args), Some(&args.common.dir)),
        Command::Truncate(args) => (tools::rollback::truncate(args), Some(&args.common.dir)),
        Command::Backup(args) => (tools::backup::backup(args), None),
        Command::Export(args) => (tools::export::export(args), Some(&args.dir)),
        Command::Import(args) => (tools::import::import(args), None),
        Command::Status(args) => (tools::status::status(args), None),
        Command::Bench(args) => (tools::bench::bench(args), None),
        Command::CrashTest(args) => (tools::crash_test::crash_test(args), Some(&args.dir)),
        Command::Config(args) => (tools::config::config(args, &settings), None),
        Command::Completions { shell } => (completions(*shell), None),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => {
            let next = error.next_command(dir.map(PathBuf::as_path));
            // A run has printed its summary already.
            if json && name != "run" {
                tell_json(name, error.code(), &error.to_string(), next.as_deref());
            }
            tell(&error, next);
            error.code().into()
        }
    }
}

/// Prints the completions of a shell; a reader that went away is no failure.
fn completions(shell: clap_complete::Shell) -> Result<Code, NodeError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "roadbed", &mut script);
    let script = String::from_utf8_lossy(&script);
    output::result(script.trim_end()).map_err(|error| NodeError::io("write the completions", error))?;
    Ok(Code::Clean)
}

/// What the command line can't be; with `--json` among the words the refusal is one line of JSON as well.
fn refuse_flags(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && wants_json() {
        let text = error.to_string();
        let told = text.trim_start_matches("error: ").lines().next().unwrap_or_default();
        tell_json(&command_name(), Code::Usage, told, None);
    }
    // Nobody reads it, or there is nothing more to be done about it.
    let _ = error.print();
    if error.use_stderr() { Code::Usage.into() } else { Code::Clean.into() }
}

fn wants_json() -> bool {
    std::env::args_os().any(|word| word == "--json")
}

fn command_name() -> String {
    std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_else(|| "usage".to_owned())
}

fn tell_json(name: &str, code: Code, error: &str, next: Option<&str>) {
    let schema = format!("roadbed.{name}/1");
    let report = serde_json::json!({
        "schema": schema, "result": code.name(), "code": code as u8, "error": error, "stop_reason": error, "next": next,
    });
    // The exit code tells it as well.
    let _ = output::result(&report.to_string());
}

fn tell(error: &NodeError, next_command: Option<String>) {
    output::note(&format!("error: {error}"));
    if let Some(command) = next_command {
        output::note(&format!("next: {command}"));
    }
}
