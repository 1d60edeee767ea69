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
                refuse_json(error.code(), &error.to_string());
            }
            tell(&error, None);
            return error.code().into();
        }
    };
    logging::install(cli.log_format);
    if matches!(cli.command, Command::Run(_) | Command::Config(_)) {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        settings::unknown_variables(names).iter().for_each(|told| output::note(told));
    }
    let json = cli.command.json() && !matches!(cli.command, Command::Run(_));
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
        Command::Backup(args) => (tools::backup::backup(args), Some(&args.dir)),
        Command::Export(args) => (tools::export::export(args), Some(&args.dir)),
        Command::Import(args) => (tools::import::import(args), Some(&args.dir)),
        Command::Status(args) => (tools::status::status(args), None),
        Command::Bench(args) => (tools::bench::bench(args), None),
        Command::CrashTest(args) => (tools::crash_test::crash_test(args), Some(&args.dir)),
        Command::Config(args) => (tools::config::config(args, &settings), Some(&args.run().dir)),
        Command::Completions { shell } => (completions(*shell), None),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => {
            let next = error.next_command(dir.map(PathBuf::as_path));
            // A run has printed its summary already.
            if json {
                tell_json(&cli.command.schema(), error.code(), &error.to_string(), next.as_deref());
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
        refuse_json(Code::Usage, told);
    }
    // Nobody reads it, or there is nothing more to be done about it.
    let _ = error.print();
    if error.use_stderr() { Code::Usage.into() } else { Code::Clean.into() }
}

fn wants_json() -> bool {
    std::env::args_os().any(|word| word == "--json")
}

/// What a command prints that was refused before it began: a run its summary all the same.
fn refuse_json(code: Code, error: &str) {
    let named = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    match named.as_deref() {
        // The exit code tells it as well.
        Some("run") => drop(output::result(&run::refused(code, error))),
        named => tell_json(&cli::schema_of(named.unwrap_or("usage")), code, error, None),
    }
}

fn tell_json(schema: &str, code: Code, error: &str, next: Option<&str>) {
    let report = serde_json::json!({
        "schema": schema, "result": code.name(), "code": code as u8, "error": error, "next": next,
    });
    // The exit code tells it as well.
    drop(output::result(&report.to_string()));
}

fn tell(error: &NodeError, next_command: Option<String>) {
    output::note(&format!("error: {error}"));
    if let Some(command) = next_command {
        output::note(&format!("next: {command}"));
    }
}
