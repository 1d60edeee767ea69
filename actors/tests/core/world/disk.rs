//! A log's files: what was written, how much of it is durable, and what a crash leaves.

use std::collections::VecDeque;
use std::ops::Range;

use roadbed_messages::api::workers::{LogFacts, LogPlan};
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};

#[derive(Clone, Debug)]
pub enum Record {
    Qc(VerifiedQc),
    Block(VerifiedBlock),
}

/// A record with its place in the log.
#[derive(Clone, Debug)]
pub struct Stored {
    pub index: u64,
    pub range: Range<u64>,
    pub record: Record,
}

#[derive(Clone, Debug)]
pub struct Disk {
    exists: bool,
    stored: VecDeque<Stored>,
    next_index: u64,
    /// Records below this index survive a crash.
    durable_index: u64,
    /// The number up to which the records in front of the stored ones reached.
    front: u64,
    /// Logs that were moved aside.
    pub aside: usize,
}

impl Disk {
    /// A log that was made with its store and never used.
    pub fn new(index: u64, front: u64) -> Self {
        Self {
            exists: true,
            stored: VecDeque::new(),
            next_index: index,
            durable_index: index,
            front,
            aside: 0,
        }
    }

    pub fn facts(&self) -> LogFacts {
        let range = match (self.stored.front(), self.stored.back()) {
            (Some(front), Some(back)) => Some(BlockNumber(front.range.start)..BlockNumber(back.range.end)),
            _ => None,
        };
        LogFacts { exists: self.exists, range, next_index: self.next_index, torn_bytes: 0 }
    }

    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    pub fn durable_index(&self) -> u64 {
        self.durable_index
    }

    /// How many records are written, but would not survive a crash.
    pub fn unsynced(&self) -> u64 {
        self.next_index - self.durable_index
    }

    /// The end of the last durable record.
    pub fn durable_end(&self) -> u64 {
        self.durable().last().map_or(self.front, |last| last.range.end)
    }

    /// The start of the first record, or where it would be.
    pub fn first(&self) -> u64 {
        self.stored.front().map_or(self.front, |stored| stored.range.start)
    }

    /// The end of the first record, or the cursor where there is none.
    pub fn first_end(&self) -> u64 {
        self.stored.front().map_or(self.front, |stored| stored.range.end)
    }

    pub fn durable(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.stored.iter().filter(|stored| stored.index < self.durable_index)
    }

    /// The durable record of a number.
    pub fn record(&self, number: u64) -> Option<&Stored> {
        let position = self.stored.partition_point(|stored| stored.range.end <= number);
        let found = self.stored.get(position)?;
        (found.range.contains(&number) && found.index < self.durable_index).then_some(found)
    }

    /// Writes a record, which may be lost until it is synced.
    pub fn write(&mut self, range: Range<u64>, record: Record) {
        let end = self.stored.back().map_or(self.front, |last| last.range.end);
        assert_eq!(range.start, end, "a log has no gaps");
        self.stored.push_back(Stored { index: self.next_index, range, record });
        self.next_index += 1;
    }

    /// Makes the next so many records durable.
    pub fn sync(&mut self, records: u64) {
        self.durable_index += records;
        assert!(self.durable_index <= self.next_index);
    }

    /// What a crash leaves: what is durable, and so many records beyond it, which are durable then.
    pub fn crash(&mut self, kept: u64) {
        self.cut(self.durable_index + kept);
        self.durable_index = self.next_index;
    }

    /// Drops every record at or beyond an index.
    pub fn cut(&mut self, index: u64) {
        while self.stored.back().is_some_and(|last| last.index >= index) {
            self.stored.pop_back();
        }
        self.next_index = self.next_index.min(index);
        self.durable_index = self.durable_index.min(index);
    }

    /// Drops every record that ends at or below a number.
    pub fn drop_below(&mut self, first: u64) {
        while let Some(front) = self.stored.front().filter(|front| front.range.end <= first) {
            assert!(front.index < self.durable_index, "what goes was durable");
            self.front = front.range.end;
            self.stored.pop_front();
        }
    }

    /// All files vanish.
    pub fn lose(&mut self) {
        *self = Self { exists: false, aside: self.aside, ..Self::new(0, self.front) };
    }

    /// Carries out the first so many parts of a plan; `front` is the number that an index stands for in an empty log.
    pub fn carry_out(&mut self, plan: &LogPlan, parts_max: usize, front: impl Fn(u64) -> u64) {
        let mut done = 0;
        // Whether a part of the plan is there and lands.
        let mut lands = |due: bool| {
            done += usize::from(due);
            due && done <= parts_max
        };
        let empty_at = |index: u64, aside: usize| Self { aside, ..Self::new(index, front(index)) };
        if lands(plan.set_aside) {
            assert!(self.exists, "only what is there is moved aside");
            self.lose();
            self.aside += 1;
        }
        if let Some(index) = plan.create_at.filter(|_| lands(true)) {
            assert!(!self.exists, "a log is made only where there is none");
            *self = empty_at(index, self.aside);
        }
        if let Some(index) = plan.reset_to.filter(|_| lands(true)) {
            *self = empty_at(index, self.aside);
        }
        if let Some(index) = plan.drop_from.filter(|_| lands(true)) {
            match self.stored.front() {
                Some(first) if first.index < index => self.cut(index),
                _ => *self = empty_at(index, self.aside),
            }
        }
        if let Some(first) = plan.drop_below.filter(|_| lands(true)) {
            self.drop_below(first.0);
        }
    }
}
