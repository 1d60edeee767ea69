//! Sampling of free disk space, on a thread of its own: a scrape never touches the disk, and State never does.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::Metrics;

const EVERY: Duration = Duration::from_secs(5);

/// Samples until it is dropped. A file system that hangs holds nobody up.
#[derive(Debug)]
pub(crate) struct Sampler {
    _stop: Sender<()>,
}

impl Sampler {
    /// Samples the file system of `dir`.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(crate) fn start(dir: PathBuf, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        thread::Builder::new().name("roadbed-space".to_owned()).spawn(move || {
            loop {
                match rustix::fs::statvfs(&dir) {
                    Ok(found) => {
                        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                        metrics.set_space(bytes(found.f_bavail), bytes(found.f_blocks));
                    }
                    Err(error) => tracing::debug!(dir = %dir.display(), %error, "can't tell the free space"),
                }
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
