//! SIGINT and SIGTERM, counted: the first asks for an ordered stop, a second for less patience with it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::NodeError;

/// The signals that came so far.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    came: watch::Receiver<(u32, &'static str)>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn install() -> Result<Self, NodeError> {
        let failed = |error| NodeError::io("listen for signals", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, came) = watch::channel((0, ""));
        actix::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                sender.send_modify(|(count, last)| (*count, *last) = (*count + 1, name));
            }
        });
        Ok(Self { came })
    }

    /// Waits until so many came; answers the name of the last.
    pub(crate) async fn at_least(&mut self, count: u32) -> &'static str {
        match self.came.wait_for(|(came, _)| *came >= count).await {
            Ok(came) => came.1,
            // The listener lives as long as the System; without it no signal comes any more.
            Err(_) => std::future::pending().await,
        }
    }
}
