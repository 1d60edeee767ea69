//! Directories that were damaged at random: whatever is found, nothing panics, nothing large is allocated, and no other
//! bytes are served. More cases: `PROPTEST_CASES=1000000`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use roadbed_wal::sim::SimStorage;
use roadbed_wal::{Log, inspect, verify};

use crate::script::{DIR, options};
use crate::support::{append, stored};

const LEN: usize = 900;

/// One piece of damage, in the file that `file` picks.
#[derive(Clone, Debug)]
enum Damage {
    Flip {
        file: usize,
        bit: u64,
    },
    Fill {
        file: usize,
        at: usize,
        len: usize,
        byte: u8,
    },
    /// Bytes of one file at a place of another.
    Copy {
        from: usize,
        file: usize,
        at: usize,
        to: usize,
        len: usize,
    },
    Shorten {
        file: usize,
        to: usize,
    },
    Lose {
        file: usize,
    },
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let place = || {
        prop_oneof![
            0..32_768_usize,
            (0..8_usize).prop_map(|page| page * 4096),
            (0..400_usize).prop_map(|at| at * 8)
        ]
    };
    let len = || prop_oneof![1..64_usize, Just(512), Just(4096), Just(8192)];
    prop_oneof![
        4 => (any::<usize>(), 0..32_768 * 8_u64).prop_map(|(file, bit)| Damage::Flip { file, bit }),
        2 => (any::<usize>(), place(), len(), any::<u8>())
            .prop_map(|(file, at, len, byte)| Damage::Fill { file, at, len, byte }),
        3 => (any::<usize>(), any::<usize>(), place(), place(), len())
            .prop_map(|(from, file, at, to, len)| Damage::Copy { from, file, at, to, len }),
        1 => (any::<usize>(), place()).prop_map(|(file, to)| Damage::Shorten { file, to }),
        1 => any::<usize>().prop_map(|file| Damage::Lose { file }),
    ]
}

fn files(sim: &SimStorage) -> Vec<PathBuf> {
    sim.files().into_iter().filter(|path| path.extension().is_some()).collect()
}

fn apply(sim: &SimStorage, damage: &Damage) {
    let files = files(sim);
    if files.is_empty() {
        return;
    }
    let pick = |file: usize| &files[file % files.len()];
    match *damage {
        Damage::Flip { file, bit } => {
            sim.flip_bit(pick(file), bit);
        }
        Damage::Fill { file, at, len, byte } => {
            sim.damage(pick(file), |bytes| {
                let end = (at + len).min(bytes.len());
                bytes[at.min(end)..end].fill(byte);
            });
        }
        Damage::Copy { from, file, at, to, len } => {
            let source = sim.read_file(pick(from)).unwrap();
            let end = (at + len).min(source.len());
            let piece = &source[at.min(end)..end];
            sim.damage(pick(file), |bytes| {
                let end = (to + piece.len()).min(bytes.len());
                let start = to.min(end);
                bytes[start..end].copy_from_slice(&piece[..end - start]);
            });
        }
        Damage::Shorten { file, to } => {
            sim.damage(pick(file), |bytes| bytes.truncate(to));
        }
        Damage::Lose { file } => {
            sim.lose_file(pick(file));
        }
    }
}

/// A log with rolled, cut and recycled segments, and spares.
fn written(close: bool) -> SimStorage {
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

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn scenario_16_random_damage_never_yields_other_bytes(
        damage in prop::collection::vec(any_damage(), 1..5),
        close: bool,
    ) {
        let sim = written(close);
        damage.iter().for_each(|damage| apply(&sim, damage));
        // Each of them answers or refuses.
        let _seen = (inspect(&sim, Path::new(DIR)).is_ok(), verify(&sim, Path::new(DIR), &options()).is_ok());
        if let Ok(log) = Log::open(Arc::new(sim.clone()), Path::new(DIR), options()) {
            let reader = log.reader();
            for index in reader.range() {
                if let Ok(Some(entry)) = reader.get(index) {
                    prop_assert!(entry == stored(index, 0, LEN));
                }
                let _found = (reader.get_by_key(index).is_ok(), reader.find_digest(index).is_ok());
            }
            let replayed = reader.replay(reader.range()).map_while(Result::ok);
            for (index, entry) in (reader.range().start..).zip(replayed) {
                prop_assert!(entry == stored(index, 0, LEN));
            }
        }
    }
}
