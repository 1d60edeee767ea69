//! The five cursors, published without a lock so that whoever reads them sees one snapshot.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use roadbed_messages::BlockNumber;
use roadbed_messages::api::Cursors;

/// One writer (State's thread), any number of readers. While the writer is at it the version is odd; a reader that
/// meets an odd or a changed version looks again.
#[derive(Debug, Default)]
pub(crate) struct PublishedCursors {
    version: AtomicU64,
    numbers: [AtomicU64; 5],
}

impl PublishedCursors {
    /// Must be called by one thread only.
    pub(crate) fn publish(&self, cursors: Cursors) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let Cursors { first, next_app_proposal, next_block_to_persist, next_block, next_qc } = cursors;
        let numbers = [first, next_app_proposal, next_block_to_persist, next_block, next_qc];
        for (published, number) in self.numbers.iter().zip(numbers) {
            published.store(number.0, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    pub(crate) fn read(&self) -> Cursors {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let mut numbers = self.numbers.iter().map(|number| BlockNumber(number.load(Ordering::Relaxed)));
            let mut next = || numbers.next().unwrap_or_default();
            let cursors = Cursors {
                first: next(),
                next_app_proposal: next(),
                next_block_to_persist: next(),
                next_block: next(),
                next_qc: next(),
            };
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return cursors;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_five_of_one_moment() {
        let published = PublishedCursors::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..200_000 {
                    published.publish(Cursors::all_at(BlockNumber(number)));
                }
            });
            while !writer.is_finished() {
                let seen = published.read();
                assert_eq!(seen, Cursors::all_at(seen.first));
            }
        });
        assert_eq!(published.read().next_qc, BlockNumber(199_999));
    }
}
