//! Two durable writes at the same moment.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::RawFile;

/// Two files, written at the same moment.
#[derive(Debug)]
pub(crate) struct WritePair {
    a: RawFile,
    b: RawFile,
}

impl WritePair {
    /// A pair of files.
    pub(crate) fn new(a: RawFile, b: RawFile) -> Self {
        Self { a, b }
    }

    /// How both are written, in words.
    pub(crate) fn how(&self) -> &'static str {
        self.a.how()
    }

    /// Seconds until both writes are durable. The second thread is awake and waiting when the clock starts: what is
    /// measured is the disk, not the scheduler.
    pub(crate) fn timed(&mut self, a_bytes: u64, b_bytes: u64) -> io::Result<f64> {
        let (ready, go, done) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                ready.store(true, Ordering::Release);
                wait_for(&go);
                let written = self.b.write(b_bytes);
                done.store(true, Ordering::Release);
                written
            });
            wait_for(&ready);
            let began = Instant::now();
            go.store(true, Ordering::Release);
            let written = self.a.write(a_bytes);
            wait_for(&done);
            let took = began.elapsed().as_secs_f64();
            match other.join() {
                Ok(other) => other.and(written).map(|()| took),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Spins, which is faster than being woken, and lets others in where cores are few.
fn wait_for(flag: &AtomicBool) {
    let mut spins = 0_u32;
    while !flag.load(Ordering::Acquire) {
        spins = spins.wrapping_add(1);
        if spins.is_multiple_of(64) { thread::yield_now() } else { std::hint::spin_loop() }
    }
}
