//! Sampling of free space, on a thread of its own: a file system that hangs holds up nobody.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use roadbed_wal::Storage;

const EVERY: Duration = Duration::from_secs(1);

/// Samples until it is dropped.
#[derive(Debug)]
pub(crate) struct SpaceSampler {
    _stop: Sender<()>,
}

impl SpaceSampler {
    /// Tells the free bytes where `dir` is, at once and then every second; `None` where nobody knows.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(crate) fn start(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        tell: impl Fn(Option<u64>) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        thread::Builder::new().name("roadbed-space".to_owned()).spawn(move || {
            loop {
                let failed = |error: &io::Error| {
                    tracing::warn!(dir = %dir.display(), %error, "can't tell the free space");
                };
                tell(storage.free_bytes(&dir).inspect_err(failed).unwrap_or(None));
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
