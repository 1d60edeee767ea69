//! Which fault strikes when.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use roadbed::supervision::{ActorFault, Fault, Faults, Gate};
use roadbed_messages::api::ActorKind;
use roadbed_wal::sim::{self, Op, SimStorage};

/// Strikes workers and the disk, and counts by kind.
pub(super) struct Strikes {
    faults: Faults,
    disk: SimStorage,
    counts: BTreeMap<String, u64>,
}

impl Strikes {
    pub(super) fn new(faults: Faults, disk: SimStorage) -> Self {
        Self { faults, disk, counts: BTreeMap::new() }
    }

    /// One fault, and the time until the next: time is what passes between faults, nothing waits for luck here.
    pub(super) async fn strike(&mut self, rng: &mut ChaCha8Rng) {
        let actor = ActorKind::WORKERS[rng.next_u32() as usize % 4];
        let pause = Duration::from_millis(u64::from(rng.next_u32() % 40));
        let kind = match rng.next_u32() % 10 {
            0 | 1 => {
                self.faults.inject(actor, Fault::Panic);
                format!("panic/{actor}")
            }
            2 => {
                self.faults.inject(actor, Fault::Error);
                format!("error/{actor}")
            }
            3 if actor != ActorKind::Pruner => {
                let gate = Gate::default();
                self.faults.inject(actor, Fault::Hang(gate.clone()));
                tokio::time::sleep(2 * pause).await;
                gate.open();
                format!("hang/{actor}")
            }
            4 => {
                self.disk.fail(sim::Fault::eio(Op::Write).nth(u64::from(rng.next_u32() % 4 + 1)));
                "eio/write".to_owned()
            }
            5 => {
                self.disk.fail(sim::Fault::eio(Op::SyncDir));
                "eio/sync_dir".to_owned()
            }
            6 => {
                self.disk.fail(sim::Fault::enospc(Op::Write).times(u64::from(rng.next_u32() % 4 + 1)));
                "enospc/write".to_owned()
            }
            7 => {
                self.faults.inject_actor(actor, ActorFault::Panic);
                format!("handler_panic/{actor}")
            }
            8 => {
                self.faults.inject_actor(actor, ActorFault::Stop);
                format!("stop/{actor}")
            }
            _ => {
                self.disk.fail(sim::Fault::short_write(rng.next_u32() as usize % 4096));
                "short/write".to_owned()
            }
        };
        *self.counts.entry(kind).or_default() += 1;
        tokio::time::sleep(pause).await;
    }

    /// The end of all faults.
    pub(super) fn end(self) -> BTreeMap<String, u64> {
        self.disk.heal();
        self.faults.clear();
        self.counts
    }
}
