//! Workers as State sees them: lives that take orders and report, or die.

use std::collections::VecDeque;

use roadbed_messages::BlockNumber;
use roadbed_messages::api::WalKind;
use roadbed_messages::api::workers::{Event, Generation, VerifyJob, WalOrder, WalStart};

use super::disk::{Disk, Record};
use super::luck::Luck;

/// Orders to append that a log may have unanswered.
const APPEND_ORDERS_MAX: usize = 32;

/// Records in one order to append.
const APPEND_RECORDS_MAX: usize = 1024;

#[derive(Clone, Debug)]
enum Stage {
    Judge,
    WaitForPlan,
    Resume { next_index: u64, drop_below: u64 },
    Open,
    Closed,
}

/// One life of a WAL actor with its thread.
#[derive(Clone, Debug)]
pub struct WalLife {
    pub generation: Generation,
    stage: Stage,
    inbox: VecDeque<WalOrder<Record>>,
    /// The index that the next order to append must begin with.
    next_append: u64,
    /// The ends of the orders to append whose durability State has not heard of.
    unanswered: VecDeque<u64>,
    truncating: bool,
    closing: bool,
    /// It has died; State may not know.
    pub dead: bool,
}

/// One log: what outlives lives and crashes, and the life that owns it.
#[derive(Clone, Debug)]
pub struct FakeLog {
    pub wal: WalKind,
    pub disk: Disk,
    pub life: Option<WalLife>,
    /// Every truncation that was ordered.
    pub truncations: Vec<u64>,
    first_block: u64,
}

impl FakeLog {
    pub fn new(wal: WalKind, first_block: u64) -> Self {
        let index = if wal == WalKind::Qcs { 0 } else { first_block };
        Self { wal, disk: Disk::new(index, first_block), life: None, truncations: Vec::new(), first_block }
    }

    pub fn start(&mut self, generation: Generation, start: &WalStart) {
        assert!(self.life.is_none(), "{}: a life begins only when the one before was let go of", self.wal);
        let stage = match start {
            WalStart::Judge => Stage::Judge,
            WalStart::Resume { next_index, drop_below } => {
                Stage::Resume { next_index: *next_index, drop_below: drop_below.0 }
            }
        };
        self.life = Some(WalLife {
            generation,
            stage,
            inbox: VecDeque::new(),
            next_append: 0,
            unanswered: VecDeque::new(),
            truncating: false,
            closing: false,
            dead: false,
        });
    }

    /// State lets go of the life. Its thread may have done some of what it was told, which nobody hears of.
    pub fn retire(&mut self, luck: &mut Luck) {
        let Some(mut life) = self.life.take() else { return };
        if !life.dead {
            self.work_unheard(&mut life, luck);
        }
    }

    /// The life ends; State will hear of it.
    pub fn die(&mut self, luck: &mut Luck) {
        let Some(mut life) = self.life.take() else { return };
        self.work_unheard(&mut life, luck);
        life.dead = true;
        life.inbox.clear();
        self.life = Some(life);
    }

    fn work_unheard(&mut self, life: &mut WalLife, luck: &mut Luck) {
        let units = luck.part_of(4);
        let mut units = if units == 4 { 0 } else { units };
        while units > 0 && can_work(life, &self.disk) {
            if let (Stage::WaitForPlan, Some(WalOrder::Open(plan))) = (&life.stage, life.inbox.front()) {
                let (parts, front) = (luck.part_of(3), self.front());
                self.disk.carry_out(plan, usize::try_from(parts).unwrap(), front);
                return;
            }
            self.work_on(life, luck);
            units -= 1;
        }
    }

    /// The number that an index stands for in an empty log.
    fn front(&self) -> impl Fn(u64) -> u64 + use<> {
        let (wal, first_block) = (self.wal, self.first_block);
        move |index| if wal == WalKind::Qcs { first_block } else { index }
    }

    pub fn order(&mut self, generation: Generation, order: WalOrder<Record>) {
        let wal = self.wal;
        let Some(life) = &mut self.life else { panic!("{wal}: an order to nobody: {order:?}") };
        assert_eq!(life.generation, generation, "{wal}: an order to a life that is over");
        assert!(!life.closing, "{wal}: an order behind the last one: {order:?}");
        match &order {
            WalOrder::Open(_) => assert!(matches!(life.stage, Stage::WaitForPlan) || life.dead),
            WalOrder::Append { first_index, records } => {
                assert!(!records.is_empty() && records.len() <= APPEND_RECORDS_MAX);
                assert_eq!(*first_index, life.next_append, "{wal}: a gap, or a record twice in one life");
                life.next_append += records.len() as u64;
                life.unanswered.push_back(end_of(records.last().unwrap(), life.next_append - 1));
                assert!(life.unanswered.len() <= APPEND_ORDERS_MAX, "{wal}: too many orders at once");
            }
            WalOrder::TruncateBefore { first } => {
                self.truncations.push(first.0);
                assert!(!life.truncating, "{wal}: two truncations at once");
                life.truncating = true;
            }
            WalOrder::Close => life.closing = true,
        }
        if !life.dead {
            life.inbox.push_back(order);
        }
    }

    pub fn can_work(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.dead && can_work(life, &self.disk))
    }

    /// Does one thing of what there is to do.
    pub fn work(&mut self, luck: &mut Luck) -> Option<Event> {
        let mut life = self.life.take()?;
        let event = if life.dead { None } else { self.work_on(&mut life, luck) };
        self.life = Some(life);
        event
    }

    fn work_on(&mut self, life: &mut WalLife, luck: &mut Luck) -> Option<Event> {
        match life.stage.clone() {
            Stage::Judge => {
                let kept = luck.part_of(self.disk.unsynced());
                self.disk.crash(kept);
                life.stage = Stage::WaitForPlan;
                Some(Event::Judged(self.disk.facts()))
            }
            Stage::WaitForPlan => {
                let Some(WalOrder::Open(plan)) = life.inbox.pop_front() else { return None };
                self.disk.carry_out(&plan, usize::MAX, self.front());
                assert!(self.disk.facts().exists, "a log that is opened exists");
                Some(self.opened(life))
            }
            Stage::Resume { next_index, drop_below } => {
                assert!(next_index <= self.disk.durable_index(), "{}: State made up durable data", self.wal);
                self.disk.cut(next_index);
                self.disk.drop_below(drop_below);
                Some(self.opened(life))
            }
            Stage::Open => {
                let write = matches!(life.inbox.front(), Some(WalOrder::Append { .. }));
                if self.disk.unsynced() > 0 && (!write || luck.chance(50)) {
                    let records = luck.part_of(self.disk.unsynced() - 1) + 1;
                    self.disk.sync(records);
                    let upto = BlockNumber(self.disk.durable_end());
                    return Some(Event::Durable { next_index: self.disk.durable_index(), upto });
                }
                match life.inbox.pop_front()? {
                    WalOrder::Append { first_index, records } => {
                        for (record, index) in records.into_iter().zip(first_index..) {
                            let range = match &record {
                                Record::Qc(qc) => qc.range().start.0..qc.range().end.0,
                                Record::Block(_) => index..index + 1,
                            };
                            self.disk.write(range, record);
                        }
                        None
                    }
                    WalOrder::TruncateBefore { first } => {
                        self.disk.drop_below(first.0);
                        Some(Event::Truncated { first })
                    }
                    WalOrder::Close => {
                        life.stage = Stage::Closed;
                        Some(Event::Closed)
                    }
                    order @ WalOrder::Open(_) => panic!("{}: opened twice: {order:?}", self.wal),
                }
            }
            Stage::Closed => None,
        }
    }

    fn opened(&self, life: &mut WalLife) -> Event {
        life.stage = Stage::Open;
        life.next_append = self.disk.next_index();
        Event::Opened { next_index: life.next_append }
    }

    /// State is about to hear of this event of the present life.
    pub fn is_heard(&mut self, generation: Generation, event: &Event) {
        let Some(life) = self.life.as_mut().filter(|life| life.generation == generation) else { return };
        match event {
            Event::Durable { upto, .. } => life.unanswered.retain(|end| *end > upto.0),
            Event::Truncated { .. } => life.truncating = false,
            _ => {}
        }
    }
}

fn can_work(life: &WalLife, disk: &Disk) -> bool {
    match life.stage {
        Stage::Judge | Stage::Resume { .. } => true,
        Stage::WaitForPlan => !life.inbox.is_empty(),
        Stage::Open => !life.inbox.is_empty() || disk.unsynced() > 0,
        Stage::Closed => false,
    }
}

fn end_of(record: &Record, index: u64) -> u64 {
    match record {
        Record::Qc(qc) => qc.range().end.0,
        Record::Block(_) => index + 1,
    }
}

/// One life of the verifier or the pruner.
#[derive(Clone, Debug)]
pub struct Life {
    pub generation: Generation,
    pub reported_up: bool,
    pub jobs: Vec<VerifyJob>,
    pub dead: bool,
}

impl Life {
    pub fn new(generation: Generation) -> Self {
        Self { generation, reported_up: false, jobs: Vec::new(), dead: false }
    }
}
