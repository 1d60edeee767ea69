//! What every tool that changes a directory has in common: it locks, plans, proves that the plan can be carried out,
//! backs up what goes, changes, and verifies again. `--dry-run` stops after the proof, and has written nothing.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use roadbed::state::core::reconcile::{Plan, reconcile};
use roadbed::store::{StoreLock, prepare};
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee};
use roadbed_wal::{FileSystem, Judged, LockGuard, Log, LogOptions, Storage};
use serde::Serialize;

use super::facts::{judge, log_facts};
use super::files::failed;
use super::read_only::{ReadOnly, lock};
use super::report::print;
use super::store::Store;
use super::verify::Verified;
use crate::exit::{Code, NodeError};
use crate::output;

/// Flags of every tool that changes a directory.
#[derive(Debug, Args)]
pub(crate) struct MutateArgs {
    /// Directory of the store
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Say what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Bytes of a log's segment files; for tests, which want many small ones
    #[arg(long, env = "ROADBED_SEGMENT_BYTES", value_name = "N", hide = true)]
    pub(crate) segment_bytes: Option<u64>,
}

/// Where a store's cursors stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Extent {
    /// The oldest block retained.
    pub(crate) first: BlockNumber,
    /// The first block missing.
    pub(crate) next_block: BlockNumber,
    /// The first block without a QC.
    pub(crate) next_qc: BlockNumber,
}

impl From<&Plan> for Extent {
    fn from(plan: &Plan) -> Self {
        let Plan { first, next_block, next_qc, .. } = *plan;
        Self { first, next_block, next_qc }
    }
}

/// The report of a tool that changes a directory.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// `ok`, `dry_run` or `nothing_to_do`.
    pub(crate) result: &'static str,
    pub(crate) dir: PathBuf,
    /// What is done, or would be.
    pub(crate) plan: Vec<String>,
    /// Where what goes was saved.
    pub(crate) saved: Option<PathBuf>,
    /// As it was found.
    pub(crate) before: Option<Extent>,
    /// As it was left.
    pub(crate) after: Option<Extent>,
}

impl Report {
    pub(crate) fn new(schema: &'static str, args: &MutateArgs, before: Option<Extent>) -> Self {
        let dir = args.dir.clone();
        Self { schema, result: "nothing_to_do", dir, plan: Vec::new(), saved: None, before, after: None }
    }

    fn text(&self) -> String {
        let dir = self.dir.display();
        let mut lines = vec![format!(
            "{dir}: {}",
            match self.result {
                "ok" => "done",
                "dry_run" => "dry run, nothing was written",
                _ => "nothing to do",
            }
        )];
        let extent = |name, extent: &Extent| {
            let Extent { first, next_block, next_qc } = extent;
            format!("  {name:<7} blocks {first}..{next_block}, QCs up to {next_qc}")
        };
        lines.extend(self.before.as_ref().map(|before| extent("before", before)));
        lines.extend(self.plan.iter().map(|step| format!("  plan    {step}")));
        lines.extend(self.saved.as_ref().map(|saved| format!("  saved   {}", saved.display())));
        lines.extend(self.after.as_ref().map(|after| extent("after", after)));
        lines.join("\n")
    }

    /// Ends here when nothing is to be done or nothing may be: prints the report, and answers `true`.
    pub(crate) fn ends_before(&mut self, args: &MutateArgs) -> Result<bool, NodeError> {
        if self.plan.is_empty() || args.dry_run {
            self.result = if self.plan.is_empty() { "nothing_to_do" } else { "dry_run" };
            print(args.json, self, || self.text())?;
            return Ok(true);
        }
        confirm(args, &self.plan)?;
        Ok(false)
    }

    /// Verifies what is there now, and prints the report.
    pub(crate) fn finish(mut self, args: &MutateArgs) -> Result<Code, NodeError> {
        let (_held, after) = Seen::of(&args.dir)?.verified()?;
        self.after = Some(after);
        self.result = "ok";
        print(args.json, &self, || self.text())?;
        Ok(Code::Clean)
    }
}

/// Asks on a terminal; elsewhere `--yes` has to be there already.
fn confirm(args: &MutateArgs, plan: &[String]) -> Result<(), NodeError> {
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(NodeError::Refused(format!(
            "{} would be changed ({}): say --yes to do it, or --dry-run to only look; nothing was changed",
            args.dir.display(),
            plan.join("; ")
        )));
    }
    plan.iter().for_each(|step| output::note(&format!("plan: {step}")));
    output::note(&format!("change {}? [y/N]", args.dir.display()));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| NodeError::io("read the answer", error))?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(NodeError::Refused("not confirmed: nothing was changed".to_owned()))
}

/// A store that nobody uses, looked at under its locks; nothing was written.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) store: Store,
    pub(crate) committee: Committee,
    pub(crate) qcs: Judged,
    pub(crate) blocks: Judged,
    _lock: Box<dyn LockGuard>,
}

impl Seen {
    /// Looks at a directory.
    ///
    /// # Errors
    /// In use, no store, damaged, or without its committee.
    pub(crate) fn of(dir: &Path) -> Result<Self, NodeError> {
        let store = Store::open(dir)?;
        let held = lock(&store.paths)?;
        let committee = store.committee()?.clone();
        let judge_one = |wal| judge(&store.paths, ReadOnly { locks: true }, wal, store.options(wal));
        let (qcs, blocks) = (judge_one(WalKind::Qcs)?, judge_one(WalKind::Blocks)?);
        Ok(Self { store, committee, qcs, blocks, _lock: held })
    }

    /// What the next start would do.
    ///
    /// # Errors
    /// When it would be refused.
    pub(crate) fn plan(&self) -> Result<Plan, NodeError> {
        let facts = |wal, judged| log_facts(wal, judged, Some(&self.committee)).map_err(NodeError::Damaged);
        let (qcs, blocks) = (facts(WalKind::Qcs, &self.qcs)?, facts(WalKind::Blocks, &self.blocks)?);
        reconcile(self.store.marker.first_block, &blocks, &qcs, false)
            .map_err(|refusal| NodeError::Start(refusal.into_start_error()))
    }

    /// Bytes of torn tails.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.qcs.facts().torn_bytes + self.blocks.facts().torn_bytes
    }

    /// Wants a store on which nothing is to be repaired, and reads every checksum.
    ///
    /// # Errors
    /// What is wrong, and the tool for it.
    pub(crate) fn sound(self) -> Result<(Self, Extent), NodeError> {
        if self.torn_bytes() > 0 || self.plan()?.lost.is_some() {
            let dir = self.store.paths.dir.display();
            return Err(NodeError::Refused(format!("{dir} wants a repair first: roadbed repair {dir}")));
        }
        self.verified()
    }

    /// Reads every checksum.
    ///
    /// # Errors
    /// What is damaged.
    pub(crate) fn verified(self) -> Result<(Self, Extent), NodeError> {
        let plan = self.plan()?;
        let (report, _) = Verified::of(&self.store, ReadOnly { locks: false }, false)?;
        match report.damage().next() {
            Some(damage) => Err(NodeError::Damaged(damage.clone())),
            None => Ok((self, Extent::from(&plan))),
        }
    }

    /// Lets go of the read-only locks and takes the store over, to write.
    ///
    /// # Errors
    /// When somebody else was quicker, or what the storage says.
    pub(crate) fn into_owned(self, args: &MutateArgs) -> Result<Owned, NodeError> {
        let expected = [self.qcs.facts().clone(), self.blocks.facts().clone()];
        let Self { store, committee, qcs, blocks, _lock: held } = self;
        drop((qcs, blocks, held));
        let owned = Owned::open(&store, &committee, args.segment_bytes)?;
        let found = [owned.qcs.range(), owned.blocks.range()];
        if found == expected.map(|facts| facts.first..facts.next) {
            return Ok(owned);
        }
        let dir = store.paths.dir.display();
        Err(NodeError::Refused(format!("{dir} was changed by somebody else meanwhile: look again")))
    }
}

/// A store that this process owns.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) qcs: Log,
    pub(crate) blocks: Log,
    /// Last: the logs are closed before the directory is free.
    _lock: StoreLock,
}

impl Owned {
    /// Takes the locks and opens both logs.
    ///
    /// # Errors
    /// In use, damaged, or what the storage says.
    pub(crate) fn open(
        store: &Store,
        committee: &Committee,
        segment_bytes: Option<u64>,
    ) -> Result<Self, NodeError> {
        let storage: Arc<dyn Storage> = Arc::new(FileSystem);
        let options = |wal| with_segments(store.options(wal), segment_bytes);
        let held = prepare(&storage, &store.paths, committee, options)?;
        let open = |wal| Log::open(storage.clone(), &store.paths.log(wal), options(wal));
        Ok(Self { qcs: open(WalKind::Qcs)?, blocks: open(WalKind::Blocks)?, _lock: held })
    }

    /// Closes both logs in order.
    ///
    /// # Errors
    /// What the storage says.
    pub(crate) fn close(self) -> Result<(), NodeError> {
        self.qcs.close()?;
        Ok(self.blocks.close()?)
    }
}

/// Options with another segment size.
pub(crate) fn with_segments(options: LogOptions, segment_bytes: Option<u64>) -> LogOptions {
    LogOptions { segment_bytes: segment_bytes.unwrap_or(options.segment_bytes), ..options }
}

/// The first name in a directory that is free: `NAME-1`, `NAME-2`, …; the directory is made.
///
/// # Errors
/// What the system says.
pub(crate) fn aside_name(aside: &Path, name: &str, suffix: &str) -> Result<PathBuf, NodeError> {
    FileSystem.create_dir(aside).map_err(failed(aside))?;
    let free = (1_u64..).map(|nth| aside.join(format!("{name}-{nth}{suffix}"))).find(|path| !path.exists());
    free.ok_or_else(|| NodeError::Failed(format!("{} has no free name", aside.display())))
}
