//! A reader that is held up between finding its entry and opening the file, while the writer does whatever makes files go
//! away: cuts the front or the tail, resets, rolls into recycled files, or is followed by another owner. The reader gets
//! the bytes of the entry it was asked for.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use roadbed_wal::sim::{Op, SimStorage};
use roadbed_wal::{Judged, Log, LogOptions, Reader, StoredEntry};

use crate::script::{DIR, options};
use crate::support::{append, digest, stored};

const LEN: usize = 2500;
const NEXT: u64 = 20;

/// A way to read the first entry.
type Way = (&'static str, fn(&Reader) -> Option<StoredEntry>);

const WAYS: [Way; 6] = [
    ("index", |reader| reader.get(0).unwrap()),
    ("key", |reader| reader.get_by_key(0).unwrap()),
    ("digest", |reader| {
        let found = reader.find_digest(digest(0, 0)).unwrap();
        assert_eq!(found, [0]);
        Some(stored(0, 0, LEN))
    }),
    ("replay", |reader| reader.replay(0..1).next().map(Result::unwrap)),
    ("parallel replay", |reader| reader.replay_parallel(0..1, 2, |entry| entry).next().map(Result::unwrap)),
    ("visit", |reader| {
        let mut seen = None;
        let visited = reader.visit(0..1, |entry| {
            seen = Some(entry.to_owned());
            ControlFlow::Continue(())
        });
        assert_eq!(visited.unwrap(), 1);
        seen
    }),
];

/// What the writer does meanwhile.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Front,
    Tail,
    Reset,
    NextOwner,
    NextOwnerCuts,
}

fn open(sim: &SimStorage) -> Log {
    let options = LogOptions { open_files_max: 1, ..options() };
    Log::open(Arc::new(sim.clone()), Path::new(DIR), options).unwrap()
}

/// Who is to do it: the owner, or the one that follows it, not yet at work.
enum Writer {
    Owner(Box<Log>),
    Next(Box<Judged>),
}

fn meanwhile(writer: Writer, what: Meanwhile) -> Log {
    let mut log = match writer {
        Writer::Owner(log) => *log,
        Writer::Next(judged) => {
            judged.open_at(if matches!(what, Meanwhile::NextOwner) { NEXT } else { 0 }).unwrap()
        }
    };
    match what {
        Meanwhile::Front => log.truncate_before(NEXT).unwrap(),
        Meanwhile::Tail => log.truncate_after(0).unwrap(),
        Meanwhile::Reset => log.reset(NEXT).unwrap(),
        Meanwhile::NextOwner | Meanwhile::NextOwnerCuts => log.truncate_before(log.range().end).unwrap(),
    }
    // All that is free to be taken is taken, and written over.
    for _ in 0..4 {
        while log.idle().unwrap() {}
        let next = log.range().end;
        append(&mut log, next..next + 10, 7, LEN);
        log.sync().unwrap();
        log.truncate_before(next + 9).unwrap();
    }
    while log.idle().unwrap() {}
    log
}

fn race(direct: bool, (way, read): Way, what: Meanwhile) {
    let context = format!("{way}, {what:?}, direct {direct}");
    let sim = SimStorage::new(5).direct(direct);
    let mut log = Log::create(Arc::new(sim.clone()), Path::new(DIR), options(), 0).unwrap();
    append(&mut log, 0..NEXT, 0, LEN);
    log.sync().unwrap();
    drop(log);
    let log = open(&sim);
    let reader = log.reader();
    let path = reader.segments()[0].path.clone();
    // One file is kept open at most: not that one.
    assert_eq!(reader.get(NEXT - 1).unwrap(), Some(stored(NEXT - 1, 0, LEN)));
    let writer = if matches!(what, Meanwhile::NextOwner | Meanwhile::NextOwnerCuts) {
        drop(log);
        let judged = Log::judge(Arc::new(sim.clone()), Path::new(DIR), options()).unwrap();
        Writer::Next(Box::new(judged.after(&reader)))
    } else {
        Writer::Owner(Box::new(log))
    };
    let gate = sim.pause_in(Op::Open, &path);
    let thread = std::thread::spawn(move || read(&reader));
    gate.wait_reached();
    let mut log = meanwhile(writer, what);
    assert!(sim.read_file(&path).is_some(), "{context}: its file has its name");
    gate.open();
    let found = thread.join().unwrap().unwrap_or_else(|| panic!("{context}: nothing"));
    // By key the first entry is asked for, whichever that is by then.
    let first_by_then = way == "key" && found == stored(found.index, 7, LEN);
    assert!(first_by_then || found == stored(0, 0, LEN), "{context}: {}", found.index);
    // Let go, it is taken like the others.
    while log.idle().unwrap() {}
    assert!(sim.read_file(&path).is_none(), "{context}: kept for nobody");
}

#[test]
fn a_reader_that_is_held_up_gets_its_entry_whatever_the_writer_does() {
    for direct in [true, false] {
        for way in WAYS {
            for what in [Meanwhile::Front, Meanwhile::Tail, Meanwhile::Reset] {
                race(direct, way, what);
            }
        }
    }
}

#[test]
fn a_reader_that_is_held_up_gets_its_entry_whoever_owns_the_log_by_then() {
    for direct in [true, false] {
        for way in WAYS {
            for what in [Meanwhile::NextOwner, Meanwhile::NextOwnerCuts] {
                race(direct, way, what);
            }
        }
    }
}
