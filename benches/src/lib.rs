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
pub mod bench;
mod cases;
pub mod docs;
mod input;
pub mod limits;
pub mod machine;
pub mod report;
pub mod scratch;
pub mod stats;
mod store;
pub mod table;
mod threads;

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use args::Args;
use bench::Bench;
use report::Report;

/// Runs the cases that were asked for, prints a line for each, and writes the report.
///
/// # Errors
/// When no case has such an id, the data is not on a disk, or a case can't be carried out.
pub fn run(args: &Args) -> Result<()> {
    let selected: Vec<_> = cases::ALL.iter().filter(|(id, _)| id.starts_with(&args.only)).collect();
    ensure!(!selected.is_empty(), "no case starts with {:?}; they are: {}", args.only, cases::ids());
    ensure!(!args.write_docs || args.only.is_empty(), "--write-docs needs every case: leave out --only");
    machine::silence_injected_panics();

    let bench = Bench::new(args)?;
    let began = Instant::now();
    let mut report = Report::new(machine::describe(bench.data_dir(), args.quick)?, machine::commit());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table::head())?;
    for (id, run) in selected {
        let load_before = machine::load();
        let measured = run(&bench).with_context(|| format!("case {id}"))?;
        let case = measured.into_case(id, load_before)?;
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
    if args.write_docs {
        docs::write(&docs::BENCH, &report, &table::markdown(&report))?;
    }
    Ok(())
}
