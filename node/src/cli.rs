//! The command line. Every name here is part of the interface; every flag has a variable `ROADBED_…` beside it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::duration;
use crate::tools::backup::BackupArgs;
use crate::tools::bench::BenchArgs;
use crate::tools::config::ConfigArgs;
use crate::tools::crash_test::CrashTestArgs;
use crate::tools::export::ExportArgs;
use crate::tools::import::ImportArgs;
use crate::tools::inspect::InspectArgs;
use crate::tools::repair::RepairArgs;
use crate::tools::rollback::{RollbackArgs, TruncateArgs};
use crate::tools::status::StatusArgs;
use crate::tools::verify::VerifyArgs;

/// The data layer of a BFT validator: a demo validator, and the tools for its directory.
#[derive(Debug, Parser)]
#[command(name = "roadbed", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// How logs are written to stderr
    #[arg(
        long,
        env = "ROADBED_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true,
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Told in the help of every command.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0 clean                 5 directory in use
  1 failure               6 newer format
  2 usage, configuration  7 refused: foreign directory, or data would be lost
  3 corruption            8 a worker failed for good
  4 a torn tail (verify)  9 chain check failed

Logs go to stderr; RUST_LOG sets what is logged (default: warn).";

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a demo validator: a committee of peers that sends it signed blocks, until Ctrl-C
    Run(RunArgs),
    /// Show what a directory holds, even while a node runs on it; changes nothing
    Inspect(InspectArgs),
    /// Check every byte of a directory that no node is using; changes nothing
    Verify(VerifyArgs),
    /// Cut a torn tail, or start anew after a lost log; moves aside, never deletes
    Repair(RepairArgs),
    /// Drop the newest blocks and their QCs; they are saved first
    Rollback(RollbackArgs),
    /// Drop the oldest blocks and their QCs; they are saved first
    Truncate(TruncateArgs),
    /// Copy a store, even while a node runs on it; the copy is verified, and a node can start on it
    Backup(BackupArgs),
    /// Write QCs and blocks as JSON lines, or into an archive
    Export(ExportArgs),
    /// Verify what was exported, and append it to a store
    Import(ImportArgs),
    /// Ask a running node how it is
    Status(StatusArgs),
    /// Measure a disk against what a validator needs
    Bench(BenchArgs),
    /// Kill a node again and again, and check what it recovers
    CrashTest(CrashTestArgs),
    /// Show or check the settings of a run, and where each comes from
    Config(ConfigArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

/// Flags of `roadbed run`. The last of several counts, so that a script's own can be followed by others.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true, allow_negative_numbers = true)]
pub(crate) struct RunArgs {
    /// Read settings from a TOML file; flags and the environment go before it
    #[arg(long, env = "ROADBED_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the store; made if it is missing
    #[arg(long, env = "ROADBED_DIR", default_value = "data", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// What the committee's keys and all blocks are derived from
    #[arg(long, env = "ROADBED_SEED", default_value_t = 1, value_name = "U64")]
    pub(crate) seed: u64,
    /// Members of the committee
    #[arg(long, env = "ROADBED_COMMITTEE", default_value_t = 4, value_name = "N")]
    pub(crate) committee: usize,
    /// Blocks that each QC finalizes
    #[arg(long, env = "ROADBED_BLOCKS_PER_QC", default_value_t = 10, value_name = "N")]
    pub(crate) blocks_per_qc: usize,
    /// Transactions of each block
    #[arg(long, env = "ROADBED_TXS", default_value_t = 8, value_name = "N")]
    pub(crate) txs: usize,
    /// Bytes of each transaction
    #[arg(long, env = "ROADBED_TX_BYTES", default_value_t = 128, value_name = "N")]
    pub(crate) tx_bytes: usize,
    /// Blocks that the committee finalizes per second; 0: as many as the node takes
    #[arg(long, env = "ROADBED_RATE", default_value_t = 100, value_name = "BLOCKS_PER_S",
          value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub(crate) rate: u64,
    /// Stop after this time, such as 500ms, 10s, 5m, 1h [default: run until SIGINT or SIGTERM]
    #[arg(long, env = "ROADBED_DURATION", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Stop once this many more blocks are executed and durable, rounded up to whole QCs
    #[arg(long, env = "ROADBED_BLOCKS", value_name = "N")]
    pub(crate) blocks: Option<u64>,
    /// Prune executed blocks beyond this many [default: keep all]
    #[arg(long, env = "ROADBED_RETAIN_BLOCKS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) retain_blocks: Option<u64>,
    /// Prune blocks this long after they were executed, such as 1h [default: keep all]
    #[arg(long, env = "ROADBED_RETAIN_AGE", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) retain_age: Option<Duration>,
    /// Start although the QC log is lost: the blocks are moved aside, kept, and both logs are filled anew
    #[arg(long, env = "ROADBED_ACCEPT_LOST_QCS")]
    pub(crate) accept_lost_qcs: bool,
    /// Append `number hash` for each app hash that was answered; checked when started with it again
    #[arg(long, env = "ROADBED_ACK_LOG", value_name = "FILE")]
    pub(crate) ack_log: Option<PathBuf>,
    /// Address of the live page, metrics and health, or `off` [default: 127.0.0.1:9464, or a free port]
    #[arg(long, env = "ROADBED_LISTEN", value_name = "ADDR|off")]
    pub(crate) listen: Option<String>,
    /// Keep everything in memory; DIR is not touched
    #[arg(long, env = "ROADBED_IN_MEMORY")]
    pub(crate) in_memory: bool,
    /// Inject faults into random workers, derived from this seed
    #[arg(long, env = "ROADBED_CHAOS", value_name = "SEED")]
    pub(crate) chaos: Option<u64>,
    /// Take faults from the terminal, one a line: `hang block_wal`, `resume`, `panic verifier`, `slow 80 200`
    #[arg(long)]
    pub(crate) rehearse: bool,
    /// Bytes of a log's segment files; for tests, which want many small ones
    #[arg(long, env = "ROADBED_SEGMENT_BYTES", value_name = "N", hide = true)]
    pub(crate) segment_bytes: Option<u64>,
    /// Be killed when this process, which has started it, ends; for crash-test
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) end_with: Option<u32>,
    /// Print the run's summary as JSON, the last line on stdout
    #[arg(long, env = "ROADBED_JSON")]
    pub(crate) json: bool,
}

impl Command {
    /// The word on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Verify(_) => "verify",
            Self::Inspect(_) => "inspect",
            Self::Repair(_) => "repair",
            Self::Rollback(_) => "rollback",
            Self::Truncate(_) => "truncate",
            Self::Backup(_) => "backup",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Status(_) => "status",
            Self::Bench(_) => "bench",
            Self::CrashTest(_) => "crash-test",
            Self::Config(_) => "config",
            Self::Completions { .. } => "completions",
        }
    }

    /// The schema of its report, also where that only says why there is none.
    pub(crate) fn schema(&self) -> String {
        match self {
            Self::Inspect(args) => args.schema().to_owned(),
            command => schema_of(command.name()),
        }
    }

    /// Whether the report is wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Repair(args) => args.common.json,
            Self::Rollback(args) => args.common.json,
            Self::Truncate(args) => args.common.json,
            Self::Backup(args) => args.json,
            Self::Export(args) => args.json,
            Self::Import(args) => args.json,
            Self::Status(args) => args.json,
            Self::Bench(args) => args.json,
            Self::CrashTest(args) => args.json,
            Self::Config(args) => args.run().json,
            Self::Completions { .. } => false,
        }
    }
}

/// The schema of a command's report.
pub(crate) fn schema_of(command: &str) -> String {
    match command {
        // `roadbed.bench` is the report of `make bench`.
        "bench" => "roadbed.disk/1".to_owned(),
        command => format!("roadbed.{command}/1"),
    }
}
