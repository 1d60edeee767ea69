//! What breaks: disks, threads, actors, the clock, and a second process that wants the directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadbed::sim::Parts;
use roadbed::state::core::Input;
use roadbed::supervision::Fault;
use roadbed_messages::api::workers::{Cause, Event};
use roadbed_messages::api::{ActorKind, StartError, WalKind};
use roadbed_wal::sim::{self, Op};

use super::DIR;
use super::damage::WALS;
use super::script::Act;
use super::world::World;

impl World {
    pub(super) fn fault(&mut self, act: Act) {
        let wal = if self.luck.one_in(2) { WalKind::Qcs } else { WalKind::Blocks };
        match act {
            Act::PowerLoss => self.power_loss(),
            Act::PowerLossWithin => {
                let at = self.disk.steps() + self.luck.below(25);
                self.disk.crash_at(at);
            }
            Act::Kill => self.kill(),
            Act::Eio | Act::Enospc | Act::ShortWrite => self.disk_fails(act),
            Act::DiskFull => {
                self.ledger.disk_failed = true;
                let room = self.luck.pick(&[0, 4096, 70_000]);
                self.disk.set_capacity_bytes(Some(self.disk.used_bytes() + room));
            }
            Act::SlowDisk => self.slow_until = self.now + Duration::from_secs(1 + self.luck.below(4)),
            Act::StuckDisk => {
                let long = self.luck.pick(&[1500, 3000, 12_000, 12_000]);
                self.stuck.insert(wal.name(), Duration::from_millis(long));
            }
            Act::ThreadPanic => {
                let fault = if self.luck.one_in(3) { Fault::Error } else { Fault::Panic };
                self.thread_fails(wal, &fault);
            }
            Act::PanicWithin => {
                let ops =
                    [Op::Write, Op::Sync, Op::SyncDir, Op::Create, Op::Rename, Op::Allocate, Op::Remove];
                let fault = sim::Fault::panic(self.luck.pick(&ops)).path(wal.name());
                let fault = fault.nth(1 + self.luck.below(8));
                self.tell(format_args!("{fault:?}"));
                self.disk.fail(fault);
            }
            Act::BothLogs => {
                for wal in WalKind::BOTH {
                    let fault = if self.luck.one_in(2) { Fault::Error } else { Fault::Panic };
                    self.thread_fails(wal, &fault);
                }
            }
            Act::ActorPanic => self.actor_dies(wal),
            Act::VerifierPanic | Act::VerifierError => {
                let fault = if act == Act::VerifierPanic { Fault::Panic } else { Fault::Error };
                if let Some(process) = &mut self.process {
                    process.excuses.verifier_faults += 1;
                    process.parts.faults().inject(ActorKind::Verifier, fault);
                }
            }
            Act::VerifierHang => drop(self.stuck.insert("verifier", Duration::from_secs(3))),
            Act::PrunerPanic => {
                if let Some(process) = &self.process
                    && let Some(generation) = process.pruner
                {
                    let error = "handler: the pruner".to_owned();
                    let event = Event::Died { cause: Cause::Panic, error, job: None };
                    self.report(ActorKind::Pruner, generation, event);
                }
            }
            Act::ClockBack | Act::ClockForward => {
                let by = i64::try_from(self.luck.below(30_000_000_000)).unwrap_or_default();
                if let Some(process) = &mut self.process {
                    process.clock_set += if act == Act::ClockBack { -by } else { by };
                    self.input(Input::Tick);
                }
            }
            Act::BitRot | Act::LoseLog | Act::LoseSegment | Act::OldLog => self.damage(act),
            Act::Heal => {
                self.disk.heal();
                self.disk.set_capacity_bytes(None);
                self.workers_heal();
            }
            act => unreachable!("{} is no fault", act.name()),
        }
    }

    fn disk_fails(&mut self, act: Act) {
        self.ledger.disk_failed = true;
        let ops = [
            Op::Write,
            Op::Sync,
            Op::SyncDir,
            Op::Create,
            Op::Rename,
            Op::Allocate,
            Op::Remove,
            Op::Open,
            Op::Read,
            Op::List,
        ];
        let op = self.luck.pick(&ops);
        let fault = match act {
            Act::Eio => sim::Fault::eio(op),
            Act::Enospc => {
                sim::Fault::enospc(self.luck.pick(&[Op::Write, Op::Create, Op::Allocate, Op::SyncDir]))
            }
            _ => sim::Fault::short_write(self.luck.index(5000)),
        };
        let fault = if self.luck.one_in(2) { fault.path(self.luck.pick(&WALS)) } else { fault };
        let fault = fault.nth(1 + self.luck.below(12)).times(1 + self.luck.below(3));
        self.tell(format_args!("{fault:?}"));
        self.disk.fail(fault);
    }

    /// The next operation of a log's thread fails.
    fn thread_fails(&mut self, wal: WalKind, fault: &Fault) {
        let Some(process) = &mut self.process else { return };
        let number = process.number;
        match wal {
            WalKind::Qcs => process.qcs.next_fails(fault),
            WalKind::Blocks => process.blocks.next_fails(fault),
        }
        self.next_operation(number, wal);
    }

    /// The actor before a log's thread dies: the thread goes on with what it was given, and then ends.
    fn actor_dies(&mut self, wal: WalKind) {
        let Some(process) = &mut self.process else { return };
        let generation = match wal {
            WalKind::Qcs => process.qcs.attached().map(|life| life.generation),
            WalKind::Blocks => process.blocks.attached().map(|life| life.generation),
        };
        let Some(generation) = generation else { return };
        let actor = wal.actor();
        let event = Event::Died { cause: Cause::Panic, error: format!("handler of {actor}"), job: None };
        self.report(actor, generation, event);
    }

    /// What was injected, and has not happened yet, does not happen.
    pub(super) fn workers_heal(&mut self) {
        if let Some(process) = &mut self.process {
            process.parts.faults().clear();
            process.excuses.verifier_faults = 0;
            process.excuses.poisoned.clear();
        }
    }

    /// From now on a block kills whoever verifies it.
    pub(super) fn poison(&mut self) {
        let (next_block, next_qc) = self.tip();
        let at = if self.luck.one_in(2) { next_block } else { next_qc };
        let Some(block) = self.chain.block(at) else { return };
        if let Some(process) = &mut self.process {
            process.excuses.poisoned.insert(block.header.hash());
            process.parts.faults().poison(block.header.hash(), Fault::Panic);
            self.peers_push_qcs();
        }
    }

    pub(super) fn second_process(&mut self) {
        if self.process.is_none() || self.in_memory {
            return;
        }
        let committee = self.chain.members.committee.clone();
        let storage = Arc::new(self.disk.clone());
        let opened = Parts::open(storage, Path::new(DIR), committee, self.config.clone());
        let met = self.disk.take_failures();
        match opened {
            Err(StartError::InUse { .. }) => self.tales.count("row", "second process: refused"),
            Err(_) if self.disk.has_crashed() || !met.is_empty() => {}
            // What is wrong with the directory is found before who has it.
            Err(_) if self.ledger.marker_damaged => {}
            Err(error) => panic!("a second process is refused for another reason: {error}"),
            Ok(_) => panic!("a second process has the directory too"),
        }
    }
}
