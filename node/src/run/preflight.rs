//! What is looked at before anything is started or written.

use std::path::Path;

use roadbed::store::{StorePaths, write_committee};
use roadbed_messages::Committee;
use roadbed_wal::FileSystem;
use rustix::process::{
    Pid, Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};

use super::ack_log::Lines;
use crate::cli::RunArgs;
use crate::exit::NodeError;
use crate::output;
use crate::tools::files::real;

/// Refuses flags that can't be, alone or together.
///
/// # Errors
/// Which flag, why, and what to write instead.
pub(crate) fn check(args: &RunArgs) -> Result<(), NodeError> {
    let there = args.dir.ancestors().find(|path| path.exists());
    if let Some(there) = there
        && !args.in_memory
        && !there.is_dir()
    {
        return Err(NodeError::Usage(format!(
            "--dir {}: {} is not a directory; choose another one",
            args.dir.display(),
            there.display()
        )));
    }
    if let Some(ack_log) = &args.ack_log {
        if !args.in_memory && real(ack_log).starts_with(real(&args.dir)) {
            return Err(NodeError::Usage(format!(
                "--ack-log {}: it lies inside --dir {}, which is for the store alone; choose a file outside",
                ack_log.display(),
                args.dir.display()
            )));
        }
        let folder = ack_log.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder
            && !folder.is_dir()
        {
            return Err(NodeError::Usage(format!(
                "--ack-log {}: there is no directory {}; make it first",
                ack_log.display(),
                folder.display()
            )));
        }
        if ack_log.exists() {
            Lines::open(ack_log)?.try_for_each(|ack| ack.map(|_| ()))?;
        }
    }
    Ok(())
}

/// Writes `committee.json` again where it is missing: the marker says that this is its committee.
///
/// # Errors
/// What the system says.
pub(crate) fn restore_committee(dir: &Path, committee: &Committee) -> Result<(), NodeError> {
    let paths = StorePaths::new(dir);
    if !paths.committee().exists() {
        write_committee(&FileSystem, &paths, committee)?;
        output::note(&format!("{} was missing: written again", paths.committee().display()));
    }
    Ok(())
}

/// A large committee needs more sockets than the usual soft limit allows: as many as the hard limit does.
pub(crate) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "can't raise the limit of open files: a large committee may lack sockets");
    }
}

/// Has the system kill this process as soon as its parent ends, however that ends.
///
/// # Errors
/// When the parent has ended already, or what the system says.
pub(crate) fn end_with(parent: u32) -> Result<(), NodeError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| NodeError::io("follow the parent process", error.into()))?;
    // Whoever ended before that sends no signal any more.
    if getppid().map(Pid::as_raw_pid).and_then(|found| u32::try_from(found).ok()) == Some(parent) {
        return Ok(());
    }
    Err(NodeError::Failed(format!("--end-with {parent}: that process is not the parent, or has ended")))
}
