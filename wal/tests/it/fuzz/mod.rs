//! What the fuzzer runs (`make fuzz`): functions of any bytes, that panic when a promise is broken. The corpus is replayed
//! here, and each function meets random bytes.

mod directory;
mod forge;
mod input;
mod operations;

pub(crate) use directory::directory;
pub(crate) use forge::{footer, frame, header};
pub(crate) use operations::operations;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Entry, Log, inspect, verify};

use crate::script::{DIR, options};
use crate::support::{append, stored};

/// Bytes of each entry of the log that is damaged or forged.
const LEN: usize = 900;

/// A log with rolled, cut and recycled segments, and spares: left open, or closed.
fn written(close: bool) -> SimStorage {
    static WRITTEN: OnceLock<[SimStorage; 2]> = OnceLock::new();
    let written = WRITTEN.get_or_init(|| [write(false), write(true)]);
    // All that matters is durable; with one seed, every run gets the same bytes.
    written[usize::from(close)].crash(1)
}

fn write(close: bool) -> SimStorage {
    let sim = SimStorage::new(77);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    for round in 0..8_u64 {
        append(&mut log, round * 10..(round + 1) * 10, 0, LEN);
        log.sync().unwrap();
    }
    log.truncate_before(35).unwrap();
    log.truncate_after(70).unwrap();
    append(&mut log, 70..90, 0, LEN);
    log.sync().unwrap();
    append(&mut log, 90..91, 0, LEN);
    log.sync().unwrap();
    if close {
        log.close().unwrap();
    }
    sim
}

/// Does with a directory whatever can be done: each call answers or refuses. `exact`: no other bytes are served than the
/// ones that were written.
fn survey(sim: &SimStorage, exact: bool) {
    let _seen = (inspect(sim, Path::new(DIR)).is_ok(), verify(sim, Path::new(DIR), &options()).is_ok());
    let Ok(mut log) = Log::open(Arc::new(sim.clone()), Path::new(DIR), options()) else {
        return;
    };
    let reader = log.reader();
    let range = reader.range();
    // A forged header may claim any number of entries.
    let near = range.start..range.end.min(range.start.saturating_add(200));
    for index in near.clone() {
        if let Ok(Some(entry)) = reader.get(index) {
            assert!(!exact || entry == stored(index, 0, LEN), "entry {index} has other bytes");
        }
        let _found = (reader.get_by_key(index).is_ok(), reader.find_digest(index).is_ok());
    }
    for entry in reader.replay(near).map_while(Result::ok) {
        assert!(!exact || entry == stored(entry.index, 0, LEN), "entry {} has other bytes", entry.index);
    }
    // It goes on, as far as it lets itself.
    let next = log.range().end;
    let more = Entry { key: log.last_key().unwrap_or(0), digest: 1, payload: b"more" };
    let went_on = log.append(next, more).is_ok() && log.sync().is_ok() && log.idle().is_ok();
    let cut = log.truncate_before(next).is_ok() && log.truncate_after(next).is_ok();
    if went_on && cut && log.close().is_ok() {
        let log = Log::open(Arc::new(sim.clone()), Path::new(DIR), options());
        assert_eq!(log.map(|log| log.range()).ok(), Some(next..next), "what was written on is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 5] = [
        ("wal_header", header),
        ("wal_frame", frame),
        ("wal_footer", footer),
        ("wal_directory", directory),
        ("wal_operations", operations),
    ];

    #[test]
    fn the_corpus_holds() {
        for (name, target) in TARGETS {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let mut files: Vec<_> =
                std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            assert!(files.len() > 5, "{} is nearly empty", dir.display());
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                assert!(outcome.is_ok(), "{} breaks a promise", file.display());
            }
        }
    }

    fn cases() -> ProptestConfig {
        let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000);
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn scenario_16_any_damage_never_yields_other_bytes(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            directory(&bytes);
        }

        #[test]
        fn anything_that_a_checksum_vouches_for_is_answered_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            header(&bytes);
            frame(&bytes);
            footer(&bytes);
        }
    }
}
