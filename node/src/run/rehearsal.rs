//! Faults on demand from stdin, for tests that watch the node from outside.
//!
//! One command a line: `panic ACTOR`, `error ACTOR`, `hang ACTOR` (until `resume`), `resume`, `slow MS` (every write to a
//! log takes so much longer; 0 ends it). Each is acknowledged with a line on stderr.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use roadbed::supervision::{Fault, Faults, Gate};
use roadbed_messages::api::ActorKind;
use roadbed_wal::{FileSystem, Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

use crate::exit::NodeError;
use crate::output;

/// Reads commands until stdin ends.
pub(crate) struct Rehearsal {
    delay: Delay,
}

impl Rehearsal {
    /// # Errors
    /// When its thread can't be started.
    pub(crate) fn start(faults: Faults) -> Result<Self, NodeError> {
        let delay = Delay::default();
        let set = delay.clone();
        thread::Builder::new()
            .name("roadbed-rehearse".to_owned())
            .spawn(move || {
                let mut gates: Vec<Gate> = Vec::new();
                for line in io::stdin().lock().lines().map_while(Result::ok) {
                    let done = carry_out(&line, &faults, &set, &mut gates);
                    output::note(&format!(
                        "rehearsal: {line}: {}",
                        if done { "done" } else { "not understood" }
                    ));
                }
            })
            .map_err(|error| NodeError::io("start the rehearsal", error))?;
        Ok(Self { delay })
    }

    /// The file system, as slow as was asked for.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(SlowDisk { disk: FileSystem, delay: self.delay.clone() })
    }
}

fn carry_out(line: &str, faults: &Faults, delay: &Delay, gates: &mut Vec<Gate>) -> bool {
    let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
    let actors = ActorKind::WORKERS.into_iter().chain([ActorKind::State]);
    let actor = actors.into_iter().find(|actor| actor.name() == argument);
    match (command, actor) {
        ("panic", Some(actor)) => faults.inject(actor, Fault::Panic),
        ("error", Some(actor)) => faults.inject(actor, Fault::Error),
        ("hang", Some(actor)) => {
            let gate = Gate::default();
            gates.push(gate.clone());
            faults.inject(actor, Fault::Hang(gate));
        }
        ("resume", None) => gates.drain(..).for_each(|gate| gate.open()),
        ("slow", None) => match argument.parse() {
            Ok(ms) => delay.0.store(ms, Ordering::Relaxed),
            Err(_) => return false,
        },
        _ => return false,
    }
    true
}

/// In milliseconds. Clones share it.
#[derive(Clone, Debug, Default)]
struct Delay(Arc<AtomicU64>);

impl Delay {
    fn wait(&self) {
        thread::sleep(Duration::from_millis(self.0.load(Ordering::Relaxed)));
    }
}

#[derive(Debug)]
struct SlowDisk {
    disk: FileSystem,
    delay: Delay,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn StorageFile>,
    delay: Delay,
}

impl Storage for SlowDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()> {
        self.disk.sync_dir(dir, point)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(SlowFile { file, delay: self.delay.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        self.disk.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.disk.free_bytes(dir)
    }

    fn salt(&self) -> io::Result<u64> {
        self.disk.salt()
    }
}

impl StorageFile for SlowFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize> {
        self.delay.wait();
        self.file.write_at(buffer, offset, point)
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        self.file.sync_data(point)
    }

    fn writes_are_durable(&self) -> bool {
        self.file.writes_are_durable()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }
}
