//! Work on all cores.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::cores;

/// The library verifies at the lowest priority, so that replies are not delayed; the limit does the same work at the
/// same priority, so that others on the machine cost both alike. On a quiet machine it makes no difference.
const NICENESS: i32 = 19;

/// The time that `work` takes for all items, on as many threads as there are cores, each taking the next item. Each
/// thread has a value of its own to work with.
pub(crate) fn on_all_cores<T: Sync, S: Default>(items: &[T], work: impl Fn(&mut S, &T) + Sync) -> Duration {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores().min(items.len()))
            .map(|_| {
                scope.spawn(|| {
                    // Without the permission to be nice the work is the same.
                    let _nice = rustix::process::setpriority_process(None, NICENESS);
                    let mut own = S::default();
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(&mut own, item);
                    }
                })
            })
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    began.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        on_all_cores(&items, |(), item| {
            item.fetch_add(1, Ordering::Relaxed);
        });
        assert!(items.iter().all(|item| item.load(Ordering::Relaxed) == 1));
    }
}
