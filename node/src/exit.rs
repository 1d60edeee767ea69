//! Exit codes, and the errors that they come from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use roadbed::store::{StorePaths, advice};
use roadbed_messages::api::{Error, StartError, StopReason};
use roadbed_wal::WalError;

use crate::run::AckLogError;
use crate::run::ChainCheckError;

/// How the program ended. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// It did what it was asked to.
    Clean = 0,
    /// Something failed: the message says what.
    Failure = 1,
    /// A flag, a variable or a combination of them can't be.
    Usage = 2,
    /// Durable data is damaged.
    Corrupt = 3,
    /// Only a torn tail, which the next start repairs.
    TornTail = 4,
    /// Another process has the directory.
    InUse = 5,
    /// The directory was written by a newer version.
    NewerFormat = 6,
    /// The directory is of another chain or no store at all, or going on would lose data.
    Refused = 7,
    /// A worker failed for good.
    Escalated = 8,
    /// What is served, or what was acknowledged, is not what the seed gives.
    ChainCheck = 9,
}

impl Code {
    /// The name that reports have in `result`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clean => "ok",
            Self::Failure => "failed",
            Self::Usage => "usage",
            Self::Corrupt => "corrupt",
            Self::TornTail => "torn_tail",
            Self::InUse => "in_use",
            Self::NewerFormat => "newer_format",
            Self::Refused => "refused",
            Self::Escalated => "escalated",
            Self::ChainCheck => "chain_check_failed",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command failed. Each names the file or number, and what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// What was asked for can't be.
    #[error("{0}")]
    Usage(String),
    /// The data layer did not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The data layer has ended.
    #[error("{0}")]
    Stopped(StopReason),
    /// The directory was made with other flags.
    #[error(
        "{} was made with {found}, this run has {wanted}: run with the former, or choose another --dir",
        dir.display()
    )]
    OtherShape {
        /// The directory.
        dir: PathBuf,
        /// The flags that it was made with.
        found: String,
        /// The flags of this run.
        wanted: String,
    },
    /// The directory was made with another seed or committee.
    #[error("{} belongs to another chain: it was made with {found}, this run has {wanted}: run with the former, or \
             choose another --dir", dir.display())]
    OtherChain {
        /// The directory.
        dir: PathBuf,
        /// The flags that it was made with, as far as they can be told.
        found: String,
        /// The flags of this run.
        wanted: String,
    },
    /// Logs without the marker that says whose they are.
    #[error(
        "{}/STORE is missing, although {} has entries: put STORE back from a backup, or let `roadbed repair` make it \
         again from committee.json; nothing was changed",
        dir.display(), log.display()
    )]
    MarkerLost {
        /// The directory.
        dir: PathBuf,
        /// A log that has entries.
        log: PathBuf,
    },
    /// What was asked for can't be done to this directory, or would lose data.
    #[error("{0}")]
    Refused(String),
    /// Durable data is damaged.
    #[error("{0}")]
    Damaged(String),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
    /// The chain check found a difference.
    #[error("chain check failed: {0}")]
    ChainCheck(Box<ChainCheckError>),
    /// The ack log can't be used.
    #[error("{0}")]
    AckLog(#[from] AckLogError),
    /// A request that must not fail did.
    #[error("{doing}: {error}")]
    Request {
        /// What was being done.
        doing: &'static str,
        /// What came back.
        error: Box<Error>,
    },
    /// The operating system refused something.
    #[error("{doing}: {error}{}", advice(error.kind()))]
    Io {
        /// What was being done, with the file or address.
        doing: String,
        /// What came back.
        error: std::io::Error,
    },
    /// There is no store where one was named.
    #[error("{} {why}: give the directory that `roadbed run --dir` was given", dir.display())]
    NoStore {
        /// The path.
        dir: PathBuf,
        /// What is there instead.
        why: &'static str,
    },
    /// What a first start left that ended before the marker was written.
    #[error(
        "{} holds a first start that did not finish: nothing was ever stored in it; start it again with `roadbed run`",
        dir.display()
    )]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// A log refused to be read.
    #[error("{}{}", .0, log_advice(.0))]
    Log(Box<WalError>),
}

impl NodeError {
    /// A request that came back with an error; the end of the data layer is told as such.
    pub(crate) fn request(doing: &'static str, error: Error) -> Self {
        match error {
            Error::Stopped(reason) => Self::Stopped(reason),
            error => Self::Request { doing, error: Box::new(error) },
        }
    }

    /// What the operating system refused.
    pub(crate) fn io(doing: impl Into<String>, error: std::io::Error) -> Self {
        Self::Io { doing: doing.into(), error }
    }

    /// The exit code that stands for it.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Usage(_) => Code::Usage,
            Self::Damaged(_) => Code::Corrupt,
            Self::Failed(_) => Code::Failure,
            Self::Start(error) => start_code(error),
            Self::Stopped(reason) => stop_code(reason),
            Self::OtherShape { .. }
            | Self::OtherChain { .. }
            | Self::MarkerLost { .. }
            | Self::Refused(_)
            | Self::NoStore { .. }
            | Self::Unfinished { .. } => Code::Refused,
            Self::ChainCheck(_) => Code::ChainCheck,
            Self::AckLog(error) if error.is_content() => Code::Usage,
            Self::Request { error, .. } if matches!(**error, Error::Damaged { .. }) => Code::Corrupt,
            Self::AckLog(_) | Self::Request { .. } | Self::Io { .. } => Code::Failure,
            Self::Log(error) => log_code(error),
        }
    }

    /// The command to run next, where there is one that helps and the message does not name it already.
    pub(crate) fn next_command(&self, dir: Option<&Path>) -> Option<String> {
        let dir = dir?;
        // A repair needs the committee to make the marker again; without it nothing but a backup helps.
        let marker_lost = matches!(self, Self::MarkerLost { .. });
        let paths = StorePaths::new(dir);
        let repairable = marker_lost && paths.committee().exists();
        // Without the marker nothing is left to repair.
        let log_lost = matches!(self, Self::Start(StartError::WouldLose { .. })) && paths.marker().exists();
        let dir = dir.display();
        if repairable || log_lost {
            return Some(format!("roadbed repair --dry-run {dir}"));
        }
        match self.code() {
            Code::Corrupt | Code::ChainCheck => Some(format!("roadbed verify --deep {dir}")),
            Code::Escalated => Some(format!("roadbed inspect {dir}")),
            _ => None,
        }
    }
}

impl From<ChainCheckError> for NodeError {
    fn from(error: ChainCheckError) -> Self {
        Self::ChainCheck(Box::new(error))
    }
}

impl From<WalError> for NodeError {
    fn from(error: WalError) -> Self {
        Self::Log(Box::new(error))
    }
}

fn start_code(error: &StartError) -> Code {
    match error {
        StartError::Config(_) => Code::Usage,
        StartError::InUse { .. } => Code::InUse,
        StartError::Foreign { .. } | StartError::WouldLose { .. } => Code::Refused,
        StartError::NewerFormat { .. } => Code::NewerFormat,
        StartError::Corrupt { .. } => Code::Corrupt,
        _ => Code::Failure,
    }
}

fn stop_code(reason: &StopReason) -> Code {
    match reason {
        StopReason::Shutdown(_) => Code::Clean,
        StopReason::Start(error) => start_code(error),
        StopReason::Escalated { .. } | StopReason::StateFailed { .. } => Code::Escalated,
        _ => Code::Failure,
    }
}

fn log_advice(error: &WalError) -> &'static str {
    match error {
        WalError::Io { kind, .. } => advice(*kind),
        _ => "",
    }
}

fn log_code(error: &WalError) -> Code {
    match error {
        WalError::InUse { .. } => Code::InUse,
        WalError::Foreign { .. } | WalError::Missing { .. } => Code::Refused,
        WalError::NewerFormat { .. } => Code::NewerFormat,
        error if error.is_corruption() => Code::Corrupt,
        _ => Code::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadbed_messages::BlockNumber;
    use roadbed_messages::api::{ActorKind, Cursors};

    #[test]
    fn every_way_to_fail_has_its_code() {
        let path = PathBuf::from("data");
        let detail = String::new;
        let starts = [
            (StartError::Config(detail()), 2),
            (StartError::InUse { path: path.clone(), holder: detail() }, 5),
            (StartError::Foreign { path: path.clone(), detail: detail() }, 7),
            (StartError::NewerFormat { path: path.clone(), detail: detail() }, 6),
            (StartError::Corrupt { detail: detail() }, 3),
            (StartError::WouldLose { detail: detail() }, 7),
            (StartError::Failed { detail: detail() }, 1),
        ];
        for (error, code) in starts {
            assert_eq!(NodeError::Start(error.clone()).code() as u8, code, "{error}");
            assert_eq!(NodeError::Stopped(StopReason::Start(error)).code() as u8, code);
        }
        let stops = [
            (StopReason::Shutdown(Cursors::all_at(BlockNumber(0))), 0),
            (StopReason::Escalated { actor: ActorKind::QcWal, error: detail() }, 8),
            (StopReason::StateFailed { error: detail() }, 8),
        ];
        for (reason, code) in stops {
            assert_eq!(NodeError::Stopped(reason.clone()).code() as u8, code, "{reason}");
            assert_eq!(NodeError::request("look", Error::Stopped(reason)).code() as u8, code);
        }
        let damaged = Error::Damaged { number: BlockNumber(1), detail: detail() };
        assert_eq!(NodeError::request("read", damaged).code(), Code::Corrupt);
        assert_eq!(NodeError::request("read", Error::NotFound).code(), Code::Failure);
        assert_eq!(NodeError::from(ChainCheckError::Qc { number: BlockNumber(1) }).code(), Code::ChainCheck);
    }

    #[test]
    fn damage_names_the_command_to_run_next() {
        let error = NodeError::Start(StartError::Corrupt { detail: String::new() });
        let next = error.next_command(Some(Path::new("data")));
        assert_eq!(next.as_deref(), Some("roadbed verify --deep data"));
    }
}
