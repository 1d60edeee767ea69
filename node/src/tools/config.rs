//! `roadbed config`: what the settings of a run are, and where each comes from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::report::print;
use crate::cli::RunArgs;
use crate::exit::{Code, NodeError};
use crate::settings::{Setting, Settings};

/// Flags of `roadbed config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every setting of `roadbed run` with these flags, as a file that --config takes, and where each comes from
    Show(RunArgs),
    /// Check the settings of `roadbed run` with these flags, and start nothing
    Check(RunArgs),
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    result: &'static str,
    file: Option<&'a PathBuf>,
    settings: &'a [Setting],
}

impl ConfigArgs {
    /// The flags of the run that is asked about.
    pub(crate) fn run(&self) -> &RunArgs {
        match &self.what {
            What::Show(args) | What::Check(args) => args,
        }
    }
}

/// Prints or checks the settings.
///
/// # Errors
/// What can't be.
pub(crate) fn config(args: &ConfigArgs, settings: &Settings) -> Result<Code, NodeError> {
    let run = args.run();
    if matches!(args.what, What::Check(_)) {
        crate::run::check(run)?;
    }
    let report = Report {
        schema: "roadbed.config/1",
        result: "ok",
        file: run.config.as_ref(),
        settings: &settings.all,
    };
    print(run.json, &report, || match &args.what {
        What::Check(_) => {
            format!("ok: {} settings, {} of them not defaults", settings.all.len(), settings.changed())
        }
        What::Show(_) => settings.text(),
    })?;
    Ok(Code::Clean)
}
