//! Spare files: what the front truncation freed becomes the next segments.
//!
//! The last spare is a reserve that ordinary rolls never take, so that a cut, a repair and a trim mark go through on a
//! full disk. A spare never counts as a segment, whatever it contains; it counts from the moment its new header is
//! durable and it is renamed.

use std::path::{Path, PathBuf};

use crate::names;

/// The spares of a log.
#[derive(Debug)]
pub(crate) struct Pool {
    dir: PathBuf,
    spares: Vec<PathBuf>,
    next_number: u64,
    max: usize,
}

impl Pool {
    pub(crate) fn new(dir: &Path, found: Vec<(u64, PathBuf)>, max: usize) -> Self {
        let next_number = found.last().map_or(1, |(number, _)| number.saturating_add(1));
        Self {
            dir: dir.to_path_buf(),
            spares: found.into_iter().map(|(_, path)| path).collect(),
            next_number,
            max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.spares.len()
    }

    pub(crate) fn wants_more(&self) -> bool {
        self.spares.len() < self.max
    }

    /// Whether there is a spare to take.
    pub(crate) fn has(&self, urgent: bool) -> bool {
        self.spares.len() > usize::from(!urgent)
    }

    /// A spare; the last one only when it is `urgent`.
    pub(crate) fn take(&mut self, urgent: bool) -> Option<PathBuf> {
        if self.has(urgent) { self.spares.pop() } else { None }
    }

    /// A name for a new spare.
    pub(crate) fn name(&mut self) -> PathBuf {
        let path = names::spare(&self.dir, self.next_number);
        self.next_number += 1;
        path
    }

    /// Adds a spare whose name is durable.
    pub(crate) fn put(&mut self, path: PathBuf) {
        self.spares.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_urgent_taker_gets_the_reserve() {
        let found = vec![(3, PathBuf::from("a")), (9, PathBuf::from("b"))];
        let mut pool = Pool::new(Path::new("d"), found, 3);
        assert_eq!(pool.len(), 2);
        assert!(pool.wants_more());
        assert_eq!(pool.take(false), Some(PathBuf::from("b")));
        assert_eq!(pool.take(false), None);
        assert_eq!(pool.take(true), Some(PathBuf::from("a")));
        assert_eq!(pool.take(true), None);
        assert_eq!(pool.name(), names::spare(Path::new("d"), 10));
    }
}
