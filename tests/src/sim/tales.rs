//! What a run tells of itself: a digest always, words when they are wanted.

use std::cell::{Cell, RefCell};
use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use super::{Coverage, Outcome};

/// Shared between a world and whoever runs it, so that it outlives a failure.
#[derive(Clone)]
pub(super) struct Tales(Rc<Inner>);

struct Inner {
    record: bool,
    digest: RefCell<DefaultHasher>,
    log: RefCell<Vec<String>>,
    coverage: RefCell<Coverage>,
    line: RefCell<String>,
}

impl Tales {
    pub(super) fn new(record: bool) -> Self {
        Self(Rc::new(Inner {
            record,
            digest: RefCell::new(DefaultHasher::new()),
            log: RefCell::default(),
            coverage: RefCell::default(),
            line: RefCell::default(),
        }))
    }

    /// Something happened.
    pub(super) fn tell(&self, now: Duration, what: Arguments<'_>) {
        use std::fmt::Write as _;
        let mut line = self.0.line.borrow_mut();
        line.clear();
        // Writing into a String does not fail.
        let _ = write!(line, "{:>14.6} ", now.as_secs_f64() * 1000.0).and_then(|()| line.write_fmt(what));
        self.0.digest.borrow_mut().write(line.as_bytes());
        if self.0.record {
            self.0.log.borrow_mut().push(line.clone());
        }
    }

    pub(super) fn count(&self, group: &'static str, name: impl Into<String>) {
        self.0.coverage.borrow_mut().add(group, name, 1);
    }

    pub(super) fn outcome(&self, simulated: Duration, failure: Option<String>) -> Outcome {
        let mut coverage = self.0.coverage.borrow().clone();
        coverage.simulated = simulated;
        Outcome { coverage, hash: self.0.digest.borrow().finish(), failure, log: self.0.log.borrow().clone() }
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// On threads that simulate, panics are kept instead of printed: some are injected, the others are what a run found.
pub(super) fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if SILENT.get() {
                LAST_PANIC.set(info.to_string());
            } else {
                before(info);
            }
        }));
    });
    SILENT.set(true);
}

/// A run is over: what panics now, speaks.
pub(super) fn speak_panics() {
    SILENT.set(false);
}

/// What the last panic of this thread said.
pub(super) fn last_panic() -> String {
    LAST_PANIC.take()
}
