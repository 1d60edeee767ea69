//! `roadbed crash-test`: a node that is killed with SIGKILL again and again, and checked after each start.
//!
//! Each round starts `roadbed run` on the directory with an ack log beside it, waits for a number of further acknowledged
//! hashes, and kills it. The next start compares everything that it recovered, and every line of the ack log, with what the
//! seed gives. (A kill keeps the page cache: what a power cut loses only a power cut shows.)

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use serde_json::Value;

use super::report::print;
use crate::exit::{Code, NodeError};
use crate::output;

/// Between two looks at the ack log.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// Lines of stderr that are told of a node that ended by itself.
const LINES_TOLD: usize = 20;

/// Flags of `roadbed crash-test`.
#[derive(Debug, Args)]
pub(crate) struct CrashTestArgs {
    /// Directory for the test: new, or one of an earlier test with the same flags. The ack log is DIR.acks beside it
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// How often to kill
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Hashes to be acknowledged between two kills, at most; how many is drawn for each round
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    acks_max: u64,
    /// What the rounds are drawn from, and the chain
    #[arg(long, value_name = "U64", default_value_t = 1)]
    seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Further flags for `roadbed run`, such as -- --tx-bytes 4096
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    schema: &'static str,
    /// `ok`, or what failed.
    result: &'static str,
    dir: PathBuf,
    rounds: u64,
    /// Hashes that were acknowledged before a kill, all of which were there afterwards.
    acked: u64,
    /// Starts that cut off a torn tail.
    torn_starts: u64,
    /// Starts by the row of the reconcile table.
    cases: std::collections::BTreeMap<String, u64>,
    /// The longest recovery, in seconds.
    recovery_seconds_max: f64,
    /// Of the last start, which was stopped in order.
    next_block: u64,
    error: Option<String>,
}

/// Runs the rounds.
///
/// # Errors
/// When the node can't be started. A node that fails its check is in the report, with its exit code.
pub(crate) fn crash_test(args: &CrashTestArgs) -> Result<Code, NodeError> {
    let acks = PathBuf::from(format!("{}.acks", args.dir.display()));
    if args.dir.exists() && !acks.exists() {
        return Err(NodeError::Refused(format!(
            "{} is there, but {} is not: a crash test wants a directory of its own",
            args.dir.display(),
            acks.display()
        )));
    }
    let mut report = Report { schema: "roadbed.crash-test/1", dir: args.dir.clone(), ..Report::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut code = Code::Clean;
    for round in 1..=args.rounds {
        let wanted = lines(&acks) + 1 + rng.next_u64() % args.acks_max;
        let mut node = Node::start(args, &acks, &[])?;
        if let Some((ended, told)) = node.until(|| lines(&acks) >= wanted) {
            code = ended;
            report.error = Some(told);
            break;
        }
        node.kill()?;
        report.rounds = round;
        report.acked = lines(&acks);
        // A start that ends at once: what it recovered and checked is in its summary.
        let (ended, summary, told) = Node::start(args, &acks, &["--blocks", "0"])?.end()?;
        if ended != Code::Clean {
            code = ended;
            report.error = Some(told);
            break;
        }
        report.note(&summary);
        output::note(&format!("round {round} of {}: {} acknowledged, all there", args.rounds, report.acked));
    }
    report.result = code.name();
    print(args.json, &report, || report.text())?;
    Ok(code)
}

impl Report {
    fn note(&mut self, summary: &Value) {
        let recovered = &summary["recovered"];
        self.torn_starts += u64::from(recovered["torn_bytes"].as_u64() > Some(0));
        *self.cases.entry(recovered["reconcile_case"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
        let seconds = recovered["seconds"].as_f64().unwrap_or(0.0);
        self.recovery_seconds_max = self.recovery_seconds_max.max(seconds);
        self.next_block = summary["next_block"].as_u64().unwrap_or(0);
    }

    fn text(&self) -> String {
        let Self { rounds, acked, torn_starts, recovery_seconds_max, next_block, .. } = self;
        let cases: Vec<String> = self.cases.iter().map(|(case, count)| format!("{case}: {count}")).collect();
        let mut lines = vec![
            format!("{}: {}, {rounds} kills", self.dir.display(), self.result),
            format!("  acknowledged {acked}, none lost"),
            format!("  torn tails   {torn_starts} of {rounds} starts"),
            format!("  reconcile    case {}", cases.join(", ")),
            format!("  recovery     at most {recovery_seconds_max:.3} s"),
            format!("  blocks       up to {next_block}"),
        ];
        if let Some(error) = &self.error {
            lines[1] = format!("  acknowledged {acked}");
            lines.push(format!("  FAILED       {error}"));
        }
        lines.join("\n")
    }
}

/// Complete lines of the ack log.
fn lines(acks: &Path) -> u64 {
    fs::read(acks).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// A node in a process of its own; killed when this is dropped.
struct Node {
    child: Child,
    stderr: Option<thread::JoinHandle<Vec<String>>>,
}

impl Node {
    fn start(args: &CrashTestArgs, acks: &Path, more: &[&str]) -> Result<Self, NodeError> {
        let failed = |error| NodeError::io("start the node", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["run", "--rate", "0", "--json", "--seed", &args.seed.to_string()])
            .args(["--end-with", &std::process::id().to_string(), "--dir"])
            .arg(&args.dir)
            .arg("--ack-log")
            .arg(acks)
            .args(&args.flags)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // Somebody has to read it, or the node waits.
        let stderr = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                let mut told = std::collections::VecDeque::new();
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    told.push_back(line);
                    if told.len() > LINES_TOLD {
                        told.pop_front();
                    }
                }
                told.into()
            })
        });
        Ok(Self { child, stderr })
    }

    /// Waits; answers how the node ended if it did so by itself.
    fn until(&mut self, done: impl Fn() -> bool) -> Option<(Code, String)> {
        while !done() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some((code_of(status.code()), self.told()));
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        None
    }

    fn told(&mut self) -> String {
        let lines = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let errors: Vec<&String> = lines.iter().filter(|line| !line.starts_with("progress ")).collect();
        errors.into_iter().cloned().collect::<Vec<_>>().join(" | ")
    }

    fn kill(mut self) -> Result<(), NodeError> {
        let failed = |error| NodeError::io("kill the node", error);
        self.child.kill().map_err(failed)?;
        self.child.wait().map(drop).map_err(failed)
    }

    /// Waits for the end. Answers the summary and what was told.
    fn end(mut self) -> Result<(Code, Value, String), NodeError> {
        let failed = |error| NodeError::io("wait for the node", error);
        let mut last = String::new();
        if let Some(stdout) = self.child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                last = line.map_err(failed)?;
            }
        }
        let status = self.child.wait().map_err(failed)?;
        Ok((code_of(status.code()), serde_json::from_str(&last).unwrap_or(Value::Null), self.told()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code_of(code: Option<i32>) -> Code {
    let all = [
        Code::Clean,
        Code::Failure,
        Code::Usage,
        Code::Corrupt,
        Code::TornTail,
        Code::InUse,
        Code::NewerFormat,
        Code::Refused,
        Code::Escalated,
        Code::ChainCheck,
    ];
    all.into_iter().find(|known| Some(i32::from(*known as u8)) == code).unwrap_or(Code::Failure)
}
