//! Roadbed's log beside other logs, doing the same work in the same run.
//!
//! ```text
//! peer.rs    what a log has to be able to do here
//! peers/     Roadbed's log and the others, each set up as its documents say is durable and fast
//! cases/     the work: appends, sustained appends, opening, replay, front and tail, single entries
//! table.rs   the matrix for docs/performance.md
//! ```
//!
//! Each peer alternates with a log of ours and with raw writes. A ratio is peer's time / our time (for rates: our rate /
//! peer's rate): above 1 Roadbed is ahead. All entries are noise, so that no library gains by compressing them; what is
//! read back is compared with it, outside of what is timed.

mod cases;
mod peer;
mod peers;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use roadbed_benches::args::Args;
use roadbed_benches::bench::Bench;
use roadbed_benches::report::Report;
use roadbed_benches::{docs, machine, table as lines};

/// Measures Roadbed's log beside other logs.
#[derive(Debug, clap::Parser)]
struct PeerArgs {
    #[command(flatten)]
    common: Args,
    /// Only the peers whose name starts with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    peer: String,
    /// Adds to the report of earlier runs of this commit, in which what is measured now is replaced
    #[arg(long)]
    add: bool,
    /// Fills a log in this directory and waits to be killed: what the case of opening starts
    #[arg(long, hide = true, requires = "entries")]
    fill: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 0)]
    entries: u64,
}

fn main() -> Result<()> {
    let PeerArgs { common: args, peer, add, fill, entries } = PeerArgs::parse();
    if let Some(dir) = fill {
        let found = peers::OTHERS.iter().chain([&peers::OURS]).find(|candidate| candidate.name == peer);
        return cases::fill_and_wait(found.context("no peer is called so")?, &dir, entries);
    }
    let cases: Vec<_> = cases::ALL.iter().filter(|case| case.id.starts_with(&args.only)).collect();
    let peers: Vec<_> = peers::OTHERS.iter().filter(|candidate| candidate.name.starts_with(&peer)).collect();
    let everything = args.only.is_empty() && peer.is_empty();
    ensure!(!cases.is_empty() && !peers.is_empty(), "nothing is called so: {}", names());
    ensure!(
        !args.write_docs || everything || add,
        "--write-docs needs everything: leave out --only and --peer"
    );

    let bench = Bench::new(&args)?;
    let began = Instant::now();
    let mut report = Report::new(machine::describe(bench.data_dir(), args.quick)?, machine::commit());
    if add {
        report.add(Report::read(&args.out_dir(), REPORT)?)?;
    }
    let mut count = 0;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", lines::head())?;
    for case in cases {
        for candidate in &peers {
            if let Some(reason) = candidate.lacks(case.need) {
                writeln!(out, "{:<28} {}: {reason}", case.id, candidate.name)?;
                continue;
            }
            let load_before = machine::load();
            let measured = (case.run)(&bench, candidate);
            let measured = measured.with_context(|| format!("{} of {}", case.id, candidate.name))?;
            let measured = measured.into_case(case.id, load_before)?;
            writeln!(out, "{}", lines::line(&measured))?;
            out.flush()?;
            count += 1;
            report
                .cases
                .retain(|old| (&old.id, &old.params["peer"]) != (&measured.id, &measured.params["peer"]));
            report.cases.push(measured);
            report.machine.load_after = report.machine.load_after.max(machine::load());
            // Each time: a run that is ended early has measured something all the same.
            report.write(&args.out_dir(), REPORT)?;
        }
    }
    let (path, took) = (args.out_dir().join(REPORT), began.elapsed().as_secs_f64());
    writeln!(out, "{count} cases in {took:.0} s: {}", path.display())?;
    if args.write_docs {
        let missing = table::missing(&report);
        ensure!(missing.is_empty(), "--write-docs needs everything; not measured: {}", missing.join(", "));
        docs::write(&docs::PEERS, &report, &table::markdown(&report))?;
    }
    Ok(())
}

/// Name of the report.
const REPORT: &str = "peers.json";

fn names() -> String {
    let cases = cases::ALL.iter().map(|case| case.id);
    let peers = peers::OTHERS.iter().map(|candidate| candidate.name);
    cases.chain(peers).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::PeerArgs::command().debug_assert();
    }
}
