//! What State is told of the disk's free space, and what it makes of it.

use std::path::Path;
use std::time::Duration;

use roadbed::state::core::{Input, Request};
use roadbed_messages::api::workers::{Cause, Event, Report};
use roadbed_messages::api::{RunState, Status, WalKind};
use roadbed_wal::Storage as _;

use super::DIR;
use super::process::Who;
use super::world::{Happening, World};

/// As the sampler of a real store does.
const EVERY: Duration = Duration::from_secs(1);

impl World {
    /// Tells State what is free, and has it tell its status, as a page of it does. A disk that is stuck holds up the
    /// sample, not State.
    pub(super) fn sample_space(&mut self, number: u64) {
        let free_bytes = self.disk.free_bytes(Path::new(DIR)).unwrap_or(None);
        let stuck = self.stuck.values().max().copied().unwrap_or_default();
        let little = free_bytes.is_some_and(|free| free < self.config.disk_reserve_bytes);
        let Some(process) = self.present(number) else { return };
        process.free_bytes = free_bytes;
        if little {
            self.tales.count("row", "little free space is told");
        }
        self.input(Input::Space { free_bytes });
        self.ask(Request::GetStatus, Who::Other, true);
        self.after(EVERY.max(stuck), Happening::Space { process: number });
    }

    /// A log has no space: until it has made something durable, it is one of those that have none.
    pub(super) fn notice_full(&mut self, report: &Report) {
        let wal = WalKind::BOTH.into_iter().find(|wal| wal.actor() == report.actor);
        let (Some(wal), Some(process)) = (wal, &mut self.process) else { return };
        match report.event {
            Event::Died { cause: Cause::DiskFull, .. } => {
                process.full.insert(wal);
                let row = match (process.full.len(), wal) {
                    (2.., _) => "disk full: both logs",
                    (_, WalKind::Qcs) => "disk full: the QC log",
                    (_, WalKind::Blocks) => "disk full: the block log",
                };
                self.tales.count("row", row);
            }
            Event::Durable { .. } | Event::Truncated { .. } => drop(process.full.remove(&wal)),
            _ => {}
        }
    }

    /// The status says what State was told last, and is healthy exactly if it has nothing to say.
    pub(super) fn check_status(&self, status: &Status) {
        let process = self.process.as_ref().expect("it has just answered");
        assert_eq!(status.free_bytes, process.free_bytes, "not what it was told last");
        let reserve = self.config.disk_reserve_bytes;
        let little = status.free_bytes.is_some_and(|free| free < reserve);
        let told = status.reasons.iter().any(|reason| reason.starts_with("the disk is almost full"));
        assert_eq!(little, told, "{:?} bytes of {reserve} are free: {:?}", status.free_bytes, status.reasons);
        match status.state {
            RunState::Running => assert!(status.reasons.is_empty(), "{:?}", status.reasons),
            RunState::Degraded | RunState::DiskFull => {
                assert!(!status.reasons.is_empty(), "{:?} without a reason", status.state);
            }
            RunState::Recovering | RunState::Stopping | RunState::Stopped => {}
        }
        if status.state == RunState::DiskFull {
            assert!(!process.full.is_empty(), "{:?}: no log was without space", status.reasons);
            self.tales.count("row", "disk full: the status says so");
        }
    }

    /// Without faults nothing is left that would make it unhealthy.
    pub(super) fn check_healthy(&mut self) {
        let call = self.ask(Request::GetStatus, Who::Other, true);
        assert!(call.is_some_and(|call| !self.is_pending(call)), "no status");
        let status = self.process.as_ref().map(|process| process.core.status());
        assert!(
            status.as_ref().is_some_and(|status| status.state == RunState::Running),
            "not healthy though nothing is wrong any more: {status:?}"
        );
    }
}
