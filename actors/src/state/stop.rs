//! Why the subsystem ended: set before any reply is dropped, so that every caller learns the reason.

use roadbed_messages::api::StopReason;
use tokio::sync::watch;

/// The reason, and whether everything has come to its end. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StopCell(watch::Sender<Stop>);

#[derive(Clone, Debug, Default)]
struct Stop {
    reason: Option<StopReason>,
    ended: bool,
}

impl Default for StopCell {
    fn default() -> Self {
        Self(watch::Sender::new(Stop::default()))
    }
}

impl StopCell {
    /// Sets the reason; the first one counts.
    pub(crate) fn set(&self, reason: StopReason) {
        self.0.send_if_modified(|stop| {
            let first = stop.reason.is_none();
            stop.reason.get_or_insert(reason);
            first
        });
    }

    /// Everything has ended: what the subsystem held is free, as far as it can be.
    pub(crate) fn ended(&self) {
        self.0.send_modify(|stop| stop.ended = true);
    }

    /// Resolves when everything has ended.
    pub(crate) async fn wait(&self) -> StopReason {
        let mut stop = self.0.subscribe();
        // The sender lives in self, so that waiting can't fail.
        let stop = stop.wait_for(|stop| stop.ended && stop.reason.is_some()).await;
        stop.ok().and_then(|stop| stop.reason.clone()).expect("the reason is set before the end")
    }
}
