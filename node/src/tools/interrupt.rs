//! SIGINT and SIGTERM for a tool that has something to put away before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::NodeError;

/// Catches both from now on; the answer becomes true when one has come.
///
/// # Errors
/// What the system says.
pub(crate) fn catch() -> Result<Arc<AtomicBool>, NodeError> {
    let failed = |error| NodeError::io("listen for signals", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let came = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&came);
    let listen = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("roadbed-signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(came)
}
