//! `roadbed run`: a demo validator around the data layer.
//!
//! ```text
//! start the data layer ─▶ chain check ─▶ actors run ─▶ signal, time, blocks, or a failure
//!                                                           │
//! summary ◀─ shut down ◀─ chain check ◀─ execute the rest ◀─┘ stop input
//! ```

mod ack_log;
mod chain_check;
mod chaos;
mod clock;
mod connection;
mod consensus;
mod executor;
mod fetcher;
mod frame;
mod history;
mod mischief;
mod network;
mod peers;
mod plan;
mod preflight;
mod progress;
mod rehearsal;
mod signals;
mod store_check;
mod summary;
mod validator;
mod waypoints;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use roadbed::supervision::{Faults, FaultyStorage};
use roadbed::{Builder, Config, RetentionPolicy, Roadbed};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{Cursors, Recovered, RunState};
use roadbed_wal::FileSystem;
use tokio::sync::watch;

pub(crate) use ack_log::AckLogError;
pub(crate) use chain_check::ChainCheckError;

use self::ack_log::AckLog;
use self::chain_check::Checked;
use self::clock::ChainClock;
use self::plan::Plan;
use self::signals::Signals;
use self::summary::{CheckState, Restarts, Summary};
use self::validator::{Remains, Validator};
use self::waypoints::Waypoints;
use crate::cli::RunArgs;
use crate::exit::{Code, NodeError};
use crate::http::{self, Http};
use crate::output;

/// Runs the validator to its end, and prints what came of it.
///
/// # Errors
/// Why the data layer did not start. Everything that goes wrong later is in the summary and in the code.
pub(crate) async fn run(args: &RunArgs) -> Result<Code, NodeError> {
    let mut run = match Run::begin(args).await {
        Ok(run) => run,
        Err(error) => {
            let summary = Summary::refused(args.seed, error.code().name(), error.to_string());
            if args.json {
                output::result(&summary.json()).map_err(|error| NodeError::io("write the summary", error))?;
            }
            return Err(error);
        }
    };
    let outcome = run.live().await;
    run.finish(outcome).await
}

/// The summary of a run whose flags are refused, as JSON.
pub(crate) fn refused(code: Code, why: &str) -> String {
    Summary::refused(0, code.name(), why.to_owned()).json()
}

/// Checks flags and directory as a start would, and starts nothing.
///
/// # Errors
/// What a start would refuse.
pub(crate) fn check(args: &RunArgs) -> Result<Plan, NodeError> {
    preflight::check(args)?;
    let plan = Plan::new(args)?;
    if !args.in_memory {
        store_check::check(&args.dir, &plan, args.accept_lost_qcs)?;
    }
    Ok(plan)
}

/// Where the store is, for people.
fn place(args: &RunArgs) -> String {
    match args.in_memory {
        true => "memory".to_owned(),
        false => args.dir.display().to_string(),
    }
}

fn builder(args: &RunArgs, plan: &Plan, faults: &Faults) -> Builder {
    let defaults = Config::default();
    let retention = RetentionPolicy {
        age_after_execution: args.retain_age,
        blocks_max: args.retain_blocks,
        ..defaults.retention.clone()
    };
    let segment_bytes = args.segment_bytes.unwrap_or(defaults.segment_bytes);
    let builder = Roadbed::builder(plan.members.committee.clone()).config(chaos::config(
        args.chaos,
        Config { retention, segment_bytes, accept_lost_qcs: args.accept_lost_qcs, ..defaults },
    ));
    let builder = match args.chaos.is_some() || args.rehearse {
        true => builder.storage(Arc::new(FaultyStorage::new(FileSystem, faults))).faults(faults.clone()),
        false => builder,
    };
    if args.in_memory { builder.in_memory() } else { builder.data_dir(&args.dir) }
}

/// Says every few seconds how far a check is. Never ends.
async fn tell_patience(derived: watch::Receiver<BlockNumber>, cursors: Cursors) -> Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (upto, end) = (*derived.borrow(), cursors.next_qc);
        output::note(&format!("chain check: block {upto} of {end} is derived again; a signal cuts it short"));
    }
}

/// Where the cursors stand right after a start.
pub(crate) fn recovered_cursors(recovered: &Recovered) -> Cursors {
    let Recovered { first, next_block, next_qc, .. } = *recovered;
    Cursors { first, next_app_proposal: first, next_block_to_persist: next_block, next_block, next_qc }
}

struct Run<'a> {
    args: &'a RunArgs,
    plan: Arc<Plan>,
    roadbed: Roadbed,
    signals: Signals,
    summary: Summary,
    faults: Faults,
    clock: ChainClock,
    /// Answers until the end.
    _http: Option<Http>,
}

impl<'a> Run<'a> {
    /// Everything that can refuse, then the start.
    async fn begin(args: &'a RunArgs) -> Result<Self, NodeError> {
        if let Some(parent) = args.end_with {
            preflight::end_with(parent)?;
        }
        let plan = Arc::new(check(args)?);
        let signals = Signals::install()?;
        preflight::raise_open_files();
        let faults = Faults::default();
        let registry = Registry::new();
        let http = Http::start(args.listen.as_deref(), http::view(registry.clone(), place(args))).await?;
        let clock = ChainClock::default();
        if args.rehearse {
            rehearsal::start(faults.clone())?;
        }
        let builder = builder(args, &plan, &faults).wall_clock(clock.clone().reader());
        let builder = match &http {
            Some(_) => builder.metrics(&registry),
            None => builder,
        };
        let roadbed = builder.start().await?;
        if !args.in_memory {
            preflight::restore_committee(&args.dir, &plan.members.committee)?;
        }
        if let Some(http) = &http {
            http.show(&roadbed);
        }
        let summary = Summary::new(args.seed, roadbed.recovered());
        Ok(Self { args, plan, roadbed, signals, summary, faults, clock, _http: http })
    }

    /// From the first check to the last; answers why it ended.
    async fn live(&mut self) -> Result<String, NodeError> {
        let recovered = self.roadbed.recovered().clone();
        self.tell_recovered(&recovered);
        let cursors = recovered_cursors(&recovered);
        let Some(checked) = self.check(cursors, 1).await? else {
            return Ok("a signal during the chain check".to_owned());
        };
        let ack_log = self.args.ack_log.as_deref().map(AckLog::open).transpose()?;
        let until =
            self.args.blocks.map(|blocks| self.plan.whole_qcs(cursors.next_block.saturating_add(blocks)));
        let faults = self.faults.clone();
        let started = Instant::now();
        let validator = Validator::start(
            self.args,
            &self.plan,
            &self.roadbed,
            faults,
            &self.clock,
            ack_log,
            checked,
            until,
        );
        let mut validator = validator.await?;
        let cause = self.wait(&mut validator, until).await;
        let remains = validator.stop_input().await;
        let drained = match &cause {
            Ok(_) => self.drain(&mut validator).await,
            Err(_) => Ok(()),
        };
        validator.leave().await;
        self.summary.set_stats(&self.roadbed.stats(), started.elapsed().as_secs_f64());
        self.take_stock(remains).await;
        let cause = cause?;
        drained?;
        let cursors = self.roadbed.next_block().await;
        let cursors = cursors.map_err(|error| NodeError::request("look where the node is", error))?;
        self.check(cursors, 2).await?;
        Ok(cause)
    }

    fn tell_recovered(&self, recovered: &Recovered) {
        let place = place(self.args);
        let Recovered { first, next_block, next_qc, torn_bytes, reconcile_case, lost, seconds } = recovered;
        if next_qc.0 == 0 {
            output::note(&format!(
                "{place}: a new store, seed {}, committee of {}",
                self.args.seed, self.args.committee
            ));
        } else {
            output::note(&format!(
                "{place}: recovered blocks {first}..{next_block} and QCs up to {next_qc} in {seconds:.3} s \
                 (reconcile case {reconcile_case}, {torn_bytes} torn bytes cut off)"
            ));
        }
        if let Some(lost) = lost {
            output::note(&format!("LOST: {lost}"));
        }
    }

    /// Compares what is served with the seed; `None` when a signal cut it short. The `patience`-th signal does.
    async fn check(&mut self, cursors: Cursors, patience: u32) -> Result<Option<Checked>, NodeError> {
        let began = Instant::now();
        let (derived, derived_upto) = watch::channel(self.plan.first_block());
        let ack_log = self.ack_log_to_check();
        let waypoints = match self.args.in_memory {
            true => Waypoints::new(&self.plan),
            false => Waypoints::load(&self.args.dir, &self.plan),
        };
        let check = chain_check::check(&self.plan, &self.roadbed, cursors, ack_log, waypoints, derived);
        let mut signals = self.signals.clone();
        let checked = tokio::select! {
            checked = check => checked,
            never = tell_patience(derived_upto, cursors) => match never {},
            name = signals.at_least(patience) => {
                output::note(&format!("{name}: the chain check is cut short"));
                self.summary.check_ended(CheckState::CutShort);
                return Ok(None);
            }
        };
        let mut checked = checked.inspect_err(|_| self.summary.check_ended(CheckState::Failed))?;
        if !self.args.in_memory {
            // Without them the next check takes longer, and no more than that.
            let saved = checked.waypoints.save(&self.args.dir, &self.plan, cursors.first);
            if let Err(error) = saved {
                output::note(&format!("the next chain check will take longer: {error}"));
            }
        }
        let Checked { blocks, acked, app, derived_from, .. } = &checked;
        self.summary.check_held(*blocks, *acked, *derived_from, app.hash);
        if cursors.next_qc > self.plan.first_block() {
            output::note(&format!(
                "chain check: {blocks} blocks and {acked} acknowledged hashes are what seed {} gives ({:.1} s)",
                self.args.seed,
                began.elapsed().as_secs_f64()
            ));
        }
        Ok(Some(checked))
    }

    fn ack_log_to_check(&self) -> Option<&std::path::Path> {
        self.args.ack_log.as_deref().filter(|path| path.exists())
    }

    /// Waits for whatever ends the run.
    async fn wait(
        &mut self,
        validator: &mut Validator,
        until: Option<BlockNumber>,
    ) -> Result<String, NodeError> {
        let duration = self.args.duration;
        let time = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let Validator { answered, failures, .. } = validator;
        let blocks = async {
            match until {
                // Without a sender the executor has failed, which the other branches tell.
                Some(until) if answered.wait_for(|answered| *answered >= until).await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            name = self.signals.at_least(1) => {
                output::note(&format!("{name}: stopping in order"));
                Ok(name.to_owned())
            }
            reason = self.roadbed.stopped() => Err(NodeError::Stopped(reason)),
            Some(error) = failures.recv() => Err(error),
            () = blocks => Ok("blocks".to_owned()),
            () = time => Ok("duration".to_owned()),
        }
    }

    /// Lets the executor finish with what is there, as long as nobody is in a hurry.
    async fn drain(&mut self, validator: &mut Validator) -> Result<(), NodeError> {
        let deadline = Config::default().shutdown_deadline;
        let mut signals = self.signals.clone();
        tokio::select! {
            drained = validator.drain() => drained,
            _ = signals.at_least(2) => Ok(()),
            () = tokio::time::sleep(deadline) => {
                output::note("not every block was executed before the deadline of the stop");
                Ok(())
            }
        }
    }

    /// Notes where the run got to. After the end of the data layer that is what progress saw last.
    async fn take_stock(&mut self, remains: Remains) {
        let status = self.roadbed.status().await;
        let ended = status.as_ref().err().map(ToString::to_string);
        let status = status.ok().or(remains.status);
        let restarts = status.as_ref().map_or_else(Restarts::default, |status| Restarts::of(&status.workers));
        if let Some(status) = &status {
            self.summary.set_cursors(&status.cursors);
            self.summary.set_health(status.state.name(), &status.reasons);
        }
        if let Some(reason) = ended {
            self.summary.set_health(RunState::Stopped.name(), &[reason]);
        }
        self.summary.set_events(restarts, remains.rejected, remains.chaos);
    }

    /// Shuts the data layer down and prints the summary.
    async fn finish(mut self, outcome: Result<String, NodeError>) -> Result<Code, NodeError> {
        let report = self.roadbed.shutdown().await;
        if let Ok(report) = &report {
            self.summary.set_cursors(&report.cursors);
        }
        let code = match (&outcome, &report) {
            (Err(error), _) => error.code(),
            (Ok(_), Ok(report)) if report.is_clean() => Code::Clean,
            (Ok(_), Ok(_)) => Code::Failure,
            (Ok(_), Err(error)) => NodeError::request("shut down", error.clone()).code(),
        };
        let not_durable = match &report {
            Ok(report) if !report.is_clean() => Some(format!(
                "blocks {} to {} could not be made durable",
                report.not_durable.start,
                report.not_durable.end.saturating_sub(1)
            )),
            Err(error) if outcome.is_ok() => Some(error.to_string()),
            _ => None,
        };
        if let Err(error) = &report {
            self.summary.set_health(RunState::Stopped.name(), &[error.to_string()]);
        }
        self.summary.result = code.name();
        self.summary.stop_reason = match (&outcome, not_durable) {
            (_, Some(not_durable)) => not_durable,
            (Ok(cause), None) => cause.clone(),
            (Err(error), None) => error.to_string(),
        };
        let text = if self.args.json { self.summary.json() } else { self.summary.text() };
        output::result(&text).map_err(|error| NodeError::io("write the summary", error))?;
        outcome?;
        report.map_err(|error| NodeError::request("shut down", error))?;
        Ok(code)
    }
}
