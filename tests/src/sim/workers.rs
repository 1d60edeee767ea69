//! The workers: when their operations begin and end, and what becomes of them.

use std::time::Duration;

use roadbed::sim::Record;
use roadbed::state::core::{Input, Request};
use roadbed_messages::api::workers::{
    CallId, Cause, Event, Generation, Report, VerifyJob, WalOrder, WalStart,
};
use roadbed_messages::api::{ActorKind, PruneBefore, WalKind};

use super::Mutation;
use super::process::{Log, Next, Process, Verifier, Who};
use super::world::{Happening, World};

/// A log to which nothing comes for so long does its housekeeping, in steps.
const IDLE_AFTER: Duration = Duration::from_millis(20);
const IDLE_STEP_PAUSE: Duration = Duration::from_millis(2);

/// Does the same to whichever log it is.
macro_rules! with_log {
    ($process:expr, $wal:expr, |$log:ident, $parts:ident| $body:expr) => {{
        let Process { qcs, blocks, parts: $parts, .. } = $process;
        match $wal {
            WalKind::Qcs => {
                let $log = qcs;
                $body
            }
            WalKind::Blocks => {
                let $log = blocks;
                $body
            }
        }
    }};
}

impl World {
    /// The process of this number, even if it has stopped.
    fn any_process(&mut self, number: u64) -> Option<&mut Process> {
        let both = self.process.iter_mut().chain(self.lingering.iter_mut());
        both.into_iter().find(|process| process.number == number)
    }

    pub(super) fn begin_life(
        &mut self,
        number: u64,
        actor: ActorKind,
        generation: Generation,
        wal: Option<WalStart>,
    ) {
        let threads = 1 + self.luck.index(3);
        let interval = self.config.retention.interval;
        let Some(process) = self.present(number) else { return };
        match (actor, wal) {
            (ActorKind::QcWal, Some(start)) => {
                process.qcs.start(generation, start);
                self.next_operation(number, WalKind::Qcs);
            }
            (ActorKind::BlockWal, Some(start)) => {
                process.blocks.start(generation, start);
                self.next_operation(number, WalKind::Blocks);
            }
            (ActorKind::Verifier, None) => {
                let jobs = std::collections::VecDeque::new();
                process.parts.forget_verifier();
                process.verifier = Some(Verifier { generation, jobs, threads, running: Vec::new() });
                self.report_later(number, actor, generation, Event::Up);
            }
            (ActorKind::Pruner, None) => {
                process.pruner = Some(generation);
                process.parts.forget_pruner();
                self.report_later(number, actor, generation, Event::Up);
                self.after(interval, Happening::PrunerLooks { process: number, generation });
            }
            (actor, start) => panic!("{actor} does not start with {start:?}"),
        }
    }

    /// A report on its way: State is in the middle of something.
    fn report_later(&mut self, process: u64, actor: ActorKind, generation: Generation, event: Event) {
        self.after(Duration::ZERO, Happening::Reports { process, actor, generation, event });
    }

    pub(super) fn retire(&mut self, number: u64, actor: ActorKind) {
        let Some(process) = self.present(number) else { return };
        match actor {
            ActorKind::State => panic!("State does not retire"),
            ActorKind::QcWal => process.qcs.detach(),
            ActorKind::BlockWal => process.blocks.detach(),
            ActorKind::Verifier => process.verifier = None,
            ActorKind::Pruner => process.pruner = None,
        }
        for wal in WalKind::BOTH {
            if wal.actor() == actor {
                self.next_operation(number, wal);
            }
        }
    }

    // ---- logs --------------------------------------------------------------------------------------------------

    pub(super) fn told_order<R: Record>(&mut self, wal: WalKind, order: &WalOrder<R>) {
        self.tales.count("count", "orders");
        match order {
            WalOrder::Append { first_index, records } => {
                self.tell(format_args!("! {wal} append {first_index}+{}", records.len()));
                if self.mutation == Some(Mutation::ReportsEarly)
                    && let Some(last) = records.last()
                {
                    let next_index = first_index + records.len() as u64;
                    let event = Event::Durable { next_index, upto: last.end(next_index - 1) };
                    let life = self.process.as_mut().and_then(|process| match wal {
                        WalKind::Qcs => process.qcs.attached().map(|life| life.generation),
                        WalKind::Blocks => process.blocks.attached().map(|life| life.generation),
                    });
                    if let (Some(process), Some(generation)) = (&self.process, life) {
                        self.report_later(process.number, wal.actor(), generation, event);
                    }
                }
            }
            WalOrder::Open(plan) => self.tell(format_args!("! {wal} {plan:?}")),
            WalOrder::TruncateBefore { first } => self.tell(format_args!("! {wal} truncate before {first}")),
            WalOrder::Close => self.tell(format_args!("! {wal} close")),
        }
    }

    /// Has a log begin its next operation, if it has none.
    pub(super) fn next_operation(&mut self, number: u64, wal: WalKind) {
        let (now, early) = (self.now, self.luck.one_in(2));
        let delay = self.io_time(wal);
        let Some(process) = self.any_process(number) else { return };
        let next = with_log!(process, wal, |log, parts| {
            let next = log.begin_operation(parts, now, early);
            log.idle_due += 1;
            (next, log.idle_due)
        });
        match next {
            (Next::Runs(generation), _) => {
                self.stuck.remove(wal.name());
                self.after(delay, Happening::LogDone { process: number, wal, generation });
            }
            (Next::Waits(generation), due) => {
                self.after(IDLE_AFTER, Happening::LogIdle { process: number, wal, generation, due });
            }
            (Next::Busy, _) => {}
        }
        if self.lingering.as_ref().is_some_and(|process| !process.has_lives()) {
            self.lingering = None;
        }
    }

    fn io_time(&mut self, wal: WalKind) -> Duration {
        let time = self.luck.time(Duration::from_micros(80), Duration::from_millis(4));
        if let Some(stuck) = self.stuck.get(wal.name()) {
            return *stuck;
        }
        if self.now < self.slow_until { time * 60 } else { time }
    }

    pub(super) fn log_done(&mut self, number: u64, wal: WalKind, generation: Generation) {
        let (now, hung_after) = (self.now, self.config.hung_after);
        let Some(process) = self.any_process(number) else { return };
        let (age, events) =
            with_log!(process, wal, |log, _parts| (log.age(now), log.end_operation(generation)));
        if age.is_some_and(|age| age >= hung_after) && self.present(number).is_some() {
            self.tales.count("row", "a hung log goes on");
        }
        self.log_reports(number, wal, generation, events);
    }

    pub(super) fn log_idle(&mut self, number: u64, wal: WalKind, generation: Generation, due: u64) {
        let Some(process) = self.any_process(number) else { return };
        let (more, event, due) = with_log!(process, wal, |log, _parts| {
            if log.idle_due != due {
                return;
            }
            let (more, event) = log.idle(generation);
            log.idle_due += 1;
            (more, event, log.idle_due)
        });
        if more {
            self.after(IDLE_STEP_PAUSE, Happening::LogIdle { process: number, wal, generation, due });
        }
        if event.is_some() {
            self.log_reports(number, wal, generation, event);
        }
    }

    fn log_reports(
        &mut self,
        number: u64,
        wal: WalKind,
        generation: Generation,
        events: impl IntoIterator<Item = Event>,
    ) {
        if self.disk.has_crashed() {
            return;
        }
        for event in events {
            if self.present(number).is_some() {
                self.report(wal.actor(), generation, event);
            }
        }
        self.next_operation(number, wal);
    }

    // ---- verifier ----------------------------------------------------------------------------------------------

    pub(super) fn next_batch(&mut self, number: u64) {
        loop {
            let most = 1 + self.luck.index(5);
            let now = self.now;
            let delay = match self.stuck.get("verifier") {
                Some(stuck) => *stuck,
                None => self.luck.time(Duration::from_micros(60), Duration::from_millis(6)),
            };
            let Some(process) = self.present(number) else { return };
            let Some(verifier) = &mut process.verifier else { return };
            let Some(jobs) = verifier.take_batch(most, now) else { return };
            let generation = verifier.generation;
            self.stuck.remove("verifier");
            self.after(delay, Happening::Verified { process: number, generation, jobs });
        }
    }

    /// A thread is done with a batch; one of a life that is over says so all the same.
    pub(super) fn verified(&mut self, number: u64, generation: Generation, jobs: &[VerifyJob]) {
        let Some(process) = self.present(number) else { return };
        let events = process.parts.verify(jobs);
        process.excuses.check_batch(jobs, &events);
        if let Some(verifier) = process.verifier.as_mut().filter(|life| life.generation == generation) {
            verifier.running.retain(|(call, _)| *call != jobs[0].call);
        }
        for event in events {
            self.report(ActorKind::Verifier, generation, event);
        }
        self.next_batch(number);
    }

    // ---- pruner ------------------------------------------------------------------------------------------------

    pub(super) fn pruner_looks(&mut self, number: u64, generation: Generation) {
        let (now, policy) = (self.now, self.config.retention.clone());
        let Some(process) = self.present(number) else { return };
        if process.pruner != Some(generation) || process.running.is_none() {
            if process.pruner == Some(generation) {
                self.after(policy.interval, Happening::PrunerLooks { process: number, generation });
            }
            return;
        }
        let clock = process.clock(now);
        let retain_from = process.parts.retain_from(&policy, clock, &process.core);
        if retain_from > process.core.cursors().first {
            self.ask(Request::PruneBefore(PruneBefore { retain_from }), Who::Pruner, true);
        } else {
            self.after(policy.interval, Happening::PrunerLooks { process: number, generation });
        }
    }

    /// The pruner's request was answered: it looks again.
    pub(super) fn pruner_goes_on(&mut self, number: u64) {
        let interval = self.config.retention.interval;
        if let Some(generation) = self.present(number).and_then(|process| process.pruner) {
            self.after(interval, Happening::PrunerLooks { process: number, generation });
        }
    }

    // ---- supervision -------------------------------------------------------------------------------------------

    /// Tells State how long each worker's operation has been running.
    pub(super) fn beat(&mut self, number: u64) {
        fn age<R: Record>(log: &Log<R>, now: Duration) -> Option<(Generation, Option<Duration>)> {
            let life = log.lives.back().filter(|life| life.attached)?;
            Some((life.generation, life.began.map(|began| now - began)))
        }
        let (now, interval) = (self.now, self.config.beat_interval);
        let deadline = self.config.shutdown_deadline + interval;
        let Some(process) = self.present(number) else { return };
        let mut beats = Vec::new();
        for (actor, age) in
            [(ActorKind::QcWal, age(&process.qcs, now)), (ActorKind::BlockWal, age(&process.blocks, now))]
        {
            beats.extend(age.map(|(generation, age)| (actor, generation, age, None)));
        }
        if let Some(verifier) = &process.verifier {
            let oldest = verifier.running.iter().min_by_key(|(_, began)| *began);
            let age = oldest.map(|(_, began)| now - *began);
            beats.push((ActorKind::Verifier, verifier.generation, age, oldest.map(|(job, _)| *job)));
        }
        let late = process.excuses.ending_for().is_some_and(|time| time > deadline);
        assert!(!late, "it has given up, and does not end");
        for (actor, generation, age, job) in beats {
            let running_for_seconds = age.map(|age| age.as_secs_f64());
            let report = Report { actor, generation, event: Event::Beat { running_for_seconds, job } };
            if let Some(process) = self.present(number) {
                if process.core.counts(&report) {
                    self.hang_is_noticed(actor, age, job);
                }
                self.input(Input::Report(report));
            }
        }
        self.after(interval, Happening::Beat { process: number });
    }

    fn hang_is_noticed(&mut self, actor: ActorKind, age: Option<Duration>, job: Option<CallId>) {
        let age = age.unwrap_or_default();
        if age < self.config.hung_after {
            return;
        }
        let clock_now = self.now;
        let (give_up_after, policy) = (self.config.give_up_after, self.config.restart.clone());
        let Some(process) = &mut self.process else { return };
        let clock = process.clock(clock_now);
        process.excuses.now(clock);
        match actor {
            ActorKind::Verifier => {
                process.excuses.verifier_hangs(job, &policy);
                self.tales.count("row", "a hung verifier is replaced");
            }
            _ if age >= give_up_after => {
                process.excuses.give_up(actor);
                self.tales.count("row", "a log that hangs too long ends it");
            }
            _ => {}
        }
    }

    /// Notes what a report means, before State hears of it.
    pub(super) fn notice(&mut self, report: &Report) {
        let Report { actor, generation, event } = report;
        match event {
            Event::Verified(done) => {
                for (call, outcome) in done {
                    self.tell(format_args!("{actor} {generation}: job {} {}", call.0, outcome.is_ok()));
                }
            }
            Event::Died { cause, error, job } => {
                self.tell(format_args!("{actor} {generation}: died, {}: {error} {job:?}", cause.name()));
                let row = match (cause, actor) {
                    (Cause::Corruption, _) => {
                        assert!(self.ledger.damaged, "{actor} found damage, but there is none: {error}");
                        "other deaths"
                    }
                    (Cause::Panic, _) if error.starts_with("handler") => "panic in a handler: restarted",
                    (Cause::Panic, ActorKind::Verifier) => "panic in a verifier thread: restarted",
                    (Cause::Panic, _) if error.starts_with("the simulated disk") => {
                        "panic within an operation: restarted"
                    }
                    (Cause::Panic, _) => "panic in an I/O thread: restarted",
                    (Cause::Error, _) => "write or sync error: restarted",
                    (Cause::DiskFull, _) => "disk full: goes on by itself",
                    _ => "other deaths",
                };
                self.tales.count("row", row);
            }
            event => self.tell(format_args!("{actor} {generation}: {event:?}")),
        }
        let (now, policy) = (self.now, self.config.restart.clone());
        let Some(process) = &mut self.process else { return };
        if process.core.counts(report) {
            self.notice_full(report);
            let Some(process) = &mut self.process else { return };
            let clock = process.clock(now);
            process.excuses.now(clock);
            process.excuses.reported(*actor, event, process.running.is_none(), &policy);
            if let Event::Durable { upto, .. } = event {
                self.ledger.durable(*actor, upto.0);
            }
        }
    }
}
