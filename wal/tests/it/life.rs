//! The life of a log on a disk that fails: what is done to it, crashes and faults included, held against the model
//! after every step.

use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Fault, Op, SimStorage};
use roadbed_wal::{Log, LogOptions, WalError};

use crate::script::{DIR, Do, Model, check, options, recover};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Do(Do),
    /// The power fails; the seed decides what is left.
    Crash(u64),
    /// The power fails in the middle of it, after so many calls that change the disk.
    CrashIn(Do, u64, u64),
    /// The process ends; the page cache stays.
    Kill,
    /// A call of this kind fails: the nth from now on.
    Fail(Failure, Op, u64),
    /// So much more fits on the disk.
    Fill(u64),
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Eio,
    DiskFull,
    /// A write takes only so many bytes.
    Short(usize),
}

/// Calls that may fail.
pub(crate) const OPS: [Op; 8] =
    [Op::Create, Op::Write, Op::Sync, Op::SyncDir, Op::Allocate, Op::Rename, Op::Remove, Op::CreateDir];

/// A log, its disk, and what is known of it.
pub(crate) struct Life {
    sim: SimStorage,
    options: LogOptions,
    model: Model,
    log: Option<Log>,
}

impl Life {
    /// An empty log that begins at an index.
    pub(crate) fn new(direct: bool, first: u64) -> Self {
        let (sim, options) = (SimStorage::new(11).direct(direct), options());
        let log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options.clone(), first).unwrap();
        let mut model = Model::new(first);
        model.created = true;
        Self { sim, options, model, log: Some(log) }
    }

    /// Carries out a step and judges what came of it.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Do(what) => self.carry_out(what),
            Step::Crash(seed) => self.crash(seed),
            Step::Kill => {
                drop(self.log.take());
                self.sim = self.sim.kill();
                self.reopen();
            }
            Step::CrashIn(what, after, seed) => {
                self.sim.crash_at(self.sim.steps() + after);
                let done = self.model.step(&mut self.log, &self.sim, what, &self.options);
                if self.sim.has_crashed() {
                    self.crash(seed);
                } else {
                    self.sim.crash_at(u64::MAX);
                    self.settle(done);
                }
            }
            Step::Fail(failure, op, nth) => self.sim.fail(match failure {
                Failure::Eio => Fault::eio(op).nth(nth),
                Failure::DiskFull => Fault::enospc(op).nth(nth),
                Failure::Short(bytes) => Fault::short_write(bytes).nth(nth),
            }),
            Step::Fill(bytes) => self.sim.set_capacity_bytes(Some(self.sim.used_bytes() + bytes)),
        }
    }

    /// Ends it: everything that the log holds is what the model says, and a crash leaves what was acknowledged.
    pub(crate) fn end(mut self) {
        let log = self.log.as_ref().expect("a log");
        check(log, &self.model, "at the end");
        self.crash(0);
    }

    fn carry_out(&mut self, what: Do) {
        let done = self.model.step(&mut self.log, &self.sim, what, &self.options);
        self.settle(done);
    }

    /// Goes on after a step that may have failed: the disk heals, and the log comes back in the same process.
    fn settle(&mut self, done: Result<(), WalError>) {
        let Err(error) = done else {
            return;
        };
        assert!(matches!(error, WalError::Io { .. } | WalError::Poisoned { .. }), "{error}");
        self.sim.heal();
        self.sim.set_capacity_bytes(None);
        // A failure before anything was changed leaves the log as it was.
        if let Some(log) = self.log.as_mut().filter(|log| log.poisoned().is_none()) {
            let next = log.range().end;
            assert_eq!(log.sync().unwrap(), next, "after {error}");
            check(log, &self.model, "after a failure without consequences");
            self.model.settle(log);
            return;
        }
        drop(self.log.take());
        // A cut under way may have happened: then the log ends before what had been acknowledged.
        if self.model.underway.is_some() {
            self.reopen();
            return;
        }
        let judged = Log::judge(Arc::new(self.sim.clone()), Path::new(DIR), self.options.clone());
        let log = judged.and_then(|judged| judged.open_at(self.model.acked));
        let log = log.unwrap_or_else(|refusal| panic!("after {error}: {refusal}"));
        assert_eq!(log.range(), self.model.first..self.model.acked, "after {error}");
        check(&log, &self.model, "reopened at the durable point");
        self.went_on(log);
    }

    fn crash(&mut self, seed: u64) {
        drop(self.log.take());
        self.sim = self.sim.crash(seed);
        self.reopen();
    }

    fn reopen(&mut self) {
        let log = recover(&self.sim, &self.model, &self.options, "reopened").expect("a log that was created");
        self.went_on(log);
    }

    fn went_on(&mut self, log: Log) {
        self.model.settle(&log);
        self.model.life += 1;
        self.log = Some(log);
    }
}
