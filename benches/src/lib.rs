//! Benchmarks, each beside its physical limit in the same run.
//!
//! ```text
//! cargo run --release -p roadbed-benches -- [--quick] [--only PREFIX] [--write-docs]
//!
//! cases/    what is measured: the log engine alone, and the whole of it
//! limits/   what the machine can do: raw durable writes, hashing, signatures, reading
//! ```
//!
//! A case alternates between ours and its limit (ours, limit, ours, limit…), so that a machine that drifts, or that
//! others use at the same time, does not tell one from the other. What counts is the ratio: 1 is the limit, more is
//! better. Inputs are made before any clock starts.
//!
//! The comparison with other logs (`peers/`, a crate of its own) uses the same parts.

pub mod args;
mod baseline;
pub mod bench;
mod cases;
mod child;
pub mod docs;
mod input;
pub mod limits;
pub mod machine;
mod null_storage;
pub mod report;
pub mod scratch;
pub mod stats;
mod store;
pub mod table;
mod threads;

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};

use args::Args;
use baseline::Baseline;
use bench::Bench;
use report::Report;

pub use cases::{ingest_and_tell, open_and_tell};
pub use child::start_and_tell;

/// Runs the cases that were asked for, prints a line for each, and writes the report.
///
/// # Errors
/// When no case has such an id, the data is not on a disk, or a case can't be carried out.
pub fn run(args: &Args) -> Result<()> {
    let asked = cases::ON_REQUEST.iter().filter(|(id, _)| *id == args.only);
    let selected: Vec<_> =
        cases::ALL.iter().filter(|(id, _)| id.starts_with(&args.only)).chain(asked).collect();
    ensure!(!selected.is_empty(), "no case starts with {:?}; they are: {}", args.only, cases::ids());
    ensure!(!args.write_docs || args.only.is_empty(), "--write-docs needs every case: leave out --only");
    ensure!(!(args.write_baseline && args.quick), "--write-baseline needs full rounds: leave out --quick");
    machine::silence_injected_panics();

    let bench = Bench::new(args)?;
    let began = Instant::now();
    let mut report = Report::new(machine::describe(bench.data_dir(), args.quick)?, machine::commit());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table::head())?;
    let mut failed = Vec::new();
    for (id, run) in selected {
        let load_before = machine::load();
        // One case that can't be carried out does not take the others along.
        let case = match run(&bench).and_then(|measured| measured.into_case(id, load_before)) {
            Ok(case) => case,
            Err(error) => {
                writeln!(out, "{id:<28} failed: {error:#}")?;
                failed.push(*id);
                continue;
            }
        };
        writeln!(out, "{}", table::line(&case))?;
        out.flush()?;
        report.cases.push(case);
    }
    report.machine.load_after = machine::load();
    let path = report.write(&args.out_dir(), "report.json")?;
    writeln!(
        out,
        "{} cases in {:.0} s: {}",
        report.cases.len(),
        began.elapsed().as_secs_f64(),
        path.display()
    )?;
    let (before, now) = (Baseline::read()?, Baseline::of(&report));
    if args.quick {
        writeln!(out, "quick rounds are not compared with the baseline")?;
    } else {
        for line in before.moved_to(&now) {
            writeln!(out, "moved: {line}")?;
        }
    }
    if args.write_baseline {
        now.write(before)?;
    }
    if args.write_docs {
        docs::write(&docs::BENCH, &report, &table::markdown(&report))?;
    }
    ensure!(failed.is_empty(), "{} failed", failed.join(", "));
    Ok(())
}
