//! Where the settings of a run come from: flags over the environment over a TOML file over defaults.
//!
//! The file's keys are the flags' long names with `_` for `-`. Its values become the defaults of the flags, so that each is
//! parsed, checked and overridden as a flag is, by the same code.

use std::io;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use roadbed::store::advice;
use serde::Serialize;
use toml::{Table, Value};

use crate::cli::{Cli, EXIT_CODES};
use crate::exit::NodeError;

/// The variable that names the file.
const CONFIG_ENV: &str = "ROADBED_CONFIG";
/// Settings of the command line itself, not of a run.
const NOT_IN_FILE: [&str; 5] = ["config", "json", "help", "rehearse", "end_with"];

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// Its name in the file.
    pub(crate) key: String,
    /// Its value as it would be written on the command line; none where it is not set.
    pub(crate) value: Option<String>,
    /// `flag`, `environment`, `file` or `default`.
    pub(crate) source: &'static str,
    /// Whether the file quotes it.
    #[serde(skip)]
    quoted: bool,
}

/// All of them, in the order of the help.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The settings.
    pub(crate) all: Vec<Setting>,
}

/// Why the command line could not be made sense of.
pub(crate) enum Fault {
    /// By the flags.
    Flags(clap::Error),
    /// By the file.
    File(NodeError),
}

/// Parses the command line, with the file that it or the environment names.
///
/// # Errors
/// What is wrong with the flags or the file.
pub(crate) fn parse(words: Vec<std::ffi::OsString>) -> Result<(Cli, Settings), Fault> {
    let mut command = Cli::command().mut_subcommands(|command| command.after_help(EXIT_CODES));
    let file = named_file(&words);
    let mut keys = Table::new();
    if let Some(path) = &file {
        keys = read(path).map_err(Fault::File)?;
        command = with_defaults(command, path, &keys).map_err(Fault::File)?;
    }
    let matches = command.try_get_matches_from_mut(words).map_err(Fault::Flags)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Fault::Flags(error.format(&mut command)))?;
    let run = match matches.subcommand() {
        Some(("run", run)) => Some(run),
        Some(("config", config)) => config.subcommand().map(|(_, run)| run),
        _ => None,
    };
    let settings = run.map(|run| Settings::of(run, &keys)).unwrap_or_default();
    Ok((cli, settings))
}

/// The file that is named by `--config`, or else by the environment; only the commands that know the flag look.
fn named_file(words: &[std::ffi::OsString]) -> Option<PathBuf> {
    let command = words.get(1).and_then(|word| word.to_str());
    if !matches!(command, Some("run" | "config")) {
        return None;
    }
    let mut named = std::env::var_os(CONFIG_ENV).map(PathBuf::from);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--config") => named = words.next().map(PathBuf::from),
            Some(word) => {
                if let Some(path) = word.strip_prefix("--config=") {
                    named = Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    named
}

fn read(path: &Path) -> Result<Table, NodeError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        NodeError::Usage(format!("--config {}: {error}{}", path.display(), unread(path, &error)))
    })?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        NodeError::Usage(format!("{}:{line}: {}", path.display(), error.message()))
    })
}

/// What to do about a file that can't be read.
fn unread(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; `roadbed config show > {}` writes one with the defaults", path.display())
        }
        kind => advice(kind).to_owned(),
    }
}

/// What to say of variables that look like settings, and are none: a slip in a name would change nothing, in silence.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    let known: Vec<String> = commands
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .collect();
    let unknown = names.filter(|name| name.starts_with("ROADBED_") && !known.contains(name));
    unknown
        .map(|name| format!("{name} is set, but there is no such setting: {}", hint(&known, &name)))
        .collect()
}

/// The name that was meant, as far as it can be told.
fn hint(known: &[String], name: &str) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= known.trim_start_matches("ROADBED_").len().div_ceil(2));
    match near {
        Some((_, name)) => format!("did you mean {name}?"),
        None => "`roadbed config show` prints all that there are".to_owned(),
    }
}

/// Makes the file's values the defaults of `run` and of `config`'s commands.
fn with_defaults(command: clap::Command, path: &Path, keys: &Table) -> Result<clap::Command, NodeError> {
    let run = command.find_subcommand("run").cloned().unwrap_or_default();
    let known: Vec<String> = run.get_arguments().filter_map(key_of).collect();
    let mut values = Vec::new();
    for (key, value) in keys {
        if !known.contains(key) {
            return Err(NodeError::Usage(format!(
                "{}: there is no setting {key}: {}",
                path.display(),
                hint(&known, key)
            )));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(switch) => switch.to_string(),
            other => {
                return Err(NodeError::Usage(format!(
                    "{}: {key}: {} can't be a setting; write a number, a text in quotes, true or false",
                    path.display(),
                    match other {
                        Value::Array(_) => "a list",
                        Value::Table(_) => "a table",
                        _ => "this",
                    }
                )));
            }
        };
        values.push((key.clone(), text));
    }
    let defaults = |mut run: clap::Command| {
        for (key, text) in &values {
            let value = text.clone();
            run = run.mut_arg(key, |arg| arg.default_value(value));
        }
        run
    };
    // Each value by itself, so that the file is blamed for what is in it.
    for (key, text) in &values {
        let flag = run.get_arguments().find(|arg| arg.get_id() == key.as_str());
        let switch = flag.is_some_and(|arg| !arg.get_action().takes_values());
        let attempt = if switch {
            match text.as_str() {
                "true" | "false" => Ok(()),
                _ => Err("write true or false".to_owned()),
            }
        } else {
            let words = ["run".to_owned(), format!("--{}={text}", key.replace('_', "-"))];
            let told = |error: clap::Error| {
                let text = error.to_string();
                text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            };
            run.clone().try_get_matches_from(words).map(drop).map_err(told)
        };
        attempt.map_err(|why| NodeError::Usage(format!("{}: {key}: {why}", path.display())))?;
    }
    Ok(command.mut_subcommand("run", defaults).mut_subcommand("config", |config| {
        config.mut_subcommand("show", defaults).mut_subcommand("check", defaults)
    }))
}

/// The name of a flag in the file, where it has one.
fn key_of(arg: &clap::Arg) -> Option<String> {
    let key = arg.get_long()?.replace('-', "_");
    (!NOT_IN_FILE.contains(&key.as_str())).then_some(key)
}

impl Settings {
    fn of(run: &ArgMatches, keys: &Table) -> Self {
        let command = Cli::command();
        let Some(flags) = command.find_subcommand("run") else { return Self::default() };
        let all = flags.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
            let key = key_of(arg)?;
            let id = arg.get_id().as_str();
            let raw = run.try_get_raw(id).ok().flatten().and_then(|mut values| values.next_back());
            let mut value = raw.map(|value| value.to_string_lossy().into_owned());
            let switch = !arg.get_action().takes_values();
            if switch {
                value = Some(run.get_flag(id).to_string());
            }
            let source = match run.value_source(id) {
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::EnvVariable) => "environment",
                _ if keys.contains_key(&key) => "file",
                _ => "default",
            };
            let bare = value.as_ref().is_some_and(|value| value.parse::<i64>().is_ok());
            Some(Setting { key, value, source, quoted: !switch && !bare })
        });
        Self { all: all.collect() }
    }

    /// How many are not as they are by default.
    pub(crate) fn changed(&self) -> usize {
        self.all.iter().filter(|setting| setting.source != "default").count()
    }

    /// A file that says the same, with the sources beside it.
    pub(crate) fn text(&self) -> String {
        let lines = self.all.iter().map(|Setting { key, value, source, quoted }| match value {
            None => format!("# {key} is not set"),
            Some(value) if *quoted => format!("{key} = {}  # {source}", Value::String(value.clone())),
            Some(value) => format!("{key} = {value}  # {source}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
